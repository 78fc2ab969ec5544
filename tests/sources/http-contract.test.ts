import { request } from 'node:http';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sourceContract, WITH_KEY } from './source-contract.js';

sourceContract({ name: 'http', needs: [], keeps: false, answers: true }, async () => ({
  settings: {},
  send: (body, server) =>
    post({ host: '127.0.0.1', port: new URL(server.url).port, headers: WITH_KEY }, body),
  renew: async () => undefined,
  close: async () => undefined,
}));

sourceContract({ name: 'unix-socket', needs: [], keeps: false, answers: true }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'socket-'));
  const socketPath = join(directory, 'postroom.sock');
  return {
    settings: { NOTIFY_SOCKET: socketPath },
    send: body => post({ socketPath, headers: { 'content-type': 'application/json' } }, body),
    renew: async () => undefined,
    close: async () => rmSync(directory, { recursive: true }),
  };
});

function post(options: object, body: string | Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    request({ ...options, method: 'POST', path: '/notify' }, response => response.resume().on('end', resolve))
      .on('error', reject)
      .end(body);
  });
}
