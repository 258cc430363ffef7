import type { RelayWish } from './compile-portals.ts';

/** One listening socket, and what it leads to. */
export interface Relay {
  readonly port: number;
  /** Whom those get that come from now on. Before the first call nobody is served. */
  serve(wish: Pick<RelayWish, 'targets' | 'affinitySeconds'>): void;
  /** Takes no more clients. TCP connections that there are go on; datagrams have nowhere to go any more. */
  close(): void;
}

/** PORT: sockets of this process. */
export interface Sockets {
  /** Listens on a free port of `host`. Throws a system error. */
  open(protocol: RelayWish['protocol'], host: string): Promise<Relay>;
  /** Ends all connections, also those of relays that are closed. */
  endAll(): void;
}
