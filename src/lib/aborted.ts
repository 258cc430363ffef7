/** Resolves when the signal aborts, or has. */
export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });

/** Waits until `wait` is over, or the signal aborts. Rejects as `wait` does. */
export const orAborted = (wait: Promise<unknown>, signal: AbortSignal): Promise<unknown> =>
  Promise.race([wait, aborted(signal)]);
