import { waitBriefly } from '../model/pause.js';
import type { Intake } from './intake.js';
import type { Source, SourceRow, SourceSettings, SourceStatus } from './source.js';

// A source whose broker hangs is left after that: what it holds is not acknowledged.
const STOP_MS = 5000;

/** How a source is doing. */
export interface WantedStatus extends SourceStatus {
  /** Notifications taken and refused since the start. */
  readonly taken: number;
  readonly refused: number;
  /** The last error: with the broker, the journal or a message. */
  readonly lastError: { readonly at: string; readonly reason: string } | undefined;
}

/** A source that the settings ask for, from before its driver is loaded. */
export class WantedSource {
  readonly name: string;
  readonly #row: SourceRow;
  readonly #settings: SourceSettings;
  readonly #intake: Intake;
  #source: Source | undefined;

  constructor(row: SourceRow, settings: SourceSettings, intake: Intake) {
    this.name = row.name;
    this.#row = row;
    this.#settings = settings;
    this.#intake = intake;
  }

  async start(): Promise<void> {
    this.#source = await this.#row.open(this.#settings, this.#intake);
    this.#source.start();
  }

  async stop(): Promise<void> {
    if (this.#source !== undefined) await waitBriefly(this.#source.stop(), STOP_MS);
  }

  status(): WantedStatus {
    const { taken, refused, lastError } = this.#intake;
    return {
      connected: false,
      ...this.#source?.status(),
      taken,
      refused,
      lastError: lastError && { at: new Date(lastError.at).toISOString(), reason: lastError.reason },
    };
  }
}
