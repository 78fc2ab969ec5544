/** Gives the journal a past. */
import { KEY } from './harness.js';

const BATCH = 1_000;

/** Posts the notifications in batches, one after the other; returns the id of each. */
export async function fill({ port }, notifications) {
  const ids = [];
  for (let from = 0; from < notifications.length; from += BATCH) {
    const answer = await fetch(`http://127.0.0.1:${port}/notify`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${KEY}`, 'Content-Type': 'application/json' },
      body: JSON.stringify(notifications.slice(from, from + BATCH)),
    });
    if (answer.status !== 200) throw new Error(`publish refused: ${answer.status} ${await answer.text()}`);
    for (const { id } of (await answer.json()).results) ids.push(id);
  }
  return ids;
}

/** How many notifications the server can replay. */
export async function retained({ port }) {
  const headers = { Authorization: `Bearer ${KEY}` };
  const report = await fetch(`http://127.0.0.1:${port}/health`, { headers }).then(answer => answer.json());
  return report.journal.entries;
}
