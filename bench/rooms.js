/** Where `count` listeners of the same public room connect to. */
export function roomPaths(count) {
  return Array(count).fill('/ws?room=public.bench');
}
