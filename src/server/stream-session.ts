import type { Duplex } from 'node:stream';
import type { Clock } from '../lib/clock.ts';

/** How long the other side of a connection that we have ended may take to end it too. */
const lingerMs = 10_000;
/** In how many looks an idle time is counted: a session ends at most this part of it late. */
const looks = 4;

export interface SessionOptions {
  /** Ends a session in which nothing has moved for so long; 0 lets it stand for ever. */
  readonly idleTimeoutMs: number;
  readonly clock: Clock;
  /** Cuts both connections. */
  readonly signal: AbortSignal;
}

/** A socket that counts what went through it. */
type CountingDuplex = Duplex & { readonly bytesRead: number; readonly bytesWritten: number };

/**
 * Makes two connections one session, whatever else passes data between them: the end of one ends the
 * other, after what has been sent; resolves when both are closed. Never rejects: that a connection broke
 * is its end.
 */
export function holdTogether(client: Duplex, runtime: CountingDuplex, options: SessionOptions): Promise<void> {
  const { clock, signal, idleTimeoutMs } = options;
  const timers = new DisposableStack();
  const { promise, resolve } = Promise.withResolvers<void>();
  const open = new Set([client, runtime] as Duplex[]);
  const ending = new Set<Duplex>();

  const end = (socket: Duplex) => {
    if (ending.has(socket) || socket.destroyed) return;
    ending.add(socket);
    const linger = () => {
      if (!timers.disposed) timers.use(clock.after(lingerMs, () => socket.destroy()));
    };
    // The client may take its time for the last of the output; input is for nobody once the client is gone.
    if (socket === runtime || socket.writableFinished) linger();
    else socket.once('finish', linger);
    socket.end();
  };
  const closed = (socket: Duplex, other: Duplex) => {
    open.delete(socket);
    end(other);
    // What it still says is for nobody, but its end has to be heard.
    other.unpipe(socket).resume();
    if (open.size > 0) return;
    timers.dispose();
    signal.removeEventListener('abort', cut);
    resolve();
  };
  const cut = () => {
    for (const socket of open) socket.destroy();
  };

  const pairs: readonly (readonly [Duplex, Duplex])[] = [
    [client, runtime],
    [runtime, client],
  ];
  for (const [socket, other] of pairs) {
    socket.on('error', () => {});
    if (socket.readableEnded) process.nextTick(end, other);
    else socket.once('end', () => end(other));
    if (socket.closed) process.nextTick(closed, socket, other);
    else socket.once('close', () => closed(socket, other));
  }
  signal.addEventListener('abort', cut, { once: true });
  if (signal.aborted) cut();
  if (idleTimeoutMs > 0) watchIdleness(runtime, options, cut, timers);
  return promise;
}

/** Calls `idle` once when the connection has moved nothing for the idle time. */
function watchIdleness(
  runtime: CountingDuplex,
  { clock, idleTimeoutMs }: SessionOptions,
  idle: () => void,
  timers: DisposableStack,
): void {
  let moved = -1;
  let quiet = 0;
  let timer: Disposable | undefined;
  const look = () => {
    const now = runtime.bytesRead + runtime.bytesWritten;
    quiet = now === moved ? quiet + 1 : 0;
    moved = now;
    if (quiet === looks) idle();
    else timer = clock.after(idleTimeoutMs / looks, look);
  };
  timers.defer(() => timer?.[Symbol.dispose]());
  look();
}
