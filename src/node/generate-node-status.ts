import type { Node, NodeStatus, Quantity, Taint } from '../api/core-v1.ts';
import type { Image } from '../api/cri.ts';
import type { FilesystemFacts, MachineFacts } from '../host/machine.ts';
import { computeNodeResources, type Reservations } from '../resources/node-resources.ts';
import { generateNodeConditions, type NodePressures } from './generate-node-conditions.ts';
import { type RuntimeState, runtimeProblems } from './runtime-state.ts';

/** What the operator decided about the Node object. */
export interface NodeSettings extends Reservations {
  readonly nodeName: string;
  /** The host's name as a label and an address: --hostname-override, or the machine's own. */
  readonly hostname: string;
  readonly nodeLabels: Readonly<Record<string, string>>;
  readonly registerWithTaints: readonly Taint[];
  readonly kubeletPort: number;
  /** -1 is no cap. */
  readonly nodeStatusMaxImages: number;
  readonly enableControllerAttachDetach: boolean;
  readonly providerId: string;
  /** For standalone nodes, to which no control plane gives one. */
  readonly podCidrs: readonly string[];
  /** What `kubeletVersion` says, see `kubeletVersion`. */
  readonly version: string;
}

export interface NodeStatusInput {
  readonly settings: NodeSettings;
  readonly facts: MachineFacts;
  readonly rootFilesystem: FilesystemFacts;
  /** The node's addresses, the main one first. */
  readonly ips: readonly string[];
  readonly runtime: RuntimeState;
  /** Undefined when the runtime did not tell: the previous list stays. */
  readonly images: readonly Image[] | undefined;
  readonly pressures: NodePressures;
  /** Reasons beyond the runtime's for not being ready. */
  readonly problems: readonly string[];
  readonly previous: NodeStatus | undefined;
  /** Milliseconds since the epoch, and on the monotonic clock. */
  readonly now: number;
  readonly monotonic: number;
}

/** The version of Kubernetes whose kubelet this agent follows. */
const kubernetesVersion = 'v1.36.2';

/** `nodeInfo.kubeletVersion`: tools compare it with the control plane's, so ours goes into the build part. */
export const kubeletVersion = (own: string) => `${kubernetesVersion}+keelson.${own}`;

/** Features by which the scheduler and the API server choose nodes, or refuse what a node cannot do (KEP-5328); sorted. */
const declaredFeatures: readonly string[] = [
  'ExtendWebSocketsToKubelet',
  'InPlacePodLevelResourcesVerticalScaling',
  'InPlacePodVerticalScalingInitContainers',
  'RestartAllContainersOnContainerExits',
];

/** The whole status; fields of others (volumesAttached, foreign conditions) are kept from `previous`. */
export function generateNodeStatus(input: NodeStatusInput): NodeStatus {
  const { settings, facts, previous, runtime, ips } = input;
  const resources = computeNodeResources(facts, input.rootFilesystem, settings);
  const problems = [...runtimeProblems(runtime, input.monotonic), ...addressProblems(ips), ...input.problems];
  const images =
    input.images === undefined ? previous?.images : generateImages(input.images, settings.nodeStatusMaxImages);
  return {
    ...previous,
    // Resources of device plugins and the cluster's administrators are theirs.
    capacity: { ...extendedResources(previous?.capacity), ...resources.capacity },
    allocatable: { ...extendedResources(previous?.allocatable), ...resources.allocatable },
    addresses: [
      ...ips.map((address) => ({ type: 'InternalIP', address })),
      { type: 'Hostname', address: settings.hostname },
    ],
    daemonEndpoints: { kubeletEndpoint: { Port: settings.kubeletPort } },
    conditions: generateNodeConditions({
      pressures: input.pressures,
      problems,
      previous: previous?.conditions ?? [],
      now: input.now,
    }),
    nodeInfo: {
      architecture: facts.architecture,
      bootID: facts.bootId,
      containerRuntimeVersion: runtime.name
        ? `${runtime.name}://${runtime.version}`
        : (previous?.nodeInfo?.containerRuntimeVersion ?? ''),
      kernelVersion: facts.kernelVersion,
      kubeProxyVersion: '',
      kubeletVersion: settings.version,
      machineID: facts.machineId,
      operatingSystem: 'linux',
      osImage: facts.osImage,
      systemUUID: facts.systemUuid,
      ...(facts.swapBytes > 0 ? { swap: { capacity: facts.swapBytes } } : {}),
    },
    ...(images === undefined ? {} : { images }),
    ...generateRuntimeFeatures(runtime),
    declaredFeatures,
  };
}

const addressProblems = (ips: readonly string[]) => (ips.length ? [] : ['the node has no usable IP address']);

const ownResources = /^(cpu|memory|pods|ephemeral-storage|hugepages-.*)$/;

function extendedResources(list: Readonly<Record<string, Quantity>> | undefined): Record<string, Quantity> {
  return Object.fromEntries(Object.entries(list ?? {}).filter(([name]) => !ownResources.test(name)));
}

/** How many names of one image are reported. */
const maxNames = 5;

/** The largest first: the scheduler prefers nodes that need not pull them. */
export function generateImages(images: readonly Image[], max: number): NonNullable<NodeStatus['images']> {
  const named = images
    .map((image) => ({
      names: [...(image.repoDigests ?? []), ...(image.repoTags ?? [])].slice(0, maxNames),
      sizeBytes: image.size ?? 0,
    }))
    .filter((image) => image.names.length > 0)
    // By name where sizes are equal, so that the runtime's order does not make a change.
    .sort((a, b) => b.sizeBytes - a.sizeBytes || compare(a.names[0] ?? '', b.names[0] ?? ''));
  return max < 0 ? named : named.slice(0, max);
}

const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

/** Handlers and features, which runtimes report since containerd 2.0. */
function generateRuntimeFeatures(runtime: RuntimeState): Pick<NodeStatus, 'runtimeHandlers' | 'features'> {
  const handlers = runtime.handlers.map((handler) => ({
    name: handler.name ?? '',
    ...(handler.features
      ? {
          features: {
            recursiveReadOnlyMounts: handler.features.recursiveReadOnlyMounts ?? false,
            userNamespaces: handler.features.userNamespaces ?? false,
          },
        }
      : {}),
  }));
  return {
    ...(handlers.length ? { runtimeHandlers: handlers } : {}),
    ...(runtime.features
      ? { features: { supplementalGroupsPolicy: runtime.features.supplementalGroupsPolicy ?? false } }
      : {}),
  };
}

const attachDetachAnnotation = 'volumes.kubernetes.io/controller-managed-attach-detach';

/** The labels that say what the machine is; they are kept right on a Node that exists. */
export function defaultLabels(settings: NodeSettings, facts: MachineFacts): Record<string, string> {
  return {
    'beta.kubernetes.io/arch': facts.architecture,
    'beta.kubernetes.io/os': 'linux',
    'kubernetes.io/arch': facts.architecture,
    'kubernetes.io/hostname': settings.hostname,
    'kubernetes.io/os': 'linux',
  };
}

/** The Node as it is registered. */
export function generateNode(settings: NodeSettings, facts: MachineFacts, status: NodeStatus): Node {
  const spec = {
    ...(settings.podCidrs.length ? { podCIDR: settings.podCidrs[0] ?? '', podCIDRs: settings.podCidrs } : {}),
    ...(settings.providerId ? { providerID: settings.providerId } : {}),
    ...(settings.registerWithTaints.length ? { taints: settings.registerWithTaints } : {}),
  };
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: settings.nodeName,
      labels: { ...settings.nodeLabels, ...defaultLabels(settings, facts) },
      ...(settings.enableControllerAttachDetach ? { annotations: { [attachDetachAnnotation]: 'true' } } : {}),
    },
    spec,
    status,
  };
}

/**
 * What to change on a Node that was there before us, as a merge patch; undefined when it is as it should be. Labels of
 * --node-labels and taints are for new Nodes alone: an administrator may have changed them since.
 */
export function reconcileExistingNode(
  existing: Node,
  settings: NodeSettings,
  facts: MachineFacts,
): { metadata: { labels?: Record<string, string>; annotations?: Record<string, string | null> } } | undefined {
  const labels = Object.fromEntries(
    Object.entries(defaultLabels(settings, facts)).filter(([key, value]) => existing.metadata.labels?.[key] !== value),
  );
  const wanted = settings.enableControllerAttachDetach ? 'true' : undefined;
  const annotated = existing.metadata.annotations?.[attachDetachAnnotation];
  const annotations = annotated === wanted ? undefined : { [attachDetachAnnotation]: wanted ?? null };
  if (!Object.keys(labels).length && !annotations) return undefined;
  return { metadata: { ...(Object.keys(labels).length ? { labels } : {}), ...(annotations ? { annotations } : {}) } };
}
