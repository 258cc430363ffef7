import type { Clock } from './clock.ts';

/**
 * A signal that is aborted `ms` after the one it follows, with its reason: for work that is better brought to its
 * end than cut off, as long as that does not take for ever. Dispose of it when the work is over.
 */
export function linger(signal: AbortSignal, ms: number, clock: Clock): { readonly signal: AbortSignal } & Disposable {
  const late = new AbortController();
  let timer: Disposable | undefined;
  const abortLater = () => {
    timer = clock.after(ms, () => late.abort(signal.reason));
  };
  if (signal.aborted) abortLater();
  else signal.addEventListener('abort', abortLater, { once: true });
  return {
    signal: late.signal,
    [Symbol.dispose]: () => {
      signal.removeEventListener('abort', abortLater);
      timer?.[Symbol.dispose]();
    },
  };
}
