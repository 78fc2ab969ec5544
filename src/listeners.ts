import { NO_AUTHENTICATION, type Publishers } from './auth/keys.js';
import type { Base } from './base.js';
import type { Gateway } from './clients/index.js';
import type { Postroom } from './core/postroom.js';
import { type ListenAddress, Listener } from './http/index.js';
import { type BackendReport, type Control, createApp, type SourceReport } from './ops/index.js';
import type { NotifyEndpoint } from './sources/index.js';

/** What the listeners serve. */
export interface Served {
  readonly postroom: Postroom;
  readonly control: Control;
  /** What takes notifications by HTTP, and by the Unix socket. */
  readonly notify: { readonly http: NotifyEndpoint; readonly socket: NotifyEndpoint };
  readonly gateway: Gateway;
  readonly backend: () => BackendReport;
  readonly sources: () => Record<string, SourceReport>;
}

/** An address that serves HTTP, and what it serves. */
interface Side {
  readonly address: ListenAddress;
  readonly notify: NotifyEndpoint | undefined;
  readonly keys: Publishers;
  readonly page: boolean;
  readonly gateway: Gateway | undefined;
}

/** The listeners that the settings ask for. Those inside take notifications, but no clients. */
export function listenersOf(base: Base, served: Served) {
  const { config, keys } = base;
  const { gateway } = served;
  const listen = (side: Side) => listenerOf(side, base, served);
  const inside = { page: false, gateway: undefined };
  return {
    front: listen({
      address: { host: config.HOST, port: config.PORT },
      notify: config.INTERNAL_ONLY ? undefined : served.notify.http,
      keys,
      page: config.development,
      gateway,
    }),
    internal:
      config.INTERNAL_PORT === undefined
        ? undefined
        : listen({
            address: { host: config.INTERNAL_HOST, port: config.INTERNAL_PORT },
            notify: served.notify.http,
            keys,
            ...inside,
          }),
    socket:
      config.NOTIFY_SOCKET === undefined
        ? undefined
        : listen({
            address: { path: config.NOTIFY_SOCKET },
            notify: served.notify.socket,
            keys: NO_AUTHENTICATION,
            ...inside,
          }),
  };
}

function listenerOf({ address, notify, keys, page, gateway }: Side, base: Base, served: Served): Listener {
  const { config, log, version, callerOf, refusals } = base;
  const { postroom, control, backend, sources } = served;
  return new Listener({
    address,
    requestTimeoutSeconds: config.REQUEST_TIMEOUT_SECONDS,
    maxConnections: config.MAX_HTTP_CONNECTIONS,
    log,
    notify: notify && ((request, response) => notify.handle(request, response)),
    app: createApp({
      postroom,
      keys,
      version,
      backend,
      sources,
      detailed: notify !== undefined,
      page,
      callerOf,
      refusals,
      control: notify && control,
      log,
    }),
    upgrade: gateway && ((request, socket, head) => gateway.upgrade(request, socket, head)),
  });
}
