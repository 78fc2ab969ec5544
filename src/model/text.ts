const MAX_CHARACTERS = 200;

/**
 * 1 to 200 characters of well-formed Unicode: the rule for events, users and idempotency keys. Halves of surrogate
 * pairs are refused, because different halves would become the same text in UTF-8.
 */
export function isShortText(value: unknown): value is string {
  if (typeof value !== 'string' || value.length === 0 || value.length > 2 * MAX_CHARACTERS) return false;
  if (!value.isWellFormed()) return false;
  return value.length <= MAX_CHARACTERS || [...value].length <= MAX_CHARACTERS;
}

export const KEY_RULE = 'must be 1 to 200 characters of well-formed Unicode';

/** A copy of a text with memory of its own. A part of a longer text keeps all of that text in memory. */
export function ownCopy(text: string): string {
  return Buffer.from(text).toString();
}

// For a text that V8 keeps as Latin-1, the answer comes at once.
const BEYOND_LATIN = /[^\0-\xff]/;

/** Bytes of a text in memory. V8 needs one for each character if all are Latin-1, else two. */
export function memoryOf(text: string): number {
  return BEYOND_LATIN.test(text) ? 2 * text.length : text.length;
}
