import type { Server, Socket } from 'node:net';
import { connect, createServer } from 'node:net';
import type { Clock } from '../../lib/clock.ts';
import { errnoOf } from '../../lib/errors.ts';
import type { Target } from '../route-services.ts';
import { EndpointPicker, targetKey } from './endpoint-picker.ts';
import type { Relay } from './relay.ts';
import type { SocketQuota } from './socket-quota.ts';

/** How long each try for an endpoint may take, as in kube-proxy's userspace mode. */
const dialTimeoutsMs = [250, 500, 1_000, 2_000];
/** An end that went away without a word is noticed by asking it now and then. */
const keepAliveMs = 60_000;
const socketOptions = { allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: keepAliveMs };

export interface TcpRelayOptions {
  readonly host: string;
  readonly clock: Clock;
  /** Counts connections of all relays; one more is reset. */
  readonly connections: SocketQuota;
}

/** Passes connections on to endpoints; an error of one costs the other end of it, and nobody else. */
export async function openTcpRelay({ host, clock, connections }: TcpRelayOptions): Promise<Relay> {
  const picker = new EndpointPicker(clock);
  const server = createServer({ ...socketOptions, pauseOnConnect: true }, (client) => {
    client.on('error', () => {});
    const end = connections.enter(() => client.resetAndDestroy());
    if (!end) return client.resetAndDestroy();
    client.once('close', end);
    void passOn(client);
  });
  const port = await listen(server, host);

  async function passOn(client: Socket): Promise<void> {
    const endpoint = await dial(picker, client.remoteAddress ?? '', clock);
    if (endpoint && !client.destroyed) join(client, endpoint);
    else {
      endpoint?.destroy();
      client.resetAndDestroy();
    }
  }
  return { port, serve: (wish) => picker.serve(wish), close: () => server.close() };
}

async function listen(server: Server, host: string): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port: 0 }, () => {
      server.off('error', reject);
      resolve();
    });
  });
  // A client that could not be accepted (no file descriptors left) tries again or gives up by itself.
  server.on('error', () => {});
  const address = server.address();
  return typeof address === 'object' ? (address?.port ?? 0) : 0;
}

/** Tries endpoints in turn: one that refuses is not asked again, one that is only slow may be. */
async function dial(picker: EndpointPicker, client: string, clock: Clock): Promise<Socket | undefined> {
  const refused = new Set<string>();
  const slow = new Set<string>();
  for (const timeoutMs of dialTimeoutsMs) {
    const target = picker.pick(client, new Set([...refused, ...slow])) ?? picker.pick(client, refused);
    if (!target) return undefined;
    const result = await dialOne(target, timeoutMs, clock);
    if (typeof result !== 'string') return result;
    (result === 'slow' ? slow : refused).add(targetKey(target));
  }
  return undefined;
}

function dialOne({ ip, port }: Target, timeoutMs: number, clock: Clock): Promise<Socket | 'refused' | 'slow'> {
  return new Promise((resolve) => {
    const socket = connect({ ...socketOptions, host: ip, port });
    const timer = clock.after(timeoutMs, () => {
      socket.destroy();
      resolve('slow');
    });
    socket.once('connect', () => {
      timer[Symbol.dispose]();
      resolve(socket);
    });
    socket.on('error', (error) => {
      timer[Symbol.dispose]();
      resolve(errnoOf(error) === 'ETIMEDOUT' ? 'slow' : 'refused');
    });
  });
}

/**
 * Each end's data and end of data go to the other, as fast as that takes them. When one breaks, the other is reset
 * and not ended, so that nobody takes half a message for a whole one.
 */
function join(client: Socket, endpoint: Socket): void {
  for (const [from, to] of [
    [client, endpoint],
    [endpoint, client],
  ] as const) {
    from.pipe(to);
    from.on('error', () => to.resetAndDestroy());
    from.once('close', () => {
      if (!from.readableEnded || !from.writableFinished) to.resetAndDestroy();
    });
  }
}
