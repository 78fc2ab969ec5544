/** Attackers, in a process of their own, so that their cost is not the crowd's. */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const PROGRAM = fileURLToPath(new URL('./stranger.js', import.meta.url));

export class Strangers {
  #child;
  #gone;
  #wrongs;
  #counts = {};

  constructor({ port, wrongs }) {
    this.#wrongs = wrongs;
    // Ctrl-C must reach only us; we end them.
    this.#child = fork(PROGRAM, [`${port}`], { detached: true });
    this.#child.on('message', counts => {
      this.#counts = counts;
    });
    this.#gone = once(this.#child, 'exit');
  }

  /** Resolves when the process and its connections are gone. */
  async stop() {
    if (this.#child.connected) this.#child.send('stop');
    const [code] = await this.#gone;
    if (code !== 0) this.#wrongs.note('strangers', `their process ended with ${code}`);
  }

  /** How many attacks of each kind were made. */
  summary() {
    return Object.entries(this.#counts)
      .map(([kind, made]) => `${kind} ${made}`)
      .join(', ');
  }
}
