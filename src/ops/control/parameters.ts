import type { Request, Response } from 'express';
import { bodyFormatOf, JSON_TYPE, readBody } from '../../http/body.js';
import { isConnectionId, isRoomName, ROOM_RULE } from '../../model/address.js';
import { isNear } from '../../model/near.js';
import type { PageRequest } from '../../model/page.js';
import { Problem } from '../../model/problem.js';
import { isShortText } from '../../model/text.js';

const LIMIT = 100;
const MAX_LIMIT = 1000;
const MAX_SHOWN = 50;
// A thousand users of 200 characters, each of up to 4 bytes.
const MAX_BODY = 1024 * 1024;

function invalid(detail: string): Problem {
  return new Problem('invalid_request', detail);
}

/** The room in the path. Throws a Problem if it is no room name. */
export function roomOf({ params }: Request): string {
  return roomNamed(String(params.room));
}

function roomNamed(room: string): string {
  if (!isRoomName(room)) throw invalid(`${shown(room)} is no room name; one has ${ROOM_RULE}.`);
  return room;
}

/** The user in the path. Throws a Problem if no user can have this id. */
export function userOf({ params }: Request): string {
  return userNamed(String(params.user));
}

function userNamed(user: string): string {
  if (!isShortText(user)) throw invalid('A user has 1 to 200 characters of well-formed Unicode.');
  return user;
}

/** The connection in the path. Throws a Problem (`unknown_connection`) if it is no connection id. */
export function connectionOf({ params }: Request): string {
  const id = String(params.connection);
  if (!isConnectionId(id)) throw unknownConnection(id);
  return id;
}

export function unknownConnection(id: string): Problem {
  return new Problem('unknown_connection', `No open connection has the id ${shown(id)}.`);
}

/** The parameters of the query, of which only these are allowed. Throws a Problem for others. */
export function queryOf({ query }: Request, allowed: readonly string[]): Record<string, string> {
  const values: Record<string, string> = {};
  for (const [name, value] of Object.entries(query)) {
    if (!allowed.includes(name)) throw invalid(unknownParameter(name, allowed));
    if (typeof value !== 'string') throw invalid(`${name} is given more than once.`);
    values[name] = value;
  }
  return values;
}

function unknownParameter(name: string, allowed: readonly string[]): string {
  const meant = allowed.find(parameter => isNear(name.toLowerCase(), parameter));
  if (meant !== undefined) return `${shown(name)} is not a parameter; did you mean ${meant}?`;
  const there = allowed.length === 0 ? 'there are none here.' : `there are ${allowed.join(', ')}.`;
  return `${shown(name)} is not a parameter; ${there}`;
}

/** The page that is asked for, and the other parameters. `after` must have the form of the list's names. */
export function pageOf(
  request: Request,
  others: readonly string[],
  isName: (after: string) => boolean,
): { page: PageRequest; query: Record<string, string> } {
  const { limit = String(LIMIT), after, ...query } = queryOf(request, [...others, 'limit', 'after']);
  if (!/^\d{1,4}$/.test(limit) || Number(limit) < 1 || Number(limit) > MAX_LIMIT)
    throw invalid(`limit is ${shown(limit)}; it must be a whole number from 1 to ${MAX_LIMIT}.`);
  if (after !== undefined && !isName(after))
    throw invalid(`after is ${shown(after)}; it must be the "next" of the page before.`);
  return { page: { limit: Number(limit), after }, query };
}

/** The rooms and users that a query may name. */
export function filtersOf({ room, user }: Record<string, string>) {
  return {
    room: room === undefined ? undefined : roomNamed(room),
    user: user === undefined ? undefined : userNamed(user),
  };
}

/** The `users` of a JSON body: up to `most`. Whole numbers become strings. Throws a Problem that says what is wrong. */
export async function usersIn(request: Request, most: number): Promise<string[]> {
  if (bodyFormatOf(request) !== 'json')
    throw new Problem('unsupported_media_type', `Send JSON, with the header "Content-Type: ${JSON_TYPE}".`);
  const bytes = await readBody(request, responseOf(request), MAX_BODY);
  const { users, ...others } = objectIn(bytes);
  const [other] = Object.keys(others);
  if (other !== undefined) throw invalid(`${shown(other)} is not a field; send {"users":["1","2"]}.`);
  if (!Array.isArray(users)) throw invalid('users must be a list: send {"users":["1","2"]}.');
  if (users.length > most) throw invalid(`users may have ${most} entries, this one has ${users.length}.`);
  return users.map((user, index) => {
    const text = Number.isSafeInteger(user) ? String(user) : user;
    if (!isShortText(text))
      throw invalid(`users[${index}] must be 1 to 200 characters, or a whole number below 2^53.`);
    return text;
  });
}

function responseOf({ res }: Request): Response {
  if (res === undefined) throw new Error('Express sets it');
  return res;
}

function objectIn(bytes: Buffer | undefined): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return { ...value };
  } catch {
    throw new Problem('invalid_json', 'The body is not JSON in UTF-8; send {"users":["1","2"]}.');
  }
  throw invalid('The body must be a JSON object: send {"users":["1","2"]}.');
}

/** As much of a caller's text as an answer repeats. */
function shown(text: string): string {
  const cut = text.slice(0, MAX_SHOWN).toWellFormed();
  return JSON.stringify(cut.length < text.length ? `${cut}…` : cut);
}
