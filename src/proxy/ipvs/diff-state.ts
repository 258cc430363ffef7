import type { IpFamily } from '../read-service.ts';
import { inRanges } from '../read-service.ts';
import type { WishedServer } from './compile-route.ts';
import type { KernelServer, KernelState } from './kernel-state.ts';
import { addressOf, markOfKey } from './kernel-state.ts';
import { isOutsideMark } from './outside-marks.ts';
import type { SetRole } from './set-layout.ts';
import { setRoles } from './set-layout.ts';
import type { Touched, WishedState } from './wished-state.ts';
import { touchMember, untouched } from './wished-state.ts';

/** One write to the kernel. */
export type Step =
  | { readonly kind: 'add-set'; readonly set: SetRole }
  | { readonly kind: 'add-member'; readonly set: SetRole; readonly element: string; readonly extension: string }
  | { readonly kind: 'delete-member'; readonly set: SetRole; readonly element: string }
  | { readonly kind: 'add-server' | 'edit-server'; readonly key: string; readonly options: string }
  | { readonly kind: 'delete-server'; readonly key: string }
  | {
      readonly kind: 'add-endpoint' | 'edit-endpoint';
      readonly key: string;
      readonly endpoint: string;
      readonly weight: number;
    }
  | { readonly kind: 'delete-endpoint'; readonly key: string; readonly endpoint: string }
  | { readonly kind: 'add-address' | 'delete-address'; readonly ip: string };

/** What is written for the keys in `touched`, where the kernel has other than is wished. */
export function diffState(state: KernelState, wished: WishedState, touched: Touched): readonly Step[] {
  const steps: Step[] = setRoles.filter((set) => !state.sets.has(set)).map((set): Step => ({ kind: 'add-set', set }));
  for (const [set, elements] of touched.members) {
    for (const element of elements) steps.push(...diffMember(state, set, element, wished.member(set, element)));
  }
  for (const key of touched.servers) steps.push(...diffServer(key, state.servers.get(key), wished.server(key)));
  for (const ip of touched.addresses) {
    const is = wished.hasAddress(ip);
    if (is !== state.addresses.has(ip)) steps.push({ kind: is ? 'add-address' : 'delete-address', ip });
  }
  return steps;
}

function diffMember(state: KernelState, set: SetRole, element: string, wished: string | undefined): readonly Step[] {
  const actual = state.sets.get(set)?.get(element);
  if (actual === wished) return [];
  if (wished === undefined) return [{ kind: 'delete-member', set, element }];
  return [{ kind: 'add-member', set, element, extension: wished }];
}

function diffServer(key: string, actual: KernelServer | undefined, wished: WishedServer | undefined): readonly Step[] {
  if (!wished) return actual ? [{ kind: 'delete-server', key }] : [];
  const steps: Step[] = [];
  const { options } = wished;
  if (!actual) steps.push({ kind: 'add-server', key, options });
  else if (actual.options !== options) steps.push({ kind: 'edit-server', key, options });
  const endpoints = new Set(wished.endpoints);
  for (const endpoint of endpoints) {
    const weight = actual?.endpoints.get(endpoint);
    if (weight === undefined) steps.push({ kind: 'add-endpoint', key, endpoint, weight: 1 });
    else if (weight !== 1) steps.push({ kind: 'edit-endpoint', key, endpoint, weight: 1 });
  }
  for (const [endpoint, weight] of actual?.endpoints ?? []) {
    if (endpoints.has(endpoint)) continue;
    if (!wished.drains || weight < 0) steps.push({ kind: 'delete-endpoint', key, endpoint });
    else if (weight > 0) steps.push({ kind: 'edit-endpoint', key, endpoint, weight: 0 });
  }
  return steps;
}

/** Notes the steps as done; call it after the kernel has taken them. */
export function commit(state: KernelState, steps: readonly Step[]): void {
  for (const step of steps) {
    switch (step.kind) {
      case 'add-set':
        state.sets.set(step.set, new Map());
        break;
      case 'add-member':
        state.sets.get(step.set)?.set(step.element, step.extension);
        break;
      case 'delete-member':
        state.sets.get(step.set)?.delete(step.element);
        break;
      case 'add-server':
        state.servers.set(step.key, { options: step.options, endpoints: new Map() });
        break;
      case 'edit-server': {
        const server = state.servers.get(step.key);
        if (server) server.options = step.options;
        break;
      }
      case 'delete-server':
        state.servers.delete(step.key);
        break;
      case 'add-endpoint':
      case 'edit-endpoint':
        state.servers.get(step.key)?.endpoints.set(step.endpoint, step.weight);
        break;
      case 'delete-endpoint':
        state.servers.get(step.key)?.endpoints.delete(step.endpoint);
        break;
      case 'add-address':
        state.addresses.add(step.ip);
        break;
      case 'delete-address':
        state.addresses.delete(step.ip);
        break;
      default:
        step satisfies never;
    }
  }
}

/** All that is wished, and all that the kernel has and that is ours. What lies in `excluded` ranges is nobody's to remove. */
export function touchAll(state: KernelState, wished: WishedState, excluded: readonly string[]): Touched {
  const touched = untouched();
  for (const key of wished.servers()) touched.servers.add(key);
  for (const key of ourServers(state)) {
    const ip = addressOf(key)?.ip;
    if (ip === undefined || !inRanges(ip, excluded)) touched.servers.add(key);
  }
  for (const ip of wished.addresses()) touched.addresses.add(ip);
  for (const ip of state.addresses) if (!inRanges(ip, excluded)) touched.addresses.add(ip);
  for (const set of setRoles) {
    for (const element of wished.elements(set)) touchMember(touched, set, element);
    for (const element of state.sets.get(set)?.keys() ?? []) touchMember(touched, set, element);
  }
  return touched;
}

/**
 * Virtual servers that only we can have made: on an address of our device, on an address and port or node port that
 * our sets have, or for a mark of ours. An operator's own are none of these.
 */
export function ourServers(state: Pick<KernelState, 'servers' | 'addresses' | 'sets'>): readonly string[] {
  const nodePorts = new Set<string>();
  const frontends = new Set<string>();
  for (const set of setRoles) {
    const elements = state.sets.get(set)?.keys() ?? [];
    if (frontendSets.includes(set)) for (const element of elements) frontends.add(element);
    if (!set.startsWith('KUBE-NODE-PORT-')) continue;
    const protocol = set.slice(set.lastIndexOf('-') + 1).toLowerCase();
    for (const port of elements) nodePorts.add(`${protocol}:${port}`);
  }
  const virtual = state.sets.get('KUBE-IPVS-IPS');
  return [...state.servers.keys()].filter((key) => {
    const mark = markOfKey(key);
    if (mark !== undefined) return isOutsideMark(mark);
    const { ip = '', port = '' } = addressOf(key) ?? {};
    const at = `${protocolOf[key.split(' ')[0] ?? '']}:${port}`;
    return state.addresses.has(ip) || virtual?.has(ip) || nodePorts.has(at) || frontends.has(`${ip},${at}`);
  });
}

/** Every frontend with an address of its own is in one of these. */
const frontendSets: readonly SetRole[] = [
  ...(['KUBE-CLUSTER-IP', 'KUBE-EXTERNAL-IP', 'KUBE-EXTERNAL-IP-LOCAL'] as const),
  ...(['KUBE-LOAD-BALANCER', 'KUBE-LOAD-BALANCER-LOCAL'] as const),
];

const protocolOf: Readonly<Record<string, string>> = { '-t': 'tcp', '-u': 'udp', '--sctp-service': 'sctp' };

/** Whether the kernel has nothing of ours for a family. */
export const isBare = (state: KernelState): boolean =>
  state.sets.size === 0 && state.addresses.size === 0 && ourServers(state).length === 0;

export const prefixLength = (family: IpFamily): number => (family === 'IPv4' ? 32 : 128);
