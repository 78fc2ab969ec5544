/** Calls `act` so many times a second, `count` times in all, whatever the server does. Resolves after the last call. */
const TICK_MS = 1;

export function atRate(rate, count, act) {
  const started = performance.now();
  let done = 0;
  return new Promise(resolve => {
    const timer = setInterval(() => {
      const due = Math.min(count, Math.floor(((performance.now() - started) / 1000) * rate));
      while (done < due) act(done++);
      if (done < count) return;
      clearInterval(timer);
      resolve();
    }, TICK_MS);
  });
}
