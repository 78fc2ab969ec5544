import type { Connection } from '../core/connection.js';
import type { Postroom } from '../core/postroom.js';
import type { Id } from '../model/id.js';
import type { Notification } from '../model/notification.js';
import { fieldsOf } from '../model/notification-fields.js';
import { Problem } from '../model/problem.js';
import type { Admission } from './admission.js';
import { Allowance } from './allowance.js';
import type { Calls } from './calls.js';
import { MessageError } from './message-error.js';

// Events of Postroom itself.
const RESERVED = 'postroom.';

/** What a client publishes. */
export interface Publication {
  readonly room: string;
  readonly event: string;
  /** JSON text. */
  readonly data: string;
  /** Not checked. */
  readonly ttl?: unknown;
}

/** A client's message, as PHP hears it. */
export interface Message {
  readonly room: string;
  readonly event: string;
  /** JSON text. */
  readonly data: string;
  readonly connection: string;
  readonly user: string | null;
  /** The id of the notification that it became. */
  readonly notificationId: Id;
}

/** The shared parts of all clients' messages. */
export interface MessagesOptions {
  readonly postroom: Postroom;
  /** Asks PHP; undefined if PHP takes no calls. */
  readonly calls: Calls | undefined;
  /** Tells PHP of a message. Resolves to whether it will reach PHP, whatever dies. */
  readonly tell: ((message: Message) => Promise<boolean>) | undefined;
  /** Milliseconds since some moment. */
  readonly elapsed: () => number;
  readonly settings: {
    readonly maxPerSecond: number;
    readonly maxNotificationBytes: number;
    readonly retentionSeconds: number;
  };
}

/** What one client says to other clients and to PHP. It is the same in every protocol. */
export class Messages {
  readonly #options: MessagesOptions;
  readonly #connection: Connection;
  readonly #admission: Admission;
  readonly #allowance: Allowance;
  /** Messages that have not been answered yet. */
  #running = 0;

  constructor(options: MessagesOptions, connection: Connection, admission: Admission) {
    this.#options = options;
    this.#connection = connection;
    this.#admission = admission;
    this.#allowance = new Allowance(options.settings.maxPerSecond);
  }

  /**
   * Publishes to the others in a room. Resolves to the notification's id when it is in the journal, and PHP will hear
   * of it if it wants to. Rejects with a MessageError. Calls keep their order.
   */
  async publish({ room, event, data, ttl }: Publication): Promise<Id> {
    const { postroom, tell } = this.#options;
    this.#takeTurn();
    const { id: connection, user = null } = this.#connection;
    const notification = this.#notificationOf({ room, event, data, ttl });
    if (!this.#admission.mayPublish(room))
      throw new MessageError('forbidden', 'This needs a token whose "publish" allows the room.');
    return this.#counted(async () => {
      const notificationId = await postroom.append(notification).catch(problemToError);
      const message = { room, event, data, connection, user, notificationId };
      if (tell !== undefined && !(await tell(message)))
        throw new MessageError('unavailable', 'The others got it, but it could not be kept for the backend.');
      return notificationId;
    });
  }

  /** Asks PHP. Resolves to its answer, a JSON text. Rejects with a MessageError. Never asks twice. */
  async call(event: string, data: string): Promise<string> {
    const { calls } = this.#options;
    this.#takeTurn();
    if (calls === undefined)
      throw new MessageError('unknown_type', 'The type call needs the setting CALL_URL.');
    const { id: connection, user = null } = this.#connection;
    return calls.call({ event, data, connection, user, address: this.#admission.address });
  }

  #takeTurn(): void {
    const { maxPerSecond } = this.#options.settings;
    // If the journal is slow, no more of them pile up than a client may send at once.
    if (this.#allowance.take(this.#options.elapsed()) && this.#running < 2 * maxPerSecond) return;
    throw new MessageError(
      'rate_limited',
      `A connection may send ${maxPerSecond} messages a second (MAX_CLIENT_MESSAGES_PER_SECOND).`,
    );
  }

  #notificationOf({ room, event, data, ttl }: Publication): Notification {
    const { maxNotificationBytes, retentionSeconds } = this.#options.settings;
    if (event.startsWith(RESERVED))
      throw new MessageError('invalid_frame', `event must not begin with ${RESERVED}.`);
    // Its other texts have bounds of their own.
    if (Buffer.byteLength(data) > maxNotificationBytes)
      throw new MessageError(
        'payload_too_large',
        `data may have ${maxNotificationBytes} bytes (MAX_NOTIFICATION_BYTES).`,
      );
    try {
      const fields = fieldsOf({ room, event, ttl }, '', retentionSeconds, 0);
      const { id, user = null } = this.#connection;
      const from = JSON.stringify({ connection: id, user });
      const { addresses, ttl: seconds = 0 } = fields;
      return { addresses, event, data, except: [id], key: undefined, ttl: seconds, from };
    } catch (error) {
      return problemToError(error);
    }
  }

  async #counted<T>(run: () => Promise<T>): Promise<T> {
    this.#running++;
    try {
      return await run();
    } finally {
      this.#running--;
    }
  }
}

function problemToError(error: unknown): never {
  if (!(error instanceof Problem)) throw error;
  const code = error.code === 'unavailable' ? error.code : 'invalid_frame';
  throw new MessageError(code, error.message);
}
