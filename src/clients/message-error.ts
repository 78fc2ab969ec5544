/** Why a client's message was not taken. */
export type MessageErrorCode =
  | 'unknown_type'
  | 'invalid_frame'
  | 'payload_too_large'
  | 'forbidden'
  | 'rate_limited'
  | 'unavailable'
  | 'call_failed'
  | 'call_timeout'
  | 'call_busy';

/** A client's message was not taken. The message tells a programmer why. */
export class MessageError extends Error {
  override readonly name = 'MessageError';
  readonly code: MessageErrorCode;

  constructor(code: MessageErrorCode, message: string) {
    super(message);
    this.code = code;
  }
}
