// How much memory is left for this process.

import { freemem, totalmem } from 'node:os';

/** Bytes that this process can still take: what the machine or the control group, whichever is tighter, has left. */
export function availableMemory(): number {
  // 0 or a huge number where there is no limit.
  const constrained = process.constrainedMemory();
  const free = process.availableMemory?.() ?? freemem();
  if (constrained <= 0 || constrained > totalmem()) return free;
  return Math.max(0, Math.min(free, constrained - process.memoryUsage.rss()));
}
