import type { WebSocket } from 'ws';
import { TokenError } from '../../auth/tokens.js';
import type { Connection } from '../../core/connection.js';
import { isNear } from '../../model/near.js';
import type { Admission } from '../admission.js';
import type { WsSocket } from '../socket.js';
import { closeReasonOf } from './close-codes.js';
import { failed, MAX_ERRORS, Session, type SessionContext } from './session.js';
import { errorFrame, subscribedFrame, welcomeFrame, wire } from './wire.js';

// The parameters of the address. An error repeats only so many characters of an unknown parameter.
const PARAMETERS = ['room', 'rooms', 'token', 'since'];
const MAX_PARAMETER = 50;

/** A client's requests in the address. */
export interface Requested {
  readonly rooms: readonly string[];
  readonly since: string | undefined;
  /** Names of the address's parameters. */
  readonly parameters: readonly string[];
}

/**
 * Speaks our protocol on a new socket. Throws nothing: an error with one connection closes that connection.
 * @param admission the client's; or the error of its token, which is sent before the connection is closed
 */
export function openSession(
  context: SessionContext,
  ws: WebSocket,
  socket: WsSocket,
  admission: Admission | TokenError,
  requested: Requested,
): void {
  ws.on('error', error => {
    context.log.debug({ reason: error.message }, 'client broke the protocol');
    socket.abandon();
  });
  if (admission instanceof TokenError) {
    socket.write(errorFrame('invalid_token', `${admission.message}.`));
    return socket.close(closeReasonOf(admission));
  }
  try {
    if (admission.isOneTooMany) return socket.close('too_many_connections');
    const { connection, errors } = connect(context, socket, admission, requested);
    new Session(context, ws, socket, admission, connection, errors);
  } catch (error) {
    failed(context, socket, error);
  }
}

/** Connects a client, and tells it of its rooms and of what is wrong with its address. */
function connect(
  { postroom, settings, log }: SessionContext,
  socket: WsSocket,
  admission: Admission,
  { rooms, since, parameters }: Requested,
): { connection: Connection; errors: number } {
  const unknown = parameters.filter(name => !PARAMETERS.includes(name));
  const errors = unknown.slice(0, MAX_ERRORS).map(unknownParameter);
  const joining: string[] = [];
  for (const room of new Set(rooms)) {
    if (errors.length >= MAX_ERRORS) break;
    const refusal = admission.refusalOf(room, joining.length);
    if (refusal === undefined) joining.push(room);
    else errors.push(errorFrame(refusal.code, refusal.message, { room }));
  }
  const { user, info } = admission;
  const options = { user, info, peer: admission, rooms: joining, since };
  const { connection, start } = postroom.connect(socket, wire, options);
  const welcome = welcomeFrame(connection.id, connection.user, start, settings.pingSeconds);
  postroom.send(connection, welcome);
  for (const room of joining)
    postroom.send(connection, subscribedFrame(room, start, postroom.presence.listFor(connection, room)));
  for (const error of errors) postroom.send(connection, error);
  if (log.isLevelEnabled('debug')) {
    log.debug({ connection: connection.id, user: connection.user, address: admission.address }, 'opened');
    for (const room of joining) log.debug({ connection: connection.id, room }, 'joined');
  }
  if (errors.length >= MAX_ERRORS) postroom.close(connection, 'too_many_errors');
  return { connection, errors: errors.length };
}

function unknownParameter(name: string): Buffer {
  const cut = name.slice(0, MAX_PARAMETER);
  const meant = PARAMETERS.find(parameter => isNear(cut.toLowerCase(), parameter));
  const hint = meant === undefined ? `there are ${PARAMETERS.join(', ')}.` : `did you mean ${meant}?`;
  return errorFrame('unknown_parameter', `${cut} is not a parameter of the address; ${hint}`);
}
