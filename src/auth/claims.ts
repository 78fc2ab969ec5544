import { z } from 'zod';
import { unportable } from '../model/json.js';
import { MAX_WILDCARDS, Patterns } from '../model/pattern.js';
import { isShortText } from '../model/text.js';
import type { Identity } from './identity.js';

/** The claims are wrong. The message tells a programmer why. */
export class ClaimsError extends Error {
  override readonly name = 'ClaimsError';
}

// As long as a room name. A character may take two UTF-16 units.
const MAX_PATTERN_CHARACTERS = 200;

const MAX_PATTERNS = 1000;
const MAX_INFO_BYTES = 1024;
// In seconds, this is after the year 5000. A larger `exp` was meant in milliseconds.
const MAX_EXP = 1e11;
const IN_MILLISECONDS = 'is in milliseconds; it must be in seconds since the epoch';

const RoomPatterns = z
  .array(z.string('must be a string').max(2 * MAX_PATTERN_CHARACTERS, 'is longer than a room name'), {
    error: 'must be a list of room patterns',
  })
  .max(MAX_PATTERNS, `may have ${MAX_PATTERNS} entries, this one has more`)
  .refine(rooms => rooms.filter(room => room.includes('*')).length <= MAX_WILDCARDS, {
    error: `may have ${MAX_WILDCARDS} entries with a *, this one has more`,
    abort: true,
  })
  .transform(rooms => new Patterns(rooms))
  .default(new Patterns([]));

const EXP_RULE = 'it is the second since the epoch in which the token ends';

/** The claims of a token. */
export const TokenClaims = z.object({
  exp: z.number({ error: `is missing, or is no number: ${EXP_RULE}` }).max(MAX_EXP, IN_MILLISECONDS),
  iat: z
    .number('must be the second since the epoch in which the token was made')
    .max(MAX_EXP, IN_MILLISECONDS)
    .optional(),
  sub: z
    .union([z.string(), z.int()])
    .transform(String)
    .refine(isShortText, { error: 'must be 1 to 200 characters, or a whole number below 2^53' })
    .optional(),
  rooms: RoomPatterns,
  publish: RoomPatterns,
  info: z
    .record(z.string(), z.unknown(), {
      error: 'must be a JSON object (PHP makes [] of an empty array: leave info out instead)',
    })
    .superRefine((info, context) => {
      const fault = unportable(info);
      if (fault !== undefined) context.addIssue(fault);
    })
    .transform(info => JSON.stringify(info))
    .refine(info => Buffer.byteLength(info) <= MAX_INFO_BYTES, {
      error: `may have ${MAX_INFO_BYTES} bytes of JSON, this one has more`,
    })
    .optional(),
});

/** The claims that a backend answers for a session: as those of a token, but they need no end. */
export const SessionClaims = TokenClaims.extend({ exp: TokenClaims.shape.exp.optional() });

/** The identity that claims describe. Throws a ClaimsError. */
export function identityOf(form: typeof TokenClaims | typeof SessionClaims, claims: unknown): Identity {
  const parsed = form.safeParse(claims);
  if (parsed.success) {
    const { sub, iat, exp, rooms, publish, info } = parsed.data;
    return { user: sub, info, rooms, publish, issuedAt: iat, expires: exp };
  }
  const issue = parsed.error.issues[0];
  throw new ClaimsError(
    issue?.path.length
      ? `the claim ${issue.path.join('.')} ${issue.message}`
      : 'the claims are no JSON object',
  );
}
