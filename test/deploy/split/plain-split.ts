// The split as one would write it with a Map and strings: what the real one is compared with.

/** Files are latin1 strings, one character a byte. */
export type PlainRules = {
  readonly separator: string;
  readonly keepCr: boolean;
  readonly duplicates: 'last' | 'first' | 'error';
};

export type Place = { readonly fileIndex: number; readonly lineNumber: number };

export type PlainResult = {
  readonly records: Map<string, string>;
  readonly lines: number;
  readonly blankLines: number;
  readonly rejected: readonly string[];
  readonly duplicates: number;
  readonly firstBad: Place | undefined;
  readonly firstDuplicate: { readonly second: Place; readonly first: Place } | undefined;
};

export function splitPlainly(files: readonly string[], rules: PlainRules): PlainResult {
  const records = new Map<string, string>();
  const places = new Map<string, Place>();
  const rejected: string[] = [];
  let lines = 0;
  let blankLines = 0;
  let duplicates = 0;
  let firstBad: Place | undefined;
  let firstDuplicate: PlainResult['firstDuplicate'];
  for (const [fileIndex, file] of files.entries()) {
    for (const [index, whole] of linesOf(file).entries()) {
      const place = { fileIndex, lineNumber: index + 1 };
      lines++;
      const line = !rules.keepCr && whole.endsWith('\r') ? whole.slice(0, -1) : whole;
      if (line === '') {
        blankLines++;
        continue;
      }
      const keySize = line.indexOf(rules.separator);
      const valueSize = line.length - keySize - 1;
      if (keySize < 1 || keySize > 2048 || valueSize > 8 * 2 ** 20) {
        firstBad ??= place;
        rejected.push(whole);
        continue;
      }
      const key = line.slice(0, keySize);
      const first = places.get(key);
      if (first) {
        duplicates++;
        firstDuplicate ??= { second: place, first };
      } else places.set(key, place);
      if (!first || rules.duplicates === 'last') records.set(key, line.slice(keySize + 1));
    }
  }
  return { records, lines, blankLines, rejected, duplicates, firstBad, firstDuplicate };
}

function linesOf(file: string): string[] {
  const text = file.startsWith('\xef\xbb\xbf') ? file.slice(3) : file;
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines;
}
