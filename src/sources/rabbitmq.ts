import { type ChannelModel, connect } from 'amqplib';
import type { Intake } from './intake.js';
import { RabbitMqSession } from './rabbitmq-session.js';
import { SessionSource } from './session.js';
import type { SourceSettings } from './source.js';

const CONNECT_TIMEOUT_MS = 5000;
const HEARTBEAT_SECONDS = '10';

/**
 * A RabbitMQ queue: at least once, in order, acknowledged when the journal has the message. A missing queue is made,
 * durable and with a single active consumer; an existing queue is used as it is. `message_id` is the idempotency key
 * if the body has none. Dead letters: the queue `<queue>.dead`, with the reason in the header `x-reason`.
 */
export class RabbitMqSource extends SessionSource<RabbitMqSession> {
  constructor(settings: SourceSettings, intake: Intake) {
    const { RABBITMQ_URL, RABBITMQ_QUEUE: queue, RABBITMQ_PREFETCH: prefetch } = settings;
    if (RABBITMQ_URL === undefined) throw new Error('the RabbitMQ source needs RABBITMQ_URL');
    const url = new URL(RABBITMQ_URL);
    // A missed heartbeat is the sign of a dead network.
    if (!url.searchParams.has('heartbeat')) url.searchParams.set('heartbeat', HEARTBEAT_SECONDS);
    super(
      intake,
      'RabbitMQ cannot be read',
      async () => new RabbitMqSession(await open(url.href), { queue, prefetch }, intake),
    );
  }
}

async function open(url: string): Promise<ChannelModel> {
  try {
    return await connect(url, {
      timeout: CONNECT_TIMEOUT_MS,
      keepAlive: true,
      noDelay: true,
      clientProperties: { connection_name: 'postroom' },
    });
  } catch (error) {
    throw explained(error);
  }
}

/** For a virtual host that cannot be opened, amqplib names a frame only. This says what to change. */
function explained(error: unknown): unknown {
  if (!(error instanceof Error) || !error.message.startsWith('Expected ConnectionOpenOk')) return error;
  return new Error('the virtual host in RABBITMQ_URL is not there, or not open to this user', {
    cause: error,
  });
}
