// The thin edge of the member table: every `pollIntervalMs` it resolves the source and asks each address for its status,
// each poll with a deadline of its own, over connections apart from the data's. What it learns goes into the table.
// Times in the table are of the process's own steady clock: a clock that is set does not make members absent.

import { HttpClient, isRefused } from './http-client.ts';
import { limits } from './limits.ts';
import { type MemberSource, resolveAddresses } from './member-source.ts';
import { MemberTable } from './member-table.ts';
import { parseStatusReport, type StatusReport } from './status-report.ts';
import { formatVersionUse, type VersionUse, versionUseHeader } from './version-use.ts';

export type MemberPollerOptions = {
  readonly source: MemberSource;
  /** Called when the table changed, and after the first full round. */
  readonly onChange: () => void;
  /** Called when the source could not be resolved, or an answer was malformed: once per distinct message. */
  readonly onTrouble: (error: Error) => void;
  /** Of a router: what each of its polls says. */
  readonly versionUse?: () => Omit<VersionUse, 'seen'>;
};

export class MemberPoller {
  readonly table: MemberTable;
  readonly #options: MemberPollerOptions;
  readonly #client = new HttpClient();
  /** Resolve to false when this process stood still over it: the member may have answered. */
  readonly #asking = new Map<string, Promise<boolean>>();
  #resolving: Promise<void> | undefined;
  #listedAddresses: readonly string[];
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #firstRoundDone = false;
  #revisionTold = -1;
  #troubleTold = '';

  constructor(options: MemberPollerOptions) {
    this.#options = options;
    this.#listedAddresses = options.source.kind === 'fixed' ? options.source.addresses : [];
    this.table = new MemberTable(this.#listedAddresses);
  }

  /** Every listed address has been asked once, and has answered or failed: a poll that this process was too late for is none. */
  get firstRoundDone(): boolean {
    return this.#firstRoundDone;
  }

  start(): void {
    void this.#round();
  }

  /** Asks one member at once, without waiting for its turn: when a connection to it was refused. */
  pollNow(address: string): void {
    if (!this.#closed) void this.#ask(address).then(() => this.#tell());
  }

  /** Asks members anew, also those that are being asked already: what they reported then is of now or later. */
  async pollAfresh(names: readonly string[]): Promise<void> {
    const addresses = names.flatMap((name) => this.table.find(name)?.address ?? []);
    await Promise.all(
      addresses.map(async (address) => {
        await this.#asking.get(address);
        if (!this.#closed) await this.#ask(address);
        this.#tell();
      }),
    );
  }

  /** Asks all members anew; resolves when each has answered or failed. */
  async pollAllAfresh(): Promise<void> {
    await this.pollAfresh(this.table.members.map(({ name }) => name));
  }

  /** The listed addresses from which nobody has reported yet. */
  get unheardAddresses(): readonly string[] {
    return this.#listedAddresses.filter((address) => !this.table.reportFrom(address));
  }

  /** Asks those anew; resolves when each has answered or failed. */
  async pollUnheard(): Promise<void> {
    if (this.#closed) return;
    await Promise.all(this.unheardAddresses.map((address) => this.#ask(address)));
    this.#tell();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#client.close();
    await Promise.allSettled(this.#asking.values());
  }

  async #round(): Promise<void> {
    const startedMs = performance.now();
    // A name server that takes its time must not hold up the polls of members that are known.
    this.#resolving ??= this.#resolve().finally(() => {
      this.#resolving = undefined;
    });
    if (this.#listedAddresses.length === 0) await this.#resolving;
    const addresses = new Set([...this.#listedAddresses, ...this.table.addresses]);
    const asked = await Promise.all([...addresses].map((address) => this.#ask(address)));
    if (this.#closed) return;
    const nowMs = performance.now();
    this.table.listed(this.#listedAddresses, nowMs);
    this.table.forgetAbsent(nowMs);
    if (this.#listedAddresses.length > 0 && !this.#firstRoundDone && !asked.includes(false)) {
      this.#firstRoundDone = true;
      this.#revisionTold = -1;
    }
    this.#tell();
    const intervalMs = this.#isChanging() ? limits.pollStartIntervalMs : limits.pollIntervalMs;
    this.#timer = setTimeout(() => void this.#round(), Math.max(10, intervalMs - (performance.now() - startedMs)));
  }

  /** Somebody has never been heard of, still loads, leaves, or goes from one version to another: the sooner all know what there is, the better. */
  #isChanging(): boolean {
    const { members } = this.table;
    const isSteady = ({ state, versions }: StatusReport): boolean => state === 'ready' && versions.length <= 1;
    return members.length === 0 || members.some(({ report, alive }) => !report || (alive && !isSteady(report)));
  }

  /** An empty or failed answer changes nothing. */
  async #resolve(): Promise<void> {
    try {
      const addresses = await resolveAddresses(this.#options.source);
      if (addresses.length > 0) this.#listedAddresses = addresses;
    } catch (error) {
      this.#trouble(error as Error);
    }
  }

  #ask(address: string): Promise<boolean> {
    const running = this.#asking.get(address);
    if (running) return running;
    const asking = this.#askOnce(address).finally(() => this.#asking.delete(address));
    this.#asking.set(address, asking);
    return asking;
  }

  async #askOnce(address: string): Promise<boolean> {
    const startedMs = performance.now();
    try {
      const use = this.#options.versionUse?.();
      const reply = await this.#client.fetch(address, '/status', {
        deadlineMs: limits.pollDeadlineMs,
        sizeMax: limits.statusSizeMax,
        ...(use ? { headers: { [versionUseHeader]: formatVersionUse({ ...use, seen: this.table.reportFrom(address) }) } } : {}),
      });
      if (reply.status !== 200) throw new Error(`http://${address}/status answered ${reply.status}`);
      this.table.answered(address, parseStatusReport(reply.body.toString(), address), performance.now(), startedMs);
    } catch (error) {
      // The deadline fired late: this process stood still, and the answer may lie in the socket, unread. That says nothing of the member.
      const wasLate = performance.now() - startedMs > limits.pollDeadlineMs + limits.pollLateMs;
      if (this.#closed || wasLate) return false;
      this.table.silent(address, performance.now(), isRefused(error), startedMs);
      if (!isNetworkError(error)) this.#trouble(error as Error);
    }
    return true;
  }

  #tell(): void {
    if (this.#closed || this.table.revision === this.#revisionTold) return;
    this.#revisionTold = this.table.revision;
    this.#options.onChange();
  }

  #trouble(error: Error): void {
    if (this.#closed || error.message === this.#troubleTold) return;
    this.#troubleTold = error.message;
    this.#options.onTrouble(error);
  }
}

/** Silence, broken connections and a name server that has no answer (`EAI_AGAIN`) are what polls are for; only the rest deserves a word. */
function isNetworkError(error: unknown): boolean {
  const { name, code } = error as { name?: string; code?: string };
  return name === 'TimeoutError' || name === 'AbortError' || (typeof code === 'string' && /^(E[A-Z]+|EAI_[A-Z]+|UND_ERR_.*)$/.test(code));
}
