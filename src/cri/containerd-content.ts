import type { Clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';
import { GrpcChannel, type Rpc, rpcsOf } from './grpc-channel.ts';
import { loadProto } from './proto-files.ts';

/** A blob that is being written: of its `total` bytes, `offset` are there. The total is 0 while it is not known. */
export interface Ingest {
  readonly digest: string;
  readonly offset: number;
  readonly total: number;
}

/** A layer of an image. */
export interface LayerSize {
  readonly digest: string;
  readonly size: number;
}

/** PORT: what is known of blobs while images are pulled. Every call has a deadline of its own and fails with a CriError. */
export interface ContentStore {
  /** The layers that are being fetched, of all images. */
  ingests(signal: AbortSignal): Promise<readonly Ingest[]>;
  /** Digests and sizes of the blobs that are there and came from this repository ('docker.io', 'library/busybox'). */
  blobs(registry: string, repository: string, signal: AbortSignal): Promise<readonly LayerSize[]>;
  /** The layers that a blob lists, when it is an image's manifest. */
  layersOf(digest: string, signal: AbortSignal): Promise<readonly LayerSize[] | undefined>;
}

export interface ContainerdContentOptions {
  /** The CRI socket: containerd serves both. */
  readonly endpoint: string;
  readonly clock: Clock;
  readonly log: Log;
}

const HEADERS = { 'containerd-namespace': 'k8s.io' };
const TIMEOUT_MS = 10_000;
/** A list of a repository's blobs that is longer is cut off. */
const MAX_BLOBS = 5_000;
/** An image's manifest is a few KiB; what is larger is none. */
const MAX_MANIFEST_BYTES = 512 * 1024;

/** containerd's content store over the CRI socket. Connects with the first call; UNIMPLEMENTED where it is no containerd. */
export class ContainerdContent implements ContentStore {
  readonly #options: ContainerdContentOptions;
  #connection: { readonly channel: GrpcChannel; readonly rpc: (method: string) => Rpc } | undefined;

  constructor(options: ContainerdContentOptions) {
    this.#options = options;
  }

  async ingests(signal: AbortSignal): Promise<readonly Ingest[]> {
    const { channel, rpc } = this.#connect();
    const answer = await channel.unary(rpc('ListStatuses'), {}, TIMEOUT_MS, signal, HEADERS);
    const { statuses = [] } = answer as { statuses?: readonly { ref?: string; offset?: number; total?: number }[] };
    return statuses.flatMap(({ ref = '', offset = 0, total = 0 }) => {
      const digest = /^layer-(\w+:[0-9a-f]+)$/.exec(ref)?.[1];
      return digest ? [{ digest, offset, total }] : [];
    });
  }

  async blobs(registry: string, repository: string, signal: AbortSignal): Promise<readonly LayerSize[]> {
    // containerd leaves the registry's port out of its label.
    const host = registry.replace(/:\d+$/, '');
    const filters = [`labels."containerd.io/distribution.source.${host}"~=${quoted(repository)}`];
    const blobs: LayerSize[] = [];
    for await (const part of this.#stream('List', { filters }, signal)) {
      const { info = [] } = part as { info?: readonly { digest?: string; size?: number }[] };
      for (const { digest = '', size = 0 } of info) blobs.push({ digest, size });
      if (blobs.length > MAX_BLOBS) break;
    }
    return blobs;
  }

  async layersOf(digest: string, signal: AbortSignal): Promise<readonly LayerSize[] | undefined> {
    const chunks: Uint8Array[] = [];
    let size = 0;
    for await (const part of this.#stream('Read', { digest, size: MAX_MANIFEST_BYTES }, signal)) {
      const { data = new Uint8Array() } = part as { data?: Uint8Array };
      size += data.length;
      if (size > MAX_MANIFEST_BYTES) return undefined;
      chunks.push(data);
    }
    return layersIn(Buffer.concat(chunks).toString());
  }

  close(): void {
    this.#connection?.channel.close();
    this.#connection = undefined;
  }

  async *#stream(method: string, request: object, signal: AbortSignal): AsyncGenerator<object, void, undefined> {
    const { channel, rpc } = this.#connect();
    const late = new AbortController();
    const limit = this.#options.clock.after(TIMEOUT_MS, () => late.abort(new Error(`${method}: no answer in time`)));
    try {
      yield* channel.serverStream(rpc(method), request, AbortSignal.any([signal, late.signal]), HEADERS);
    } finally {
      limit[Symbol.dispose]();
    }
  }

  #connect(): { readonly channel: GrpcChannel; readonly rpc: (method: string) => Rpc } {
    this.#connection ??= {
      channel: new GrpcChannel(this.#options),
      rpc: rpcsOf(loadProto('containerd-content.proto'), 'containerd.services.content.v1.Content'),
    };
    return this.#connection;
  }
}

/** The label holds one repository, or several separated by commas, of which this is one. */
function quoted(repository: string): string {
  const name = repository.replace(/[.+]/g, '[.]');
  return `"(^|,)${name}(,|$)"`;
}

function layersIn(text: string): readonly LayerSize[] | undefined {
  try {
    const { layers } = JSON.parse(text) as { layers?: readonly { digest?: unknown; size?: unknown }[] };
    if (!Array.isArray(layers)) return undefined;
    return layers.flatMap(({ digest, size }) =>
      typeof digest === 'string' && typeof size === 'number' ? [{ digest, size }] : [],
    );
  } catch {
    return undefined;
  }
}
