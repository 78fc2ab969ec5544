import { isIP } from 'node:net';
import type { SourceSettings } from './source.js';

export const CLIENT_ID = 'postroom';
const CONNECT_TIMEOUT_MS = 5000;
// The answer to a join comes when the other members have joined too. That may take as long as the session timeout.
const REQUEST_TIMEOUT_MS = 15_000;
const DEFAULT_PORT = 9092;

export type KafkaConnection = ReturnType<typeof connectionOf>;

/** The options of every Kafka client that we open. */
export function connectionOf(settings: SourceSettings) {
  const { KAFKA_BROKERS, KAFKA_TLS, KAFKA_SASL_MECHANISM } = settings;
  const brokers = KAFKA_BROKERS.map(brokerOf);
  const { KAFKA_SASL_USERNAME: username, KAFKA_SASL_PASSWORD: password } = settings;
  return {
    clientId: CLIENT_ID,
    bootstrapBrokers: brokers,
    connectTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // The library tries nothing again: when a session fails, the next session tries.
    retries: 0,
    // Hosted brokers need the name of the server in the TLS handshake. TLS allows no address there.
    ...(KAFKA_TLS && { tls: {}, tlsServerName: brokers.every(({ host }) => isIP(host) === 0) }),
    ...(username !== undefined &&
      password !== undefined && { sasl: { mechanism: KAFKA_SASL_MECHANISM, username, password } }),
  };
}

/** Parses `host:port`. The library would cut an IPv6 address at its first colon. */
function brokerOf(text: string): { host: string; port: number } {
  const [, host = text, port = DEFAULT_PORT] = /^\[?(.*?)\]?:(\d+)$/.exec(text) ?? [];
  return { host, port: Number(port) };
}
