import type { Container, Pod, Secret } from '../api/core-v1.ts';
import type * as cri from '../api/cri.ts';
import { eventReason, waitingReason } from '../api/reasons.ts';
import { CriError, type ImageService, isCriCode } from '../cri/services.ts';
import { backoffDelay } from '../lib/backoff.ts';
import type { Clock } from '../lib/clock.ts';
import { isAbort, messageOf } from '../lib/errors.ts';
import { goDuration } from '../lib/go-duration.ts';
import { type ImageName, parseImageName } from '../lib/image-name.ts';
import { Semaphore } from '../lib/semaphore.ts';
import { pullCredentials, secretConfigs } from './pull-credentials.ts';
import { ContainerError } from './sync-error.ts';

export interface ImagePullerOptions {
  readonly images: ImageService;
  readonly clock: Clock;
  /** Pulls at a time; 1 is upstream's serializeImagePulls. Infinity is no bound. */
  readonly maxParallelPulls: number;
}

export interface PullRequest {
  readonly pod: Pod;
  readonly container: Container;
  readonly sandboxConfig: cri.PodSandboxConfig;
  /** The pod's pull secrets, asked for only when something has to be pulled. */
  readonly secrets: () => Promise<readonly Secret[]>;
  readonly event: (type: 'Normal' | 'Warning', reason: string, message: string) => void;
}

const pullBackoff = { initialMs: 10_000, maxMs: 300_000 } as const;
/** Failed images remembered at a time; the oldest is forgotten first and then simply tried again. */
const maxRemembered = 1000;

/** Sees to it that a container's image is there, by its pull policy. Failed pulls back off per pod and image. */
export class ImagePuller {
  readonly #o: ImagePullerOptions;
  readonly #slots: Semaphore;
  readonly #failures = new Map<string, { count: number; at: number; message: string }>();

  constructor(options: ImagePullerOptions) {
    this.#o = options;
    this.#slots = new Semaphore(options.maxParallelPulls);
  }

  /** The image to run. Fails with a ContainerError that carries the waiting reason. */
  async ensure(request: PullRequest, signal: AbortSignal): Promise<cri.Image> {
    const { container, event } = request;
    const name = this.#parse(request);
    const spec: cri.ImageSpec = { image: name.full, userSpecifiedImage: container.image ?? '' };
    const policy = container.imagePullPolicy ?? defaultPolicy(name);
    const present = await this.#inspect(spec, request, signal);
    if (present && policy !== 'Always') {
      event(
        'Normal',
        eventReason.pulled,
        `Container image "${container.image}" already present on machine and can be accessed by the pod`,
      );
      return present;
    }
    if (policy === 'Never') {
      const message = `Container image "${container.image}" is not present with pull policy of Never`;
      event('Warning', eventReason.errImageNeverPull, message);
      throw new ContainerError(waitingReason.errImageNeverPull, message);
    }
    this.#refuseInBackoff(request);
    return this.#pull(name, spec, request, signal);
  }

  /** When the next try of a container's image is due, milliseconds since the epoch; undefined when it never failed. */
  retryAt(pod: Pod, container: Container): number | undefined {
    const failure = this.#failures.get(key(pod, container));
    return failure && failure.at + backoffDelay(failure.count, pullBackoff);
  }

  #parse({ container, event }: PullRequest): ImageName {
    try {
      return parseImageName(container.image ?? '');
    } catch (error) {
      const message = `Failed to apply default image tag "${container.image}": ${messageOf(error)}`;
      event('Warning', eventReason.inspectFailed, message);
      throw new ContainerError(waitingReason.invalidImageName, message, { cause: error });
    }
  }

  async #inspect(
    spec: cri.ImageSpec,
    { container, event }: PullRequest,
    signal: AbortSignal,
  ): Promise<cri.Image | undefined> {
    try {
      return await this.#o.images.imageStatus(spec, signal);
    } catch (error) {
      // A runtime that went away is no fault of the image: the whole sync is tried again.
      if (isAbort(error) || isCriCode(error, 'UNAVAILABLE') || isCriCode(error, 'DEADLINE_EXCEEDED')) throw error;
      const message = `Failed to inspect image "${container.image}": ${detailsOf(error)}`;
      event('Warning', eventReason.inspectFailed, message);
      throw new ContainerError(waitingReason.imageInspectError, message, { cause: error });
    }
  }

  #refuseInBackoff({ pod, container, event }: PullRequest): void {
    const failure = this.#failures.get(key(pod, container));
    const due = this.retryAt(pod, container) ?? 0;
    if (!failure || due <= this.#o.clock.now()) return;
    const message = `Back-off pulling image "${container.image}"`;
    event('Normal', eventReason.backOff, message);
    throw new ContainerError(
      waitingReason.imagePullBackOff,
      `${message}: ${waitingReason.errImagePull}: ${failure.message}`,
    );
  }

  async #pull(name: ImageName, spec: cri.ImageSpec, request: PullRequest, signal: AbortSignal): Promise<cri.Image> {
    const { container, event, pod } = request;
    const { clock } = this.#o;
    event('Normal', eventReason.pulling, `Pulling image "${container.image}"`);
    const asked = clock.monotonic();
    let started = asked;
    try {
      const ref = await this.#slots.run(signal, async () => {
        started = clock.monotonic();
        return this.#tryCredentials(name, spec, request, signal);
      });
      const image = (await this.#o.images.imageStatus({ image: ref }, signal)) ?? { id: ref };
      this.#failures.delete(key(pod, container));
      const end = clock.monotonic();
      const took = `${goDuration(Math.round(end - started))} (${goDuration(Math.round(end - asked))} including waiting)`;
      event(
        'Normal',
        eventReason.pulled,
        `Successfully pulled image "${container.image}" in ${took}. Image size: ${image.size ?? 0} bytes.`,
      );
      return image;
    } catch (error) {
      if (isAbort(error)) throw error;
      const message = `failed to pull image "${container.image}": ${detailsOf(error)}`;
      this.#remember(key(pod, container), message);
      event('Warning', eventReason.failed, `Failed to pull image "${container.image}": ${detailsOf(error)}`);
      event('Warning', eventReason.failed, `Error: ${waitingReason.errImagePull}`);
      throw new ContainerError(waitingReason.errImagePull, message, { cause: error });
    }
  }

  /** Every credential that fits, or none where there is none: the error of the last one that was tried counts. */
  async #tryCredentials(
    name: ImageName,
    spec: cri.ImageSpec,
    request: PullRequest,
    signal: AbortSignal,
  ): Promise<string> {
    const credentials = pullCredentials(name.base, secretConfigs(await request.secrets())).map(({ auth }) => auth);
    let last: unknown;
    for (const auth of credentials.length > 0 ? credentials : [undefined]) {
      try {
        return await this.#o.images.pullImage(spec, auth, request.sandboxConfig, signal);
      } catch (error) {
        if (isAbort(error)) throw error;
        last = error;
      }
    }
    throw last;
  }

  #remember(id: string, message: string): void {
    const count = (this.#failures.get(id)?.count ?? 0) + 1;
    this.#failures.delete(id);
    this.#failures.set(id, { count, at: this.#o.clock.now(), message });
    const oldest = this.#failures.keys().next().value;
    if (this.#failures.size > maxRemembered && oldest !== undefined) this.#failures.delete(oldest);
  }
}

/** As the API server's default: what may be another image tomorrow is pulled each time. */
const defaultPolicy = ({ tag, digest }: ImageName): 'Always' | 'IfNotPresent' =>
  tag === 'latest' || (tag === undefined && digest === undefined) ? 'Always' : 'IfNotPresent';

const key = (pod: Pod, container: Container): string => `${pod.metadata.uid}/${container.image}`;

/** The runtime's own words for users; everything else by its message. */
export const detailsOf = (error: unknown): string => (error instanceof CriError ? error.details : messageOf(error));
