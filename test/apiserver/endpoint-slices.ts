import { ENDPOINT_SLICES, PODS, SERVICES } from './kinds.ts';
import { type ApiObject, type Fields, listAt, sameJson, stringAt } from './objects.ts';
import type { Registry } from './registry.ts';
import { matchesLabels, type Requirement } from './selectors.ts';
import type { Change } from './store.ts';

/**
 * A tiny EndpointSlice controller: one IPv4 slice for each Service with a selector, from the
 * addresses and the readiness of the pods it selects. Recomputes only Services whose pods changed.
 */
export class EndpointSliceController {
  readonly #registry: Registry;
  readonly #due = new Map<string, { namespace: string; name: string }>();

  constructor(registry: Registry) {
    this.#registry = registry;
  }

  react(change: Change): void {
    const { object, previous, kind } = change;
    const { namespace = '', name } = object.metadata;
    if (kind === SERVICES) this.#schedule(namespace, name);
    if (kind !== PODS) return;
    for (const service of this.#registry.store.values(SERVICES)) {
      if (service.metadata.namespace !== namespace) continue;
      const selector = selectorOf(service);
      if (!selector) continue;
      const concerned = [object, previous].some((pod) => pod && matchesLabels(pod.metadata.labels ?? {}, selector));
      if (concerned) this.#schedule(namespace, service.metadata.name);
    }
  }

  #schedule(namespace: string, name: string): void {
    if (this.#due.size === 0) queueMicrotask(() => this.#run());
    this.#due.set(`${namespace}/${name}`, { namespace, name });
  }

  #run(): void {
    const due = [...this.#due.values()];
    this.#due.clear();
    for (const { namespace, name } of due) this.#sync(namespace, name);
  }

  #sync(namespace: string, name: string): void {
    const { store } = this.#registry;
    const service = store.get(SERVICES, namespace, name);
    const existing = [...store.values(ENDPOINT_SLICES)].find(
      (slice) =>
        slice.metadata.namespace === namespace &&
        slice.metadata.labels?.['kubernetes.io/service-name'] === name &&
        slice.metadata.labels['endpointslice.kubernetes.io/managed-by'] === MANAGER,
    );
    const selector = service && selectorOf(service);
    if (!service || !selector) {
      if (existing) this.#registry.delete(ENDPOINT_SLICES, namespace, existing.metadata.name);
      return;
    }
    const pods = store.list(PODS).filter((pod) => isBacking(pod, namespace, selector));
    const body = { endpoints: pods.map(endpointOf), ports: portsOf(service, pods) };
    if (!existing) {
      this.#registry.create(ENDPOINT_SLICES, namespace, sliceOf(service, body));
    } else if (!sameJson(body, { endpoints: existing['endpoints'], ports: existing['ports'] })) {
      this.#registry.update(ENDPOINT_SLICES, namespace, existing.metadata.name, { ...existing, ...body });
    }
  }
}

const MANAGER = 'endpointslice-controller.k8s.io';

function selectorOf(service: ApiObject): Requirement[] | undefined {
  const selector = Object.entries((service.spec?.['selector'] ?? {}) as Record<string, string>);
  if (selector.length === 0 || service.spec?.['type'] === 'ExternalName') return undefined;
  return selector.map(([key, value]) => ({ key, operator: '=', values: [value] }));
}

const isBacking = (pod: ApiObject, namespace: string, selector: readonly Requirement[]): boolean =>
  pod.metadata.namespace === namespace &&
  matchesLabels(pod.metadata.labels ?? {}, selector) &&
  stringAt(pod, 'status.podIP') !== '' &&
  !['Succeeded', 'Failed'].includes(stringAt(pod, 'status.phase'));

function endpointOf(pod: ApiObject): Fields {
  const ready = listAt(pod.status, 'conditions').some((c) => c['type'] === 'Ready' && c['status'] === 'True');
  const terminating = pod.metadata.deletionTimestamp !== undefined;
  return {
    addresses: [stringAt(pod, 'status.podIP')],
    conditions: { ready: ready && !terminating, serving: ready, terminating },
    nodeName: stringAt(pod, 'spec.nodeName'),
    targetRef: { kind: 'Pod', namespace: pod.metadata.namespace, name: pod.metadata.name, uid: pod.metadata.uid },
  };
}

function portsOf(service: ApiObject, pods: readonly ApiObject[]): Fields[] {
  return listAt(service.spec, 'ports').flatMap((port) => {
    const number = targetOf(port, pods);
    const { name = '', protocol, appProtocol } = port;
    return number === undefined ? [] : [{ name, protocol, port: number, ...(appProtocol ? { appProtocol } : {}) }];
  });
}

/** A named target is looked up in the first pod that has it: pods that disagree are beyond this controller. */
function targetOf(port: Fields, pods: readonly ApiObject[]): number | undefined {
  const target = port['targetPort'];
  if (typeof target === 'number') return target;
  for (const pod of pods) {
    for (const container of listAt(pod.spec, 'containers')) {
      const found = listAt(container, 'ports').find((p) => p['name'] === target && p['protocol'] === port['protocol']);
      if (typeof found?.['containerPort'] === 'number') return found['containerPort'];
    }
  }
  return undefined;
}

const sliceOf = (service: ApiObject, body: Fields) => ({
  metadata: {
    generateName: `${service.metadata.name}-`,
    labels: {
      'endpointslice.kubernetes.io/managed-by': MANAGER,
      'kubernetes.io/service-name': service.metadata.name,
    },
    ownerReferences: [
      { apiVersion: 'v1', kind: 'Service', name: service.metadata.name, uid: service.metadata.uid, controller: true },
    ],
  },
  addressType: 'IPv4',
  ...body,
});
