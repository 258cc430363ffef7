import type { Container, Pod, PodStatus, QosClass, Quantity, ResourceList, ResourceRequirements } from './core-v1.ts';
import type { KubeObject } from './meta-v1.ts';
import {
  addQuantities,
  formatQuantity,
  maxQuantity,
  type ParsedQuantity,
  parseQuantity,
  type QuantityLike,
} from './quantity.ts';

/** Annotations by which pods from files, and their mirrors at the API server, are known. */
export const configSourceAnnotation = 'kubernetes.io/config.source';
export const configHashAnnotation = 'kubernetes.io/config.hash';
export const configSeenAnnotation = 'kubernetes.io/config.seen';
export const configMirrorAnnotation = 'kubernetes.io/config.mirror';

/** 'namespace/name', as logs and messages spell it. */
export function podKey(object: KubeObject): string {
  return `${object.metadata.namespace ?? 'default'}/${object.metadata.name}`;
}

/** A pod that did not come from the API server: from a file. */
export function isStaticPod(pod: Pod): boolean {
  const source = pod.metadata.annotations?.[configSourceAnnotation];
  return source !== undefined && source !== 'api';
}

/** The API server's image of a static pod. */
export function isMirrorPod(pod: Pod): boolean {
  return pod.metadata.annotations?.[configMirrorAnnotation] !== undefined;
}

/** The lowest priority that the API reserves for the system. */
const systemCriticalPriority = 2_000_000_000;

/** Pods that the node must not be without: they are killed last. */
export function isCriticalPod(pod: Pod): boolean {
  return isStaticPod(pod) || isMirrorPod(pod) || (pod.spec.priority ?? 0) >= systemCriticalPriority;
}

/** Nothing of the pod will run again: a phase that is final. */
export const isOver = (status: PodStatus | undefined): boolean =>
  status?.phase === 'Failed' || status?.phase === 'Succeeded';

export interface PodContainer {
  readonly type: 'init' | 'regular' | 'ephemeral';
  readonly container: Container;
  /** How events name it: spec.containers{web}. */
  readonly fieldPath: string;
}

/** Every container of the pod: init containers first, in their order, then regular and ephemeral ones. */
export function containersOf(pod: Pod): PodContainer[] {
  const list = (type: PodContainer['type'], field: string, containers: readonly Container[] | undefined) =>
    (containers ?? []).map((container) => ({ type, container, fieldPath: `spec.${field}{${container.name}}` }));
  return [
    ...list('init', 'initContainers', pod.spec.initContainers),
    ...list('regular', 'containers', pod.spec.containers),
    ...list('ephemeral', 'ephemeralContainers', pod.spec.ephemeralContainers),
  ];
}

/** A sidecar: an init container that is started in its turn and then keeps running (KEP-753). */
export function isSidecar(container: Container): boolean {
  return container.restartPolicy === 'Always';
}

/** 68 years. People write the largest int64 for 'for ever', which neither a date nor a runtime's clock can hold. */
export const longestGraceSeconds = 2 ** 31 - 1;

/** How long the pod may take to end, in seconds; a deletion's own word counts first. */
export function gracePeriodSeconds(pod: Pod): number {
  return pod.metadata.deletionGracePeriodSeconds ?? pod.spec.terminationGracePeriodSeconds ?? 30;
}

type Kind = 'requests' | 'limits';
/** Whether the pod's overhead, what its sandbox needs beside the containers, is counted; it is unless said otherwise. */
export interface TotalsOptions {
  readonly overhead: boolean;
}
type Totals = Map<string, ParsedQuantity>;

/**
 * What the pod asks for as a whole: the larger of its containers together and its init containers one
 * after another, each beside the sidecars before it (KEP-753); resources set for the pod itself count
 * instead (KEP-2837); its overhead comes on top. A limit without a request is a request too, as the
 * API's defaults have it.
 */
export function podRequests(pod: Pod, options: TotalsOptions = { overhead: true }): ResourceList {
  const totals = containerTotals(pod, 'requests');
  replaceByPodLevel(totals, pod, 'requests');
  for (const [name, limit] of Object.entries(pod.spec.resources?.limits ?? {})) {
    if (!totals.has(name)) totals.set(name, parseQuantity(limit));
  }
  if (options.overhead) addAll(totals, pod.spec.overhead);
  return formatted(totals);
}

/** The same for limits. Overhead is added to a resource that is limited, and sets no limit alone. */
export function podLimits(pod: Pod, options: TotalsOptions = { overhead: true }): ResourceList {
  const totals = containerTotals(pod, 'limits');
  replaceByPodLevel(totals, pod, 'limits');
  for (const [name, quantity] of Object.entries(options.overhead ? (pod.spec.overhead ?? {}) : {})) {
    const limit = totals.get(name);
    if (limit && limit.nano !== 0n) add(totals, name, quantity);
  }
  return formatted(totals);
}

/** The pod's resources in the form of its status. */
export function aggregateResources(pod: Pod): {
  readonly resources: ResourceRequirements;
  readonly allocatedResources?: ResourceList;
} {
  const [requests, limits] = [podRequests(pod), podLimits(pod)];
  const resources: ResourceRequirements = {
    ...(isEmpty(limits) ? {} : { limits }),
    ...(isEmpty(requests) ? {} : { requests }),
  };
  return isEmpty(requests) ? { resources } : { resources, allocatedResources: requests };
}

function containerTotals(pod: Pod, kind: Kind): Totals {
  const totals: Totals = new Map();
  for (const container of pod.spec.containers) addAll(totals, resourcesOf(container, kind));
  const sidecars: Totals = new Map();
  const peak: Totals = new Map();
  for (const container of pod.spec.initContainers ?? []) {
    const needed: Totals = new Map(sidecars);
    addAll(needed, resourcesOf(container, kind));
    raiseTo(peak, needed);
    if (isSidecar(container)) {
      addAll(totals, resourcesOf(container, kind));
      addAll(sidecars, resourcesOf(container, kind));
    }
  }
  raiseTo(totals, peak);
  return totals;
}

/** What the container alone asks for, or is limited to. */
export function resourcesOf({ resources }: Container, kind: Kind): ResourceList {
  return kind === 'requests' ? { ...resources?.limits, ...resources?.requests } : (resources?.limits ?? {});
}

function replaceByPodLevel(totals: Totals, pod: Pod, kind: Kind): void {
  for (const [name, quantity] of Object.entries(pod.spec.resources?.[kind] ?? {})) {
    totals.set(name, parseQuantity(quantity));
  }
}

function addAll(totals: Totals, list: ResourceList | undefined): void {
  for (const [name, quantity] of Object.entries(list ?? {})) add(totals, name, quantity);
}

function add(totals: Totals, name: string, quantity: QuantityLike): void {
  const before = totals.get(name);
  totals.set(name, before ? addQuantities(before, quantity) : parseQuantity(quantity));
}

function raiseTo(totals: Totals, floor: Totals): void {
  for (const [name, quantity] of floor) totals.set(name, maxQuantity(totals.get(name) ?? quantity, quantity));
}

const formatted = (totals: Totals): ResourceList =>
  Object.fromEntries([...totals].map(([name, quantity]) => [name, formatQuantity(quantity)]));

const isEmpty = (list: ResourceList) => Object.keys(list).length === 0;

const qosResources = ['cpu', 'memory'] as const;
const isPositive = (quantity: Quantity | undefined) => quantity !== undefined && parseQuantity(quantity).nano > 0n;

/**
 * The quality-of-service class: Guaranteed when CPU and memory of every container are limited and asked
 * for in the same amount, BestEffort when nothing is named at all, else Burstable. Resources set for the
 * pod itself decide alone. Extended resources do not count.
 */
export function qosClass(pod: Pod): QosClass {
  const podLevel = pod.spec.resources;
  const bearers = namesAnything(podLevel)
    ? [podLevel]
    : [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].map((c) => c.resources);
  if (!bearers.some(namesAnything)) return 'BestEffort';
  const limited = bearers.every((r) => qosResources.every((name) => isPositive(r?.limits?.[name])));
  return limited && requestsEqualLimits(bearers) ? 'Guaranteed' : 'Burstable';
}

function namesAnything(resources: ResourceRequirements | undefined): boolean {
  return qosResources.some((n) => isPositive(resources?.requests?.[n]) || isPositive(resources?.limits?.[n]));
}

/** Compared over the pod, as upstream does; a request left out is the limit. */
function requestsEqualLimits(bearers: readonly (ResourceRequirements | undefined)[]): boolean {
  return qosResources.every((name) => {
    let difference = 0n;
    for (const resources of bearers) {
      const limit = resources?.limits?.[name] ?? 0;
      const request = resources?.requests?.[name];
      difference += parseQuantity(limit).nano - parseQuantity(isPositive(request) ? (request ?? 0) : limit).nano;
    }
    return difference === 0n;
  });
}
