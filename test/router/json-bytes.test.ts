import fc from 'fast-check';
import { expect, test } from 'vitest';
import { endOfPlainText, fieldOf, JsonBytes } from '../../router/json-bytes.ts';
import { bodyOf } from '../../shared/outgoing.ts';
import { asWordBuffer } from '../../shared/word-copy.ts';

const isPlain = (c: number): boolean => c >= 0x20 && c < 0x80 && c !== 0x22 && c !== 0x5c;

test('two bytes of any kind anywhere among plain ones are seen, and where', () => {
  for (let size = 1; size < 9; size++) {
    for (let place = 0; place < size; place++) {
      for (let c = 0; c < 256; c++) {
        for (const neighbour of [0x00, 0x1f, 0x20, 0x21, 0x22, 0x23, 0x5b, 0x5c, 0x5d, 0x7f, 0x80, 0xff]) {
          const bytes = Buffer.alloc(size, 0x61);
          bytes[(place + 1) % size] = neighbour;
          bytes[place] = c;
          const at = [...bytes].findIndex((byte) => !isPlain(byte));
          if (endOfPlainText(asWordBuffer(bytes), 0) !== (at < 0 ? size : at)) expect.fail(`${bytes.toString('hex')} is plain up to ${at}`);
          const json = new JsonBytes(0);
          const isWritten = json.plainText(asWordBuffer(bytes), 0, size);
          if (isWritten !== at < 0 || bodyOf(json.written).toString('latin1') !== (isWritten ? `${bytes.toString('latin1')}"` : ''))
            expect.fail(`${bytes.toString('hex')}: ${bodyOf(json.written).toString('hex')}`);
        }
      }
    }
  }
});

test('whatever is written piece by piece is JSON of the same bytes', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { minLength: 1, maxLength: 60 }), fc.boolean(), (values, isText) => {
      const json = new JsonBytes(0);
      const written = values.map((value) => Buffer.from(isText ? value.map((c) => 0x20 + (c % 0x50)) : value));
      json.raw('[');
      for (const [i, value] of written.entries()) {
        json.raw(i === 0 ? '{"value":"' : ',{"value":"');
        if (!json.plainText(asWordBuffer(value), 0, value.length)) {
          json.unwrite('"value":"'.length);
          json.raw(fieldOf('value', 'encoding', value));
        }
        json.raw('}');
      }
      json.raw(']');
      const read = JSON.parse(bodyOf(json.written).toString()) as { value: string; encoding?: 'base64' }[];
      expect(read.map(({ value, encoding }) => Buffer.from(value, encoding ?? 'utf8'))).toEqual(written);
    }),
  );
});
