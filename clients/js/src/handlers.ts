/** What `call` returns for a handler that threw. */
export const FAILED = {};

/**
 * Calls a handler of the application, and returns what it returns. If it throws, the error is reported as any
 * listener's, and the client goes on.
 */
export function call<Args extends unknown[]>(
  handler: ((...args: Args) => unknown) | undefined,
  ...args: Args
): unknown {
  try {
    return handler?.(...args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
    return FAILED;
  }
}
