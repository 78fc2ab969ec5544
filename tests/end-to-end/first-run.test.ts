import { readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { runShell } from '../support/commands.js';
import { runProcess, startProcess } from '../support/process.js';
import { snippet } from '../support/readme.js';
import { describeWith } from '../support/requires.js';
import { KEY } from '../support/server.js';

const isFree = await new Promise<boolean>(resolve => {
  const probe = createServer().once('error', () => resolve(false));
  probe.listen(8080, '127.0.0.1', () => probe.close(() => resolve(true)));
});

describeWith(['curl'], 'first run, without any settings', () => {
  if (!isFree) {
    it.skip('skipped: something else listens on 127.0.0.1:8080', () => {});
    return;
  }

  it('listens on 127.0.0.1:8080 and prints an address to open and a curl line that works', async () => {
    const server = await startProcess({ PORT: undefined });

    expect(server.url).toBe('http://127.0.0.1:8080');
    expect(server.output()).toContain(`http://127.0.0.1:8080/#key=${server.key}`);
    const curl = /curl (?:\\\n|[^\n])*/.exec(server.output())?.[0];
    const answer = await runShell(`${curl} -s -w '\\n%{http_code}'`);
    expect(curl).toContain('"room":"public.orders"');
    expect(answer.stdout).toMatch(/^\{"id":"\d+-\d+","connections":0,"duplicate":false\}\n200$/);
    expect(await server.stop()).toBe(0);
  });
});

describe('with a variable that is nearly a setting', () => {
  it('starts, and warns of it in the log', async () => {
    const server = await startProcess({ NOTIFY_KEY: 'x'.repeat(32) });

    const line = server.output().split('\n')[0] ?? '';
    expect(JSON.parse(line)).toMatchObject({
      level: 40,
      msg: 'NOTIFY_KEY is not a setting; did you mean NOTIFY_KEYS?',
    });
    expect(await server.stop()).toBe(0);
  });
});

describe('in production', () => {
  it('starts with the .env that the production snippet of README.md makes, which only its owner may read', async () => {
    const makeEnv = snippet('production');
    // startProcess knows this key. It has priority over the key in .env.
    const settings = { NOTIFY_KEYS: KEY };
    const server = await startProcess(settings, undefined, ['sh', '-c', `${makeEnv}\nexec "$@"`, 'sh']);

    const file = join(server.directory, '.env');
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(file, 'utf8')).toMatch(/^NOTIFY_KEYS=[0-9a-f]{64}\nJWT_SECRET=[0-9a-f]{64}$/m);
    expect((await fetch(server.url)).status).toBe(404);
    expect(await server.stop()).toBe(0);
  });
});

describe('with NODE_ENV=production and nothing else set', () => {
  it('exits with 1 and names all that is missing in one message, not a stack trace', async () => {
    const { code, output } = await runProcess({ NODE_ENV: 'production', PORT: '0' });

    expect(code).toBe(1);
    expect(output).toContain('NOTIFY_KEYS');
    expect(output).toContain('JWT_SECRET');
    expect(output).not.toMatch(/^\s+at /m);
  });
});
