import { createHash } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { atomicWrite, readIfExists } from '../host/files.ts';
import { errnoOf } from '../lib/errors.ts';
import { isRecord } from '../lib/schema.ts';
import type { Coordinates } from './pull-credentials.ts';

/** Who has shown that he may have an image: everybody on the node, or the owners of these objects. */
export interface PullCredentials {
  readonly nodePodsAccessible?: boolean;
  readonly kubernetesSecrets?: readonly SecretRecord[];
  readonly kubernetesServiceAccounts?: readonly Coordinates[];
}

export interface SecretRecord extends Coordinates {
  readonly credentialHash: string;
}

/** An image that was pulled, by the id that the runtime knows it under. */
export interface PulledRecord {
  readonly imageRef: string;
  /** RFC 3339. */
  readonly lastUpdatedTime: string;
  /** Image name without tag → who may have it. */
  readonly credentialMapping: Readonly<Record<string, PullCredentials>>;
}

const apiVersion = 'kubelet.config.k8s.io/v1beta1';
const readable = /^kubelet\.config\.k8s\.io\/v1(alpha1|beta1)$/;

/**
 * What is known of pulls, on disk, one file for each: in `image_manager/pulling` those that were begun, in
 * `image_manager/pulled` those that were done. The folders and the format are the kubelet's, so that a node that is
 * switched over keeps its knowledge, in both directions. A record that cannot be read fails the call that reads it.
 */
export class PullRecords {
  readonly #pulling: string;
  readonly #pulled: string;

  constructor(rootDir: string) {
    this.#pulling = join(rootDir, 'image_manager', 'pulling');
    this.#pulled = join(rootDir, 'image_manager', 'pulled');
  }

  /** `image` as the pod names it. */
  async intend(image: string): Promise<void> {
    await this.#write(this.#pulling, image, { kind: 'ImagePullIntent', apiVersion, image });
  }

  async isIntended(image: string): Promise<boolean> {
    return (await read(join(this.#pulling, fileOf(image))))?.['image'] === image;
  }

  async endIntent(image: string): Promise<void> {
    await rm(join(this.#pulling, fileOf(image)), { force: true });
  }

  async intents(): Promise<readonly string[]> {
    const found = await this.#all(this.#pulling);
    return found.flatMap(({ image }) => (typeof image === 'string' ? [image] : []));
  }

  async pulled(imageRef: string): Promise<PulledRecord | undefined> {
    const found = await read(join(this.#pulled, fileOf(imageRef)));
    return found?.['imageRef'] === imageRef ? recordOf(found) : undefined;
  }

  async writePulled(record: PulledRecord): Promise<void> {
    await this.#write(this.#pulled, record.imageRef, { kind: 'ImagePulledRecord', apiVersion, ...record });
  }

  /** Forgets images that are not among `imageRefs`, unless their record is younger than `until`, milliseconds since the epoch. */
  async prune(imageRefs: readonly string[], until: number): Promise<void> {
    const known = new Set(imageRefs);
    for (const found of await this.#all(this.#pulled)) {
      const { imageRef, lastUpdatedTime } = recordOf(found);
      if (known.has(imageRef) || Date.parse(lastUpdatedTime) >= until) continue;
      await rm(join(this.#pulled, fileOf(imageRef)), { force: true });
    }
  }

  async #write(folder: string, key: string, content: object): Promise<void> {
    await mkdir(folder, { recursive: true, mode: 0o700 });
    // Go ends what it writes with a newline.
    await atomicWrite(join(folder, fileOf(key)), `${JSON.stringify(content)}\n`, { mode: 0o600, durable: false });
  }

  /** Every record of a folder that can be read; one that cannot says nothing. */
  async #all(folder: string): Promise<Record<string, unknown>[]> {
    const names = await readdir(folder).catch((error: unknown) => {
      if (errnoOf(error) === 'ENOENT') return [];
      throw error;
    });
    const records: Record<string, unknown>[] = [];
    for (const name of names.filter((n) => /^sha256-[0-9a-f]+$/.test(n))) {
      const record = await read(join(folder, name)).catch(() => undefined);
      if (record) records.push(record);
    }
    return records;
  }
}

const fileOf = (key: string): string => `sha256-${createHash('sha256').update(key).digest('hex')}`;

async function read(path: string): Promise<Record<string, unknown> | undefined> {
  const text = await readIfExists(path);
  if (text === undefined) return undefined;
  const parsed: unknown = JSON.parse(text);
  const known = isRecord(parsed) && typeof parsed['apiVersion'] === 'string' && readable.test(parsed['apiVersion']);
  if (!known) throw new Error(`${path} is no record of a pull`);
  return parsed;
}

function recordOf(found: Record<string, unknown>): PulledRecord {
  const { imageRef, lastUpdatedTime, credentialMapping } = found;
  return {
    imageRef: String(imageRef ?? ''),
    lastUpdatedTime: String(lastUpdatedTime ?? ''),
    credentialMapping: isRecord(credentialMapping) ? (credentialMapping as PulledRecord['credentialMapping']) : {},
  };
}
