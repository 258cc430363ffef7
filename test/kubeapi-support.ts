import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer, type ServerOptions } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../src/lib/clock.ts';
import { systemClock } from '../src/lib/clock.ts';
import type { Log } from '../src/lib/log.ts';
import { Pki } from './pki/pki.ts';

/** A recorded answer of kube-apiserver. */
export interface Recording {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly body: string;
}

export async function readRecording(name: string): Promise<Recording> {
  const text = await readFile(new URL(`wire/${name}.txt`, import.meta.url), 'utf8');
  const end = text.indexOf('\n\n') >= 0 ? text.indexOf('\n\n') : text.indexOf('\r\n\r\n');
  const [first = '', ...lines] = text.slice(0, end).split(/\r?\n/);
  const headers = Object.fromEntries(
    lines.map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1).trim()]),
  );
  delete headers['content-length'];
  return { status: Number(first.split(' ')[1]), headers, body: text.slice(end).trimStart() };
}

/** An HTTPS (or HTTP) server on loopback that a test scripts by its listener. */
export class ScriptedServer implements AsyncDisposable {
  readonly url: string;
  /** Connections accepted so far, closed ones too. */
  readonly sockets: Socket[] = [];
  readonly #server: ReturnType<typeof createServer>;

  private constructor(server: ReturnType<typeof createServer>, scheme: string) {
    this.#server = server;
    this.url = `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  static async start(listener: RequestListener, tls: ServerOptions | undefined): Promise<ScriptedServer> {
    const server = tls ? createTlsServer(tls, listener) : createServer(listener);
    const sockets: Socket[] = [];
    server.on('connection', (socket) => sockets.push(socket));
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const started = new ScriptedServer(server, tls ? 'https' : 'http');
    started.sockets.push(...sockets);
    server.on('connection', (socket) => started.sockets.push(socket));
    return started;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.sockets) socket.destroy();
    if (this.#server.listening) await once(this.#server, 'close');
  }
}

export const pki = Pki.create('right-ca');
export const serving = pki.serving(['127.0.0.1', 'localhost']);

/** Writes a kubeconfig for the current context; `user` and `cluster` are merged into the two sections. */
export function kubeconfigText(
  server: string,
  { cluster = {}, user = {} }: { cluster?: Record<string, unknown>; user?: Record<string, unknown> } = {},
): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'ctx',
    contexts: [{ name: 'ctx', context: { cluster: 'c', user: 'u' } }],
    clusters: [
      {
        name: 'c',
        cluster: {
          server,
          ...(server.startsWith('https:') ? { 'certificate-authority-data': base64(pki.ca) } : {}),
          ...cluster,
        },
      },
    ],
    users: [{ name: 'u', user }],
  });
}

export const base64 = (text: string): string => Buffer.from(text).toString('base64');

/** A folder that is removed at the end of the scope. */
export async function scratchDir(): Promise<
  { path: string; write(name: string, text: string): Promise<string> } & AsyncDisposable
> {
  const path = await mkdtemp(join(tmpdir(), 'kubeapi-'));
  return {
    path,
    write: async (name, text) => {
      const file = join(path, name);
      await writeFile(file, text);
      return file;
    },
    [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }),
  };
}

/** The system's clock, except that it notes what it is asked to sleep and does not sleep. */
export function sleeplessClock(): Clock & { readonly slept: number[] } {
  const slept: number[] = [];
  return {
    ...systemClock,
    slept,
    sleep: async (ms, signal) => {
      signal?.throwIfAborted();
      slept.push(ms);
    },
  };
}

export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: Record<string, unknown>;
}

/** A log that remembers. */
export function memoryLog(): Log & { readonly lines: LogLine[] } {
  const lines: LogLine[] = [];
  const at = (level: string) => (fields: object, message: string) => {
    lines.push({ level, message, fields: { ...fields } });
  };
  const log = {
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    lines,
    child: (): Log => log,
  };
  return log;
}
