import type { Intake } from './intake.js';
import { KafkaSession } from './kafka-session.js';
import { SessionSource } from './session.js';
import type { SourceSettings } from './source.js';

/**
 * A Kafka topic, read as a consumer group: at least once, in order within a partition, committed when the journal has
 * the records. `topic:partition:offset` is the idempotency key if the body has none. A missing topic is made. Dead
 * letters: the topic `<topic>.dead`, with the reason in the header `reason`. After `kill -9` the group waits 10 s.
 */
export class KafkaSource extends SessionSource<KafkaSession> {
  constructor(settings: SourceSettings, intake: Intake) {
    super(
      intake,
      'Kafka cannot be read',
      async previous => new KafkaSession(settings, intake, previous?.member ?? null),
    );
  }
}
