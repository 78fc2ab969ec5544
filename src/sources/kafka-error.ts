const MOST_SENTENCES = 4;

/** An error that says why. The error of the library seldom says why, but the errors inside it do. */
export function explained(error: unknown): Error {
  const sentences = new Set(everyError(error).map(({ message }) => message.replace(/\.$/, '')));
  return new Error([...sentences].slice(0, MOST_SENTENCES).join(': '), { cause: error });
}

/** Whether the group is dividing the partitions anew, so that a commit comes too late. */
export function isRebalancing(error: unknown): boolean {
  return everyError(error).some(
    each =>
      ('needsRejoin' in each && each.needsRejoin === true) ||
      ('rebalanceInProgress' in each && each.rebalanceInProgress === true),
  );
}

/** Whether a record is larger than the topic allows. */
export function isTooLarge(error: unknown): boolean {
  return everyError(error).some(each => 'apiId' in each && each.apiId === 'MESSAGE_TOO_LARGE');
}

/** The error and all errors inside it. */
function everyError(error: unknown): { message: string }[] {
  if (!hasMessage(error)) return [];
  const inner = 'errors' in error && Array.isArray(error.errors) ? error.errors : [];
  return [error, ...inner.flatMap(everyError), ...('cause' in error ? everyError(error.cause) : [])];
}

function hasMessage(error: unknown): error is { message: string } {
  return (
    typeof error === 'object' && error !== null && 'message' in error && typeof error.message === 'string'
  );
}
