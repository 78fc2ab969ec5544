import type { Reply } from '../backend/backend.js';
import { ClaimsError, identityOf, SessionClaims } from './claims.js';
import type { Identity } from './identity.js';
import { CLOCK_TOLERANCE_SECONDS } from './tokens.js';

/** Who a visitor is. A `reason` is a sentence for a programmer; it never has a secret in it. */
export type SessionAnswer =
  | { readonly kind: 'identity'; readonly identity: Identity }
  | { readonly kind: 'nobody' }
  | { readonly kind: 'refused' }
  | { readonly kind: 'failed'; readonly reason: string };

const WHAT_TO_ANSWER = '200 with the claims as JSON, 204 for nobody, or 401 or 403 to refuse';

/**
 * What a backend's answer says.
 * @param now milliseconds since the epoch
 */
export function answerOf({ status, chunks, broken }: Reply, now: number): SessionAnswer {
  // What these mean does not depend on their bodies.
  if (status === 204) return { kind: 'nobody' };
  if (status === 401 || status === 403) return { kind: 'refused' };
  if (status !== undefined && status !== 200) return failed(whatIsWrongWith(status));
  if (broken !== undefined) return failed(broken);
  try {
    const identity = identityOf(SessionClaims, claimsOf(chunks));
    const { expires = Number.POSITIVE_INFINITY } = identity;
    if (expires + CLOCK_TOLERANCE_SECONDS > now / 1000) return { kind: 'identity', identity };
    return failed(
      'AUTH_URL answered claims whose exp has passed; answer 401 or 204 for a session that has ended. Are the clocks right?',
    );
  } catch (error) {
    if (error instanceof ClaimsError) return failed(`The answer of AUTH_URL is wrong: ${error.message}.`);
    throw error;
  }
}

/** Nobody knows who the visitor is. */
export function failed(reason: string): SessionAnswer {
  return { kind: 'failed', reason };
}

function whatIsWrongWith(status: number): string {
  if (status >= 300 && status < 400)
    return `AUTH_URL answered ${status}, a redirect, probably to the login page. Redirects are not followed: answer 401 or 204 there instead if nobody is logged in.`;
  if (status === 404) return 'AUTH_URL answered 404, so nothing is there. Is the address right?';
  if (status >= 500) return `AUTH_URL answered ${status}; the log of your backend says why.`;
  return `AUTH_URL answered ${status}; it must answer ${WHAT_TO_ANSWER}.`;
}

/** The JSON of a body. Throws a ClaimsError, which does not repeat any of it. */
function claimsOf(chunks: readonly Buffer[]): unknown {
  let claims: unknown;
  try {
    // It also drops a byte order mark: PHP sends one if an editor has put it into the file.
    claims = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(Buffer.concat(chunks)));
  } catch {
    const what = chunks.length === 0 ? 'it is empty' : 'it is no JSON in UTF-8';
    throw new ClaimsError(
      `${what}. It must be ${WHAT_TO_ANSWER}; not a page, and nothing may be printed before or after the JSON`,
    );
  }
  if (Array.isArray(claims) && claims.length === 0)
    throw new ClaimsError('it is [], which PHP makes of an empty array; answer 204 if nobody is logged in');
  return claims;
}
