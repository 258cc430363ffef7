import type { EndpointSliceController } from './endpoint-slices.ts';
import { CONFIG_MAPS, KINDS, NAMESPACES, NODES, PODS, SERVICE_ACCOUNTS } from './kinds.ts';
import { type ApiObject, fieldsAt, listAt, stringAt } from './objects.ts';
import type { Registry } from './registry.ts';
import type { Change } from './store.ts';

export interface ControllerOptions {
  /** The block that nodes get their /24 from, in the order they appear; false leaves nodes without. */
  readonly podNetwork: string | false;
  /** Fixed blocks for nodes by name; they go before `podNetwork`. */
  readonly nodePodCidrs: Readonly<Record<string, string>>;
  /** Pods without a node are bound to this one. */
  readonly autoBind: string | undefined;
  /** The certificate that pods find in kube-root-ca.crt. */
  readonly ca: string;
}

/**
 * What the controller manager and a scheduler would do, as far as a node notices: pod CIDRs, the
 * namespace's CA and default service account, the end of a namespace, binding, EndpointSlices.
 * It reacts to changes after the transaction they belong to, so watches see every change in order.
 */
export class Controllers {
  autoBind: string | undefined;
  readonly #registry: Registry;
  readonly #options: ControllerOptions;
  readonly #slices: EndpointSliceController | undefined;

  constructor(registry: Registry, options: ControllerOptions, slices: EndpointSliceController | undefined) {
    this.#registry = registry;
    this.#options = options;
    this.#slices = slices;
    this.autoBind = options.autoBind;
  }

  start(): Disposable {
    return this.#registry.store.subscribe((change) => queueMicrotask(() => this.#react(change)));
  }

  /** Brings everything up to date with what is in the store, for a fresh or restored one. */
  settle(): void {
    const { store } = this.#registry;
    for (const namespace of store.list(NAMESPACES)) this.#fillNamespace(namespace.metadata.name);
    for (const node of store.list(NODES)) this.#allocatePodCidr(node.metadata.name);
    for (const pod of store.list(PODS)) this.#bind(pod);
  }

  #react(change: Change): void {
    const { kind, object, type } = change;
    if (kind === NAMESPACES && type === 'ADDED') this.#fillNamespace(object.metadata.name);
    if (kind === NAMESPACES && type === 'MODIFIED') this.#emptyNamespace(object.metadata.name);
    if (kind.namespaced && type === 'DELETED') this.#emptyNamespace(object.metadata.namespace ?? '');
    if (kind === NODES && type === 'ADDED') this.#allocatePodCidr(object.metadata.name);
    if (kind === PODS && type === 'ADDED') this.#bind(object);
    this.#slices?.react(change);
  }

  #fillNamespace(name: string): void {
    const { store } = this.#registry;
    if (stringAt(store.get(NAMESPACES, undefined, name), 'status.phase') !== 'Active') return;
    if (!store.get(CONFIG_MAPS, name, 'kube-root-ca.crt')) {
      this.#registry.create(CONFIG_MAPS, name, {
        metadata: { name: 'kube-root-ca.crt' },
        data: { 'ca.crt': this.#options.ca },
      });
    }
    if (!store.get(SERVICE_ACCOUNTS, name, 'default')) {
      this.#registry.create(SERVICE_ACCOUNTS, name, { metadata: { name: 'default' } });
    }
  }

  /** Deletes what is in a namespace that terminates, and then the namespace. */
  #emptyNamespace(name: string): void {
    const { store } = this.#registry;
    if (stringAt(store.get(NAMESPACES, undefined, name), 'status.phase') !== 'Terminating') return;
    let left = 0;
    for (const kind of KINDS.filter((k) => k.namespaced && !k.virtual)) {
      for (const object of store.list(kind)) {
        if (object.metadata.namespace !== name) continue;
        const { gone } = this.#registry.delete(kind, name, object.metadata.name);
        if (!gone) left++;
      }
    }
    if (left === 0) store.remove(NAMESPACES, undefined, name);
  }

  #allocatePodCidr(name: string): void {
    const { store } = this.#registry;
    const node = store.get(NODES, undefined, name);
    if (!node || stringAt(node, 'spec.podCIDR')) return;
    const block = this.#options.nodePodCidrs[name] ?? this.#nextBlock();
    if (block === undefined) return;
    const next = structuredClone(node);
    Object.assign(fieldsAt(next, 'spec'), { podCIDR: block, podCIDRs: [block] });
    store.put(NODES, next);
  }

  #nextBlock(): string | undefined {
    const { podNetwork } = this.#options;
    if (podNetwork === false) return undefined;
    const [a = '10', b = '244'] = podNetwork.split('.');
    const used = new Set(this.#registry.store.list(NODES).map((node) => stringAt(node, 'spec.podCIDR')));
    for (let third = 0; third < 256; third++) {
      const block = `${a}.${b}.${third}.0/24`;
      if (!used.has(block)) return block;
    }
    return undefined;
  }

  #bind(pod: ApiObject): void {
    if (this.autoBind === undefined || stringAt(pod, 'spec.nodeName')) return;
    const { name, namespace = '' } = pod.metadata;
    const current = this.#registry.store.get(PODS, namespace, name);
    if (!current || stringAt(current, 'spec.nodeName') || current.metadata.deletionTimestamp) return;
    if (listAt(current.spec, 'schedulingGates').length > 0) return;
    this.#registry.bind(namespace, name, { target: { kind: 'Node', name: this.autoBind } });
  }
}
