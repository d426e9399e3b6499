import { readFileSync } from 'node:fs';
import { STATUS_CODES } from 'node:http';
import { describe, expect, test } from 'vitest';
import { exitCode } from '../../shared/command.ts';
import { type ErrorCode, errorTable, isTemporary, PavostoreError, problemOf } from '../../shared/errors.ts';

const codes = Object.keys(errorTable) as ErrorCode[];

describe('the table of errors', () => {
  test('has a status of HTTP and a title for each code', () => {
    for (const code of codes) {
      const { status, title } = errorTable[code];
      expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
      expect(STATUS_CODES[status], code).toBeDefined();
      expect(status, code).toBeGreaterThanOrEqual(400);
      expect(title, code).toMatch(/^[A-Z].*[^.]$/);
    }
    expect(new Set(codes.map((code) => errorTable[code].title)).size).toBe(codes.length);
  });

  test('stands in docs/errors.md: every code once, with its status or its exit code, its meaning, and what to do', () => {
    const document = readFileSync(new URL('../../docs/errors.md', import.meta.url), 'utf8');
    const [overHttp, fromCommand] = document.split('## From a command') as [string, string];
    const rows = (text: string): string[][] =>
      text
        .split('\n')
        .filter((line) => line.startsWith('| `'))
        .map((line) =>
          line
            .split('|')
            .slice(1, -1)
            .map((cell) => cell.trim()),
        );
    const requests = rows(overHttp);
    const ends = rows(fromCommand);
    expect([...requests, ...ends].map(([code]) => code)).toEqual(codes.map((code) => `\`${code}\``));
    for (const [index, [, number, meaning, advice]] of [...requests, ...ends].entries()) {
      const code = codes[index]!;
      const { status, title } = errorTable[code];
      expect(meaning, code).toBe(title);
      expect(advice, code).toMatch(/^\S.{7,}[.?]$/);
      if (index < requests.length) expect(number, code).toBe(String(status));
      else expect([status, number], code).toEqual([500, String(code === 'usage' ? exitCode.usage : exitCode.failed)]);
    }
  });
});

describe('an error', () => {
  test('carries its code, its status and its cause', () => {
    const cause = new Error('ENOSPC');
    const error = new PavostoreError('disk_short', 'data: 5 B needed, 4 B free', { cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'PavostoreError', code: 'disk_short', status: 500, message: 'data: 5 B needed, 4 B free', cause });
    expect(new PavostoreError('key_too_long', '').status).toBe(414);
  });

  test('is for a client a problem with its code, and says more only where it is told to', () => {
    expect(problemOf('key_empty')).toEqual({
      type: 'about:blank',
      title: 'The key is empty',
      status: 400,
      code: 'key_empty',
      detail: 'The key is empty',
    });
    expect(problemOf('slice_loading', 'slice 0007').detail).toBe('slice 0007');
  });

  test('is temporary when it is a 503, and then only', () => {
    expect([isTemporary('overloaded'), isTemporary('deadline_exceeded'), isTemporary('key_not_found')]).toEqual([true, false, false]);
  });
});
