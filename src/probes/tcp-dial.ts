import { connect } from 'node:net';
import { systemClock } from '../lib/clock.ts';
import { AgentError } from '../lib/errors.ts';
import { hostPort, networkErrorText } from './network-error.ts';

/** No connection. The message reads as upstream's does: `dial tcp 10.0.0.1:80: connect: connection refused`. */
export class DialError extends AgentError {
  /** The time was up before anybody had accepted or refused. */
  readonly timedOut: boolean;

  constructor(message: string, facts: { cause?: unknown; timedOut?: boolean }) {
    super('DialFailed', message, { cause: facts.cause, retryable: true });
    this.timedOut = facts.timedOut ?? false;
  }
}

/**
 * Resolves when a TCP connection came about, which is closed again at once. Rejects with DialError when it
 * did not within `timeoutMs`, and with the signal's reason when that aborts.
 */
export function dial(host: string, port: number, timeoutMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const to = hostPort(host, port);
    const socket = connect({ host, port });
    const settle = (report: () => void) => {
      timer[Symbol.dispose]();
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      report();
    };
    const onAbort = () => settle(() => reject(signal.reason));
    const onTimeout = () => settle(() => reject(new DialError(`dial tcp ${to}: i/o timeout`, { timedOut: true })));
    // What arrived while this process could not run is read before the time is called over.
    const timer = systemClock.after(timeoutMs, () => setImmediate(onTimeout));
    signal.addEventListener('abort', onAbort, { once: true });
    socket.on('connect', () => settle(resolve));
    socket.on('error', (error) => settle(() => reject(new DialError(networkErrorText(error, to), { cause: error }))));
  });
}
