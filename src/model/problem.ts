/** All answers that are no success: stable code, status, title (RFC 9457). */
const PROBLEMS = {
  invalid_notification: { status: 400, title: 'Invalid notification' },
  invalid_json: { status: 400, title: 'Invalid JSON' },
  invalid_request: { status: 400, title: 'Invalid request' },
  unauthorized: { status: 401, title: 'Unauthorized' },
  forbidden: { status: 403, title: 'Forbidden' },
  not_found: { status: 404, title: 'Not found' },
  unknown_connection: { status: 404, title: 'Unknown connection' },
  method_not_allowed: { status: 405, title: 'Method not allowed' },
  request_timeout: { status: 408, title: 'Request timeout' },
  payload_too_large: { status: 413, title: 'Payload too large' },
  unsupported_media_type: { status: 415, title: 'Unsupported media type' },
  key_reused: { status: 422, title: 'Key reused' },
  internal: { status: 500, title: 'Internal error' },
  unavailable: { status: 503, title: 'Unavailable' },
} as const;

export type ProblemCode = keyof typeof PROBLEMS;

/** A fault in one field. `path` is for example `rooms[3]`; in the third item of a batch, `[2].rooms[3]`. */
export interface Fault {
  readonly path: string;
  readonly message: string;
}

/** An answer that tells a programmer what to change. `detail` and `faults` are shown to the caller. */
export class Problem extends Error {
  readonly code: ProblemCode;
  readonly faults: readonly Fault[];
  /** HTTP headers that belong to the answer, such as `Retry-After`. */
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    code: ProblemCode,
    detail: string,
    options: { faults?: readonly Fault[]; headers?: Readonly<Record<string, string>>; cause?: unknown } = {},
  ) {
    super(detail, { cause: options.cause });
    this.name = 'Problem';
    this.code = code;
    this.faults = options.faults ?? [];
    this.headers = options.headers ?? {};
  }

  get status(): number {
    return PROBLEMS[this.code].status;
  }

  /** The body, `application/problem+json`. */
  toJSON(): object {
    return {
      type: `urn:postroom:problem:${this.code}`,
      title: PROBLEMS[this.code].title,
      status: this.status,
      detail: this.message,
      code: this.code,
      ...(this.faults.length > 0 && { errors: this.faults }),
    };
  }
}

export const PROBLEM_TYPE = 'application/problem+json';

/** The most faults in one answer. */
export const MAX_FAULTS = 10;

/** The problem for a notification with wrong fields. It reports the first ten faults. */
export function invalidNotification(faults: readonly Fault[]): Problem {
  const reported = faults.slice(0, MAX_FAULTS);
  const detail = reported
    .map(({ path, message }) => (path === '' ? message : `${path} ${message}`))
    .join('; ');
  return new Problem('invalid_notification', detail.endsWith('?') ? detail : `${detail}.`, {
    faults: reported,
  });
}

/** The problem for something that will work again by itself; with the seconds after which to try again. */
export function unavailable(detail: string, retryAfterSeconds: number, cause?: unknown): Problem {
  return new Problem('unavailable', detail, { headers: { 'Retry-After': String(retryAfterSeconds) }, cause });
}

/** A whole HTTP/1.1 answer that closes the connection, for a socket that has no ServerResponse. */
export function problemAnswer(problem: Problem): string {
  const body = JSON.stringify(problem);
  const headers = Object.entries(problem.headers).map(([name, value]) => `${name}: ${value}\r\n`);
  return (
    `HTTP/1.1 ${problem.status} ${problem.code}\r\nConnection: close\r\nContent-Type: ${PROBLEM_TYPE}\r\n` +
    `Content-Length: ${new TextEncoder().encode(body).length}\r\n${headers.join('')}\r\n${body}`
  );
}

/** The problem for an error of this server. It does not say what the error was. */
export function internalProblem(cause: unknown): Problem {
  return new Problem('internal', 'Something went wrong on the server; its log says what.', { cause });
}
