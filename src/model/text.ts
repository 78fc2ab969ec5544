const MAX_CHARACTERS = 200;

/**
 * 1 to 200 characters of well-formed Unicode: the rule for events, users and idempotency keys. Half of a
 * surrogate pair is refused because two of them would become one once written as UTF-8.
 */
export function isShortText(value: unknown): value is string {
  if (typeof value !== 'string' || value.length === 0 || value.length > 2 * MAX_CHARACTERS) return false;
  if (!value.isWellFormed()) return false;
  return value.length <= MAX_CHARACTERS || [...value].length <= MAX_CHARACTERS;
}

export const KEY_RULE = 'must be 1 to 200 characters of well-formed Unicode';

/** The same text with memory of its own: a part of a longer text keeps all of that alive. */
export function ownCopy(text: string): string {
  return Buffer.from(text).toString();
}

// Found at once where there is none of them.
const BEYOND_LATIN = /[^\0-\xff]/;

/** Bytes that a text takes in memory: V8 keeps one for each character where all are Latin-1, else two. */
export function memoryOf(text: string): number {
  return BEYOND_LATIN.test(text) ? 2 * text.length : text.length;
}
