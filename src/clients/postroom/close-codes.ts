import type { TokenError } from '../../auth/tokens.js';
import type { CloseReason } from '../../model/close.js';
import type { Closing } from '../socket.js';

/**
 * The WebSocket close codes (RFC 6455 §7.4) of our protocol, with their texts. 4000–4499: the client should come back,
 * after a random pause. 4500–4999: it should stay away.
 */
const CLOSE_CODES: Record<CloseReason, readonly [code: number, text: string]> = {
  binary_frame: [1003, 'binary frames are not taken'],
  too_many_errors: [1008, 'too many errors'],
  internal: [1011, 'internal error'],
  shutting_down: [4400, 'shutting down'],
  token_expired: [4401, 'token expired'],
  fell_behind: [4408, 'fell behind the retained past'],
  too_many_connections: [4429, 'too many connections'],
  invalid_token: [4501, 'invalid token'],
  removed: [4503, 'removed by an operator'],
};

export const closing: Closing = reason => {
  const [code, text] = CLOSE_CODES[reason];
  return { code, text };
};

/** Why a connection is closed whose token is wrong. */
export function closeReasonOf({ fault }: TokenError): CloseReason {
  return fault === 'expired' ? 'token_expired' : 'invalid_token';
}
