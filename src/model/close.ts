/** Why the server closes a connection. Each protocol has its own code for each reason. */
export type CloseReason =
  | 'binary_frame'
  | 'too_many_errors'
  | 'internal'
  | 'shutting_down'
  | 'token_expired'
  | 'fell_behind'
  | 'too_many_connections'
  | 'invalid_token'
  | 'removed';

/** Why a connection has ended: the server closed it, the client did or broke the protocol, or the network broke. */
export type EndReason = CloseReason | 'client' | 'protocol_error' | 'lost';
