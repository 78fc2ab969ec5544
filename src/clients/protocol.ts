import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { TokenError } from '../auth/tokens.js';
import type { Admission } from './admission.js';

/** An upgrade request and its socket. */
export interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  /** Bytes that were read after the request. */
  readonly head: Buffer;
}

/** A client's requests when it connects. */
export interface Opening {
  readonly token: string | undefined;
  /** The cursor of a client that comes back. */
  readonly since: string | undefined;
  /**
   * Opens the connection.
   * @param admission the client's; or the error of its token, which the protocol must report
   */
  open(upgrade: Upgrade, admission: Admission | TokenError): void;
}

/** A protocol that clients speak. Each has a folder of its own. */
export interface Protocol {
  /** The paths of its addresses. */
  readonly paths: readonly string[];
  /** Reads a request at one of these paths. */
  read(request: IncomingMessage): Opening;
}
