// What the workers of one port tell each other, by way of their parent, so that each can show all of them in its `/status`. Nothing
// depends on it: a worker answers the same without.

import type { ChildProcess } from 'node:child_process';
import cluster from 'node:cluster';
import { limits } from '../shared/limits.ts';
import type { LoopDelayReport } from '../shared/loop-delay.ts';
import type { OwedReport } from '../shared/owed-memory.ts';
import type { PublishedId } from '../shared/status-report.ts';

/** A worker as it shows in `/status`; of one that has said nothing yet, or is dead, only the first three. */
export type WorkerReport = {
  readonly worker: number;
  readonly pid: number | null;
  readonly state: string;
  readonly degraded?: boolean;
  /** The one that it serves. */
  readonly version?: PublishedId | null;
  readonly uptimeSeconds?: number;
  readonly keys?: Readonly<Record<string, number>>;
  readonly memory?: { readonly rss: number; readonly heapUsed: number; readonly external: number; readonly arrayBuffers: number };
  readonly answersDue?: OwedReport;
  readonly eventLoop?: LoopDelayReport;
};

/** From a worker to its parent. */
export type WorkerMessage = { readonly kind: 'worker'; readonly report: WorkerReport };

/** From the parent to each worker: all of them, as they were at most two seconds ago. */
export type WorkersMessage = { readonly kind: 'workers'; readonly reports: readonly WorkerReport[] };

type Channel = Pick<ChildProcess, 'send' | 'connected'> & Pick<NodeJS.EventEmitter, 'on'>;

export class WorkerLink {
  readonly worker: number;
  readonly #channel: Channel;
  #reports: readonly WorkerReport[] = [];
  #timer: NodeJS.Timeout | undefined;
  #report: (() => WorkerReport) | undefined;

  constructor(worker: number, channel: Channel) {
    this.worker = worker;
    this.#channel = channel;
    channel.on('message', (message: WorkersMessage) => {
      if (message.kind === 'workers') this.#reports = message.reports;
    });
  }

  /** Tells the parent each second what `report` gives. */
  start(report: () => WorkerReport): void {
    this.#report = report;
    this.#timer = setInterval(() => this.tell(), limits.pollIntervalMs).unref();
  }

  /** Tells it now: something has changed. */
  tell(): void {
    // A parent that is gone ends this process elsewhere.
    if (this.#report && this.#channel.connected)
      this.#channel.send({ kind: 'worker', report: this.#report() } satisfies WorkerMessage, () => {});
  }

  /** All workers, this one as it is now. */
  reports(own: WorkerReport): readonly WorkerReport[] {
    return this.#reports.length === 0 ? [own] : this.#reports.map((report) => (report.worker === this.worker ? own : report));
  }

  close(): void {
    clearInterval(this.#timer);
  }
}

/** Which of the workers a process is, from 1: set by their parent. */
export const workerVariable = 'PAVOSTORE_WORKER';

/** Undefined in a process that is no worker. */
export function ownWorkerLink(): WorkerLink | undefined {
  return cluster.isWorker ? new WorkerLink(Number(process.env[workerVariable]), process as Channel) : undefined;
}
