import type { RemoteInfo, Socket } from 'node:dgram';
import { createSocket } from 'node:dgram';
import { isIPv4 } from 'node:net';
import type { Clock } from '../../lib/clock.ts';
import type { Target } from '../route-services.ts';
import { EndpointPicker } from './endpoint-picker.ts';
import type { Relay } from './relay.ts';
import type { SocketQuota } from './socket-quota.ts';

/**
 * How long a client at rest keeps its endpoint: what connection tracking gives to a flow, and to one that has gone
 * to and fro, so that flows last as long as in the other modes. (kube-proxy's userspace mode had 250 ms, after which
 * the rest of a flow could go to another endpoint.)
 */
const idleMs = 30_000;
const streamIdleMs = 120_000;
/** Datagrams that wait for a session's socket, and bytes that wait in one; what is more is lost, as UDP may be. */
const maxWaiting = 64;
const maxQueuedBytes = 1024 * 1024;

export interface UdpRelayOptions {
  readonly host: string;
  readonly clock: Clock;
  /** Counts sessions of all relays; for one more the one at rest for longest goes. */
  readonly sessions: SocketQuota;
}

/** Passes datagrams on: a client (address and port) has a socket of its own, whose answers go back to it. */
export async function openUdpRelay({ host, clock, sessions }: UdpRelayOptions): Promise<Relay> {
  const picker = new EndpointPicker(clock);
  const socket = await bind(host);
  const clients = new Map<string, Session>();

  socket.on('message', (data, from) => {
    // Anybody can send from port 0, and nobody can be answered there: to try would throw.
    if (from.port === 0) return;
    const key = `${from.address} ${from.port}`;
    const session = clients.get(key) ?? begin(key, from);
    if (!session) return;
    picker.used(from.address, session.target);
    sessions.used(session.end);
    session.send(data);
  });

  function begin(key: string, from: RemoteInfo): Session | undefined {
    const target = picker.pick(from.address);
    if (!target) return undefined;
    let left: () => void = () => {};
    const session = new Session(target, clock, {
      answer: (data) => sendBounded(socket, data, (answer) => socket.send(answer, from.port, from.address)),
      ended: () => {
        left();
        if (clients.get(key) === session) clients.delete(key);
      },
    });
    left = sessions.enterInstead(session.end);
    clients.set(key, session);
    return session;
  }
  const endAll = (isOver: (session: Session) => boolean) => {
    for (const session of [...clients.values()]) if (isOver(session)) session.end();
  };
  return {
    port: socket.address().port,
    serve: (wish) => {
      picker.serve(wish);
      // A flow would go to an endpoint that is gone for as long as its client keeps sending.
      endAll(({ target }) => !picker.has(target));
    },
    close: () => {
      socket.close();
      endAll(() => true);
    },
  };
}

async function bind(host: string): Promise<Socket> {
  const socket = newSocket(host);
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind({ address: host, port: 0 }, () => {
      socket.off('error', reject);
      resolve();
    });
  });
  // An answer that could not be sent is lost, as any datagram may be.
  socket.on('error', () => {});
  return socket;
}

const newSocket = (ip: string): Socket => createSocket(isIPv4(ip) ? 'udp4' : 'udp6');

function sendBounded(socket: Socket, data: Buffer, send: (data: Buffer) => void): void {
  if (socket.getSendQueueSize() + data.length <= maxQueuedBytes) send(data);
}

/** One client's flow to one endpoint. */
class Session {
  readonly target: Target;
  /** Ends it; may be called again. */
  readonly end: () => void;
  readonly #socket: Socket;
  readonly #clock: Clock;
  #waiting: Buffer[] | undefined = [];
  #timer: Disposable;
  #lastUsed: number;
  #isAnswered = false;
  #isStream = false;
  #isOver = false;

  constructor(target: Target, clock: Clock, on: { answer: (data: Buffer) => void; ended: () => void }) {
    this.target = target;
    this.#clock = clock;
    this.#lastUsed = clock.monotonic();
    this.#socket = newSocket(target.ip);
    this.#timer = clock.after(idleMs, () => this.#rested());
    this.end = () => {
      if (this.#isOver) return;
      this.#isOver = true;
      this.#timer[Symbol.dispose]();
      this.#socket.close();
      on.ended();
    };
    this.#socket.on('message', (data) => {
      this.#lastUsed = clock.monotonic();
      this.#isAnswered = true;
      on.answer(data);
    });
    // Nobody listens there: the client's next datagram goes to another endpoint.
    this.#socket.on('error', this.end);
    // Not as the callback of `connect`, which is called as well when there is no way to the endpoint.
    this.#socket.once('connect', () => {
      const waiting = this.#waiting ?? [];
      this.#waiting = undefined;
      for (const data of waiting) this.send(data);
    });
    this.#socket.connect(target.port, target.ip);
  }

  send(data: Buffer): void {
    if (this.#isOver) return;
    this.#lastUsed = this.#clock.monotonic();
    this.#isStream ||= this.#isAnswered;
    if (!this.#waiting) sendBounded(this.#socket, data, (one) => this.#socket.send(one));
    else if (this.#waiting.length < maxWaiting) this.#waiting.push(data);
  }

  #rested(): void {
    const left = this.#lastUsed + (this.#isStream ? streamIdleMs : idleMs) - this.#clock.monotonic();
    if (left <= 0) this.end();
    else this.#timer = this.#clock.after(left, () => this.#rested());
  }
}
