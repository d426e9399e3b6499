// The two passes of a split over its worker threads: gives out the work in order, puts together what comes back.

import { PavostoreError } from '../../shared/errors.ts';
import type { ManifestSlice, Totals } from '../../shared/manifest.ts';
import { type Job, WorkerPool } from '../worker-pool.ts';
import { ChunkLedger } from './chunk-ledger.ts';
import { type ChunkReport, type HashHistogram, histogramSize, type SpillSetup } from './chunk-spiller.ts';
import { BufferStock, chunksOf } from './chunks.ts';
import type { Input } from './input.ts';
import { type InputShare, wholeOf } from './input-share.ts';
import { assertNoDuplicate, assertRecords, runSeal, summaryOf, sumOfHistograms } from './seal-pass.ts';
import { defaultSliceCount, planSeal, sliceCountNeeded } from './seal-plan.ts';
import type { SealSetup } from './slice-sealer.ts';
import { rejectsIndex, SpillFiles, type SpillFolder } from './spill.ts';
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
  /** The part of the input that is read; by default all of it. */
  readonly shares?: readonly InputShare[] | undefined;
  /** How many lines of an input stand before its share; asked when a bad line is to be placed. */
  readonly linesBefore?: ((inputIndex: number) => Promise<number>) | undefined;
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
    await this.#assertNoBadLine();
  }

  /** What the first pass read, chunk by chunk. */
  get chunks(): readonly ChunkReport[] {
    return this.#ledger.chunks;
  }

  /** What the first pass counted. */
  get histogram(): HashHistogram {
    return sumOfHistograms(this.#histograms);
  }

  /** Where the first pass left its records. */
  get folders(): readonly SpillFolder[] {
    const { folder, sizes } = this.spills.targets;
    return [{ folder, sizes, chunkOrdinalFrom: 0 }];
  }

  /** Throws `version_refused` when nothing was read. */
  assertRecords(): void {
    assertRecords(this.#ledger.totals, this.#labels);
  }

  /** Makes slices of the spill files. Throws `key_duplicated`, `slice_too_large`. */
  async seal(): Promise<Sealed> {
    const { versionDir, settings } = this.#options;
    const { sealMemoryMax, sliceSizeMax } = settings.bounds;
    const { totals } = this.#ledger;
    const { histogram } = this;
    const sliceCount = settings.sliceCount ?? defaultSliceCount(totals.keyBytes + totals.valueBytes);
    const setup: SealSetup = {
      folders: this.folders,
      versionDir,
      sliceCount,
      duplicates: settings.rules.duplicates,
      sealMemoryMax,
      sliceSizeMax,
      sliceCountNeeded: sliceCountNeeded(histogram, sliceSizeMax),
    };
    this.spills.remove(rejectsIndex);
    const reports = await runSeal(this.#pool, planSeal(histogram, sliceCount, sealMemoryMax), setup, {
      onProgress: this.#options.options.onProgress,
      onSpillUsed: (index) => this.spills.remove(index),
    });
    assertNoDuplicate(reports, this.#ledger, this.#labels);
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
    const { shares = wholeOf(inputs) } = this.#options;
    const totalBytes = inputs.every(({ size }) => size !== undefined)
      ? shares.reduce((sum, { start, end }) => sum + end - start, 0)
      : undefined;
    const onTaken = (doneBytes: number): void => {
      this.#inputBytes = doneBytes;
      options.onProgress?.({ phase: 'read', doneBytes, totalBytes });
    };
    const { chunkSize } = settings.bounds;
    const chunks = chunksOf(inputs, { shares, chunkSize, buffers, stdin: options.stdin ?? process.stdin, signal: options.signal, onTaken });
    for await (const chunk of chunks) {
      const transfer = chunk.kind === 'range' ? [] : [chunk.bytes.buffer as ArrayBuffer];
      yield { task: { kind: 'spill', chunk }, transfer };
    }
  }

  async #assertNoBadLine(): Promise<void> {
    const bad = this.#ledger.firstBadLine;
    if (!bad) return;
    const { inputIndex, lineNumber } = this.#ledger.placeOf(bad.at);
    const linesBefore = (await this.#options.linesBefore?.(inputIndex)) ?? 0;
    const place = `${this.#labels[inputIndex]}, line ${linesBefore + lineNumber}`;
    throw new PavostoreError('line_malformed', `${place}: ${bad.line.reason}: ${bad.line.excerpt}`);
  }

  get #labels(): string[] {
    return this.#options.inputs.map(({ label }) => label);
  }
}
