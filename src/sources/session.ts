import { keepTrying } from './attempts.js';
import { type Intake, Stopped } from './intake.js';
import { watchLag } from './lag.js';
import type { Source, SourceStatus } from './source.js';

/** A source that reads in sessions: when a session has ended, the next one begins. */
export class SessionSource<S extends Session> implements Source {
  readonly #intake: Intake;
  readonly #what: string;
  readonly #open: (previous: S | undefined) => Promise<S>;
  #session: S | undefined;
  #working: Promise<void> | undefined;

  /**
   * @param what the log says this when a session has ended
   * @param open makes a session; gets the session before it, if there was one
   */
  constructor(intake: Intake, what: string, open: (previous: S | undefined) => Promise<S>) {
    this.#intake = intake;
    this.#what = what;
    this.#open = open;
  }

  start(): void {
    this.#working ??= keepTrying(this.#intake, this.#what, () => this.#attempt());
  }

  async stop(): Promise<void> {
    this.#intake.stop();
    this.#session?.end(new Stopped());
    await this.#working;
  }

  status(): SourceStatus {
    return { connected: this.#session?.isReading ?? false, lag: this.#session?.lag };
  }

  async #attempt(): Promise<unknown> {
    const session = await this.#open(this.#session);
    this.#session = session;
    if (this.#intake.stopping.aborted) session.end(new Stopped());
    return session.run();
  }
}

/** Reads from a broker until something goes wrong or the server stops. */
export abstract class Session {
  /** Messages that the broker holds for us; undefined if unknown. */
  abstract readonly lag: number | undefined;
  /** Resolves to the reason when the session is over. */
  readonly over: Promise<unknown>;
  protected readonly intake: Intake;
  readonly #ending = new AbortController();
  #isReading = false;

  constructor(intake: Intake) {
    this.intake = intake;
    const { signal } = this.#ending;
    this.over = new Promise(resolve => {
      signal.addEventListener('abort', () => resolve(signal.reason));
    });
  }

  /** Whether messages can come in now. */
  get isReading(): boolean {
    return this.#isReading && !this.isOver;
  }

  get isOver(): boolean {
    return this.#ending.signal.aborted;
  }

  /** Ends the session. Only the first reason counts. */
  end(reason: unknown): void {
    this.#ending.abort(reason);
  }

  /** Resolves to the reason when the session is over and closed. Call it once. */
  async run(): Promise<unknown> {
    const working = this.work().catch(error => this.end(error));
    const reason = await this.over;
    await this.close(working);
    return reason;
  }

  /** Reads. A rejection ends the session. */
  protected abstract work(): Promise<void>;

  /** Closes the connections. @param working resolves when `work` has ended; never rejects */
  protected abstract close(working: Promise<void>): Promise<void>;

  /**
   * Notes that messages can come in now, and watches the lag from now on.
   * @param what for the log
   * @param measure measures the lag; must not reject
   */
  protected begin(what: string, measure: () => Promise<void>): void {
    if (this.isOver) return;
    this.#isReading = true;
    this.intake.recovered(what);
    void watchLag(measure, this.#ending.signal);
  }
}
