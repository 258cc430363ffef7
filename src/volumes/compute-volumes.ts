import { join } from 'node:path';
import type {
  ClusterTrustBundleProjection,
  ConfigMapSource,
  Container,
  DownwardAPIFile,
  EmptyDirSource,
  HostPathSource,
  KeyToPath,
  NfsSource,
  Pod,
  ProjectedSource,
  SecretSource,
  ServiceAccountTokenProjection,
  Volume,
} from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import type { LabelSelector } from '../api/meta-v1.ts';
import { quantityValue } from '../api/quantity.ts';
import { messageOf } from '../lib/errors.ts';
import { everyContainerLimited, podResources } from '../resources/pod-resources.ts';
import { type ObjectRef, refKey } from './object-source.ts';

/** What a pod's spec wants of its volumes, one entry each in the spec's order: plain data, ready to be carried out. */
export type WantedVolume =
  | EmptyDirVolume
  | HostPathVolume
  | PayloadVolume
  | NfsVolume
  | ClaimVolume
  | ImageVolume
  | RefusedVolume;

export interface EmptyDirVolume {
  readonly kind: 'emptyDir';
  readonly name: string;
  readonly path: string;
  readonly medium: 'disk' | 'memory' | 'hugePages';
  /** Bytes; undefined is the kernel's default (half of the memory). Only for memory. */
  readonly sizeBytes: number | undefined;
  /** As in 'hugepages-2Mi'. Only for huge pages. */
  readonly pageSize?: string;
  readonly gid: number | undefined;
  /** Who may write there may not remove what others wrote. */
  readonly sticky: boolean;
}

export interface HostPathVolume {
  readonly kind: 'hostPath';
  readonly name: string;
  readonly path: string;
  readonly type: string;
}

/** Files made from API objects, fields of the pod and tokens. */
export interface PayloadVolume {
  readonly kind: 'payload';
  readonly name: string;
  /** Where the runtime finds the files. */
  readonly path: string;
  /** Where they really are when they must not touch the disk: `path` is a link to it. */
  readonly memoryPath: string | undefined;
  readonly sources: readonly PayloadSource[];
  readonly defaultMode: number;
  /** The pod's fsGroup: files get this group and are readable to it. */
  readonly gid: number | undefined;
  /** The user that all containers run as, when there is one: owner of token files. */
  readonly uid: number | undefined;
}

export interface NfsVolume {
  readonly kind: 'nfs';
  /** What messages call it: the persistent volume's name, where there is one. */
  readonly name: string;
  readonly path: string;
  /** `server:/path`. */
  readonly source: string;
  readonly options: readonly string[];
  readonly readOnly: boolean;
}

/** Something whose source is to be learnt from the API: a claim, and the persistent volume that it is bound to. */
export interface ClaimVolume {
  readonly kind: 'claim';
  readonly name: string;
  readonly claimName: string;
  readonly readOnly: boolean;
  /** The claim must have been made for this very pod. */
  readonly isEphemeral: boolean;
  readonly isMounted: boolean;
  readonly isDevice: boolean;
}

/** An OCI image's files: the runtime mounts them. */
export interface ImageVolume {
  readonly kind: 'image';
  readonly name: string;
  readonly reference: string;
  readonly pullPolicy: Container['imagePullPolicy'];
}

/** What is in an API object, one file a key. */
export type ContentKind = 'ConfigMap' | 'Secret';

export type PayloadSource =
  | {
      readonly kind: ContentKind;
      readonly name: string;
      readonly items: readonly KeyToPath[];
      readonly optional: boolean;
    }
  | { readonly kind: 'downwardAPI'; readonly items: readonly DownwardAPIFile[] }
  | { readonly kind: 'token'; readonly projection: ServiceAccountTokenProjection }
  | TrustSource;

/** Certificates, of one bundle or of all of a signer. */
export interface TrustSource {
  readonly kind: 'trust';
  readonly path: string;
  readonly from: { readonly kind: 'ClusterTrustBundle' | 'SignerTrustBundles'; readonly name: string };
  /** Which of the signer's; absent is none, as everywhere in the API. */
  readonly labels: LabelSelector | undefined;
  readonly optional: boolean;
}

export interface RefusedVolume {
  readonly kind: 'refused';
  readonly name: string;
  readonly message: string;
}

export interface VolumeRoots {
  /** `<root>/pods`. */
  readonly pods: string;
  /** The node's tmpfs. */
  readonly memory: string;
  /** Bytes that pods may use; undefined when not known. */
  readonly allocatableMemory: number | undefined;
}

// Folder names of upstream's plugins: tools and backups on nodes look for them.
const plugin = {
  emptyDir: 'kubernetes.io~empty-dir',
  configMap: 'kubernetes.io~configmap',
  secret: 'kubernetes.io~secret',
  downwardAPI: 'kubernetes.io~downward-api',
  projected: 'kubernetes.io~projected',
  nfs: 'kubernetes.io~nfs',
  local: 'kubernetes.io~local-volume',
} as const;

/** Folders whose entries are mount points, with data of others behind them. */
export const mountedPlugins = [plugin.nfs, plugin.local] as const;

/**
 * Reads a pod's spec into what there is to set up: the volumes that a container uses, others are as good as absent.
 * Never throws: what is not possible is an entry of kind 'refused'.
 */
export function computeVolumes(pod: Pod, uid: PodUid, roots: VolumeRoots): readonly WantedVolume[] {
  const uses = usesOf(pod);
  return (pod.spec.volumes ?? []).filter(isUsed(uses)).map((volume): WantedVolume => {
    try {
      return computeVolume(volume, pod, uid, roots, uses);
    } catch (error) {
      return { kind: 'refused', name: volume.name, message: messageOf(error) };
    }
  });
}

/** Names of volumes that containers mount, or get as devices. */
interface Uses {
  readonly mounts: ReadonlySet<string>;
  readonly devices: ReadonlySet<string>;
}

function usesOf({ spec }: Pod): Uses {
  const all = [...(spec.initContainers ?? []), ...spec.containers, ...(spec.ephemeralContainers ?? [])];
  const files = all.flatMap((c) => (c.env ?? []).flatMap((e) => e.valueFrom?.fileKeyRef?.volumeName ?? []));
  return {
    mounts: new Set([...all.flatMap((c) => (c.volumeMounts ?? []).map((m) => m.name)), ...files]),
    devices: new Set(all.flatMap((c) => (c.volumeDevices ?? []).map((d) => d.name))),
  };
}

const isUsed =
  ({ mounts, devices }: Uses) =>
  ({ name }: Volume): boolean =>
    mounts.has(name) || devices.has(name);

function computeVolume(volume: Volume, pod: Pod, uid: PodUid, roots: VolumeRoots, uses: Uses): WantedVolume {
  const { name } = volume;
  // Manifests on disk are not validated by an API server, and the name becomes a path component.
  if (typeof name !== 'string' || !/^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$/.test(name)) {
    throw new Error(`volume name ${JSON.stringify(name)} is not a DNS label`);
  }
  const given = Object.keys(volume).filter(
    (key) => key !== 'name' && volume[key] !== undefined && volume[key] !== null,
  );
  const source = given[0];
  if (given.length > 1) throw new Error(`a volume has one source, this one has ${given.join(' and ')}`);
  const at = (folder: string) => join(roots.pods, uid, 'volumes', folder, name);
  const payload = (folder: string, inMemory: boolean, defaultMode: number | undefined, sources: PayloadSource[]) =>
    ({
      kind: 'payload',
      name,
      path: at(folder),
      memoryPath: inMemory ? join(roots.memory, uid, folder, name) : undefined,
      sources,
      defaultMode: defaultMode ?? 0o644,
      gid: pod.spec.securityContext?.fsGroup,
      uid: commonUser(pod),
    }) as const;

  if (source === undefined || volume.emptyDir)
    return computeEmptyDir(name, at(plugin.emptyDir), volume.emptyDir ?? {}, pod, roots);
  if (volume.hostPath) return computeHostPath(name, volume.hostPath);
  if (volume.configMap) {
    const { configMap } = volume;
    return payload(plugin.configMap, false, configMap.defaultMode, [
      objectSource('ConfigMap', configMap.name, configMap),
    ]);
  }
  if (volume.secret) {
    const { secret } = volume;
    return payload(plugin.secret, true, secret.defaultMode, [objectSource('Secret', secret.secretName, secret)]);
  }
  if (volume.downwardAPI) {
    const { items = [], defaultMode } = volume.downwardAPI;
    return payload(plugin.downwardAPI, false, defaultMode, [{ kind: 'downwardAPI', items }]);
  }
  if (volume.projected) {
    return payload(plugin.projected, true, volume.projected.defaultMode, projectedSources(volume.projected));
  }
  const claim = (claimName: string, readOnly: boolean, isEphemeral: boolean): ClaimVolume => {
    if (!isObjectName(claimName)) throw new Error(`claim name ${JSON.stringify(claimName)} is not a name`);
    const [isMounted, isDevice] = [uses.mounts.has(name), uses.devices.has(name)];
    return { kind: 'claim', name, claimName, readOnly, isEphemeral, isMounted, isDevice };
  };
  const { persistentVolumeClaim, ephemeral, nfs, image } = volume;
  if (persistentVolumeClaim)
    return claim(persistentVolumeClaim.claimName, persistentVolumeClaim.readOnly === true, false);
  if (ephemeral) return claim(`${pod.metadata.name}-${name}`, false, true);
  if (nfs) return nfsVolume({ name, at: roots, uid, nfs, readOnly: nfs.readOnly === true, mountOptions: [] });
  if (image) {
    if (!image.reference) throw new Error('an image volume must name its image');
    return { kind: 'image', name, reference: image.reference, pullPolicy: image.pullPolicy };
  }
  if (volume.csi) throw new Error(`CSI driver ${JSON.stringify(volume.csi.driver)} is not supported by keelson`);
  throw new Error(`volume source ${source} is not supported by keelson`);
}

/** Whether the API takes it for a name, so that it can name a folder too. */
export const isObjectName = (name: unknown): name is string =>
  typeof name === 'string' && /^[a-z0-9]([-.a-z0-9]{0,251}[a-z0-9])?$/.test(name) && !name.includes('..');

/** Where an export of an NFS server is mounted for a pod, and how. */
export function nfsVolume(input: {
  readonly name: string;
  readonly at: VolumeRoots;
  readonly uid: PodUid;
  readonly nfs: NfsSource;
  readonly readOnly: boolean;
  readonly mountOptions: readonly string[];
}): NfsVolume {
  const { name, at, uid, nfs, readOnly, mountOptions } = input;
  if (!nfs.server || !nfs.path?.startsWith('/'))
    throw new Error('an nfs volume must name a server and an absolute path');
  const server = nfs.server.includes(':') && !nfs.server.startsWith('[') ? `[${nfs.server}]` : nfs.server;
  return {
    kind: 'nfs',
    name,
    path: join(at.pods, uid, 'volumes', plugin.nfs, name),
    source: `${server}:${nfs.path}`,
    options: [...(readOnly ? ['ro'] : []), ...mountOptions.filter((option) => !readOnly || option !== 'ro')],
    readOnly,
  };
}

function computeEmptyDir(
  name: string,
  path: string,
  source: EmptyDirSource,
  pod: Pod,
  roots: VolumeRoots,
): EmptyDirVolume {
  const medium = source.medium ?? '';
  const common = {
    kind: 'emptyDir',
    name,
    path,
    gid: pod.spec.securityContext?.fsGroup,
    sticky: source.stickyBit === true,
    sizeBytes: undefined,
  } as const;
  if (medium === '') return { ...common, medium: 'disk' };
  if (medium === 'HugePages' || medium.startsWith('HugePages-')) {
    return { ...common, medium: 'hugePages', pageSize: pageSizeFor(medium, pod) };
  }
  if (medium !== 'Memory') throw new Error(`unknown storage medium ${JSON.stringify(medium)}`);
  const limit = source.sizeLimit === undefined ? 0 : quantityValue(source.sizeLimit);
  const podLimit = everyContainerLimited(pod, 'memory')
    ? podResources(pod, 'limits', { overhead: false }).memoryBytes
    : undefined;
  const bounds = [limit > 0 ? limit : undefined, podLimit, roots.allocatableMemory].filter((b) => b !== undefined);
  return { ...common, medium: 'memory', sizeBytes: bounds.length ? Math.min(...bounds) : undefined };
}

/** The page size of a volume of huge pages: its own, or the only one that the pod asks for. */
function pageSizeFor(medium: string, pod: Pod): string {
  const { containers, initContainers = [], resources } = pod.spec;
  const requests = [resources, ...containers.map((c) => c.resources), ...initContainers.map((c) => c.resources)];
  const prefix = 'hugepages-';
  // By bytes, since one size can be written in several ways.
  const sizes = new Map<number, string>();
  for (const name of requests.flatMap((r) => Object.keys({ ...r?.limits, ...r?.requests }))) {
    if (!name.startsWith(prefix)) continue;
    const size = name.slice(prefix.length);
    sizes.set(quantityValue(size), size);
  }
  if (medium === 'HugePages' && sizes.size > 1) {
    throw new Error(`medium: ${medium} can't be used if container requests multiple huge page sizes`);
  }
  const size =
    medium === 'HugePages' ? [...sizes.values()][0] : sizes.get(quantityValue(medium.slice('HugePages-'.length)));
  if (size !== undefined) return size;
  throw new Error(`medium ${medium}: hugePages storage requested, but there is no resource request for huge pages`);
}

export function computeHostPath(name: string, { path, type }: HostPathSource): HostPathVolume {
  if (typeof path !== 'string' || !path.startsWith('/')) {
    throw new Error(`invalid HostPath ${JSON.stringify(path)}: must be an absolute path`);
  }
  if (path.split('/').includes('..'))
    throw new Error(`invalid HostPath ${JSON.stringify(path)}: must not contain '..'`);
  return { kind: 'hostPath', name, path, type: type ?? '' };
}

function objectSource(
  kind: ContentKind,
  name: string | undefined,
  source: ConfigMapSource | SecretSource,
): PayloadSource {
  if (!name) throw new Error(`a ${kind === 'ConfigMap' ? 'configMap' : 'secret'} volume must name its object`);
  return { kind, name, items: source.items ?? [], optional: source.optional === true };
}

function projectedSources({ sources = [] }: ProjectedSource): PayloadSource[] {
  return sources.map((source) => {
    if (source.configMap) return objectSource('ConfigMap', source.configMap.name, source.configMap);
    if (source.secret) return objectSource('Secret', source.secret.name, source.secret);
    if (source.downwardAPI) return { kind: 'downwardAPI', items: source.downwardAPI.items ?? [] };
    if (source.serviceAccountToken) return { kind: 'token', projection: source.serviceAccountToken };
    if (source.clusterTrustBundle) return trustSource(source.clusterTrustBundle);
    throw new Error(`projected source ${Object.keys(source).join(', ')} is not supported by keelson`);
  });
}

function trustSource(source: ClusterTrustBundleProjection): TrustSource {
  const { name, signerName, labelSelector, optional, path } = source;
  const common = { kind: 'trust', path, optional: optional === true } as const;
  if (name) return { ...common, from: { kind: 'ClusterTrustBundle', name }, labels: undefined };
  if (signerName) return { ...common, from: { kind: 'SignerTrustBundles', name: signerName }, labels: labelSelector };
  throw new Error('ClusterTrustBundle projection requires either name or signerName to be set');
}

/** The user ID that every container of the pod runs as, when the spec sets one and the same for all. */
function commonUser(pod: Pod): number | undefined {
  const { containers, initContainers = [], securityContext } = pod.spec;
  const users = [...initContainers, ...containers].map(
    (c) => c.securityContext?.runAsUser ?? securityContext?.runAsUser,
  );
  return users.every((user) => user === users[0]) ? users[0] : undefined;
}

/** The API objects that the volumes are made from, each once; what claims are bound to is not known from here. */
export function referencedObjects(volumes: readonly WantedVolume[], namespace: string): readonly ObjectRef[] {
  const refs = volumes.flatMap((volume): ObjectRef[] => {
    if (volume.kind === 'claim') return [{ kind: 'PersistentVolumeClaim', namespace, name: volume.claimName }];
    if (volume.kind !== 'payload') return [];
    return volume.sources.flatMap((source): ObjectRef[] => {
      if (source.kind === 'trust') return [{ ...source.from, namespace: '' }];
      const isObject = source.kind === 'ConfigMap' || source.kind === 'Secret';
      return isObject ? [{ kind: source.kind, namespace, name: source.name }] : [];
    });
  });
  return [...new Map(refs.map((ref) => [refKey(ref), ref])).values()];
}
