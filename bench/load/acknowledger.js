/** A WebSocket client that acknowledges each notification that asks for it, as soon as it has it. */
import { frameOf, openClient } from './client.js';

const KIND_AT = '{"type":"'.length;
const ID_AT = '{"type":"notification","id":"'.length;
const NOTIFICATION = 'n'.charCodeAt(0);
const SUBSCRIBED = 's'.charCodeAt(0);
const ERROR = 'e'.charCodeAt(0);
/** Behind the id is the room, then what the client is asked for. */
const ASKS_WITHIN = 40;
const QUOTE = '"'.charCodeAt(0);

export async function openAcknowledger({ port, path, heard }) {
  const client = await openClient({
    port,
    path,
    took(client, bytes, start, end) {
      const letter = bytes[start + KIND_AT];
      if (letter === NOTIFICATION) {
        const from = start + ID_AT;
        const until = bytes.indexOf(QUOTE, from);
        const id = bytes.latin1Slice(from, until);
        if (bytes.latin1Slice(until, until + ASKS_WITHIN).includes('"ack":true'))
          client.send(frameOf(`{"type":"ack","id":"${id}"}`));
        heard(client);
      } else if (letter === ERROR) throw new Error(`refused: ${bytes.toString('utf8', start, end)}`);
      return letter === SUBSCRIBED;
    },
  });
  client.received = 0;
  return client;
}
