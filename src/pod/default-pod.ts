import type {
  Container,
  EnvVar,
  Pod,
  PodSpec,
  ProjectedSource,
  Quantity,
  ResourceList,
  ResourceRequirements,
  Volume,
} from '../api/core-v1.ts';
import { podLimits, podRequests } from '../api/pod.ts';

/**
 * Fills in what the API server fills in when a pod is created (the defaults of the core/v1 reference),
 * so that a pod from a file reads like one from the API. What admission adds there (service account,
 * priority, tolerations) is not added: nobody here decides it.
 */
export function defaultPod(pod: Pod): Pod {
  const withContainers = { ...pod, spec: defaultSpec(pod.spec) };
  return withContainers.spec.resources ? withPodLevelRequests(withContainers) : withContainers;
}

function defaultSpec(spec: PodSpec): PodSpec {
  const container = (c: Container) => defaultContainer(c, spec.hostNetwork ?? false);
  const account = spec.serviceAccountName ?? spec.serviceAccount;
  return {
    dnsPolicy: 'ClusterFirst',
    enableServiceLinks: true,
    restartPolicy: 'Always',
    schedulerName: 'default-scheduler',
    securityContext: {},
    terminationGracePeriodSeconds: 30,
    ...spec,
    ...(account ? { serviceAccountName: account, serviceAccount: account } : {}),
    containers: (spec.containers ?? []).map(container),
    ...(spec.initContainers ? { initContainers: spec.initContainers.map(container) } : {}),
    ...(spec.volumes ? { volumes: spec.volumes.map(defaultVolume) } : {}),
  };
}

function defaultContainer(container: Container, hostNetwork: boolean): Container {
  return {
    imagePullPolicy: pullPolicy(container.image ?? ''),
    terminationMessagePath: '/dev/termination-log',
    terminationMessagePolicy: 'File',
    ...container,
    resources: limitsAreRequests(container.resources ?? {}),
    ...(container.env ? { env: container.env.map(defaultEnv) } : {}),
    ...(container.ports
      ? {
          ports: container.ports.map((port) => ({
            protocol: 'TCP' as const,
            ...(hostNetwork ? { hostPort: port.containerPort } : {}),
            ...port,
          })),
        }
      : {}),
    ...defaulted(container, 'livenessProbe', defaultProbe),
    ...defaulted(container, 'readinessProbe', defaultProbe),
    ...defaulted(container, 'startupProbe', defaultProbe),
    ...defaulted(container, 'lifecycle', defaultLifecycle),
  };
}

function defaulted<T extends object>(holder: T, key: string & keyof T, fill: (value: Plain) => Plain): object {
  const value: unknown = holder[key];
  return isPlain(value) ? { [key]: fill(value) } : {};
}

type Plain = Readonly<Record<string, unknown>>;
const isPlain = (value: unknown): value is Plain =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** An image without a tag, or tagged latest, is looked for anew each time; one named by digest is not. */
function pullPolicy(image: string): 'Always' | 'IfNotPresent' {
  if (image.includes('@')) return 'IfNotPresent';
  const name = image.slice(image.lastIndexOf('/') + 1);
  const colon = name.lastIndexOf(':');
  return colon < 0 || name.slice(colon + 1) === 'latest' ? 'Always' : 'IfNotPresent';
}

function limitsAreRequests(resources: ResourceRequirements): ResourceRequirements {
  if (!resources.limits) return resources;
  const missing = Object.entries(resources.limits).filter(([name]) => resources.requests?.[name] === undefined);
  if (missing.length === 0) return resources;
  return { ...resources, requests: { ...resources.requests, ...Object.fromEntries(missing) } };
}

/** A request left out for the pod itself is what its containers ask for, or else the pod's limit. */
function withPodLevelRequests(pod: Pod): Pod {
  const resources = pod.spec.resources ?? {};
  const { resources: _own, overhead: _overhead, ...spec } = pod.spec;
  const containers = { ...pod, spec };
  const [asked, limited]: ResourceList[] = [podRequests(containers), podLimits(containers)];
  const requests: Record<string, Quantity> = { ...resources.requests };
  for (const [name, limit] of Object.entries(resources.limits ?? {})) {
    requests[name] ??= asked?.[name] ?? limited?.[name] ?? limit;
  }
  if (Object.keys(requests).length === 0) return pod;
  return { ...pod, spec: { ...pod.spec, resources: { ...resources, requests } } };
}

function defaultEnv(env: EnvVar): EnvVar {
  if (!isPlain(env.valueFrom)) return env;
  return {
    ...env,
    valueFrom: {
      ...env.valueFrom,
      ...defaulted(env.valueFrom, 'fieldRef', (ref) => ({ apiVersion: 'v1', ...ref })),
      ...defaulted(env.valueFrom, 'resourceFieldRef', (ref) => ({ divisor: '0', ...ref })),
    },
  };
}

function defaultProbe(probe: Plain): Plain {
  return {
    timeoutSeconds: 1,
    periodSeconds: 10,
    successThreshold: 1,
    failureThreshold: 3,
    ...probe,
    ...defaultHandler(probe),
  };
}

function defaultHandler(handler: Plain): object {
  return {
    ...defaulted(handler, 'httpGet', (get) => ({ path: '/', scheme: 'HTTP', ...get })),
    ...defaulted(handler, 'grpc', (grpc) => ({ service: '', ...grpc })),
  };
}

function defaultLifecycle(lifecycle: Plain): Plain {
  const fill = (handler: Plain) => ({ ...handler, ...defaultHandler(handler) });
  return { ...lifecycle, ...defaulted(lifecycle, 'postStart', fill), ...defaulted(lifecycle, 'preStop', fill) };
}

/** 0644, as the API writes it. */
const defaultMode = 0o644;

function defaultVolume(volume: Volume): Volume {
  const { name, ...sources } = volume;
  const given = Object.values(sources).some((source) => source !== undefined && source !== null);
  if (!given) return { name, emptyDir: {} };
  return {
    ...volume,
    ...defaulted(volume, 'hostPath', (source) => ({ type: '', ...source })),
    ...defaulted(volume, 'configMap', (source) => ({ defaultMode, ...source })),
    ...defaulted(volume, 'secret', (source) => ({ defaultMode, ...source })),
    ...defaulted(volume, 'downwardAPI', (source) => ({ defaultMode, ...source, ...defaultItems(source) })),
    ...(volume.projected ? { projected: defaultProjected(volume.projected) } : {}),
  };
}

function defaultItems(source: Plain): object {
  if (!Array.isArray(source['items'])) return {};
  const items = source['items'].filter(isPlain).map((item) => ({
    ...item,
    ...defaulted(item, 'fieldRef', (ref) => ({ apiVersion: 'v1', ...ref })),
    ...defaulted(item, 'resourceFieldRef', (ref) => ({ divisor: '0', ...ref })),
  }));
  return { items };
}

function defaultProjected(projected: ProjectedSource): ProjectedSource {
  const sources = projected.sources?.map((source) => ({
    ...source,
    ...defaulted(source, 'serviceAccountToken', (token) => ({ expirationSeconds: 3600, ...token })),
    ...defaulted(source, 'downwardAPI', (downward) => ({ ...downward, ...defaultItems(downward) })),
  }));
  return { defaultMode, ...projected, ...(sources ? { sources } : {}) };
}
