// Much text to standard output: no faster than its reader takes it, and in silence when the reader has had enough.

import { writeError } from '../../shared/write-error.ts';

/** Returns when all is written, or when the reader closed its end (`| head`). Throws `disk_short`, `data_unwritable`. */
export async function writeToStandardOutput(pieces: Iterable<Buffer>): Promise<void> {
  const { stdout } = process;
  // Each write's own callback tells; without a listener the event would end the process.
  stdout.on('error', () => {});
  for (const piece of pieces) {
    const error = await new Promise<NodeJS.ErrnoException | null | undefined>((resolve) => stdout.write(piece, resolve));
    if (error?.code === 'EPIPE' || error?.code === 'ERR_STREAM_DESTROYED') return;
    if (error) throw writeError(error, 'standard output');
  }
}
