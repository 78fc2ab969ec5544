import type { Intake } from './intake.js';

/**
 * A way in for notifications beside HTTP: takes messages from a broker and hands them to its `Intake`. What the
 * intake has not taken is not acknowledged, so that the broker brings it again.
 */
export interface Source {
  /**
   * Begins to take messages. Does not wait for the broker: one that is down, now or later, is tried again, with
   * growing pauses, until it is there.
   */
  start(): void;

  /** Takes nothing more; resolves when what was taken is acknowledged or given back. Idempotent. */
  stop(): Promise<void>;

  status(): SourceStatus;
}

export interface SourceStatus {
  /** Whether messages can come in now. */
  readonly connected: boolean;
  /** Messages that the broker holds for us; undefined where it does not tell. */
  readonly lag?: number | undefined;
  /** Messages that were lost here since there was no room for them; only where nothing is acknowledged. */
  readonly dropped?: number | undefined;
}

/** A kind of source. */
export interface SourceRow {
  /** Its name in the health report and the log. */
  readonly name: string;
  isWanted(settings: SourceSettings): boolean;
  /** Loads its driver. */
  open(settings: SourceSettings, intake: Intake): Promise<Source>;
}

/** The settings that sources are made of, by their names in the environment. */
export interface SourceSettings {
  /** Whether the journal is one that other nodes share, so that what all of them hear must be taken by one alone. */
  readonly sharedJournal: boolean;
  readonly REDIS_URL?: string | undefined;
  readonly REDIS_PREFIX: string;
  readonly REDIS_CHANNELS: readonly string[];
  readonly REDIS_CHANNEL_PREFIX: string;
  readonly REDIS_STREAM?: string | undefined;
  readonly RABBITMQ_URL?: string | undefined;
  readonly RABBITMQ_QUEUE: string;
  readonly RABBITMQ_PREFETCH: number;
  readonly KAFKA_BROKERS: readonly string[];
  readonly KAFKA_TOPIC: string;
  readonly KAFKA_GROUP: string;
  readonly KAFKA_TLS: boolean;
  readonly KAFKA_SASL_MECHANISM: 'PLAIN' | 'SCRAM-SHA-256' | 'SCRAM-SHA-512';
  readonly KAFKA_SASL_USERNAME?: string | undefined;
  readonly KAFKA_SASL_PASSWORD?: string | undefined;
}
