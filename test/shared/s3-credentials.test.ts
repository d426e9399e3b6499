import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { inspect } from 'node:util';
import { describe, expect, test } from 'vitest';
import { parseCredentials, readCredentials, S3Credentials } from '../../shared/s3-credentials.ts';
import { makeRoot } from '../object-store/places.ts';

const file = `
# a comment
[other]
aws_access_key_id = OTHER
aws_secret_access_key = other
[ default ]
; another
AWS_ACCESS_KEY_ID=KEY
aws_secret_access_key = se=cret/
\taws_session_token = tok en
[profile third]
aws_access_key_id = THIRD
aws_secret_access_key = third
`;

describe('a credentials file', () => {
  test('gives what stands in the section of the profile', () => {
    const reveal = (profile: string): unknown => parseCredentials(file.replaceAll('\n', '\r\n'), profile, 'a file').reveal();
    expect(reveal('default')).toEqual({ accessKeyId: 'KEY', secretAccessKey: 'se=cret/', sessionToken: 'tok en' });
    expect(reveal('other')).toEqual({ accessKeyId: 'OTHER', secretAccessKey: 'other' });
    expect(reveal('third')).toEqual({ accessKeyId: 'THIRD', secretAccessKey: 'third' });
    expect(() => reveal('none')).toThrow('a file: no aws_access_key_id and aws_secret_access_key in [none]');
  });

  test('counts before the variables when it is named, and after them when it is not', () => {
    const home = makeRoot();
    mkdirSync(join(home, '.aws'));
    writeFileSync(join(home, '.aws', 'credentials'), file);
    const named = join(home, 'named');
    writeFileSync(named, '[default]\naws_access_key_id=NAMED\naws_secret_access_key=x');
    const env = { HOME: home, AWS_ACCESS_KEY_ID: 'VARIABLE', AWS_SECRET_ACCESS_KEY: 'y' };
    const idOf = (path: string | undefined, variables: NodeJS.ProcessEnv): string =>
      readCredentials('a place', path, variables).accessKeyId;
    expect(idOf(undefined, env)).toBe('VARIABLE');
    expect(idOf(named, env)).toBe('NAMED');
    expect(idOf(undefined, { HOME: home })).toBe('KEY');
    expect(idOf(undefined, { HOME: home, AWS_PROFILE: 'other' })).toBe('OTHER');
    expect(idOf(undefined, { HOME: '/nowhere', AWS_SHARED_CREDENTIALS_FILE: named })).toBe('NAMED');
    // Half of a pair is none.
    expect(idOf(undefined, { HOME: home, AWS_ACCESS_KEY_ID: 'VARIABLE' })).toBe('KEY');
  });
});

describe('credentials', () => {
  test('that no header can carry are wrong usage, and not shown', () => {
    for (const wrong of [{ accessKeyId: 'a\nhidden' }, { sessionToken: 'hidden\u00e4' }]) {
      let message = '';
      try {
        new S3Credentials({ accessKeyId: 'KEY', secretAccessKey: 'x', ...wrong });
      } catch (error) {
        ({ message } = error as Error);
      }
      expect(message).toContain('no header can have');
      expect(message).not.toContain('hidden');
    }
  });

  test('show no secret when they are printed, and take secrets out of texts', () => {
    const credentials = new S3Credentials({ accessKeyId: 'KEY', secretAccessKey: 'hidden one', sessionToken: 'hidden two' });
    for (const shown of [inspect(credentials, { showHidden: true, depth: 9 }), JSON.stringify({ credentials }), `${credentials}`])
      expect(shown).not.toContain('hidden');
    expect(credentials.hideSecrets('hidden one, hidden two, hidden one')).toBe('…, …, …');
  });
});
