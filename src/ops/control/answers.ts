/** The member of an answer that says whether nodes are missing. */
export function partly(partial: boolean): { partial?: true } {
  return partial ? { partial } : {};
}

export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
