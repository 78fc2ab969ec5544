/** The paths to which `count` listeners of the same public room connect. */
export function roomPaths(count) {
  return Array(count).fill('/ws?room=public.bench');
}
