import type { EndpointSlice } from '../api/discovery-v1.ts';
import type { PacketTrace, TraceEndpoint, TraceStep, TraceVerdict } from '../api/service-views.ts';
import { AgentError } from '../lib/errors.ts';
import type { IpFamily } from './read-service.ts';
import { canonicalIp, inRanges } from './read-service.ts';
import type { Delivery, Route } from './route-services.ts';
import { frontendKey, nodeAddress } from './route-services.ts';
import type { TracedClient } from './trace-client.ts';
import { clientOf } from './trace-client.ts';
import { count, explainEndpoints, few } from './trace-endpoints.ts';
import type { TraceClient, TraceQuestion } from './trace-question.ts';
import { badQuestion } from './trace-question.ts';
import type { Destination, TraceFacts, TraceObjects } from './trace-target.ts';
import { addressText, destinations, explainAbsence, keyOf } from './trace-target.ts';

/** The same over all families that this node has; where nothing can be traced, one entry that says why. */
export function traceFamilies(
  all: readonly TraceFacts[],
  objects: TraceObjects,
  question: TraceQuestion,
): readonly PacketTrace[] {
  const { target, client, asked } = question;
  const ofTarget = 'ip' in target ? all.filter((facts) => facts.family === target.family) : all;
  if ('ip' in target && ofTarget.length === 0) {
    throw new AgentError(badQuestion, `${target.family} is not carried on this node`);
  }
  const ofClient = ofTarget.filter((facts) => isOfFamily(client, facts.family));
  if (ofClient.length === 0) {
    const hint = 'client and target must be of the same address family';
    throw new AgentError(badQuestion, `${client.asked} has no address that could send to ${asked}`, { hint });
  }
  const traces = ofClient.flatMap((facts) => tracePacket(facts, objects, question));
  if (traces.length > 0 || 'ip' in target) return traces;
  const families = ofClient.map((facts) => facts.family);
  const steps = [explainAbsence(target, families, objects)];
  return [{ client: client.asked, verdict: 'untouched', endpoints: [], steps, rules: [], alsoAt: [] }];
}

const isOfFamily = (client: TraceClient, family: IpFamily): boolean =>
  client.from !== 'network' || client.ips.some((ip) => canonicalIp(ip, family) !== undefined);

/**
 * The way of the first packet of a connection through the rules of one family: each decision in the order in which it
 * is made, with the object and field that make it. One trace for each destination that the target stands for; none
 * when the Service has no address of the family, or the client is of the other.
 */
export function tracePacket(facts: TraceFacts, objects: TraceObjects, question: TraceQuestion): readonly PacketTrace[] {
  const origin = clientOf(facts, objects, question.client);
  if (!origin) return [];
  return destinations(facts, objects, question).map((destination) => {
    const { ip, protocol, port, route } = destination;
    const client = origin.ip && origin.ip !== question.client.asked ? ` (${origin.ip})` : '';
    const common = {
      ...{ family: facts.family, client: `${question.client.asked}${client}` },
      destination: { ip, protocol, port },
    };
    const steps = [origin.step, ...destination.steps];
    if (!route) {
      return { ...common, verdict: 'untouched', endpoints: [], steps, rules: [], alsoAt: [] };
    }
    const decided = decide(facts, objects, origin, route);
    return {
      ...common,
      service: route.origin,
      verdict: decided.verdict,
      endpoints: decided.endpoints,
      steps: [...steps, ...decided.steps],
      rules: facts.explain(frontendKey(route.frontend)),
      alsoAt: alsoAt(facts, destination, route),
    };
  });
}

const relay = { object: 'KubeProxyConfiguration', field: 'mode: userspace' };

interface Decided {
  readonly verdict: TraceVerdict;
  readonly endpoints: readonly TraceEndpoint[];
  readonly steps: readonly TraceStep[];
}

function decide(facts: TraceFacts, objects: TraceObjects, origin: TracedClient, route: Route): Decided {
  const key = keyOf(route.origin);
  const object = `Service ${key}`;
  if (facts.mode === 'userspace' && route.frontend.protocol === 'SCTP') {
    const steps: TraceStep[] = [{ about: 'frontend', ...relay, sentence: 'SCTP is not carried: it cannot be relayed' }];
    return { verdict: 'untouched', endpoints: [], steps };
  }
  const sources = sourcesStep(route, origin, object);
  const steps = sources ? [sources.step] : [];
  if (sources?.drops) return { verdict: 'drop', endpoints: [], steps };
  const isOutside = route.outside !== undefined && origin.kind !== 'host' && origin.kind !== 'local';
  const delivery = isOutside && route.outside ? route.outside : route;
  const service = facts.service(key);
  if (service) {
    const isLocal = route.origin.kind === 'clusterIP' ? service.internalTrafficPolicy === 'Local' : isOutside;
    const { portName, kind } = route.origin;
    const { protocol } = route.frontend;
    const port = { ...facts.endpoints(key), service, portName, protocol, family: facts.family, place: facts.place };
    if (route.outside && !isOutside) {
      const sentence = 'holds for clients outside alone: pods and this host may reach every endpoint';
      steps.push({ about: 'policy', object, field: 'spec.externalTrafficPolicy: Local', sentence });
    }
    steps.push(...explainEndpoints({ ...port, slices: objects.slicesOf(key) }, isLocal ? 'Local' : 'Cluster', kind));
  }
  if (delivery.verdict !== 'forward') return { verdict: delivery.verdict, endpoints: [], steps };
  if (route.affinitySeconds !== undefined) {
    // By a hash of the client's address: IPVS notes nobody of a server by mark.
    const isHashed = facts.mode === 'ipvs' && isOutside;
    const end = isHashed
      ? 'for as long as the endpoints stay the same'
      : `until it was away for ${count(route.affinitySeconds, 'second')}`;
    const sentence = `a client keeps its endpoint ${end}`;
    steps.push({ about: 'affinity', object, field: 'spec.sessionAffinity: ClientIP', sentence });
  }
  const masquerade = masqueradeStep(facts, origin, route, isOutside);
  steps.push(masquerade.step);
  const endpoints = endpointsOf(facts, objects.slicesOf(key), delivery, masquerade.all, origin.ip);
  const own = endpoints.find((endpoint) => endpoint.ip === origin.ip);
  if (own && !masquerade.all) {
    const sentence = `where ${own.ip} reaches itself it sees an address of the node, or its answer would not pass here`;
    steps.push({ about: 'masquerade', sentence });
  }
  return { verdict: 'forward', endpoints, steps };
}

/** Undefined: everybody may send here. */
function sourcesStep(
  { sources }: Route,
  { ip, kind }: TracedClient,
  object: string,
): { readonly step: TraceStep; readonly drops: boolean } | undefined {
  if (!sources) return undefined;
  const step = (sentence: string): TraceStep => ({
    ...{ about: 'sources', object, field: 'spec.loadBalancerSourceRanges', sentence },
  });
  if (ip === undefined) {
    const who = kind === 'host' ? 'the address this host sends with is not known' : 'give an address as client';
    return { step: step(`only ${few(sources)} may send here; whether the client may: ${who}`), drops: false };
  }
  const range = sources.find((one) => inRanges(ip, [one.includes('/') ? one : whole(one)]));
  if (range) return { step: step(`${ip} may send here, by ${range}`), drops: false };
  return { step: step(`${ip} is in none of ${few(sources)}: dropped`), drops: true };
}

const whole = (ip: string): string => `${ip}/${ip.includes(':') ? 128 : 32}`;

/** Whether all endpoints see an address of the node instead of the client's, and why. */
function masqueradeStep(
  { rules, mode }: TraceFacts,
  { kind }: TracedClient,
  { masquerade, origin }: Route,
  isOutside: boolean,
): { readonly step: TraceStep; readonly all: boolean } {
  const object = `Service ${keyOf(origin)}`;
  const answer = (all: boolean, why: string, decides: Pick<TraceStep, 'object' | 'field'> = {}) => ({
    all,
    step: { about: 'masquerade', ...decides, sentence: `${all ? 'masqueraded' : 'not masqueraded'}: ${why}` } as const,
  });
  if (mode === 'userspace') return answer(true, 'the relay in keelson is who asks the endpoint', relay);
  const policy = (value: string) => ({ object, field: `spec.externalTrafficPolicy: ${value}` });
  const proxy = (field: string) => ({ object: 'KubeProxyConfiguration', field });
  if (masquerade === 'everybody') {
    return answer(
      true,
      'the endpoint may be elsewhere, and its answer has to come back through here',
      policy('Cluster'),
    );
  }
  if (masquerade === 'host') {
    if (kind === 'host') return answer(true, 'the endpoint may be elsewhere', policy('Local'));
    const why = isOutside ? 'the endpoint sees the client' : 'the endpoint sees the pod that asks';
    return answer(false, why, policy('Local'));
  }
  if (rules.masqueradeAll) return answer(true, 'all connections to cluster IPs are', proxy('masqueradeAll'));
  if (kind === 'local') return answer(false, 'the endpoint sees the pod that asks');
  if (!rules.local) return answer(false, 'nobody counts as outside', proxy('detectLocalMode'));
  return answer(true, kind === 'host' ? 'this host is no pod' : 'the client is outside', proxy('detectLocalMode'));
}

function endpointsOf(
  { place, family }: TraceFacts,
  slices: readonly EndpointSlice[],
  { targets }: Delivery,
  masqueraded: boolean,
  client: string | undefined,
): readonly TraceEndpoint[] {
  // Pods on the host's network share its address.
  const told = new Map(
    slices.flatMap((slice) =>
      (slice.endpoints ?? []).flatMap((one) => {
        const ip = canonicalIp(one.addresses?.[0] ?? '', family);
        return (slice.ports ?? []).map(({ port }) => [`${ip} ${port}`, one] as const);
      }),
    ),
  );
  return targets.map(({ ip, port }) => {
    const { nodeName, targetRef } = told.get(`${ip} ${port}`) ?? {};
    const target = targetRef?.name && `${targetRef.kind ?? 'Pod'} ${targetRef.namespace ?? ''}/${targetRef.name}`;
    return {
      ...{ ip, port, isLocal: nodeName === place.nodeName, masqueraded: masqueraded || ip === client },
      ...(target ? { target } : {}),
      ...(nodeName === undefined ? {} : { node: nodeName }),
    };
  });
}

/** The other frontends of the same Service port. */
function alsoAt({ routes }: TraceFacts, { ip, port }: Destination, { origin, frontend }: Route): readonly string[] {
  return routes
    .routesOf(keyOf(origin))
    .filter((one) => one.origin.portName === origin.portName && one.frontend.protocol === frontend.protocol)
    .filter((one) => frontendKey(one.frontend) !== frontendKey(frontend))
    .filter((one) => !(one.frontend.ip === ip && one.frontend.port === port && frontend.ip !== nodeAddress))
    .map((one) => addressText(one.frontend));
}
