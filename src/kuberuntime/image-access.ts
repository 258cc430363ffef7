import type * as cri from '../api/cri.ts';
import type { ImageService } from '../cri/services.ts';
import type { Clock } from '../lib/clock.ts';
import { errorFields } from '../lib/errors.ts';
import { type ImageName, parseImageName } from '../lib/image-name.ts';
import type { Log } from '../lib/log.ts';
import type { PullCredential } from './pull-credentials.ts';
import type { PullCredentials, PulledRecord, PullRecords } from './pull-records.ts';
import { matchCredentials, mergeRecord, mustVerify, shownBy, type VerificationPolicy } from './verify-credentials.ts';

export interface ImageAccessOptions {
  readonly records: PullRecords;
  readonly images: ImageService;
  readonly verification: VerificationPolicy;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Keeps one tenant's images from another one: an image that was pulled with credentials is given only to pods
 * that have them too; the others pull anew, and the registry decides. What cannot be read or written is logged,
 * and read as "show your credentials".
 */
export class ImageAccess {
  readonly #o: ImageAccessOptions;
  /** Pulls under way by image as the pod names it: the last one to end takes the intent away. */
  readonly #underWay = new Map<string, number>();
  #settled: Promise<void> | undefined;

  constructor(options: ImageAccessOptions) {
    this.#o = options;
  }

  /** May the pod have the image, which is `present`, without a pull? Asks for its credentials only when they count. */
  async isAllowed(
    image: string,
    name: ImageName,
    present: cri.Image,
    credentials: () => Promise<readonly PullCredential[]>,
    signal: AbortSignal,
  ): Promise<boolean> {
    const { records, verification } = this.#o;
    await this.#settle(signal);
    try {
      const imageRef = present.id ?? '';
      const record = await records.pulled(imageRef);
      const pulledByUs =
        (record !== undefined && !isPreloaded(record, name, present)) ||
        this.#underWay.has(image) ||
        (await records.isIntended(image));
      if (!mustVerify(verification, image, pulledByUs)) return true;
      const known = record?.credentialMapping[name.base];
      if (!known) return false;
      if (known.nodePodsAccessible) return true;
      const { allowed, learn } = matchCredentials(known, await credentials());
      if (learn) await this.#learn(name, imageRef, { kubernetesSecrets: [learn] });
      return allowed;
    } catch (error) {
      signal.throwIfAborted();
      this.#o.log.warn({ image, ...errorFields(error) }, 'cannot read who may have an image');
      return false;
    }
  }

  /** A pull begins. Fails when that cannot be written: an image of unknown origin would be everybody's. */
  async begin(image: string): Promise<void> {
    await this.#o.records.intend(image);
    this.#underWay.set(image, (this.#underWay.get(image) ?? 0) + 1);
  }

  /** The pull has ended, with an image or without one. */
  async end(
    image: string,
    name: ImageName,
    result: { readonly imageRef: string; readonly credential: PullCredential | undefined } | undefined,
  ): Promise<void> {
    const others = (this.#underWay.get(image) ?? 1) - 1;
    if (others > 0) this.#underWay.set(image, others);
    else this.#underWay.delete(image);
    try {
      if (result) await this.#learn(name, result.imageRef, shownBy(result.credential));
      if (others <= 0) await this.#o.records.endIntent(image);
    } catch (error) {
      // The intent stays behind: it says that the image was pulled, and is looked at again by the next start.
      this.#o.log.warn({ image, ...errorFields(error) }, 'cannot note who may have an image');
    }
  }

  async #learn(name: ImageName, imageRef: string, shown: PullCredentials): Promise<void> {
    const { records, clock } = this.#o;
    const record = await records.pulled(imageRef).catch(() => undefined);
    const merged = mergeRecord(record, imageRef, name.base, shown, clock.now());
    if (merged) await records.writePulled(merged);
  }

  /** Once: what pulls that an earlier process began came to, and away with the records of images that are gone. */
  #settle(signal: AbortSignal): Promise<void> {
    this.#settled ??= this.#settleIntents(signal).catch((error: unknown) => {
      this.#settled = undefined;
      signal.throwIfAborted();
      this.#o.log.warn(errorFields(error), 'cannot look through the records of pulls');
    });
    return this.#settled;
  }

  async #settleIntents(signal: AbortSignal): Promise<void> {
    const { records, images, clock } = this.#o;
    const started = clock.now();
    const present = await images.listImages(signal);
    for (const image of await records.intents()) {
      if (this.#underWay.has(image)) continue;
      const name = parseImageName(image);
      const found = present.find(({ repoTags = [], repoDigests = [] }) =>
        [...repoTags, ...repoDigests].some((known) => known === image || known === name.full),
      );
      if (!found?.id) continue;
      // Known by name and nobody's: whoever wants it has to ask for it.
      await this.#learn(name, found.id, {});
      await records.endIntent(image);
    }
    // Records tell whole seconds.
    const until = Math.floor(started / 1000) * 1000;
    const ids = present.flatMap(({ id }) => (id ? [id] : []));
    await records.prune(ids, until);
  }
}

/**
 * Whether the image, though we pulled it under another name, was brought here under this one by somebody else: the
 * runtime has the name, and no pull of ours left a trace of it. So an image that was always there for everybody stays
 * so when one with the same content is pulled. (Upstream keeps such traces since 1.37.)
 */
function isPreloaded({ credentialMapping }: PulledRecord, name: ImageName, present: cri.Image): boolean {
  const bases = Object.keys(credentialMapping);
  if (bases.length === 0 || bases.includes(name.base)) return false;
  return [...(present.repoTags ?? []), ...(present.repoDigests ?? [])].some(
    (known) => known.startsWith(`${name.base}:`) || known.startsWith(`${name.base}@`),
  );
}
