import { isJson } from './json.js';
import { type Fault, invalidNotification, MAX_FAULTS, Problem } from './problem.js';

/** Their texts are numbers. `at` may also be a moment. */
const NUMBERS = new Set(['ttl', 'ack', 'wait', 'at', 'delay']);
const LISTS = new Set(['rooms', 'users', 'connections', 'except']);

/**
 * Turns an `application/x-www-form-urlencoded` body into JSON text, for the one validator. Lists come as
 * `rooms=a&rooms=b`, `rooms[]=a` or `rooms[0]=a` (PHP's http_build_query). `data` is JSON if it parses, else a string.
 * Throws a Problem if a field that is no list is given twice.
 */
export function formToJson(form: string): string {
  refuseBrokenEncoding(form);
  return fieldsToJson(new URLSearchParams(form));
}

/** The same for separate fields, as a Redis stream has them. A list may also be one JSON text. */
export function fieldsToJson(fields: Iterable<readonly [name: string, value: string]>): string {
  const values = new Map<string, string[]>();
  const faults: Fault[] = [];
  for (const [field, value] of fields) {
    if (faults.length >= MAX_FAULTS) break;
    const [, name = field, index] = /^(\w+)\[(.*)\]$/.exec(field) ?? [];
    if (index !== undefined && !(LISTS.has(name) && /^\w*$/.test(index)))
      faults.push({ path: field, message: nestedMessage(name) });
    const known = values.get(name);
    if (known === undefined) values.set(name, [value]);
    else if (LISTS.has(name)) known.push(value);
    else faults.push({ path: field, message: 'is given twice' });
  }
  if (faults.length > 0) throw invalidNotification(faults);
  const members = [...values].map(([name, texts]) => `${JSON.stringify(name)}:${jsonOf(name, texts)}`);
  return `{${members.join(',')}}`;
}

/** Bytes that cannot be decoded would become U+FFFD, and different keys the same key. */
function refuseBrokenEncoding(form: string): void {
  try {
    decodeURIComponent(form);
  } catch {
    throw new Problem(
      'invalid_json',
      'The form is not percent-encoded UTF-8; in PHP: http_build_query($fields).',
    );
  }
}

function nestedMessage(name: string): string {
  return name === 'data' ? 'must be one JSON text: json_encode($data)' : 'is not a list of texts';
}

function jsonOf(name: string, texts: string[]): string {
  const text = texts[0] ?? '';
  if (LISTS.has(name))
    return texts.length === 1 && text.startsWith('[') && isJson(text) ? text : JSON.stringify(texts);
  if (name === 'data') return isJson(text) ? text : JSON.stringify(text);
  if (name === 'everyone' && /^(1|true)$/.test(text)) return 'true';
  if (name === 'everyone' && /^(0|false|)$/.test(text)) return 'false';
  if (NUMBERS.has(name) && /^\d{1,15}(\.\d{1,9})?$/.test(text)) return String(Number(text));
  return JSON.stringify(text);
}
