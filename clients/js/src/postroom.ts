import { Client } from './client.js';
import type { Options, Postroom } from './types.js';

export type * from './types.js';

/**
 * Connects to a Postroom server and stays connected: notifications come in order, each once, also those posted
 * while the connection was lost.
 *
 * @param url `wss://example.com/ws?room=orders`; `https:` and relative addresses (`/ws`) do as well
 */
export function postroom(url: string, options: Options = {}): Postroom {
  return new Client(url, options);
}
