import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { TokenError } from '../auth/tokens.js';
import type { Admission } from './admission.js';

/** A request to upgrade, and the socket that it came by. */
export interface Upgrade {
  readonly request: IncomingMessage;
  readonly socket: Socket;
  /** What was read behind the request. */
  readonly head: Buffer;
}

/** What a client asks for when it connects. */
export interface Opening {
  readonly token: string | undefined;
  /** The cursor that it comes back with. */
  readonly since: string | undefined;
  /**
   * Opens the connection.
   * @param admission the client's; or what is wrong with its token, which is the protocol's to tell
   */
  open(upgrade: Upgrade, admission: Admission | TokenError): void;
}

/** A language that clients speak. Each has a folder of its own. */
export interface Protocol {
  readonly name: string;
  /** The paths that it is spoken at. */
  readonly paths: readonly string[];
  /** Reads what a request at one of these paths asks for. */
  read(request: IncomingMessage): Opening;
}
