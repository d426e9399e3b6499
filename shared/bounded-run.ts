// A few things at a time: loops that take one after the other, and a gate before what takes memory.

/**
 * Runs `act` for each item, at most `width` at a time, begun in their order. After a failure no more are begun; those under way are
 * waited for, then the first failure is thrown.
 */
export async function forEachBounded<T>(items: Iterable<T>, width: number, act: (item: T) => Promise<void>): Promise<void> {
  const left = items[Symbol.iterator]();
  let failure: { readonly error: unknown } | undefined;
  const loop = async (): Promise<void> => {
    for (let next = left.next(); !next.done && !failure; next = left.next()) {
      await act(next.value).catch((error: unknown) => {
        failure ??= { error };
      });
    }
  };
  await Promise.all(Array.from({ length: width }, loop));
  if (failure) throw failure.error;
}

/** Lets `width` acts in at a time, in the order in which they came. */
export class Gate {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(width: number) {
    this.#free = width;
  }

  async run<T>(act: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await act();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free++;
    }
  }
}
