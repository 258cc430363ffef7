import type { Pod } from '../api/core-v1.ts';
import { ContainerState, PodSandboxState } from '../api/cri.ts';
import { type PodUid, podUid } from '../api/ids.ts';
import { criLabels } from '../api/labels.ts';
import { CriError, goRpcError, type RuntimeService } from '../cri/services.ts';
import type { PodManager } from '../pod/pod-manager.ts';
import { HttpError } from './endpoint.ts';

export interface StreamTargetParts {
  readonly runtime: RuntimeService;
  readonly manager: PodManager;
}

/** Finds what exec, attach and port-forward are about; refuses with upstream's words. */
export class StreamTargets {
  readonly #runtime: RuntimeService;
  readonly #manager: PodManager;

  constructor({ runtime, manager }: StreamTargetParts) {
    this.#runtime = runtime;
    this.#manager = manager;
  }

  /** A pod that should be here, by its names. Throws an HttpError of 404. */
  pod(namespace: string, name: string): Pod {
    for (const { pod } of this.#manager.all()) {
      if (pod.metadata.name === name && (pod.metadata.namespace ?? 'default') === namespace) return pod;
    }
    throw new HttpError(404, 'pod does not exist');
  }

  /**
   * The id of the pod's container that runs now, as the runtime says; undefined when there is none, or
   * when `uid` is given and is neither the pod's nor that of its mirror.
   */
  async runningContainer(
    pod: Pod,
    uid: string | undefined,
    container: string,
    signal: AbortSignal,
  ): Promise<string | undefined> {
    const labels = this.#labelsOf(pod, uid);
    if (!labels) return undefined;
    const labelSelector = { ...labels, [criLabels.containerName]: container };
    const state = { state: ContainerState.CONTAINER_RUNNING };
    const found = await this.#runtime.listContainers({ state, labelSelector }, signal);
    return latest(found)?.id;
  }

  /** The id of the sandbox that is up, as the runtime says. */
  async readySandbox(pod: Pod, uid: string | undefined, signal: AbortSignal): Promise<string | undefined> {
    const labelSelector = this.#labelsOf(pod, uid);
    if (!labelSelector) return undefined;
    const state = { state: PodSandboxState.SANDBOX_READY };
    return latest(await this.#runtime.listPodSandbox({ state, labelSelector }, signal))?.id;
  }

  #labelsOf(pod: Pod, uid: string | undefined): Readonly<Record<string, string>> | undefined {
    const own = podUid(pod.metadata.uid ?? '');
    if (uid !== undefined && this.#translated(pod, uid) !== own) return undefined;
    return { [criLabels.podUid]: own };
  }

  /** A mirror pod's UID stands for that of its static pod. */
  #translated(pod: Pod, uid: string): PodUid {
    const mirror: string | undefined = this.#manager.mirrorOf(pod)?.uid;
    return uid === mirror ? podUid(pod.metadata.uid ?? '') : podUid(uid);
  }
}

function latest<T extends { readonly createdAt?: number }>(items: readonly T[]): T | undefined {
  return items.toSorted((a, b) => (b.createdAt ?? 0) - (a.createdAt ?? 0))[0];
}

/** What the runtime's refusal of a stream is to the client. */
export function streamRefusal(error: unknown): unknown {
  if (!(error instanceof CriError)) return error;
  const status = error.grpcCode === 'NOT_FOUND' ? 404 : error.grpcCode === 'RESOURCE_EXHAUSTED' ? 429 : 500;
  return new HttpError(status, goRpcError(error), { cause: error });
}
