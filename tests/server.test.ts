import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from '@jest/globals';
import { pino } from 'pino';
import { readConfig } from '../src/config.js';
import { createServer } from '../src/server.js';

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

function make(settings: Record<string, string>) {
  const config = readConfig({ PORT: '0', JOURNAL: 'disk', DRAIN_SECONDS: '0', ...settings });
  return createServer(config, pino({ level: 'silent' }), { version: '0' });
}

function newDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'server-'));
  directories.push(directory);
  return directory;
}

describe('a server', () => {
  it('that is stopped while it starts lets go of its directory and its port', async () => {
    const DATA_DIR = newDirectory();
    const early = await make({ DATA_DIR });
    const starting = early.start();
    await early.stop();
    await starting;
    await expect(fetch(`${early.url}/health/live`)).rejects.toThrow();
    const next = await make({ DATA_DIR });
    await next.start();
    expect((await fetch(`${next.url}/health/ready`)).status).toBe(200);
    await next.stop();
  });

  it('that cannot start lets go of its port', async () => {
    const DATA_DIR = newDirectory();
    const first = await make({ DATA_DIR });
    await first.start();
    const second = await make({ DATA_DIR });
    await expect(second.start()).rejects.toThrow(/Another process is using/);
    await expect(fetch(`${second.url}/health/live`)).rejects.toThrow();
    await first.stop();
  });

  it('stops once, however often it is told', async () => {
    const server = await make({ JOURNAL: 'memory' });
    await server.start();
    await Promise.all([server.stop(), server.stop()]);
    await server.stop();
  });
});
