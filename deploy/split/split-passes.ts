// The two passes of a split over its worker threads: gives out the work in order, puts together what comes back.

import { PavostoreError } from '../../shared/errors.ts';
import type { ManifestSlice, Totals } from '../../shared/manifest.ts';
import { type Job, WorkerPool } from '../worker-pool.ts';
import { ChunkLedger } from './chunk-ledger.ts';
import { type HashHistogram, histogramSize, type SpillSetup } from './chunk-spiller.ts';
import { BufferStock, chunksOf } from './chunks.ts';
import type { Input } from './input.ts';
import { excerptOf } from './line-rules.ts';
import { compareOrigins, type Duplicate, type Origin } from './record-arena.ts';
import { defaultSliceCount, memoryOf, planSeal, sliceCountNeeded } from './seal-plan.ts';
import type { SealReport, SealSetup, SealTask } from './slice-sealer.ts';
import { rejectsIndex, SpillFiles } from './spill.ts';
import type { SplitOptions, SplitSettings } from './split-options.ts';
import type { SplitResult, SplitTask } from './split-worker.ts';

/** The version's content: what the manifest will say. */
export type Sealed = { readonly slices: readonly ManifestSlice[]; readonly totals: Totals; readonly inputBytes: number };

type PassesOptions = {
  readonly inputs: readonly Input[];
  /** Where the spill files go. */
  readonly folder: string;
  readonly versionDir: string;
  readonly settings: SplitSettings;
  readonly options: SplitOptions;
};

/** Owns the threads and the spill files until `close`. Call `spill`, `seal`, `sync`, in this order, once. */
export class SplitPasses {
  readonly spills: SpillFiles;
  readonly #options: PassesOptions;
  readonly #pool: WorkerPool<SplitTask, SplitResult>;
  readonly #histograms: HashHistogram[];
  readonly #ledger = new ChunkLedger();
  readonly #onAbort = (): void => void this.#pool.close(this.#options.options.signal!.reason);
  #inputBytes = 0;

  constructor(options: PassesOptions) {
    const { settings, inputs } = options;
    options.options.signal?.throwIfAborted();
    this.#options = options;
    this.spills = new SpillFiles(options.folder);
    this.#histograms = Array.from({ length: settings.jobs }, () => new Float64Array(new SharedArrayBuffer(16 * histogramSize)));
    const setupOf = (workerIndex: number): SpillSetup => ({
      inputs: inputs.map(({ label, file, size }) => ({ label, fd: file?.fd ?? -1, size: size ?? 0 })),
      rules: settings.rules,
      chunkSize: settings.bounds.chunkSize,
      targets: this.spills.targets,
      histogram: this.#histograms[workerIndex]!,
    });
    this.#pool = new WorkerPool({ script: new URL('./split-worker.ts', import.meta.url), size: settings.jobs, setupOf });
    options.options.signal?.addEventListener('abort', this.#onAbort);
  }

  /** Reads all inputs into the spill files. Throws `line_malformed` for the first bad line of the input, if those are errors. */
  async spill(): Promise<void> {
    const buffers = new BufferStock();
    await this.#pool.runAll(this.#spillJobs(buffers), (result) => {
      if (result.kind !== 'spilled') return undefined;
      if (result.buffer) buffers.give(result.buffer);
      this.#ledger.add(result.report);
      return result.report.badLine === undefined;
    });
    this.#assertNoBadLine();
    if (this.#ledger.totals.records === 0) {
      const labels = this.#options.inputs.map(({ label }) => label).join(', ');
      throw new PavostoreError('version_refused', `${labels}: no record in it; an empty version is not published`);
    }
  }

  /** Makes slices of the spill files. Throws `key_duplicated`, `slice_too_large`. */
  async seal(): Promise<Sealed> {
    const { versionDir, settings } = this.#options;
    const { sealMemoryMax, sliceSizeMax } = settings.bounds;
    const { totals } = this.#ledger;
    const histogram = sumOf(this.#histograms);
    const sliceCount = settings.sliceCount ?? defaultSliceCount(totals.keyBytes + totals.valueBytes);
    const setup: SealSetup = {
      targets: this.spills.targets,
      versionDir,
      sliceCount,
      duplicates: settings.rules.duplicates,
      sealMemoryMax,
      sliceSizeMax,
      sliceCountNeeded: sliceCountNeeded(histogram, sliceSizeMax),
    };
    this.spills.remove(rejectsIndex);
    const reports = await this.#runSeal(planSeal(histogram, sliceCount, sealMemoryMax), setup);
    this.#assertNoDuplicate(reports);
    return { ...summaryOf(reports, totals), inputBytes: this.#inputBytes };
  }

  /** Returns when every slice is on the disk. */
  async sync(): Promise<void> {
    await this.#pool.runOnEach({ kind: 'sync' });
  }

  /** Ends the threads first: none may write to a descriptor that is closed and perhaps another's. */
  async close(): Promise<void> {
    this.#options.options.signal?.removeEventListener('abort', this.#onAbort);
    await this.#pool.close();
    this.spills.close();
  }

  async *#spillJobs(buffers: BufferStock): AsyncGenerator<Job<SplitTask>> {
    const { inputs, settings, options } = this.#options;
    const totalBytes = inputs.every(({ size }) => size !== undefined) ? inputs.reduce((sum, { size }) => sum + size!, 0) : undefined;
    const onTaken = (doneBytes: number): void => {
      this.#inputBytes = doneBytes;
      options.onProgress?.({ phase: 'read', doneBytes, totalBytes });
    };
    const { chunkSize } = settings.bounds;
    const chunks = chunksOf(inputs, { chunkSize, buffers, stdin: options.stdin ?? process.stdin, signal: options.signal, onTaken });
    for await (const chunk of chunks) {
      const transfer = chunk.kind === 'range' ? [] : [chunk.bytes.buffer as ArrayBuffer];
      yield { task: { kind: 'spill', chunk }, transfer };
    }
  }

  async #runSeal(tasks: readonly SealTask[], setup: SealSetup): Promise<SealReport[]> {
    const reports: SealReport[] = [];
    const spillUses = countSpillUses(tasks);
    const totalBytes = tasks.reduce((sum, { spilledBytes }) => sum + spilledBytes, 0);
    let doneBytes = 0;
    const onResult = (result: SplitResult): undefined => {
      if (result.kind !== 'sealed') return;
      reports.push(result.report);
      const task = tasks.find(({ sliceFrom }) => sliceFrom === result.report.sliceFrom)!;
      for (const index of spillUses.finish(task)) this.spills.remove(index);
      doneBytes += task.spilledBytes;
      this.#options.options.onProgress?.({ phase: 'seal', doneBytes, totalBytes });
    };
    const jobOf = (task: SealTask): Job<SplitTask> => ({ task: { kind: 'seal', task, setup } });
    // One at a time where a single slice is larger than what each thread may take.
    const isLarge = (task: SealTask): boolean => memoryOf(task) > setup.sealMemoryMax;
    await this.#pool.runAll(tasks.filter((task) => !isLarge(task)).map(jobOf), onResult);
    await this.#pool.runAll(tasks.filter(isLarge).map(jobOf), onResult, 1);
    return reports.sort((a, b) => a.sliceFrom - b.sliceFrom);
  }

  #assertNoBadLine(): void {
    const bad = this.#ledger.firstBadLine;
    if (!bad) return;
    throw new PavostoreError('line_malformed', `${this.#placeOf(bad.at)}: ${bad.line.reason}: ${bad.line.excerpt}`);
  }

  #assertNoDuplicate(reports: readonly SealReport[]): void {
    const found = reports.map(({ firstDuplicate }) => firstDuplicate).filter((duplicate) => duplicate !== undefined);
    const first = found.reduce<Duplicate | undefined>((a, b) => (a && compareOrigins(a.second, b.second) < 0 ? a : b), undefined);
    if (!first) return;
    const duplicateCount = reports.reduce((sum, report) => sum + report.dropped.count, 0);
    const key = excerptOf(first.key, 0, first.key.length);
    throw new PavostoreError(
      'key_duplicated',
      `${this.#placeOf(first.second)}: key ${key} is already on ${this.#placeOf(first.first)}; records with a key that came before: ${duplicateCount}`,
    );
  }

  #placeOf(origin: Origin): string {
    const { inputIndex, lineNumber } = this.#ledger.placeOf(origin);
    return `${this.#options.inputs[inputIndex]!.label}, line ${lineNumber}`;
  }
}

/** For each spill file, how many tasks still need it. */
function countSpillUses(tasks: readonly SealTask[]): { finish: (task: SealTask) => number[] } {
  const uses = new Map<number, number>();
  const indexesOf = ({ spillFrom, spillTo }: SealTask): number[] => Array.from({ length: spillTo - spillFrom }, (_, i) => spillFrom + i);
  for (const index of tasks.flatMap(indexesOf)) uses.set(index, (uses.get(index) ?? 0) + 1);
  return {
    finish: (task) =>
      indexesOf(task).filter((index) => {
        const left = uses.get(index)! - 1;
        uses.set(index, left);
        return left === 0;
      }),
  };
}

function sumOf(histograms: readonly HashHistogram[]): HashHistogram {
  return Float64Array.from({ length: 2 * histogramSize }, (_, cell) => histograms.reduce((sum, histogram) => sum + histogram[cell]!, 0));
}

function summaryOf(reports: readonly SealReport[], read: ChunkLedger['totals']): { slices: ManifestSlice[]; totals: Totals } {
  const slices = reports.flatMap((report) => report.slices);
  const sum = (field: (report: SealReport) => number): number => reports.reduce((total, report) => total + field(report), 0);
  return {
    slices,
    totals: {
      entries: slices.reduce((total, { entries }) => total + entries, 0),
      keyBytes: read.keyBytes - sum(({ dropped }) => dropped.keyBytes),
      valueBytes: read.valueBytes - sum(({ dropped }) => dropped.valueBytes),
      sliceBytes: slices.reduce((total, { bytes }) => total + bytes, 0),
      lines: read.lines,
      duplicates: sum(({ dropped }) => dropped.count),
      rejectedLines: read.rejectedLines,
      blankLines: read.blankLines,
    },
  };
}
