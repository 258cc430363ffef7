import type { Pod } from '../api/core-v1.ts';
import type { LinuxContainerResources } from '../api/cri.ts';
import type { CgroupReading, CgroupValues } from '../host/cgroups.ts';
import { newestContainer, type ObservedContainer, type ObservedPod } from '../pod/observed.ts';
import { containerResources, podCgroupValues, type ResourceOptions } from './compute-cgroup-values.ts';

/** One container whose cgroup has to change. */
export interface ContainerUpdate {
  readonly container: ObservedContainer;
  readonly resources: LinuxContainerResources;
  /** Bytes; where the memory limit shrinks: what the container uses has to fit. */
  readonly shrinksTo?: number;
}

/** One step: something to write into the pod's cgroup, or a container to update. */
export type ResizeStep =
  | { readonly type: 'pod'; readonly values: CgroupValues }
  | { readonly type: 'container'; readonly update: ContainerUpdate };

export interface ResizePlan {
  /** In this order; if one fails, the rest has to wait for another look. */
  readonly steps: readonly ResizeStep[];
  /** Bytes; set when the pod's memory limit shrinks. */
  readonly podShrinksTo?: number;
}

export interface ResizeInput {
  /** With the resources that it was granted. */
  readonly pod: Pod;
  readonly observed: ObservedPod | undefined;
  /** What the pod's cgroup has now. */
  readonly cgroup: CgroupReading;
  /** Containers that are about to be restarted, by id: they get theirs with their new life. */
  readonly restarting: ReadonlySet<string>;
  readonly options: ResourceOptions;
}

/**
 * How the cgroups of a running pod become what it was granted: memory first, then CPU; the pod's own grows
 * before its containers and shrinks after them; among the containers those that shrink come first. A limit
 * that exists is never taken away.
 */
export function computeResize(input: ResizeInput): ResizePlan {
  const { pod, cgroup, options } = input;
  const wanted = podCgroupValues(pod, options);
  const updates = containerUpdates(input);
  const memory = wanted.memoryLimit ?? unlimited;
  const memoryChange = wanted.memoryLimit === undefined ? 0 : compareLimits(memory, cgroup.memoryLimit);
  const podMemory: ResizeStep = { type: 'pod', values: { memoryLimit: memory } };
  return {
    ...(memoryChange < 0 ? { podShrinksTo: memory } : {}),
    steps: [
      ...(memoryChange > 0 ? [podMemory] : []),
      ...updates.memory,
      ...(memoryChange < 0 ? [podMemory] : []),
      ...podCpu(wanted, cgroup, 1),
      ...updates.cpu,
      ...podCpu(wanted, cgroup, -1).reverse(),
    ],
  };
}

/** The CPU values of the pod that grow (`direction` 1) or shrink (-1): the limit grows first, and shrinks last. */
function podCpu(wanted: CgroupValues, cgroup: CgroupReading, direction: 1 | -1): ResizeStep[] {
  const steps: ResizeStep[] = [];
  const { cpuQuota, cpuPeriod, cpuShares } = wanted;
  if (cpuQuota !== undefined && cpuPeriod !== undefined) {
    const change = compareLimits(cpuQuota, cgroup.cpuQuota);
    if (Math.sign(change) === direction) steps.push({ type: 'pod', values: { cpuQuota, cpuPeriod } });
  }
  const sharesChange = (cpuShares ?? cgroup.cpuShares) - cgroup.cpuShares;
  if (cpuShares !== undefined && Math.sign(sharesChange) === direction)
    steps.push({ type: 'pod', values: { cpuShares } });
  return steps;
}

function containerUpdates({ pod, observed, restarting, options }: ResizeInput) {
  const memory: (ContainerUpdate & { readonly growth: number })[] = [];
  const cpu: (ContainerUpdate & { readonly growth: number })[] = [];
  for (const spec of [...pod.spec.containers, ...(pod.spec.initContainers ?? [])]) {
    const container = newestContainer(observed, spec.name);
    if (container?.state !== 'running' || restarting.has(container.id)) continue;
    const wanted = containerResources(pod, spec, options);
    // A runtime that does not report what a container has is told in any case.
    const has: LinuxContainerResources = container.resources?.linux ?? {};
    const wantedMemory = wanted.memoryLimitInBytes ?? 0;
    const memoryGrowth = compareLimits(wantedMemory || unlimited, has.memoryLimitInBytes || unlimited);
    if (wantedMemory && memoryGrowth !== 0) {
      const { cpuShares: _shares, cpuQuota: _quota, cpuPeriod: _period, ...rest } = wanted;
      const unchanged = cpuOf(has);
      const shrinks = memoryGrowth < 0 ? { shrinksTo: wantedMemory } : {};
      memory.push({ container, resources: { ...rest, ...unchanged }, growth: memoryGrowth, ...shrinks });
    }
    const quotaGrowth = wanted.cpuQuota ? compareLimits(wanted.cpuQuota, has.cpuQuota || unlimited) : 0;
    const sharesGrowth = (wanted.cpuShares ?? 0) - (has.cpuShares ?? 0);
    if (quotaGrowth !== 0 || sharesGrowth !== 0) {
      cpu.push({ container, resources: wanted, growth: quotaGrowth || sharesGrowth });
    }
  }
  return { memory: smallestFirst(memory), cpu: smallestFirst(cpu) };
}

/** The CPU's part of what the container has, as far as the runtime says; what is not said is not changed. */
function cpuOf({ cpuShares, cpuQuota, cpuPeriod }: LinuxContainerResources): LinuxContainerResources {
  return {
    ...(cpuShares === undefined ? {} : { cpuShares }),
    ...(cpuQuota === undefined ? {} : { cpuQuota }),
    ...(cpuPeriod === undefined ? {} : { cpuPeriod }),
  };
}

const smallestFirst = (updates: (ContainerUpdate & { readonly growth: number })[]): ResizeStep[] =>
  updates
    .toSorted((a, b) => Math.sign(a.growth) - Math.sign(b.growth))
    .map(({ growth: _, ...update }) => ({ type: 'container', update }));

const unlimited = -1;

/** Negative when `a` is the lower limit; -1 is none. */
function compareLimits(a: number, b: number): number {
  const [left, right] = [a, b].map((limit) => (limit === unlimited ? Number.POSITIVE_INFINITY : limit));
  return left === right ? 0 : (left ?? 0) < (right ?? 0) ? -1 : 1;
}
