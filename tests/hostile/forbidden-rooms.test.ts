import { describe, expect, it } from '@jest/globals';
import { OPCODE, RawClient, tcp, upgradeRequest } from '../clients/raw.js';
import { startVictim, tell } from '../support/victim.js';

// A connection may make so many errors with its frames.
const MOST_ERRORS = 20;
const MOST_BYTES = 16 * 1024;
const ADDRESS_BYTES = 15_000;

describe('an address full of rooms', () => {
  it.each([
    ['that this client may not join', (index: number) => `r${index.toString(36)}`],
    ['that are none', (index: number) => `!${index.toString(36)}`],
    // The first hundred are joined.
    ['too many', (index: number) => `public.${index.toString(36)}`],
  ])(
    'is answered with few errors and closed: rooms %s',
    async (what, roomOf) => {
      const names = [];
      for (let bytes = 0; bytes < ADDRESS_BYTES; bytes += (names.at(-1)?.length ?? 0) + 1)
        names.push(roomOf(names.length));
      const socket = await tcp((await startVictim()).url);
      let received = 0;
      socket.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      const client = new RawClient(socket);
      socket.write(upgradeRequest(`/ws?rooms=${names.join()}`));
      let errors = 0;
      let code: number | undefined;
      for (let frame = await client.next(); frame !== undefined; frame = await client.next()) {
        if (frame.opcode === OPCODE.close) code = frame.payload.readUInt16BE(0);
        if (frame.opcode === OPCODE.text && JSON.parse(String(frame.payload)).type === 'error') errors++;
        // It has got no end so far, so none will come.
        if (errors === names.length || (errors > 0 && errors === names.length - 100)) break;
      }
      tell(`an address of ${names.length} rooms ${what}`, { errors, received, code: String(code) });
      expect(errors).toBeLessThanOrEqual(MOST_ERRORS);
      expect(code).toBe(1008);
      expect(received).toBeLessThan(MOST_BYTES);
    },
    20_000,
  );
});
