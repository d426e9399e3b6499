// The memory of slices is outside the heap, and V8 collects no garbage for its sake (`SliceMemory` in shared/data-set.ts): when slices
// have been dropped, this gives it back. A collection takes some ten milliseconds, since the heap itself is small.

import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

let collect: (() => void) | undefined;

/** Of this thread; a buffer that two threads have seen goes when both have collected. */
export function collectDroppedSlices(): void {
  if (!collect) {
    // The way to it in a process that was started without the flag; contexts made from here on have `gc`, others do not.
    setFlagsFromString('--expose-gc');
    collect = runInNewContext('gc') as () => void;
  }
  collect();
}
