import type { Intake } from './intake.js';

/**
 * A way in for notifications besides HTTP: takes messages from a broker and hands them to its `Intake`. Acknowledges a
 * message only after the intake has taken it. So the broker delivers all others again.
 */
export interface Source {
  /**
   * Begins to take messages. Does not wait for the broker: while the broker is down, now or later, the source tries
   * again, with growing pauses.
   */
  start(): void;

  /** Takes no more messages. Resolves when those under way are acknowledged or given back. Idempotent. */
  stop(): Promise<void>;

  status(): SourceStatus;
}

export interface SourceStatus {
  /** Whether messages can come in now. */
  readonly connected: boolean;
  /** Messages that the broker holds for us; undefined if unknown. */
  readonly lag?: number | undefined;
  /** Messages that were lost because too many were waiting; undefined if the broker brings messages again. */
  readonly dropped?: number | undefined;
}

/** A kind of source. */
export interface SourceRow {
  /** For the health report and the log. */
  readonly name: string;
  isWanted(settings: SourceSettings): boolean;
  /** Loads the driver. */
  open(settings: SourceSettings, intake: Intake): Promise<Source>;
}

/** The settings of all sources, with their names in the environment. */
export interface SourceSettings {
  /** Whether nodes share the journal. Then only one of them may publish a message that all of them hear. */
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
