import { type ChildProcess, spawn } from 'node:child_process';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { insideCommand } from './namespaces.ts';

interface Answer {
  readonly id: number;
  readonly error?: string;
}

/** Opens connections inside a host's network for the test process, through one process that lives there. */
export class NamespaceDialer implements Disposable {
  readonly #pid: number;
  readonly #waiting = new Map<number, (error: Error | undefined, socket?: Socket) => void>();
  #child: ChildProcess | undefined;
  #ids = 0;

  /** `pid`: of the host's first process. */
  constructor(pid: number) {
    this.#pid = pid;
  }

  connect(port: number, address: string): Promise<Socket> {
    this.#child ??= this.#start();
    const id = ++this.#ids;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, (error, socket) => (socket ? resolve(socket) : reject(error)));
      this.#child?.channel?.ref();
      this.#child?.send({ id, port, address });
    });
  }

  [Symbol.dispose](): void {
    if (this.#child?.connected) this.#child.disconnect();
  }

  #start(): ChildProcess {
    const script = fileURLToPath(new URL('connect-in-namespace.ts', import.meta.url));
    const [file = '', ...args] = insideCommand(this.#pid, [process.execPath, script], 'network');
    const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] });
    child.on('message', (answer, socket) => this.#settle(answer as Answer, socket as Socket | undefined));
    child.once('exit', () => {
      for (const settle of this.#waiting.values()) settle(new Error('the host is gone'));
      this.#waiting.clear();
      this.#child = undefined;
    });
    child.unref();
    child.channel?.unref();
    return child;
  }

  #settle({ id, error }: Answer, socket: Socket | undefined): void {
    this.#waiting.get(id)?.(error === undefined ? undefined : new Error(error), socket);
    this.#waiting.delete(id);
    // Nothing here keeps the test process alive but a connection that is awaited.
    if (this.#waiting.size === 0) this.#child?.channel?.unref();
  }
}
