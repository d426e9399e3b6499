// The processes of `router --workers N` and of `serve --routers N`: they share one port, and nothing else. Each is a whole router; one that
// dies costs what was under way in it, and is started again with a growing delay.
//
//     clients ──> parent, which accepts ──one connection each, in turn──> worker 1 … worker N ──> shards
//
// The parent hands connections out, by Node's cluster, and sees no byte of them. docs/decisions/014-routers-behind-one-port.md says why
// not SO_REUSEPORT.

import type { ChildProcess } from 'node:child_process';
import cluster from 'node:cluster';
import { freePorts } from '../shared/free-ports.ts';
import { limits } from '../shared/limits.ts';
import { SupervisedProcess } from '../shared/supervised-process.ts';
import { giveBackUntaken } from './hand-over.ts';
import { type WorkerMessage, type WorkerReport, type WorkersMessage, workerVariable } from './worker-link.ts';

export type WorkerGroupOptions = {
  /** The program, and its command line for the port that all share. */
  readonly program: string;
  readonly argsFor: (port: number) => readonly string[];
  readonly count: number;
  readonly host: string;
  /** 0 picks a free one. */
  readonly port: number;
  /** Variables of the workers beside those of this process; undefined takes one away. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** From SIGTERM to SIGKILL. */
  readonly stopGraceMs: number;
  /** One line for the operator: a worker died. */
  readonly onDeath: (message: string) => void;
};

export class WorkerGroup {
  readonly workers: readonly SupervisedProcess[];
  readonly #options: WorkerGroupOptions;
  /** By worker; undefined: none has come from its process. */
  readonly #reports: (WorkerReport | undefined)[];
  readonly #children: (ChildProcess | undefined)[];
  #port = 0;
  #tellTimer: NodeJS.Timeout | undefined;

  constructor(options: WorkerGroupOptions) {
    this.#options = options;
    const { count, stopGraceMs, onDeath } = options;
    this.#reports = Array.from({ length: count }, () => undefined);
    this.#children = Array.from({ length: count }, () => undefined);
    this.workers = Array.from(
      { length: count },
      (_, i) => new SupervisedProcess({ title: `router ${i + 1} of ${count}`, spawn: () => this.#spawn(i), stopGraceMs, onDeath }),
    );
  }

  /** Resolves to the port when all workers listen. Stops what it started when one cannot. */
  async start(): Promise<number> {
    const { host, port } = this.#options;
    // Asked for before: a port that the first worker picked would be another one after the death of all.
    this.#port = port === 0 ? (await freePorts({ host, first: 0, count: 1, purpose: 'the workers' }))[0]! : port;
    try {
      await Promise.all(this.workers.map((worker) => worker.start()));
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#tellTimer = setInterval(() => this.#tell(), limits.pollIntervalMs);
    return this.#port;
  }

  /** All at once, each with its own drain. */
  async close(): Promise<void> {
    clearInterval(this.#tellTimer);
    await Promise.all(this.workers.map((worker) => worker.stop()));
  }

  /** Each serves a version, of which every slice has a holder. */
  get isWhole(): boolean {
    return this.#reports.every((report) => report?.state === 'ready' && report.degraded === false);
  }

  #spawn(index: number): ChildProcess {
    const { program, argsFor, env } = this.#options;
    cluster.schedulingPolicy = cluster.SCHED_RR;
    cluster.setupPrimary({ exec: program, args: [...argsFor(this.#port)], execArgv: [], silent: false });
    const child = cluster.fork({ ...env, [workerVariable]: String(index + 1) }).process;
    this.#children[index] = child;
    this.#reports[index] = undefined;
    giveBackUntaken(child, () => this.#children.some((other) => other !== child && other?.connected));
    child.on('message', (message: WorkerMessage | { kind: 'listening' }) => {
      if (message.kind === 'worker') this.#reports[index] = message.report;
    });
    return child;
  }

  /** Each learns what all have said of themselves: whichever a client asks can tell of the others. */
  #tell(): void {
    const message: WorkersMessage = {
      kind: 'workers',
      reports: this.workers.map(({ pid }, i) => {
        const report = this.#reports[i];
        return report && pid === report.pid ? report : { worker: i + 1, pid: pid ?? null, state: pid === undefined ? 'dead' : 'starting' };
      }),
    };
    // One that dies just now is told nothing.
    for (const child of this.#children) if (child?.connected) child.send(message, () => {});
  }
}
