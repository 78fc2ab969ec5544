/**
 * Finds the text of values inside JSON that `JSON.parse` has already accepted, so that `data` can be
 * passed on as it was posted. One pass, no recursion: nesting costs no stack.
 */

const QUOTE = 0x22;
const COMMA = 0x2c;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const SPACE = 0x20;

/** Texts of the elements of a JSON array. */
export function elementTexts(array: string): string[] {
  const texts: string[] = [];
  let at = skipSpace(array, skipSpace(array, 0) + 1);
  while (array.charCodeAt(at) !== CLOSE_BRACKET) {
    const end = valueEnd(array, at);
    texts.push(array.slice(at, end));
    at = skipSpace(array, end);
    if (array.charCodeAt(at) === COMMA) at = skipSpace(array, at + 1);
  }
  return texts;
}

/** Text of the member `name` of a JSON object; of several, the last, as `JSON.parse` takes it. */
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
  while (text.charCodeAt(at) <= SPACE) at++;
  return at;
}

/** Where the string that opens at `start` is over: just behind its closing quote. */
function stringEnd(text: string, start: number): number {
  let quote = text.indexOf('"', start + 1);
  while (isEscaped(text, quote)) quote = text.indexOf('"', quote + 1);
  return quote + 1;
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
      code <= SPACE ||
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
  for (;;) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = stringEnd(text, at);
      continue;
    }
    at++;
    if (code === OPEN_BRACE || code === OPEN_BRACKET) depth++;
    else if ((code === CLOSE_BRACE || code === CLOSE_BRACKET) && --depth === 0) return at;
  }
}
