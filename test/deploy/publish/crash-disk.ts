// A disk that may lose what was not synced. It does what the real one does, and beside it keeps a model: of each file the bytes
// that are live and those that survive, of each folder the names that are live and those that survive. After any act it
// can write down what a crash would leave.

import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, relative, sep } from 'node:path';
import { type Disk, realDisk } from '../../../deploy/publish/disk.ts';

/** What a crash may leave: only what was synced; all; or names ahead of the bytes they name. */
export const crashKinds = ['only what was synced', 'everything', 'all names, but only synced bytes'] as const;
export type CrashKind = (typeof crashKinds)[number];

type FileNode = { readonly kind: 'file'; live: Buffer; durable: Buffer };
type FolderNode = { readonly kind: 'folder'; live: Map<string, Node>; durable: Map<string, Node> };
type Node = FileNode | FolderNode;

export class CrashDisk implements Disk {
  readonly #root: string;
  readonly #tree: FolderNode;
  /** Called after each act, with what it was. */
  readonly #onAct: (act: string) => void;

  /** Takes what is in `root` as surviving, but for the names below those of `unsynced`. */
  constructor(root: string, unsynced: readonly string[], onAct: (act: string) => void) {
    this.#root = root;
    this.#onAct = onAct;
    this.#tree = readFolder(root, (path) => !unsynced.some((each) => path === each || path.startsWith(each + sep)));
  }

  writeFile = async (path: string, text: string): Promise<void> => {
    await realDisk.writeFile(path, text);
    const { live } = this.#folderAt(dirname(path));
    const before = live.get(basename(path));
    const durable = before?.kind === 'file' ? before.durable : Buffer.alloc(0);
    live.set(basename(path), { kind: 'file', live: Buffer.from(text), durable });
    this.#onAct(`write ${relative(this.#root, path)}`);
  };

  syncFile = async (path: string): Promise<void> => {
    await realDisk.syncFile(path);
    const file = this.#folderAt(dirname(path)).live.get(basename(path)) as FileNode;
    file.durable = file.live;
    this.#onAct(`sync ${relative(this.#root, path)}`);
  };

  syncFolder = async (path: string): Promise<void> => {
    await realDisk.syncFolder(path);
    const folder = this.#folderAt(path);
    folder.durable = new Map(folder.live);
    this.#onAct(`sync folder ${relative(this.#root, path)}`);
  };

  rename = async (from: string, to: string): Promise<void> => {
    await realDisk.rename(from, to);
    const source = this.#folderAt(dirname(from)).live;
    this.#folderAt(dirname(to)).live.set(basename(to), source.get(basename(from))!);
    source.delete(basename(from));
    this.#onAct(`rename ${relative(this.#root, from)} to ${relative(this.#root, to)}`);
  };

  /** Equal for crashes that would leave the same. */
  signature(kind: CrashKind): string {
    return signatureOf(this.#tree, kind);
  }

  /** Writes what a crash now would leave to `folder`. */
  crash(kind: CrashKind, folder: string): void {
    writeFolder(this.#tree, folder, kind);
  }

  #folderAt(path: string): FolderNode {
    let folder = this.#tree;
    for (const name of relative(this.#root, path).split(sep)) {
      if (name === '') continue;
      // Made by somebody else meanwhile, without a sync.
      const found = folder.live.get(name) ?? { kind: 'folder', live: new Map(), durable: new Map() };
      folder.live.set(name, found);
      folder = found as FolderNode;
    }
    return folder;
  }
}

function readFolder(folder: string, isDurable: (path: string) => boolean): FolderNode {
  const node: FolderNode = { kind: 'folder', live: new Map(), durable: new Map() };
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const child = statSync(path).isDirectory() ? readFolder(path, isDurable) : readFile(path);
    node.live.set(name, child);
    if (isDurable(path)) node.durable.set(name, child);
  }
  return node;
}

function readFile(path: string): FileNode {
  const bytes = readFileSync(path);
  return { kind: 'file', live: bytes, durable: bytes };
}

function signatureOf(node: FolderNode, kind: CrashKind): string {
  const names = [...(kind === 'only what was synced' ? node.durable : node.live)].sort(([a], [b]) => (a < b ? -1 : 1));
  const parts = names.map(([name, child]) => {
    const bytes =
      child.kind === 'folder' ? signatureOf(child, kind) : (kind === 'everything' ? child.live : child.durable).toString('base64');
    return `${name}=${bytes}`;
  });
  return `{${parts.join(',')}}`;
}

function writeFolder(node: FolderNode, folder: string, kind: CrashKind): void {
  mkdirSync(folder, { recursive: true });
  for (const [name, child] of kind === 'only what was synced' ? node.durable : node.live) {
    const path = join(folder, name);
    if (child.kind === 'folder') writeFolder(child, path, kind);
    else writeFileSync(path, kind === 'everything' ? child.live : child.durable);
  }
}
