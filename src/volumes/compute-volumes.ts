import { join } from 'node:path';
import type {
  ConfigMapSource,
  DownwardAPIFile,
  EmptyDirSource,
  HostPathSource,
  KeyToPath,
  Pod,
  ProjectedSource,
  SecretSource,
  ServiceAccountTokenProjection,
  Volume,
} from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { quantityValue } from '../api/quantity.ts';
import { messageOf } from '../lib/errors.ts';
import { everyContainerLimited, podResources } from '../resources/pod-resources.ts';
import { type ObjectKind, type ObjectRef, refKey } from './object-source.ts';

/** What a pod's spec wants of its volumes, one entry each in the spec's order: plain data, ready to be carried out. */
export type WantedVolume = EmptyDirVolume | HostPathVolume | PayloadVolume | RefusedVolume;

export interface EmptyDirVolume {
  readonly kind: 'emptyDir';
  readonly name: string;
  readonly path: string;
  readonly medium: 'disk' | 'memory';
  /** Bytes; undefined is the kernel's default (half of the memory). Only for memory. */
  readonly sizeBytes: number | undefined;
  readonly gid: number | undefined;
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

export type PayloadSource =
  | {
      readonly kind: ObjectKind;
      readonly name: string;
      readonly items: readonly KeyToPath[];
      readonly optional: boolean;
    }
  | { readonly kind: 'downwardAPI'; readonly items: readonly DownwardAPIFile[] }
  | { readonly kind: 'token'; readonly projection: ServiceAccountTokenProjection };

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
} as const;

/** Reads a pod's spec into what there is to set up. Never throws: what is not possible is an entry of kind 'refused'. */
export function computeVolumes(pod: Pod, uid: PodUid, roots: VolumeRoots): readonly WantedVolume[] {
  return (pod.spec.volumes ?? []).map((volume): WantedVolume => {
    try {
      return computeVolume(volume, pod, uid, roots);
    } catch (error) {
      return { kind: 'refused', name: volume.name, message: messageOf(error) };
    }
  });
}

function computeVolume(volume: Volume, pod: Pod, uid: PodUid, roots: VolumeRoots): WantedVolume {
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
  throw new Error(`volume source ${source} is not supported by keelson`);
}

function computeEmptyDir(
  name: string,
  path: string,
  source: EmptyDirSource,
  pod: Pod,
  roots: VolumeRoots,
): EmptyDirVolume {
  const gid = pod.spec.securityContext?.fsGroup;
  const medium = source.medium ?? '';
  if (medium === '') return { kind: 'emptyDir', name, path, medium: 'disk', sizeBytes: undefined, gid };
  if (medium !== 'Memory') throw new Error(`emptyDir medium ${JSON.stringify(medium)} is not supported by keelson`);
  const limit = source.sizeLimit === undefined ? 0 : quantityValue(source.sizeLimit);
  const podLimit = everyContainerLimited(pod, 'memory')
    ? podResources(pod, 'limits', { overhead: false }).memoryBytes
    : undefined;
  const bounds = [limit > 0 ? limit : undefined, podLimit, roots.allocatableMemory].filter((b) => b !== undefined);
  return {
    kind: 'emptyDir',
    name,
    path,
    medium: 'memory',
    sizeBytes: bounds.length ? Math.min(...bounds) : undefined,
    gid,
  };
}

function computeHostPath(name: string, { path, type }: HostPathSource): HostPathVolume {
  if (typeof path !== 'string' || !path.startsWith('/')) {
    throw new Error(`invalid HostPath ${JSON.stringify(path)}: must be an absolute path`);
  }
  if (path.split('/').includes('..'))
    throw new Error(`invalid HostPath ${JSON.stringify(path)}: must not contain '..'`);
  return { kind: 'hostPath', name, path, type: type ?? '' };
}

function objectSource(
  kind: ObjectKind,
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
    throw new Error(`projected source ${Object.keys(source).join(', ')} is not supported by keelson`);
  });
}

/** The user ID that every container of the pod runs as, when the spec sets one and the same for all. */
function commonUser(pod: Pod): number | undefined {
  const { containers, initContainers = [], securityContext } = pod.spec;
  const users = [...initContainers, ...containers].map(
    (c) => c.securityContext?.runAsUser ?? securityContext?.runAsUser,
  );
  return users.every((user) => user === users[0]) ? users[0] : undefined;
}

/** The API objects that the volumes are made from, each once. */
export function referencedObjects(volumes: readonly WantedVolume[], namespace: string): readonly ObjectRef[] {
  const refs = new Map<string, ObjectRef>();
  for (const volume of volumes) {
    if (volume.kind !== 'payload') continue;
    for (const source of volume.sources) {
      if (source.kind !== 'ConfigMap' && source.kind !== 'Secret') continue;
      const ref = { kind: source.kind, namespace, name: source.name };
      refs.set(refKey(ref), ref);
    }
  }
  return [...refs.values()];
}
