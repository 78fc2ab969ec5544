/** The parts of a request that say where it came from. */
export interface Caller {
  readonly socket: { readonly remoteAddress?: string | undefined };
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/**
 * The network address that a request came from, through so many proxies of ours. Each proxy appends the address that it
 * saw to `X-Forwarded-For`. So the address that the first proxy saw is that far from the end. The client may have
 * written those before it, so they are not believed.
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
