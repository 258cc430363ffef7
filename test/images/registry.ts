import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Server as NetServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import type { Blob, OciImage } from '../../src/lib/oci-image.ts';

export interface RegistryOptions {
  /** A socket that listens already, e.g. from TestHost.listen. */
  readonly listener: NetServer;
  /** Served under the path of their name: 'registry.test:5000/app:1' as app, tag 1. */
  readonly images: readonly OciImage[];
  /** Without these every request is a 401. */
  readonly credentials?: { readonly username: string; readonly password: string };
}

/**
 * The reading half of an OCI distribution registry over plain HTTP: what a pull needs, with basic
 * authentication and faults on demand.
 */
export class TestRegistry {
  /** Manifests asked for by tag with GET or HEAD, per image name without host: 'app:1' → count. */
  readonly resolved = new Map<string, number>();
  /** Requests turned away for lack of (right) credentials. */
  denied = 0;
  /** Every answer waits this long. */
  delayMs = 0;
  /** Layers come by so many bytes in each quarter of a second; undefined as fast as it goes. */
  layerBytesPerTick: number | undefined;
  /** Layers that are being sent now, by repository, and how many at most were at a time. */
  readonly sending = new Set<string>();
  mostAtOnce = 0;
  /** Called when the first byte of a layer was sent. */
  onLayer: (repository: string) => void = () => {};
  readonly #options: RegistryOptions;
  readonly #server = createServer((request, response) => void this.#handle(request, response));
  #failures: { left: number; status: number } = { left: 0, status: 500 };

  constructor(options: RegistryOptions) {
    this.#options = options;
  }

  start(): this {
    this.#options.listener.on('connection', (socket) => this.#server.emit('connection', socket));
    return this;
  }

  /** The next `times` requests are answered with `status`. */
  fail(times: number, status = 500): void {
    this.#failures = { left: times, status };
  }

  [Symbol.dispose](): void {
    this.#options.listener.close();
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (this.delayMs > 0) await delay(this.delayMs);
    if (this.#failures.left > 0) {
      this.#failures.left--;
      return fail(response, this.#failures.status, 'UNKNOWN');
    }
    if (!this.#allowed(request)) {
      this.denied++;
      response.setHeader('www-authenticate', 'Basic realm="registry.test"');
      return fail(response, 401, 'UNAUTHORIZED');
    }
    const path = request.url?.split('?')[0] ?? '';
    if (path === '/v2/') return void response.end('{}');
    const match = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(path);
    const [, repository = '', kind, reference = ''] = match ?? [];
    const blob = kind === 'manifests' ? this.#manifest(repository, reference) : this.#blob(repository, reference);
    if (blob === undefined) return fail(response, 404, kind === 'manifests' ? 'MANIFEST_UNKNOWN' : 'BLOB_UNKNOWN');
    response.setHeader('content-type', blob.mediaType);
    response.setHeader('content-length', blob.content.length);
    response.setHeader('docker-content-digest', blob.digest);
    if (request.method === 'HEAD') return void response.end();
    if (kind === 'blobs' && blob.mediaType.includes('layer')) return this.#sendLayer(repository, blob, response);
    response.end(blob.content);
  }

  async #sendLayer(repository: string, { content }: Blob, response: ServerResponse): Promise<void> {
    this.sending.add(repository);
    this.mostAtOnce = Math.max(this.mostAtOnce, this.sending.size);
    response.once('close', () => this.sending.delete(repository));
    let sent = 0;
    while (
      this.layerBytesPerTick !== undefined &&
      sent + this.layerBytesPerTick < content.length &&
      !response.destroyed
    ) {
      response.write(content.subarray(sent, sent + this.layerBytesPerTick));
      sent += this.layerBytesPerTick;
      this.onLayer(repository);
      await delay(250);
    }
    // Whoever has the last byte may go on before we hear of it.
    this.sending.delete(repository);
    response.end(content.subarray(sent));
  }

  #allowed(request: IncomingMessage): boolean {
    const { credentials } = this.#options;
    if (credentials === undefined) return true;
    const expected = Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64');
    return request.headers.authorization === `Basic ${expected}`;
  }

  #manifest(repository: string, reference: string): Blob | undefined {
    if (reference.startsWith('sha256:')) {
      return this.#imagesOf(repository).find(({ manifest }) => manifest.digest === reference)?.manifest;
    }
    const name = `${repository}:${reference}`;
    const image = this.#options.images.find((candidate) => pathOf(candidate) === name);
    if (image) this.resolved.set(name, (this.resolved.get(name) ?? 0) + 1);
    return image?.manifest;
  }

  #blob(repository: string, digest: string): Blob | undefined {
    const blobs = this.#imagesOf(repository).flatMap(({ config, layers }) => [config, ...layers]);
    return blobs.find((blob) => blob.digest === digest);
  }

  #imagesOf(repository: string): readonly OciImage[] {
    return this.#options.images.filter((image) => pathOf(image).startsWith(`${repository}:`));
  }
}

/** 'registry.test:5000/app:1' → 'app:1' */
const pathOf = ({ name }: OciImage): string => name.slice(name.indexOf('/') + 1);

function fail(response: ServerResponse, status: number, code: string): void {
  response.statusCode = status;
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify({ errors: [{ code, message: code.toLowerCase().replaceAll('_', ' ') }] }));
}
