import fc from 'fast-check';
import { expect, test } from 'vitest';
import { BufferStock, cutAtLines } from '../../../deploy/split/chunks.ts';
import { lineSizeMax } from '../../../deploy/split/line-rules.ts';

type Cut = Awaited<ReturnType<ReturnType<typeof cutAtLines>['next']>>['value'];

async function cutsOf(pieces: readonly string[], chunkSize: number, stock = new BufferStock()): Promise<NonNullable<Cut>[]> {
  const source = async function* (): AsyncGenerator<Buffer> {
    for (const piece of pieces) yield Buffer.from(piece, 'latin1');
  };
  const cuts: NonNullable<Cut>[] = [];
  for await (const cut of cutAtLines(source(), chunkSize, stock)) {
    cuts.push({ ...cut, bytes: Buffer.from(cut.bytes) });
    stock.give(cut.bytes.buffer as ArrayBuffer);
  }
  return cuts;
}

test('a stream is cut at line ends only, and nothing of it is lost, however it comes', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.string({ unit: fc.constantFrom('a', 'b', '\n', '\r'), maxLength: 30 })),
      fc.integer({ min: 16, max: 80 }),
      async (pieces, chunkSize) => {
        const cuts = await cutsOf(pieces, chunkSize);
        const texts = cuts.map(({ bytes }) => bytes.toString('latin1'));
        expect(texts.join('')).toBe(pieces.join(''));
        expect(texts.slice(0, -1).every((text) => text.endsWith('\n'))).toBe(true);
        expect(texts.every((text) => text.length > 0)).toBe(true);
        expect(cuts.map(({ kind, isFirst }) => [kind, isFirst])).toEqual(cuts.map((_, index) => ['lines', index === 0]));
      },
    ),
  );
});

test('a line that is too long for a record comes in pieces, and the lines around it whole', async () => {
  const long = 'x'.repeat(lineSizeMax + 1);
  const text = `a 1\nb 2\n${long}${'y'.repeat(100_000)}\nc 3\n${long}`;
  for (const size of [64 * 1024 + 7, text.length]) {
    const pieces = Array.from({ length: Math.ceil(text.length / size) }, (_, i) => text.slice(i * size, (i + 1) * size));
    const cuts = await cutsOf(pieces, 1_000);
    expect(cuts.map(({ bytes }) => bytes.toString('latin1')).join('') === text).toBe(true);
    let line = '';
    for (const cut of cuts) {
      const part = cut.bytes.toString('latin1');
      if (cut.kind === 'lines') expect([line, part.length <= 1_000 + lineSizeMax]).toEqual(['', true]);
      else {
        expect(cut.startsLine).toBe(line === '');
        if (cut.startsLine) expect(part.length).toBeGreaterThan(lineSizeMax);
        line = part.endsWith('\n') ? '' : line + part;
      }
    }
    // The last one has no newline.
    expect(line.length).toBe(long.length);
  }
});

test('buffers that are given back are used again, if they are of the size wanted', () => {
  const stock = new BufferStock();
  const buffer = stock.take(100);
  stock.give(buffer.buffer as ArrayBuffer);
  expect(stock.take(100).buffer).toBe(buffer.buffer);
  stock.give(buffer.buffer as ArrayBuffer);
  expect(stock.take(200).length).toBe(200);
});
