// All parts put together: what the first pass over the whole input would have left.

import type { Source } from '../../shared/manifest.ts';
import { ChunkLedger } from '../split/chunk-ledger.ts';
import type { HashHistogram } from '../split/chunk-spiller.ts';
import type { DuplicatePolicy } from '../split/line-rules.ts';
import { sumOfHistograms } from '../split/seal-pass.ts';
import { defaultSliceCount } from '../split/seal-plan.ts';
import type { SpillFolder } from '../split/spill.ts';
import { partPath, readParts } from './work-folder.ts';

export type MappedInput = {
  readonly partCount: number;
  readonly source: Source;
  readonly labels: readonly string[];
  readonly folders: readonly SpillFolder[];
  readonly ledger: ChunkLedger;
  readonly histogram: HashHistogram;
  readonly sliceCount: number;
  readonly duplicates: DuplicatePolicy;
};

/** Reads the reports of all parts. Throws `part_missing`, `part_malformed`. */
export async function readMappedInput(workDir: string): Promise<MappedInput> {
  const parts = await readParts(workDir);
  const { source } = parts[0]!;
  const ledger = new ChunkLedger();
  const folders: SpillFolder[] = [];
  let chunkOrdinalFrom = 0;
  for (const { part, chunks, spillSizes } of parts) {
    folders.push({ folder: partPath(workDir, part), sizes: BigInt64Array.from(spillSizes, BigInt), chunkOrdinalFrom });
    for (const chunk of chunks) ledger.add({ ...chunk, ordinal: chunkOrdinalFrom + chunk.ordinal });
    chunkOrdinalFrom += chunks.length;
  }
  const { slices, duplicates } = source.options;
  const { keyBytes, valueBytes } = ledger.totals;
  return {
    partCount: parts.length,
    source,
    labels: source.files.map(({ path }) => path),
    folders,
    ledger,
    histogram: sumOfHistograms(parts.map(({ histogram }) => Float64Array.from(histogram))),
    sliceCount: typeof slices === 'number' ? slices : defaultSliceCount(keyBytes + valueBytes),
    duplicates: duplicates as DuplicatePolicy,
  };
}
