import { createHash } from 'node:crypto';
import { type TarEntry, tarArchive } from './tar.ts';

/**
 * Container images without a container tool: files in, an OCI image out (image-spec v1), and several
 * images as one archive (image-layout) that `ctr images import` takes. Pure, and the same bytes for the
 * same input, so digests can be compared.
 */

export interface ImageSource {
  /** The full reference, e.g. 'docker.io/library/busybox:1.35'. */
  readonly name: string;
  /** GOARCH spelling, e.g. 'amd64'. */
  readonly architecture: string;
  readonly files: readonly TarEntry[];
  readonly entrypoint?: readonly string[];
  readonly cmd?: readonly string[];
  readonly env?: readonly string[];
  readonly user?: string;
  readonly workingDir?: string;
  readonly stopSignal?: string;
}

export interface Blob {
  readonly mediaType: string;
  /** 'sha256:<hex>' */
  readonly digest: string;
  readonly content: Buffer;
}

export interface OciImage {
  readonly name: string;
  readonly architecture: string;
  readonly manifest: Blob;
  /** The image's id in CRI is the digest of its config. */
  readonly config: Blob;
  readonly layers: readonly Blob[];
}

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar';
const INDEX = 'application/vnd.oci.image.index.v1+json';
const EPOCH = '1970-01-01T00:00:00Z';

export function buildImage(source: ImageSource): OciImage {
  const layer = blob(LAYER, tarArchive(source.files));
  const config = blob(CONFIG, json(imageConfig(source, layer.digest)));
  const manifest = { schemaVersion: 2, mediaType: MANIFEST, config: descriptor(config), layers: [descriptor(layer)] };
  const { name, architecture } = source;
  return { name, architecture, manifest: blob(MANIFEST, json(manifest)), config, layers: [layer] };
}

/** An image-layout archive; containerd takes the names from the annotations of its index. */
export function imageArchive(images: readonly OciImage[]): Buffer {
  const blobs = new Map<string, Buffer>();
  for (const { manifest, config, layers } of images) {
    for (const { digest, content } of [manifest, config, ...layers]) blobs.set(digest, content);
  }
  const manifests = images.map(({ name, architecture, manifest }) => ({
    ...descriptor(manifest),
    platform: { architecture, os: 'linux' },
    annotations: {
      'io.containerd.image.name': name,
      'org.opencontainers.image.ref.name': name.slice(name.lastIndexOf(':') + 1),
    },
  }));
  return tarArchive([
    { path: 'oci-layout', content: json({ imageLayoutVersion: '1.0.0' }) },
    { path: 'index.json', content: json({ schemaVersion: 2, mediaType: INDEX, manifests }) },
    ...[...blobs].map(([digest, content]) => ({ path: `blobs/${digest.replace(':', '/')}`, content })),
  ]);
}

function imageConfig(source: ImageSource, layerDigest: string): object {
  return {
    created: EPOCH,
    architecture: source.architecture,
    os: 'linux',
    config: {
      Env: source.env ?? ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
      ...(source.entrypoint && { Entrypoint: source.entrypoint }),
      ...(source.cmd && { Cmd: source.cmd }),
      ...(source.user !== undefined && { User: source.user }),
      ...(source.workingDir !== undefined && { WorkingDir: source.workingDir }),
      ...(source.stopSignal !== undefined && { StopSignal: source.stopSignal }),
    },
    // An uncompressed layer's digest is also that of its content.
    rootfs: { type: 'layers', diff_ids: [layerDigest] },
    history: [{ created: EPOCH, created_by: 'keelson' }],
  };
}

const json = (value: object): Buffer => Buffer.from(JSON.stringify(value));

function blob(mediaType: string, content: Buffer): Blob {
  return { mediaType, digest: `sha256:${createHash('sha256').update(content).digest('hex')}`, content };
}

function descriptor({ mediaType, digest, content }: Blob): { mediaType: string; digest: string; size: number } {
  return { mediaType, digest, size: content.length };
}
