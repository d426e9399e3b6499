// The lookups on their way, by version and key: what is asked again meanwhile joins them. A hash table whose chains are threaded through
// the lookups themselves, by the hash that each has anyway: nothing is allocated, and no key is hashed twice.

import type { KeyLookup } from './key-lookup.ts';

/** Beyond so many lookups at once the chains become longer, nothing else. */
const chainCount = 2 ** 15;

export class Flights {
  readonly #chains = new Array<KeyLookup | undefined>(chainCount).fill(undefined);

  /** The lookup for the same key of the same version, if one is on its way. */
  find(lookup: KeyLookup): KeyLookup | undefined {
    let flight = this.#chains[lookup.keyHash32 & (chainCount - 1)];
    while (flight && !(flight.keyHash32 === lookup.keyHash32 && flight.key === lookup.key && flight.version.id === lookup.version.id)) {
      flight = flight.nextFlight;
    }
    return flight;
  }

  /** `lookup` is in no table. */
  add(lookup: KeyLookup): void {
    const chain = lookup.keyHash32 & (chainCount - 1);
    lookup.nextFlight = this.#chains[chain];
    this.#chains[chain] = lookup;
  }

  /** Of no effect when it is not in. */
  remove(lookup: KeyLookup): void {
    const chain = lookup.keyHash32 & (chainCount - 1);
    let flight = this.#chains[chain];
    if (flight === lookup) {
      this.#chains[chain] = lookup.nextFlight;
      lookup.nextFlight = undefined;
      return;
    }
    for (; flight; flight = flight.nextFlight) {
      if (flight.nextFlight !== lookup) continue;
      flight.nextFlight = lookup.nextFlight;
      lookup.nextFlight = undefined;
      return;
    }
  }
}
