/**
 * Why the server closes a connection (WebSocket close codes, RFC 6455 §7.4).
 * 4000–4499: come back, with jitter. 4500–4999: stay away.
 */
export const CLOSE = {
  binary: { code: 1003, reason: 'binary frames are not taken' },
  tooManyErrors: { code: 1008, reason: 'too many errors' },
  internal: { code: 1011, reason: 'internal error' },
  shuttingDown: { code: 4400, reason: 'shutting down' },
  tokenExpired: { code: 4401, reason: 'token expired' },
  fellBehind: { code: 4408, reason: 'fell behind the retained past' },
  tooManyConnections: { code: 4429, reason: 'too many connections' },
  invalidToken: { code: 4501, reason: 'invalid token' },
  removed: { code: 4503, reason: 'removed by an operator' },
} as const;

export type CloseReason = (typeof CLOSE)[keyof typeof CLOSE];
