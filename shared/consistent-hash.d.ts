// What shared/placement.ts uses of the package `consistent-hash`, which has no types of its own.

declare module 'consistent-hash' {
  class ConsistentHash<Node> {
    constructor(options: { range: number });
    /** Puts `node` on the ring at `points`, each from 0 to range - 1 and not taken before. */
    add(node: Node, pointCount: number, points: readonly number[]): this;
    /** The first `count` distinct nodes from the point of `name` on; null on an empty ring. `count` must not be 0. */
    get(name: string, count: number): Node[] | null;
  }
  export = ConsistentHash;
}
