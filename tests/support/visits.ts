import { expect } from '@jest/globals';
import { connect, type TestClient, token } from './client.js';
import type { ServerProcess } from './process.js';
import type { Event, WebhookReceiver } from './receiver.js';
import { JWT_SECRET, KEY } from './server.js';

export interface Visitor extends TestClient {
  readonly id: string;
}

/** The settings of a process that sends webhooks, which others overrule. */
export function settings(receiver: WebhookReceiver, others: Record<string, string>): Record<string, string> {
  return {
    NOTIFY_KEYS: KEY,
    JWT_SECRET,
    DRAIN_SECONDS: '0',
    PRESENCE_GRACE_SECONDS: '0',
    ...receiver.settings,
    ...others,
  };
}

/** A client that is in a room. */
export async function visit(server: ServerProcess, room: string, user?: string): Promise<Visitor> {
  const query = user === undefined ? '' : `&token=${token({ sub: user, rooms: ['*'] })}`;
  const client = await connect(`${server.url.replace('http', 'ws')}/ws?room=${room}${query}`);
  const { connection } = await client.nextOf('welcome');
  await client.nextOf('subscribed');
  return Object.assign(client, { id: String(connection) });
}

export async function leave(client: TestClient): Promise<void> {
  client.socket.close();
  await client.closed;
}

/** What events say: the type, and the connection, room or user. */
export function told(events: readonly Event[]): string[] {
  return events.map(({ type, connection, room, user, reason }) =>
    [type, ...(type.startsWith('connection') ? [connection] : [room, connection ?? user]), reason]
      .filter(field => field !== undefined && field !== null)
      .join(' '),
  );
}

/** Those who came and went only to see that PHP has heard of everything before. */
const visitors = new Set<string>();

/**
 * Somebody comes and goes. When PHP has heard of that, it has heard of everything before.
 * @returns the events that were taken, without those of this visit
 */
export async function allSoFar(server: ServerProcess, receiver: WebhookReceiver): Promise<Event[]> {
  const { id, ...client } = await visit(server, 'public.last');
  visitors.add(id);
  await leave(client);
  const isLast = ({ type, connection }: Event) => type === 'connection.closed' && connection === id;
  await receiver.until(() => receiver.taken.some(isLast));
  expect(receiver.forged).toEqual([]);
  return receiver.taken.filter(
    ({ connection, room }) => !visitors.has(String(connection)) && room !== 'public.last',
  );
}

/** A request that was under way at a kill may come twice. */
export function exactlyOnce(events: readonly Event[]): Event[] {
  return [...new Map(events.map(event => [event.id, event])).values()];
}

export function sorted(texts: readonly string[]): string[] {
  return [...texts].sort();
}

export function openedOf(events: readonly Event[]): string[] {
  return events
    .filter(({ type }) => type === 'connection.opened')
    .map(({ connection }) => String(connection));
}

export function closedOf(events: readonly Event[]): string[] {
  return events
    .filter(({ type }) => type === 'connection.closed')
    .map(({ connection }) => String(connection));
}
