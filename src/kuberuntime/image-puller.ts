import type { Container, Pod, Secret } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import { eventReason, waitingReason } from '../api/reasons.ts';
import type { ContentStore } from '../cri/containerd-content.ts';
import { type ImageService, isCriCode } from '../cri/services.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, messageOf } from '../lib/errors.ts';
import { goDuration } from '../lib/go-duration.ts';
import { type ImageName, parseImageName } from '../lib/image-name.ts';
import type { Log } from '../lib/log.ts';
import { Semaphore } from '../lib/semaphore.ts';
import { TokenBucket } from '../lib/token-bucket.ts';
import { CredentialSources } from './credential-sources.ts';
import type { ImageAccess } from './image-access.ts';
import { type ImageMetrics, imageSizeLabel } from './image-metrics.ts';
import { PullBackoff } from './pull-backoff.ts';
import type { PullCredential } from './pull-credentials.ts';
import { isNoFault, judgePullError, pullErrorsText, pullErrorText } from './pull-error.ts';
import { type PullView, PullViews } from './pull-views.ts';
import { ContainerError } from './sync-error.ts';
import { watchPull } from './watch-pull.ts';

export { detailsOf } from './pull-error.ts';

export interface ImagePullerOptions {
  readonly images: ImageService;
  readonly clock: Clock;
  readonly log: Log;
  /** Pulls at a time; 1 is upstream's serializeImagePulls. Infinity is no bound. */
  readonly maxParallelPulls: number;
  /** Pulls a second on average, and at once; 0 is no limit. One beyond that fails, and backs off. */
  readonly pullQps?: number;
  readonly pullBurst?: number;
  /** What there is besides the pods' own secrets. */
  readonly credentials?: CredentialSources;
  /** Undefined: what is there may be had by every pod. */
  readonly access?: ImageAccess;
  /** Undefined: nobody knows how far a pull is. */
  readonly content?: ContentStore;
  readonly metrics?: ImageMetrics;
}

type Tell = (type: 'Normal' | 'Warning', reason: string, message: string) => void;

interface CommonRequest {
  readonly pod: Pod;
  readonly sandboxConfig: cri.PodSandboxConfig;
  /** The pod's RuntimeClass handler; the default one when absent. */
  readonly runtimeHandler?: string;
  /** The pod's pull secrets. Asked for early and not waited for, so that missing ones are told of. */
  readonly secrets: () => Promise<readonly Secret[]>;
  readonly event: Tell;
}

export interface PullRequest extends CommonRequest {
  readonly container: Container;
}

/** An image that is mounted and not run. */
export interface VolumeImageRequest extends CommonRequest {
  /** The volume's name. */
  readonly volume: string;
  readonly reference: string;
  readonly policy: Container['imagePullPolicy'];
}

/** One image wanted by one container or volume. */
interface Wanted extends CommonRequest {
  readonly owner: string;
  readonly image: string;
  readonly policy: NonNullable<Container['imagePullPolicy']>;
  readonly name: ImageName;
  readonly spec: cri.ImageSpec;
  /** Looked up once, and only when they count. */
  readonly credentials: () => Promise<readonly PullCredential[]>;
}

/** Sees to it that an image is there, by its pull policy. Failed pulls back off per pod and image. */
export class ImagePuller {
  readonly #o: ImagePullerOptions;
  readonly #slots: Semaphore;
  readonly #bucket: TokenBucket;
  readonly #backoff: PullBackoff;
  readonly #credentials: CredentialSources;
  readonly #views: PullViews;

  constructor(options: ImagePullerOptions) {
    const { clock, maxParallelPulls, pullQps = 0, pullBurst = 1 } = options;
    this.#o = options;
    this.#slots = new Semaphore(maxParallelPulls);
    this.#bucket = new TokenBucket({ clock, perSecond: pullQps, burst: pullBurst });
    this.#backoff = new PullBackoff(clock);
    this.#credentials = options.credentials ?? new CredentialSources({ node: undefined, plugins: [] });
    this.#views = new PullViews(clock, this.#backoff);
  }

  /** The image to run. Fails with a ContainerError that carries the waiting reason, and has told of it. */
  async ensure(request: PullRequest, signal: AbortSignal): Promise<cri.Image> {
    const { container, event } = request;
    try {
      return await this.#ensure(request, container.name, container.image ?? '', container.imagePullPolicy, signal);
    } catch (error) {
      if (error instanceof ContainerError) event('Warning', eventReason.failed, `Error: ${error.code}`);
      throw error;
    }
  }

  /**
   * The image of an image volume, by the same rules. Fails with a ContainerError that carries the waiting reason of
   * the containers that mount it; the caller tells of that.
   */
  async ensureVolumeImage(request: VolumeImageRequest, signal: AbortSignal): Promise<cri.Image> {
    const { metrics } = this.#o;
    metrics?.volumesRequested.inc();
    try {
      const owner = volumeOwner(request.volume);
      const image = await this.#ensure(request, owner, request.reference, request.policy, signal);
      metrics?.volumesMounted.inc();
      return image;
    } catch (error) {
      metrics?.volumeErrors.inc();
      throw error;
    }
  }

  /** When the next try of a container's image is due, milliseconds since the epoch; undefined when the last one was good. */
  retryAt(pod: Pod, container: Container): number | undefined {
    const waiting = this.#backoff.waiting(backoffKey(pod, container.image ?? ''));
    return waiting && this.#o.clock.now() + waiting.leftMs;
  }

  /** What a container, or a volume by `volumeOwner(name)`, waits for here; undefined when it is not for its image. */
  progress(uid: string, owner: string): PullView | undefined {
    return this.#views.view(uid, owner);
  }

  /** How far the pull of an image is, in words; undefined when nobody knows. */
  howFar(image: string): string | undefined {
    return this.#views.words(image);
  }

  async #ensure(
    request: CommonRequest,
    owner: string,
    image: string,
    givenPolicy: Container['imagePullPolicy'],
    signal: AbortSignal,
  ): Promise<cri.Image> {
    const { pod, event } = request;
    const name = parse(image, event);
    const policy = givenPolicy ?? defaultPolicy(name);
    const { annotations = {} } = pod.metadata;
    const handler = request.runtimeHandler ? { runtimeHandler: request.runtimeHandler } : {};
    const spec: cri.ImageSpec = { image: name.asked, annotations, ...handler };
    const secrets = once(request.secrets);
    if (pod.spec.imagePullSecrets?.length) secrets().catch(() => {});
    const credentials = once(async () => this.#credentials.find(name.base, pod, await secrets(), signal));
    const wanted: Wanted = { ...request, owner, image, policy, name, spec, credentials };
    const present = policy === 'Always' ? undefined : await this.#inspect(wanted, signal);
    const isAllowed = present !== undefined && (await this.#mayHave(wanted, present, signal));
    this.#countRequest(policy, present !== undefined, !isAllowed && policy !== 'Never');
    if (present && isAllowed) {
      const message = `Container image "${image}" already present on machine and can be accessed by the pod`;
      event('Normal', eventReason.pulled, message);
      this.#views.done(wanted);
      return present;
    }
    if (policy === 'Never') {
      // An image that the pod may not have is told of as if it were not there.
      const message = `Container image "${image}" is not present with pull policy of Never`;
      event('Warning', eventReason.errImageNeverPull, message);
      throw new ContainerError(waitingReason.errImageNeverPull, message);
    }
    this.#refuseInBackoff(wanted);
    return this.#pullAndTell(wanted, signal);
  }

  /** Where an image is pulled anyway, whether it is here is not looked at. */
  #countRequest(policy: Wanted['policy'], isPresent: boolean, isPulled: boolean): void {
    const here = policy === 'Always' ? 'unknown' : String(isPresent);
    this.#o.metrics?.ensured.inc(policy.toLowerCase(), here, String(isPulled));
  }

  async #inspect({ image, spec, event }: Wanted, signal: AbortSignal): Promise<cri.Image | undefined> {
    try {
      return await this.#o.images.imageStatus(spec, signal);
    } catch (error) {
      // A runtime that went away is no fault of the image: the whole sync is tried again.
      if (isNoFault(error) || isCriCode(error, 'DEADLINE_EXCEEDED')) throw error;
      const message = `Failed to inspect image "${image}": ${pullErrorText(error)}`;
      event('Warning', eventReason.inspectFailed, message);
      throw new ContainerError(waitingReason.imageInspectError, message, { cause: error });
    }
  }

  async #mayHave({ image, name, credentials }: Wanted, present: cri.Image, signal: AbortSignal): Promise<boolean> {
    const { access } = this.#o;
    return access === undefined || access.isAllowed(image, name, present, credentials, signal);
  }

  #refuseInBackoff({ pod, image, event }: Wanted): void {
    const waiting = this.#backoff.waiting(backoffKey(pod, image));
    if (!waiting || waiting.leftMs === 0) return;
    const message = `Back-off pulling image "${image}"`;
    event('Normal', eventReason.backOff, message);
    throw new ContainerError(waitingReason.imagePullBackOff, `${message}: ${waiting.message}`);
  }

  async #pullAndTell(wanted: Wanted, signal: AbortSignal): Promise<cri.Image> {
    const { pod, image, event } = wanted;
    const { clock } = this.#o;
    event('Normal', eventReason.pulling, `Pulling image "${image}"`);
    this.#views.waits(wanted);
    const asked = clock.monotonic();
    try {
      const { pulled, startedAt } = await this.#pull(wanted, signal);
      const end = clock.monotonic();
      const took = `${goDuration(Math.round(end - startedAt))} (${goDuration(Math.round(end - asked))} including waiting)`;
      this.#o.metrics?.pullDuration.observe((end - startedAt) / 1000, imageSizeLabel(pulled.size ?? 0));
      const size = `Image size: ${pulled.size ?? 0} bytes.`;
      event('Normal', eventReason.pulled, `Successfully pulled image "${image}" in ${took}. ${size}`);
      this.#backoff.succeeded(backoffKey(pod, image));
      this.#views.done(wanted);
      return pulled;
    } catch (error) {
      this.#views.stopped(wanted);
      if (isNoFault(error) || signal.aborted) throw error;
      const text = error instanceof PullFailed ? pullErrorsText(error.errors) : pullErrorText(error);
      const { reason, message } = judgePullError(image, text);
      this.#backoff.failed(backoffKey(pod, image), `${reason}: ${message}`);
      event('Warning', eventReason.failed, `Failed to pull image "${image}": ${text}`);
      throw new ContainerError(reason, message, { cause: error });
    }
  }

  async #pull(wanted: Wanted, signal: AbortSignal): Promise<{ pulled: cri.Image; startedAt: number }> {
    const { access, images, clock } = this.#o;
    const { image, name } = wanted;
    await access?.begin(image);
    let result: { imageRef: string; credential: PullCredential | undefined } | undefined;
    try {
      const credentials = await wanted.credentials();
      let startedAt = clock.monotonic();
      result = await this.#slots.run(signal, async () => {
        startedAt = clock.monotonic();
        this.#views.pulls(wanted);
        return this.#tryCredentials(wanted, credentials, signal);
      });
      const pulled = (await images.imageStatus({ image: result.imageRef }, signal)) ?? { id: result.imageRef };
      return { pulled, startedAt };
    } finally {
      await access?.end(image, name, result);
    }
  }

  /** Every credential that fits, or none where there is none. */
  async #tryCredentials(wanted: Wanted, credentials: readonly PullCredential[], signal: AbortSignal) {
    const errors: unknown[] = [];
    for (const credential of credentials.length > 0 ? credentials : [undefined]) {
      try {
        if (!this.#bucket.tryTake()) throw new AgentError('PullQps', 'pull QPS exceeded');
        return { imageRef: await this.#pullOnce(wanted, credential, signal), credential };
      } catch (error) {
        if (isNoFault(error) || signal.aborted) throw error;
        errors.push(error);
      }
    }
    throw new PullFailed(errors);
  }

  #pullOnce(wanted: Wanted, credential: PullCredential | undefined, signal: AbortSignal): Promise<string> {
    const { images, clock, log, content } = this.#o;
    const { image, name, pod, owner, event, spec, sandboxConfig } = wanted;
    return watchPull(
      {
        ...{ image, name, content, clock, event },
        log: log.child({ podUid: pod.metadata.uid, container: owner }),
        look: (bytes) => this.#views.looked(wanted, bytes),
      },
      (limited) => images.pullImage(spec, credential?.auth, sandboxConfig, limited),
      signal,
    );
  }
}

/** How a volume is named where a container's name is expected: containers have no slash. */
export const volumeOwner = (volume: string): string => `volume/${volume}`;

/** No credential opened the image: one error for each that was tried. */
class PullFailed extends AgentError {
  readonly errors: readonly unknown[];

  constructor(errors: readonly unknown[]) {
    super('PullFailed', pullErrorsText(errors));
    this.errors = errors;
  }
}

function parse(image: string, event: Tell): ImageName {
  try {
    return parseImageName(image);
  } catch (error) {
    const message = `Failed to apply default image tag "${image}": ${messageOf(error)}`;
    event('Warning', eventReason.inspectFailed, message);
    throw new ContainerError(waitingReason.invalidImageName, message, { cause: error });
  }
}

/** As the API server's default: what may be another image tomorrow is pulled each time. */
const defaultPolicy = ({ tag, digest }: ImageName): 'Always' | 'IfNotPresent' =>
  tag === 'latest' || (tag === undefined && digest === undefined) ? 'Always' : 'IfNotPresent';

const backoffKey = (pod: Pod, image: string): string => `${pod.metadata.uid}/${image}`;

function once<T>(work: () => Promise<T>): () => Promise<T> {
  let result: Promise<T> | undefined;
  return () => {
    result ??= work();
    return result;
  };
}
