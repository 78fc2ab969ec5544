/** Calls a handler of the application. If it throws, the error is reported as any listener's, and the client goes on. */
export function call<Args extends unknown[]>(
  handler: ((...args: Args) => void) | undefined,
  ...args: Args
): void {
  try {
    handler?.(...args);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}
