import type { IncomingMessage } from 'node:http';
import { Socket as NetSocket } from 'node:net';
import { type WebSocket, WebSocketServer } from 'ws';
import type { TokenError } from '../../auth/tokens.js';
import { refuse } from '../../http/problem.js';
import { Problem } from '../../model/problem.js';
import type { Admission } from '../admission.js';
import type { Opening, Protocol, Upgrade } from '../protocol.js';
import { WsSocket } from '../socket.js';
import { closing } from './close-codes.js';
import { openSession, type Requested } from './opening.js';
import type { SessionContext } from './session.js';
import { PROTOCOL } from './wire.js';

const BEARER_SUBPROTOCOL = /(?:^|,)\s*bearer\.([^,\s]+)/;

/** Our protocol (docs/protocol.md). A plain `new WebSocket` can speak it. */
export class PostroomProtocol implements Protocol {
  readonly paths = ['/', '/ws'];
  readonly #context: SessionContext;
  readonly #server: WebSocketServer;

  constructor(context: SessionContext, { maxFrameBytes }: { maxFrameBytes: number }) {
    this.#context = context;
    this.#server = new WebSocketServer({
      noServer: true,
      clientTracking: false,
      perMessageDeflate: false,
      // Takes one frame of a connection in a turn. A client that sends thousands at once must not keep others waiting.
      allowSynchronousEvents: false,
      maxPayload: maxFrameBytes,
      handleProtocols: protocols => (protocols.has(PROTOCOL) ? PROTOCOL : false),
    });
    this.#server.on('wsClientError', (error, socket) => {
      // The header names the version that the server accepts (RFC 6455 §4.4).
      const headers = { 'Sec-WebSocket-Version': '13' };
      if (socket instanceof NetSocket)
        refuse(socket, new Problem('invalid_request', `${error.message}.`, { headers }));
    });
  }

  read({ url = '', headers }: IncomingMessage): Opening {
    const query = new URLSearchParams(url.slice(url.indexOf('?') + 1 || url.length));
    const lists = query.getAll('rooms').flatMap(list => list.split(','));
    const token =
      query.get('token') ??
      /^Bearer +(\S+)/i.exec(headers.authorization ?? '')?.[1] ??
      BEARER_SUBPROTOCOL.exec(headers['sec-websocket-protocol'] ?? '')?.[1];
    const since = query.get('since') || undefined;
    const requested = {
      rooms: [...query.getAll('room'), ...lists].filter(room => room !== ''),
      since,
      parameters: [...new Set(query.keys())],
    };
    return { token, since, open: (upgrade, admission) => this.#open(upgrade, admission, requested) };
  }

  #open({ request, socket, head }: Upgrade, admission: Admission | TokenError, requested: Requested): void {
    this.#server.handleUpgrade(request, socket, head, ws => this.#begin(ws, socket, admission, requested));
  }

  // Not in `#open`: its listeners live as long as the connection, and must not keep the request alive.
  #begin(ws: WebSocket, socket: NetSocket, admission: Admission | TokenError, requested: Requested): void {
    openSession(this.#context, ws, new WsSocket(ws, socket, closing), admission, requested);
  }
}
