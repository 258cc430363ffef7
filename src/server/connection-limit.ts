import type { Socket } from 'node:net';

/**
 * Keeps strangers from taking all places: of the connections on which nobody has been let in yet only
 * so many are kept, and a new one costs the oldest its place. One that was let in is no longer counted.
 */
export class ConnectionLimit {
  readonly #limit: number;
  /** By the client's address and port, which the TLS connection shares with the one below it. */
  readonly #strangers = new Map<string, Socket>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  get strangers(): number {
    return this.#strangers.size;
  }

  arrived(socket: Socket): void {
    const name = nameOf(socket);
    this.#strangers.set(name, socket);
    socket.once('close', () => {
      if (this.#strangers.get(name) === socket) this.#strangers.delete(name);
    });
    for (const [oldest, stranger] of this.#strangers) {
      if (this.#strangers.size <= this.#limit) break;
      this.#strangers.delete(oldest);
      stranger.destroy();
    }
  }

  letIn(socket: Socket): void {
    this.#strangers.delete(nameOf(socket));
  }
}

const nameOf = ({ remoteAddress, remotePort }: Socket) => `${remoteAddress} ${remotePort}`;
