import type { Logger } from 'pino';
import { PublisherKeys } from './auth/keys.js';
import type { Config } from './config.js';
import { type Clock, systemClock } from './model/clock.js';
import { type Caller, callerAddress } from './model/network-address.js';
import { Refusals } from './model/refusals.js';

/** Things that all parts need. */
export type Base = ReturnType<typeof baseOf>;

/**
 * Makes what all parts need.
 * @param stopping aborts when the server stops
 */
export function baseOf(
  config: Config,
  log: Logger,
  { version, clock = systemClock }: { version: string; clock?: Clock },
  stopping: AbortSignal,
) {
  const refusals = new Refusals(log, clock.now);
  const keys = new PublisherKeys(config.NOTIFY_KEYS, config.areKeysMadeUp);
  const isShared = config.JOURNAL === 'redis';
  const callerOf = ({ socket, headers }: Caller) =>
    callerAddress(socket.remoteAddress, String(headers['x-forwarded-for'] ?? ''), config.TRUST_PROXY);
  const failed = (error: unknown) => log.error({ err: error }, 'a connection could not be served');
  return { config, log, version, clock, stopping, refusals, keys, isShared, callerOf, failed };
}
