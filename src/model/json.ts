/**
 * Finds the text of values inside JSON, so that `data` can be passed on as it was posted. One pass, no recursion:
 * nesting needs no stack.
 */

const TAB = 0x09;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;
const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

/**
 * The texts of the elements of a JSON array, one after the other. Does not check the elements: if all of them are JSON,
 * and this ends without an error, the array is JSON. Throws a SyntaxError if something between them is wrong.
 */
export function* elementTexts(array: string): Generator<string, void> {
  let at = skipSpace(array, skipSpace(array, 0) + 1);
  let isAtEnd = array.charCodeAt(at) === CLOSE_BRACKET;
  while (!isAtEnd) {
    const end = valueEnd(array, at);
    if (end === at) throw unexpected(array, at);
    yield array.slice(at, end);
    at = skipSpace(array, end);
    isAtEnd = array.charCodeAt(at) === CLOSE_BRACKET;
    if (!isAtEnd && array.charCodeAt(at) !== COMMA) throw unexpected(array, at);
    if (!isAtEnd) at = skipSpace(array, at + 1);
  }
  const rest = skipSpace(array, at + 1);
  if (rest < array.length) throw unexpected(array, rest);
}

/** Whether a text is an array, if it is JSON. */
export function isArrayText(text: string): boolean {
  return text.charCodeAt(skipSpace(text, 0)) === OPEN_BRACKET;
}

function unexpected(text: string, at: number): SyntaxError {
  if (at >= text.length) return new SyntaxError('Unexpected end of JSON input');
  return new SyntaxError(`Unexpected ${JSON.stringify(text.charAt(at))} at position ${at}`);
}

/**
 * The text of the member `name` of a JSON object that `JSON.parse` has accepted. If there are several, the last one,
 * like `JSON.parse`.
 */
export function memberText(object: string, name: string): string | undefined {
  let found: string | undefined;
  let at = skipSpace(object, skipSpace(object, 0) + 1);
  while (object.charCodeAt(at) !== CLOSE_BRACE) {
    const keyEnd = stringEnd(object, at);
    const start = skipSpace(object, skipSpace(object, keyEnd) + 1);
    const end = valueEnd(object, start);
    if (isString(object.slice(at, keyEnd), name)) found = object.slice(start, end);
    at = skipSpace(object, end);
    if (object.charCodeAt(at) === COMMA) at = skipSpace(object, at + 1);
  }
  return found;
}

function isString(literal: string, value: string): boolean {
  if (literal.length === value.length + 2) return literal.startsWith(value, 1);
  return literal.includes('\\') && JSON.parse(literal) === value;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (isSpace(text.charCodeAt(at))) at++;
  return at;
}

/** RFC 8259 §2. */
function isSpace(code: number): boolean {
  return code === SPACE || code === NEWLINE || code === RETURN || code === TAB;
}

/** The index after the closing quote of the string that opens at `start`; the text's end if there is no quote. */
function stringEnd(text: string, start: number): number {
  let quote = text.indexOf('"', start + 1);
  while (quote >= 0 && isEscaped(text, quote)) quote = text.indexOf('"', quote + 1);
  return quote < 0 ? text.length : quote + 1;
}

function isEscaped(text: string, at: number): boolean {
  let before = at;
  while (text.charCodeAt(before - 1) === BACKSLASH) before--;
  return (at - before) % 2 === 1;
}

function valueEnd(text: string, start: number): number {
  const opening = text.charCodeAt(start);
  if (opening === QUOTE) return stringEnd(text, start);
  if (opening === OPEN_BRACE || opening === OPEN_BRACKET) return containerEnd(text, start);
  let at = start;
  for (;;) {
    const code = text.charCodeAt(at);
    if (
      isSpace(code) ||
      code === COMMA ||
      code === CLOSE_BRACE ||
      code === CLOSE_BRACKET ||
      Number.isNaN(code)
    )
      return at;
    at++;
  }
}

function containerEnd(text: string, start: number): number {
  let depth = 0;
  let at = start;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = stringEnd(text, at);
      continue;
    }
    at++;
    if (code === OPEN_BRACE || code === OPEN_BRACKET) depth++;
    else if ((code === CLOSE_BRACE || code === CLOSE_BRACKET) && --depth === 0) return at;
  }
  return at;
}

// PHP reads JSON up to 512 levels deep, Ruby up to 100. What carries it has some levels of its own.
const MAX_DEPTH = 90;

/**
 * Why other languages could not read a parsed JSON value: half a character in a string, or too many levels. Undefined
 * if they can.
 */
export function unportable(value: unknown, depth = 0): string | undefined {
  if (typeof value === 'string')
    return value.isWellFormed() ? undefined : 'has half a character (a surrogate without its other half)';
  if (typeof value !== 'object' || value === null) return undefined;
  if (depth === MAX_DEPTH) return `has more than ${MAX_DEPTH} levels`;
  for (const [name, member] of Object.entries(value)) {
    const fault = unportable(name) ?? unportable(member, depth + 1);
    if (fault !== undefined) return fault;
  }
  return undefined;
}

/** Whether a text is JSON. */
export function isJson(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
