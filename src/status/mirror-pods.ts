import type { Node, Pod } from '../api/core-v1.ts';
import { configHashAnnotation, configMirrorAnnotation, podKey } from '../api/pod.ts';
import { isAlreadyExists, isConflict, isNotFound, type KubeApi } from '../kubeapi/kube-api.ts';
import { failureLevel } from '../kubeapi/outage-log.ts';
import { pods } from '../kubeapi/resources.ts';
import { errorFields, isAbort } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import type { MirrorPod, PodManager } from '../pod/pod-manager.ts';

/** What has to be done so that every static pod has its mirror, and nothing else has one. */
export interface MirrorActions {
  readonly create: readonly Pod[];
  readonly remove: readonly MirrorPod[];
}

/** Compares static pods with the mirrors that exist: a mirror of other content, of no static pod, or on its way out goes. */
export function computeMirrorActions(staticPods: readonly Pod[], mirrors: readonly MirrorPod[]): MirrorActions {
  const byName = new Map(mirrors.map((m) => [podKey(m.pod), m]));
  const wanted = new Map(staticPods.map((pod) => [podKey(pod), pod]));
  const matches = (mirror: MirrorPod): boolean => {
    const pod = wanted.get(podKey(mirror.pod));
    const hash = mirror.pod.metadata.annotations?.[configMirrorAnnotation];
    return pod !== undefined && hash === mirrorHash(pod) && mirror.pod.metadata.deletionTimestamp === undefined;
  };
  return {
    create: staticPods.filter((pod) => !byName.has(podKey(pod))),
    remove: mirrors.filter((m) => !matches(m)),
  };
}

/** The object to create for a static pod: the pod itself, marked, and owned by the node so that it goes with it. */
export function mirrorPodOf(pod: Pod, node: Node): Pod {
  const { name, namespace = 'default', labels, annotations } = pod.metadata;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name,
      namespace,
      ...(labels ? { labels } : {}),
      annotations: { ...annotations, [configMirrorAnnotation]: mirrorHash(pod) },
      ownerReferences: [
        { apiVersion: 'v1', kind: 'Node', name: node.metadata.name, uid: node.metadata.uid ?? '', controller: true },
      ],
    },
    spec: pod.spec,
  };
}

const mirrorHash = (pod: Pod): string => pod.metadata.annotations?.[configHashAnnotation] ?? pod.metadata.uid ?? '';

export interface MirrorPodsOptions {
  readonly api: KubeApi;
  readonly manager: PodManager;
  readonly node: () => Node | undefined;
  readonly log: Log;
}

/** Keeps the mirrors of static pods at the API server. One pass at a time; a pass that fails is repeated by its caller. */
export class MirrorPods {
  readonly #o: MirrorPodsOptions;

  constructor(options: MirrorPodsOptions) {
    this.#o = options;
  }

  /** Resolves with whether everything is as it should be. */
  async syncOnce(signal: AbortSignal): Promise<boolean> {
    const { manager, node } = this.#o;
    const owner = node();
    if (!owner?.metadata.uid) return false;
    const staticPods = [...manager.all()].filter((d) => d.source === 'file' && !d.intent).map((d) => d.pod);
    const { create, remove } = computeMirrorActions(staticPods, [...manager.mirrors()]);
    const results = await Promise.all([
      ...remove.map((mirror) => this.#remove(mirror, signal)),
      ...create.map((pod) => this.#create(pod, owner, signal)),
    ]);
    return results.every(Boolean);
  }

  async #create(pod: Pod, owner: Node, signal: AbortSignal): Promise<boolean> {
    try {
      await this.#o.api.create(pods, mirrorPodOf(pod, owner), signal);
      return true;
    } catch (error) {
      if (isAlreadyExists(error)) return true;
      return this.#failed(pod, error, 'cannot create a mirror pod');
    }
  }

  async #remove({ pod, uid }: MirrorPod, signal: AbortSignal): Promise<boolean> {
    const { namespace = 'default', name } = pod.metadata;
    try {
      await this.#o.api.delete(pods, { namespace, name }, { gracePeriodSeconds: 0, uid }, signal);
      return true;
    } catch (error) {
      if (isNotFound(error) || isConflict(error)) return true;
      return this.#failed(pod, error, 'cannot remove a mirror pod');
    }
  }

  #failed(pod: Pod, error: unknown, message: string): boolean {
    if (!isAbort(error)) this.#o.log[failureLevel(error)]({ pod: podKey(pod), ...errorFields(error) }, message);
    return false;
  }
}
