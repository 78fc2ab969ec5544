/** Where a request came from, as far as it tells. */
export interface Caller {
  readonly socket: { readonly remoteAddress?: string | undefined };
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/**
 * The network address that a request came from, seen past so many proxies of ours: each of them appends
 * the address it saw to `X-Forwarded-For`, so the one that the first of them saw stands that far from the end.
 * What stands before it is the client's own word and is not believed.
 */
export function callerAddress(
  remote: string | undefined,
  forwardedFor: string | undefined,
  proxies: number,
): string {
  const seen = (forwardedFor ?? '').split(',').map(address => address.trim());
  const trusted =
    proxies > 0 && forwardedFor !== undefined ? seen.at(-Math.min(proxies, seen.length)) : undefined;
  return trusted || remote || 'unknown';
}
