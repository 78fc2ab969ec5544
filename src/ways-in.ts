import { NO_AUTHENTICATION, type Publishers } from './auth/keys.js';
import type { Base } from './base.js';
import type { Postroom } from './core/postroom.js';
import { notificationParser } from './model/notification.js';
import type { SourceReport } from './ops/index.js';
import { Intake, NotifyEndpoint, sources, WantedSource } from './sources/index.js';

/** The ways in for notifications. */
export type WaysIn = ReturnType<typeof waysInOf>;

/** Makes the endpoints for `POST /notify` and the sources that the settings ask for. */
export function waysInOf(base: Base, postroom: Postroom) {
  const { config, log, clock, refusals, keys, isShared, callerOf } = base;
  const maxNotificationBytes = config.MAX_NOTIFICATION_BYTES;
  const parse = notificationParser({
    maxBytes: maxNotificationBytes,
    retentionSeconds: config.RETENTION_SECONDS,
    now: postroom.now,
  });
  const endpointFor = (publishers: Publishers) =>
    new NotifyEndpoint({ postroom, parse, keys: publishers, maxNotificationBytes, callerOf, refusals, log });
  const settings = { ...config, sharedJournal: isShared };
  const intake = { postroom, parse, maxNotificationBytes, sharedJournal: isShared, now: clock.now, log };
  return {
    http: endpointFor(keys),
    socket: endpointFor(NO_AUTHENTICATION),
    wanted: sources
      .filter(row => row.isWanted(settings))
      .map(row => new WantedSource(row, settings, new Intake({ name: row.name, ...intake }))),
  };
}

/** How it goes with each way in, by its name. */
export function reportsOf({ config }: Base, { http, socket, wanted }: WaysIn, { open }: Postroom) {
  const report = ({ taken, refused }: NotifyEndpoint) => ({ connected: open, taken, refused });
  const reports: Record<string, SourceReport> = { http: report(http) };
  if (config.NOTIFY_SOCKET !== undefined) reports['unix-socket'] = report(socket);
  for (const source of wanted) reports[source.name] = source.status();
  return reports;
}
