// nginx takes a request line of 8 KB, Node all headers in 16 KB, and the token is one of those.
const ROOMS_LENGTH = 4_000;

/** Takes apart the address that the application gave. Throws a TypeError if it is none. */
export function parseAddress(address: string, base: string | undefined) {
  const url = new URL(address, base);
  url.protocol = url.protocol.replace('http', 'ws');
  url.hash = '';
  const query = url.searchParams;
  const lists = query.getAll('rooms').flatMap(list => list.split(','));
  const rooms = [...query.getAll('room'), ...lists].filter(room => room);
  const since = query.get('since') ?? undefined;
  for (const name of ['room', 'rooms', 'since']) query.delete(name);
  return { url, rooms, since };
}

/** The address to open, and the rooms that it joins: as many as fit. */
export function addressWith(url: URL, rooms: Iterable<string>, since: string | undefined) {
  const joining = new Set<string>();
  const query = url.search ? [url.search.slice(1)] : [];
  if (since) query.push(`since=${encodeURIComponent(since)}`);
  const list: string[] = [];
  let length = 0;
  for (const room of rooms) {
    const name = encodeURIComponent(room);
    length += name.length + 1;
    if (length > ROOMS_LENGTH) break;
    // No room has a comma in its name, but the server is the one to say so; a list would make two names of it.
    if (room.includes(',')) query.push(`room=${name}`);
    else list.push(name);
    joining.add(room);
  }
  if (list.length > 0) query.push(`rooms=${list}`);
  const address = new URL(url);
  address.search = query.join('&');
  return { address: address.href, joining };
}
