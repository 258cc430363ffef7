import { createInterface } from 'node:readline';
import { Agent, request } from 'undici';
import type { Credential } from '../pki/pki.ts';
import type { ApiObject } from './objects.ts';
import type { StandInApiServer } from './server.ts';

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  // Bodies are of every kind; tests look into them by hand.
  readonly body: ApiObject & { message?: string; reason?: string; items: ApiObject[] };
}

export interface WatchedEvent {
  readonly type: string;
  readonly object: ApiObject & { message?: string; code?: number };
}

export interface Watching extends AsyncIterableIterator<WatchedEvent> {
  readonly headers: Answer['headers'];
}

/** A bare HTTPS client for one identity: what the tests of the stand-in talk to it with. */
export class TestClient implements AsyncDisposable {
  readonly #agent: Agent;
  readonly #url: string;
  readonly #headers: Record<string, string>;

  constructor(
    server: StandInApiServer,
    identity: Credential | { readonly token: string } | 'anonymous',
    options: { readonly http2?: boolean } = {},
  ) {
    const connect = { ca: server.pki.ca, ...(typeof identity === 'object' && 'cert' in identity ? identity : {}) };
    this.#agent = new Agent({ connect, allowH2: options.http2 ?? false });
    this.#url = server.url;
    this.#headers =
      typeof identity === 'object' && 'token' in identity ? { authorization: `Bearer ${identity.token}` } : {};
  }

  static admin(server: StandInApiServer, options: { readonly http2?: boolean } = {}): TestClient {
    return new TestClient(server, server.pki.client('admin', ['system:masters']), options);
  }

  static node(server: StandInApiServer, name: string): TestClient {
    return new TestClient(server, server.pki.client(`system:node:${name}`, ['system:nodes']));
  }

  async send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    const answer = await request(`${this.#url}${path}`, {
      dispatcher: this.#agent,
      method: method as 'GET',
      headers: { 'content-type': 'application/json', ...this.#headers, ...headers },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    });
    const text = await answer.body.text();
    const json = answer.headers['content-type'] === 'application/json' ? JSON.parse(text) : {};
    return { status: answer.statusCode, headers: answer.headers, text, body: json };
  }

  get(path: string): Promise<Answer> {
    return this.send('GET', path);
  }

  post(path: string, body: unknown): Promise<Answer> {
    return this.send('POST', path, body);
  }

  patch(path: string, type: 'strategic-merge' | 'merge' | 'json', body: unknown): Promise<Answer> {
    return this.send('PATCH', path, body, { 'content-type': `application/${type}-patch+json` });
  }

  delete(path: string, options?: object): Promise<Answer> {
    return this.send('DELETE', path, options);
  }

  /** The events of a watch; resolves once the headers are there, so changes made afterwards are seen. */
  async watch(path: string): Promise<Watching> {
    const answer = await request(`${this.#url}${path}`, { dispatcher: this.#agent, headers: this.#headers });
    const lines = createInterface({ input: answer.body })[Symbol.asyncIterator]();
    const watching: Watching = {
      headers: answer.headers,
      [Symbol.asyncIterator]() {
        return watching;
      },
      async next() {
        const { value, done } = await lines.next();
        return done ? { value: undefined, done: true } : { value: JSON.parse(value) as WatchedEvent, done: false };
      },
    };
    return watching;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#agent.destroy();
  }
}

/** The next `count` events. */
export async function take(events: AsyncIterator<WatchedEvent>, count: number): Promise<WatchedEvent[]> {
  const taken: WatchedEvent[] = [];
  while (taken.length < count) {
    const { value, done } = await events.next();
    if (done) throw new Error(`the watch ended after ${taken.length} of ${count} events`);
    taken.push(value);
  }
  return taken;
}
