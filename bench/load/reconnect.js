/** Thousands come back at the same moment, and each must get what it missed. */
import { setTimeout as sleep } from 'node:timers/promises';
import { listen } from './listener.js';

/** After the last one, a duplicate would be noticed for so long. */
const LISTEN_ON_MS = 500;

/**
 * Opens a listener for each path, all at once, and waits until each is served and has received `missed` notifications.
 * Resolves to a function that checks them: their numbers are 0, 1, 2 …, and nothing comes after them.
 */
export async function reconnectAll({ port, paths, joined, missed }) {
  const chunks = new Map();
  const took = (listener, bytes) => {
    const taken = Buffer.from(bytes); // a copy: the memory will be read into again
    const before = chunks.get(listener);
    if (before) before.push(taken);
    else chunks.set(listener, [taken]);
  };
  let complete = 0;
  let allComplete = () => {};
  const heard = (listener, count) => {
    const before = listener.received;
    listener.received += count;
    if (listener.received > missed) throw new Error(`${listener.received} came to one that missed ${missed}`);
    if (before < missed && listener.received === missed && ++complete === paths.length) allComplete();
  };
  const served = Promise.all(paths.map(path => listen({ port, path, joined, heard, took })));
  if (missed > 0) {
    const failed = new Promise((_, reject) => served.catch(reject));
    const completed = new Promise(resolve => {
      allComplete = resolve;
    });
    await Promise.race([completed, failed]);
  }
  const listeners = await served;

  return async function check() {
    await sleep(LISTEN_ON_MS);
    for (const listener of listeners) {
      const frames = framesIn(Buffer.concat(chunks.get(listener)));
      const numbers = frames.filter(({ type }) => type === 'notification').map(({ data }) => data.number);
      if (numbers.length !== missed || numbers.some((number, index) => number !== index))
        throw new Error(`one that missed ${missed} was brought ${numbers}`);
    }
  };
}

/** The text frames in the bytes that a server sent, which end with a whole frame (RFC 6455 §5.2). */
function framesIn(bytes) {
  const frames = [];
  for (let at = 0; at < bytes.length; ) {
    const isText = (bytes[at] & 0x0f) === 0x1;
    const short = bytes[at + 1];
    const start = at + (short < 126 ? 2 : 4);
    const end = start + (short < 126 ? short : bytes.readUInt16BE(at + 2)); // none is of 64 KiB here
    if (isText) frames.push(JSON.parse(bytes.toString('utf8', start, end)));
    at = end;
  }
  return frames;
}
