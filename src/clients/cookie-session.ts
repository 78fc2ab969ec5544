import type { Logger } from 'pino';
import { ANONYMOUS, type Identity } from '../auth/identity.js';
import type { Revocations } from '../auth/revocations.js';
import type { SessionAnswer, Sessions, Visitor } from '../auth/sessions.js';
import { TokenError } from '../auth/tokens.js';
import type { Connection } from '../core/connection.js';
import type { Postroom } from '../core/postroom.js';
import { unavailable } from '../model/problem.js';
import type { Timer, TimerWheel } from './timer-wheel.js';

const RETRY_AFTER_SECONDS = 5;

/** The shared parts of all sessions by cookie. */
export interface CookieSessionContext {
  readonly postroom: Postroom;
  /** Knows clients by their cookies; undefined if only tokens count. */
  readonly sessions: Sessions | undefined;
  readonly revocations: Revocations;
  readonly timers: TimerWheel;
  readonly log: Logger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly settings: {
    /** A session without an end is asked for again after so many seconds. */
    readonly sessionSeconds: number;
  };
}

/** What the backend hears of a client beside its cookies. */
export type CookieClient = Pick<Visitor, 'userAgent' | 'address'>;

/** The session of a client that came with cookies and without a token: the backend says who it is. */
export class CookieSession {
  readonly #context: CookieSessionContext;
  readonly #origin: string | undefined;
  #cookie: string | undefined;
  #answer: SessionAnswer | undefined;
  /** When it was asked for, in milliseconds since the epoch. */
  #askedAt = 0;

  constructor(context: CookieSessionContext, cookie: string, origin: string | undefined) {
    this.#context = context;
    this.#cookie = cookie;
    this.#origin = origin;
  }

  /** Whether it can be asked for. */
  get hasCookie(): boolean {
    return this.#cookie !== undefined;
  }

  /** Forgets the cookies. They are large; who the client is stays known. */
  forget(): void {
    this.#cookie = undefined;
  }

  /**
   * Asks the backend who the client is. It never rejects, and always ends. Undefined if there is nothing to ask.
   * @param gone aborts when the client has gone away
   */
  ask({ userAgent, address }: CookieClient, gone?: AbortSignal): Promise<void> | undefined {
    if (this.#cookie === undefined) return undefined;
    const visitor = { cookie: this.#cookie, origin: this.#origin, userAgent, address };
    this.#askedAt = this.#context.now();
    return this.#context.sessions?.ask(visitor, gone).then(answer => {
      this.#answer = answer;
    });
  }

  /**
   * Who the client is, by the last answer. Throws a TokenError if the backend refused it, or a Problem if it cannot be
   * known now.
   */
  get identity(): Identity {
    const answer = this.#answer;
    if (answer === undefined || answer.kind === 'nobody') return ANONYMOUS;
    if (answer.kind === 'failed')
      throw unavailable(
        'The backend (AUTH_URL) cannot say now who this is; come back in a moment.',
        RETRY_AFTER_SECONDS,
      );
    if (answer.kind === 'refused') throw new TokenError('invalid', 'the backend refused the session');
    const { identity } = answer;
    const revokedAt = this.#context.revocations.revokedAt(identity.user ?? '') ?? 0;
    // The backend may have ended the session after it was asked. It vouches for one that it is asked for later.
    if (revokedAt >= this.#askedAt)
      throw unavailable('The user was just thrown out; come back in a moment.', 1);
    return identity;
  }

  /**
   * Asks again, now and then, and closes the connection when the session is over. Returns the timer of this.
   * @param renewed called with who the client is now
   */
  watch(client: CookieClient, connection: Connection, renewed: (identity: Identity) => void): Timer {
    const { timers, settings, log } = this.#context;
    let isAsking = false;
    const timer: Timer = {
      dueAt: 0,
      due: () => {
        if (!isAsking) {
          isAsking = true;
          this.#refresh(client, connection, renewed)
            .catch(error => log.error({ err: error }, 'a session could not be asked for again'))
            .finally(() => {
              isAsking = false;
            });
        }
        return settings.sessionSeconds;
      },
    };
    // Random: thousands that came together must not be asked for together.
    timers.add(timer, settings.sessionSeconds * (0.5 + Math.random() / 2));
    return timer;
  }

  async #refresh(
    client: CookieClient,
    connection: Connection,
    renewed: (identity: Identity) => void,
  ): Promise<void> {
    await this.ask(client);
    const answer = this.#answer;
    // A token may have come meanwhile.
    if (connection.closed || this.#cookie === undefined || answer?.kind === 'failed') return;
    if (answer?.kind !== 'identity' || answer.identity.user !== connection.user)
      return this.#context.postroom.close(connection, 'token_expired');
    renewed(this.identity);
  }
}
