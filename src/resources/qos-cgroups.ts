import type { Pod } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import type { CgroupName, CgroupReading, Cgroups, CgroupValues } from '../host/cgroups.ts';
import type { Log } from '../lib/log.ts';
import { podCgroupName, podsRootName, podUidOf, qosCgroupName } from './cgroup-names.ts';
import {
  type NodeAllocatable,
  podCgroupValues,
  podsRootValues,
  qosCgroupValues,
  type ResourceOptions,
} from './compute-cgroup-values.ts';

/**
 * Owns the cgroups from kubepods down to the pods'. What is below a pod's cgroup belongs to the runtime; a pod's cgroup
 * is removed only after its containers are gone.
 */
export class QosCgroups {
  readonly #cgroups: Cgroups;
  readonly #options: ResourceOptions;
  readonly #allocatable: NodeAllocatable;
  readonly #cgroupRoot: string;
  readonly #log: Log;
  /** What the burstable class was last told; undefined when that is not known. */
  #burstableShares: number | undefined;
  /** Updates of the burstable class, one after another. */
  #updating: Promise<unknown> = Promise.resolve();

  constructor(parts: {
    readonly cgroups: Cgroups;
    readonly options: ResourceOptions;
    /** Limits of all pods together; {} enforces none (enforceNodeAllocatable without 'pods'). */
    readonly allocatable: NodeAllocatable;
    readonly cgroupRoot: string;
    readonly log: Log;
  }) {
    this.#cgroups = parts.cgroups;
    this.#options = parts.options;
    this.#allocatable = parts.allocatable;
    this.#cgroupRoot = parts.cgroupRoot;
    this.#log = parts.log;
  }

  /** Creates what is above the pods. A burstable class that exists keeps its weight until the first `setActivePods`. */
  async start(signal: AbortSignal): Promise<void> {
    await this.#cgroups.ensure(podsRootName(this.#cgroupRoot), podsRootValues(this.#allocatable), signal);
    await this.#cgroups.ensure(qosCgroupName('Burstable', this.#cgroupRoot), {}, signal);
    await this.#cgroups.ensure(
      qosCgroupName('BestEffort', this.#cgroupRoot),
      qosCgroupValues('BestEffort', []),
      signal,
    );
  }

  /** Weighs the burstable class by the pods that run or are about to. Cheap when nothing changes. */
  setActivePods(pods: readonly Pod[], signal: AbortSignal): Promise<void> {
    const values = qosCgroupValues('Burstable', pods);
    const update = this.#updating.then(async () => {
      if (values.cpuShares === this.#burstableShares) return;
      this.#burstableShares = undefined;
      await this.#cgroups.ensure(qosCgroupName('Burstable', this.#cgroupRoot), values, signal);
      this.#burstableShares = values.cpuShares;
    });
    this.#updating = update.catch(() => {});
    return update;
  }

  /** Creates the pod's cgroup, or brings its limits up to date. Resolves with the CRI's cgroup_parent. */
  async ensurePod(pod: Pod, signal: AbortSignal): Promise<string> {
    const name = podCgroupName(pod, this.#cgroupRoot);
    await this.#cgroups.ensure(name, podCgroupValues(pod, this.#options), signal);
    return this.#cgroups.criParent(name);
  }

  /** Creates the pod's cgroup where it is missing, and leaves it as it is otherwise: its limits are being changed. */
  async keepPod(pod: Pod, signal: AbortSignal): Promise<string> {
    const name = podCgroupName(pod, this.#cgroupRoot);
    const exists = (await this.#cgroups.read(name)) !== undefined;
    return exists ? this.#cgroups.criParent(name) : this.ensurePod(pod, signal);
  }

  /** What the pod's cgroup has and uses; undefined when there is none. */
  readPod(pod: Pod): Promise<CgroupReading | undefined> {
    return this.#cgroups.read(podCgroupName(pod, this.#cgroupRoot));
  }

  /** Memory in use by one of the pod's containers, in bytes. */
  containerMemory(pod: Pod, containerId: string): Promise<number | undefined> {
    return this.#cgroups.containerMemory(podCgroupName(pod, this.#cgroupRoot), containerId);
  }

  /** Changes some values of a pod's cgroup. */
  setPod(pod: Pod, values: CgroupValues, signal: AbortSignal): Promise<void> {
    return this.#cgroups.ensure(podCgroupName(pod, this.#cgroupRoot), values, signal);
  }

  criParent(pod: Pod): string {
    return this.#cgroups.criParent(podCgroupName(pod, this.#cgroupRoot));
  }

  /** Pods that have a cgroup here, for finding those that nobody wants any more. */
  async listPods(): Promise<ReadonlyMap<PodUid, CgroupName>> {
    const found = new Map<PodUid, CgroupName>();
    for (const qos of ['Guaranteed', 'Burstable', 'BestEffort'] as const) {
      const parent = qosCgroupName(qos, this.#cgroupRoot);
      for (const component of await this.#cgroups.children(parent)) {
        const uid = podUidOf(component);
        if (uid) found.set(uid, [...parent, component]);
      }
    }
    return found;
  }

  /**
   * Removes a pod's cgroup. Its containers are gone by now: a process that is left in it escaped its container, and is
   * killed. Fails with CgroupBusy when one will not go; one that is gone already is a success.
   */
  async removePod(name: CgroupName, signal: AbortSignal): Promise<void> {
    const leftovers = await this.#cgroups.pids(name);
    if (leftovers.length) {
      this.#log.warn({ cgroup: this.#cgroups.criParent(name), pids: leftovers }, 'killing processes left by a pod');
      await this.#cgroups.kill(name, signal);
    }
    await this.#cgroups.remove(name, signal);
  }

  nameOf(pod: Pod): CgroupName {
    return podCgroupName(pod, this.#cgroupRoot);
  }
}
