import type { EndpointSlice } from '../api/discovery-v1.ts';
import type { TraceStep } from '../api/service-views.ts';
import type { NodePlace } from './categorize-endpoints.ts';
import { categorizeEndpoints } from './categorize-endpoints.ts';
import type { PortEndpoint, PortEndpoints } from './endpointslice-tracker.ts';
import type { IpFamily, ServiceInfo } from './read-service.ts';
import type { RouteOrigin } from './route-services.ts';

export interface ServedPort {
  readonly service: ServiceInfo;
  readonly portName: string;
  readonly protocol: PortEndpoints['protocol'];
  readonly family: IpFamily;
  /** As the slices say, and as this node knows it. */
  readonly told: readonly PortEndpoints[];
  readonly known: readonly PortEndpoints[];
  /** All slices of the Service, of every family. */
  readonly slices: readonly EndpointSlice[];
  readonly place: NodePlace;
}

/** What decides which endpoints get the packets of a Service port; the same rules as `routeService`, in words. */
export function explainEndpoints(
  port: ServedPort,
  policy: 'Cluster' | 'Local',
  kind: RouteOrigin['kind'],
): TraceStep[] {
  const told = find(port.told, port);
  if (!told || told.length === 0) return [noEndpoints(port)];
  const known = find(port.known, port) ?? [];
  return [
    ...withdrawnStep(port, told, known),
    ...(policy === 'Local' ? localSteps(port, known, kind) : clusterSteps(port, known)),
  ];
}

const find = (ports: readonly PortEndpoints[], { portName, protocol }: ServedPort) =>
  ports.find((one) => one.name === portName && one.protocol === protocol)?.endpoints;

/** Why a Service port has nothing at all. */
function noEndpoints({ service, portName, protocol, family, told, slices }: ServedPort): TraceStep {
  const key = `${service.namespace}/${service.name}`;
  const step = (sentence: string, object: string, field?: string): TraceStep => ({
    ...{ about: 'endpoints', object, sentence },
    ...(field === undefined ? {} : { field }),
  });
  if (slices.length === 0) {
    return step('no EndpointSlice is of this Service: nobody matches its selector, or it has none', `Service ${key}`);
  }
  const names = namesOf(slices.filter((slice) => slice.addressType === family));
  if (names === '') {
    const types = [...new Set(slices.map((slice) => slice.addressType))].join(' and ');
    return step(`its EndpointSlices hold ${types} addresses, none of ${family}`, namesOf(slices), 'addressType');
  }
  if (told.length === 0) {
    const isEmpty = slices.every((slice) => (slice.endpoints ?? []).length === 0);
    if (isEmpty) return step('its EndpointSlices are empty: no pod matches its selector', names, 'endpoints');
    return step('its EndpointSlices have endpoints, but no usable port', names, 'ports');
  }
  if (!told.some((one) => one.name === portName && one.protocol === protocol)) {
    const there = told.map((one) => quoted(one.name, one.protocol)).join(', ');
    const wanted = quoted(portName, protocol);
    return step(`no slice has the Service's port ${wanted}, by name and protocol; they have ${there}`, names, 'ports');
  }
  return step('its EndpointSlices hold no endpoint', names, 'endpoints');
}

const quoted = (name: string, protocol: string): string => `"${name}" (${protocol})`;

const namesOf = (slices: readonly EndpointSlice[]): string =>
  slices.length === 0
    ? ''
    : `EndpointSlice ${few(slices.map((one) => `${one.metadata.namespace}/${one.metadata.name}`))}`;

function withdrawnStep(
  { service }: ServedPort,
  told: readonly PortEndpoint[],
  known: readonly PortEndpoint[],
): readonly TraceStep[] {
  const gone = known.flatMap((endpoint, i) => {
    const before = told[i];
    if (!before || (before.ready === endpoint.ready && before.terminating === endpoint.terminating)) return [];
    return [`${endpoint.ip} (${endpoint.terminating ? 'being deleted' : 'not ready'})`];
  });
  if (gone.length === 0) return [];
  const sentence = `pods of this node serve no more, which their EndpointSlice does not say yet: ${few(gone)}`;
  return [{ about: 'withdrawn', object: `Pods of ${service.namespace}`, field: 'status.conditions', sentence }];
}

function clusterSteps(port: ServedPort, known: readonly PortEndpoint[]): readonly TraceStep[] {
  const { usable } = categorizeEndpoints(known, { ...port.place, trafficPolicy: 'Cluster' });
  const ready = known.filter((endpoint) => endpoint.ready);
  return [census(port, known, 'endpoint'), ...fallbackStep(usable), ...hintSteps(port.place, ready, usable)];
}

function localSteps(port: ServedPort, known: readonly PortEndpoint[], kind: RouteOrigin['kind']): readonly TraceStep[] {
  const { service, place } = port;
  const { usable, elsewhere } = categorizeEndpoints(known, { ...place, trafficPolicy: 'Local' });
  const field = kind === 'clusterIP' ? 'spec.internalTrafficPolicy: Local' : 'spec.externalTrafficPolicy: Local';
  const object = `Service ${service.namespace}/${service.name}`;
  const local = known.filter((endpoint) => endpoint.nodeName === place.nodeName);
  const policy = (sentence: string): TraceStep => ({ about: 'policy', object, field, sentence });
  if (usable.length > 0) {
    const others = known.length - local.length;
    const sentence = `only endpoints of this node count; ${count(others, 'other')} left out`;
    return [policy(sentence), census(port, local, 'local endpoint'), ...fallbackStep(usable)];
  }
  const nodes = [...new Set(known.filter((one) => one.ready || one.serving).map((one) => one.nodeName ?? 'no node'))];
  if (!elsewhere) return [policy('only endpoints of this node count'), census(port, known, 'endpoint')];
  const where = `no endpoint of this node serves, but others do, on ${few(nodes)}: dropped here`;
  return [census(port, known, 'endpoint'), policy(where)];
}

/** How many there are, and how they fare. */
function census({ slices, family, service }: ServedPort, all: readonly PortEndpoint[], what: string): TraceStep {
  const ready = all.filter((endpoint) => endpoint.ready).length;
  const leaving = all.filter((endpoint) => !endpoint.ready && endpoint.terminating);
  const serving = leaving.filter((endpoint) => endpoint.serving).length;
  const rest = all.length - ready - leaving.length;
  const parts = [
    `${ready} of ${count(all.length, what)} ready`,
    ...(rest > 0 ? [`${rest} not ready`] : []),
    ...(leaving.length > 0 ? [`${leaving.length} terminating, of which ${serving} still serve`] : []),
    ...(service.publishesNotReady ? ['spec.publishNotReadyAddresses calls all of them ready'] : []),
  ];
  const object = namesOf(slices.filter((slice) => slice.addressType === family));
  return { about: 'endpoints', object, field: 'endpoints[].conditions', sentence: parts.join('; ') };
}

const fallbackStep = (usable: readonly PortEndpoint[]): readonly TraceStep[] =>
  usable.length > 0 && usable.every((endpoint) => !endpoint.ready)
    ? [{ about: 'fallback', sentence: 'none is ready: those that serve while they terminate get the packets' }]
    : [];

/** Whether hints send packets to fewer endpoints, or why those that there are do not. */
function hintSteps(
  { nodeName, zone }: NodePlace,
  ready: readonly PortEndpoint[],
  usable: readonly PortEndpoint[],
): readonly TraceStep[] {
  const narrowed = usable.length < ready.length;
  const step = (field: string, sentence: string): TraceStep => ({ about: 'hints', field, sentence });
  const forNode = usable.every((endpoint) => endpoint.forNodes?.includes(nodeName));
  if (narrowed && forNode) {
    return [step('endpoints[].hints.forNodes', `${count(usable.length, 'endpoint')} meant for node ${nodeName}`)];
  }
  if (narrowed)
    return [step('endpoints[].hints.forZones', `${count(usable.length, 'endpoint')} meant for zone ${zone}`)];
  const hinted = ready.filter((endpoint) => endpoint.forZones ?? endpoint.forNodes).length;
  if (hinted === 0 || ready.every((one) => one.forNodes?.includes(nodeName) || (zone && one.forZones?.includes(zone))))
    return [];
  if (hinted < ready.length) {
    return [step('endpoints[].hints', `not heeded: ${count(ready.length - hinted, 'ready endpoint')} without any`)];
  }
  if (zone === undefined) return [step('endpoints[].hints', 'not heeded: this node has no zone label')];
  return [step('endpoints[].hints', `not heeded: none is meant for node ${nodeName} or zone ${zone}`)];
}

export const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;

/** The first few of a list, and how many more there are. */
export function few(items: readonly string[], limit = 5): string {
  const more = items.length > limit ? ` and ${items.length - limit} more` : '';
  return `${items.slice(0, limit).join(', ')}${more}`;
}
