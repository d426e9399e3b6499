// Other limits for all processes that this one starts from now on, restarted ones too.

import { fileURLToPath } from 'node:url';
import type { limits } from '../../shared/limits.ts';

const preload = fileURLToPath(new URL('other-limits.ts', import.meta.url));

/** Returns what makes it undone. */
export function giveChildrenLimits(others: Partial<Record<keyof typeof limits, number>>): () => void {
  const { NODE_OPTIONS, OTHER_LIMITS } = process.env;
  process.env.NODE_OPTIONS = `${NODE_OPTIONS ?? ''} --import=${preload}`.trim();
  process.env.OTHER_LIMITS = JSON.stringify(others);
  return () => {
    for (const [name, value] of Object.entries({ NODE_OPTIONS, OTHER_LIMITS })) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  };
}
