/** Looks for programs that are not ours. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

/** The first of them that is not installed. */
export function lacksPrograms(...programs) {
  return programs.find(program => pathOf(program) === undefined);
}

/** Where a program is; undefined if it is nowhere. */
export function pathOf(program) {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'];
  return folders.map(folder => join(folder, program)).find(isThere);
}

function isThere(path) {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
