/**
 * Whether `name` fits `pattern`, in which `*` matches any run of characters (also an empty one).
 * Never slower than pattern length × name length: a pattern comes from a token and must not be
 * able to stall the process, as a regular expression made of it could.
 */
export function matches(pattern: string, name: string): boolean {
  let p = 0;
  let n = 0;
  let star = -1;
  let resume = 0;
  while (n < name.length) {
    if (pattern[p] === '*') {
      star = p++;
      resume = n;
    } else if (pattern[p] === name[n]) {
      p++;
      n++;
    } else if (star >= 0) {
      // Only the last star needs to give: the earlier ones already took the shortest run that fits.
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (pattern[p] === '*') p++;
  return p === pattern.length;
}
