import { hostname } from 'node:os';
import type { AdminServicePlan, AdminServiceTrace } from '../admin/admin-api.ts';
import type { Node } from '../api/core-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import type { SvcFiles } from '../cli/svc-command.ts';
import type { KubeProxyConfiguration } from '../config/kinds.ts';
import { loadConfig } from '../config/load-config.ts';
import { noOptions } from '../config/run-options.ts';
import type { Exec } from '../host/exec.ts';
import { systemClock as clock } from '../lib/clock.ts';
import { AgentError } from '../lib/errors.ts';
import { type Log, silentLog } from '../lib/log.ts';
import { Complaints } from '../proxy/complaints.ts';
import {
  type DecodedObjects,
  decodeObjects,
  type ObjectPlace,
  type ObjectProblem,
  objectProblemText,
  wellShaped,
} from '../proxy/decode-objects.ts';
import { DualProxier } from '../proxy/dual-proxier.ts';
import { Proxier } from '../proxy/proxier.ts';
import { clusterIpsOf, type IpFamily } from '../proxy/read-service.ts';
import { badQuestion } from '../proxy/trace-question.ts';
import { unplannedObjects } from '../proxy/unplanned-objects.ts';
import { proxierSettings } from './proxier-settings.ts';
import { buildModes } from './proxy-modes.ts';
import { readTexts } from './read-texts.ts';
import { planOf, traceOf } from './service-answers.ts';

/** What the objects of files would come to. */
export interface PlannedFiles {
  /** Nothing of the objects is left out. */
  readonly isWhole: boolean;
  /** What there is to say of them, a line each, in the order of the files. */
  readonly problems: readonly string[];
  plan(): AdminServicePlan;
  /** Throws an AgentError `BadQuestion`. */
  trace(question: { readonly client: string; readonly target: string; readonly protocol: string }): AdminServiceTrace;
}

/**
 * `keelson svc plan -f`: the objects of files, routed and compiled as the daemon would, without one and without a look
 * at this host or its kernel. Throws a ConfigError where the configuration is refused; what is wrong with an object
 * costs that alone.
 */
export async function planFiles(asked: SvcFiles, only?: IpFamily): Promise<PlannedFiles> {
  const { mode: proxyMode, hostnameOverride } = asked;
  const { config } = loadConfig({
    ...{ ...noOptions, config: asked.config },
    ...(proxyMode === undefined ? {} : { proxyMode }),
    ...(hostnameOverride === undefined ? {} : { hostnameOverride }),
  });
  const { texts, problems: unread } = await readTexts(asked.filenames);
  const objects = decodeObjects(texts);
  const { nodeName, node, problems: unplaced } = chooseNode(objects, config.flags.hostnameOverride);
  const unusable: ObjectProblem[] = [];
  const proxier = buildProxier(config.proxy, {
    ...{ nodeName, families: only ? [only] : familiesOf(objects) },
    complaints: new Complaints(logInto(unusable, objects)),
  });
  proxier.onNodeChange(node);
  for (const [key, { object }] of objects.services) proxier.onServiceChange(key, object);
  for (const [key, { object }] of objects.slices) proxier.onSliceChange(key, object);
  proxier.rehearse();
  const problems = [...unread, ...unplaced, ...objects.problems, ...unplannedObjects(objects), ...unusable];
  const slices = [...objects.slices.values()].map(({ object }) => wellShaped(object));
  return {
    isWhole: !problems.some((problem) => problem.isFault),
    problems: problems.toSorted(byPlace(asked.filenames)).map(objectProblemText),
    plan: () => settled(planOf(proxier)),
    trace: (question) =>
      settled(
        traceOf(
          {
            proxier,
            services: () => [...objects.services.values()].map(({ object }) => object),
            slicesOf: (serviceKey) =>
              slices.filter(
                ({ metadata: { namespace, labels } }) => `${namespace}/${labels?.[serviceNameLabel]}` === serviceKey,
              ),
            findPod: refusePod,
            hostAddresses: () => (node?.status?.addresses ?? []).map(({ address }) => address),
          },
          question,
        ),
      ),
  };
}

/** Pods are not among the objects. */
const refusePod = (namespace: string, name: string): never => {
  const hint = 'a client is an address, host or outside; with a daemon also a pod of its node';
  throw new AgentError(badQuestion, `pods are not known from files: ${namespace}/${name} cannot be the client`, {
    hint,
  });
};

/** No kernel waits for any of it. */
const settled = <T extends { readonly pending: object }>(answer: T): T => ({
  ...answer,
  pending: { services: 0, endpoints: 0 },
});

/** Asks nothing of the host, whatever a backend may come to want. */
const noHost: Pick<Exec, 'run'> = {
  run: async (file) => {
    throw new AgentError('PlanOnly', `${file} is not run for a plan`);
  },
};

function buildProxier(
  proxy: KubeProxyConfiguration,
  options: {
    readonly nodeName: string;
    readonly families: readonly IpFamily[];
    readonly complaints: Complaints;
  },
): DualProxier {
  const { nodeName, families, complaints } = options;
  const mode = proxy.mode || 'nftables';
  const common = { exec: noHost, clock, log: silentLog };
  const modes = buildModes({ ipvs: proxy.ipvs, ...common });
  const settings = { ...common, ...proxierSettings(mode, proxy), nodeName, complaints };
  return new DualProxier(
    ...families.map((family) => new Proxier({ ...settings, family, backend: modes[mode].backend(family) })),
  );
}

/** Those that Services have addresses of. */
function familiesOf({ services }: DecodedObjects): readonly IpFamily[] {
  const isSix = new Set(
    [...services.values()].flatMap(({ object }) => clusterIpsOf(object)).map((ip) => `${ip}`.includes(':')),
  );
  if (!isSix.has(true)) return ['IPv4'];
  return isSix.has(false) ? ['IPv4', 'IPv6'] : ['IPv6'];
}

/** Which node it is planned for: the one that is named, else the only one among the objects, else this host. */
function chooseNode(
  { nodes }: DecodedObjects,
  name: string | undefined,
): { readonly nodeName: string; readonly node: Node | undefined; readonly problems: readonly ObjectProblem[] } {
  const [alone] = nodes.size === 1 ? nodes.keys() : [];
  const nodeName = name ?? alone ?? hostname().trim().toLowerCase();
  const found = nodes.get(nodeName);
  const [other] = nodes.values();
  if (found || !other) return { nodeName, node: found?.object, problems: [] };
  const message = `none of the Nodes is ${nodeName}: its zone, addresses and pod ranges are not known`;
  const problem = { place: other.place, message, hint: 'name one of them with --hostname-override', isFault: true };
  return { nodeName, node: undefined, problems: [problem] };
}

/** Makes problems with a place of what is complained of while objects are read and routed. */
function logInto(problems: ObjectProblem[], { services, slices }: DecodedObjects): Log {
  const places = new Map<string, ObjectPlace>([
    ...[...services].map(([key, { place }]) => [`Service ${key}`, place] as const),
    ...[...slices].map(([key, { place }]) => [`EndpointSlice ${key}`, place] as const),
  ]);
  return {
    ...silentLog,
    warn: (fields, message) => {
      const { about, details } = fields as { readonly about: string; readonly details: string };
      const place = places.get(about) ?? { file: about, path: '' };
      problems.push({
        place,
        message: `${about}: ${details}`,
        hint: `${message}; correct it: the rest counts`,
        isFault: true,
      });
    },
  };
}

const byPlace = (files: readonly string[]) => (a: ObjectProblem, b: ObjectProblem) =>
  files.indexOf(a.place.file) - files.indexOf(b.place.file) ||
  (a.place.document ?? 0) - (b.place.document ?? 0) ||
  (a.place.position?.line ?? 0) - (b.place.position?.line ?? 0);
