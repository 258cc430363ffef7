import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../lib/log.ts';
import type { RelayWish } from './compile-portals.ts';
import type { Relay, Sockets } from './relay.ts';
import { SocketQuota } from './socket-quota.ts';
import { openTcpRelay } from './tcp-relay.ts';
import { openUdpRelay } from './udp-relay.ts';

/** At once, in one address family: a connection takes two file descriptors, a session one. */
const maxConnections = 16_384;
const maxSessions = 8_192;

/** The sockets of the host, in this process. */
export class HostSockets implements Sockets {
  readonly #clock: Clock;
  readonly #connections: SocketQuota;
  readonly #sessions: SocketQuota;

  constructor({ clock, log }: { readonly clock: Clock; readonly log: Log }) {
    this.#clock = clock;
    this.#connections = new SocketQuota({ limit: maxConnections, log, what: 'TCP connections' });
    this.#sessions = new SocketQuota({ limit: maxSessions, log, what: 'UDP sessions' });
  }

  open(protocol: RelayWish['protocol'], host: string): Promise<Relay> {
    const common = { host, clock: this.#clock };
    return protocol === 'TCP'
      ? openTcpRelay({ ...common, connections: this.#connections })
      : openUdpRelay({ ...common, sessions: this.#sessions });
  }

  endAll(): void {
    this.#connections.endAll();
    this.#sessions.endAll();
  }
}
