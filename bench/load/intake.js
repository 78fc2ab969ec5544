/** How many notifications a source of the server has taken, by its health report. */
import { setTimeout as sleep } from 'node:timers/promises';

const LOOK_MS = 20;

/** Asks the server: `{ taken, dropped }` of the source. */
export function intakeOf({ port, key, source }) {
  const headers = { Authorization: `Bearer ${key}` };
  return async () => {
    const report = await fetch(`http://127.0.0.1:${port}/health`, { headers }).then(answer => answer.json());
    const { taken, dropped = 0 } = report.sources[source];
    return { taken, dropped };
  };
}

/** Resolves when the first ones are taken. */
export async function begun(intake) {
  while ((await intake()).taken === 0) await sleep(LOOK_MS);
}

/** Sends without pause, over so many pipelines, so many at a time. Returns a function that ends it. */
export function keepSending(sender, { pipelines, count }) {
  let stopped = false;
  const working = Array.from({ length: pipelines }, async () => {
    while (!stopped) await sender.send(count);
  });
  return async () => {
    stopped = true;
    await Promise.all(working);
  };
}
