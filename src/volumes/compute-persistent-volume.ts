import { join } from 'node:path';
import type { Node, PersistentVolume, PersistentVolumeClaim, Pod } from '../api/core-v1.ts';
import type { PodUid } from '../api/ids.ts';
import { matchesNodeTerms } from '../pod/node-affinity.ts';
import {
  type ClaimVolume,
  computeHostPath,
  type HostPathVolume,
  isObjectName,
  type NfsVolume,
  nfsVolume,
  type VolumeRoots,
} from './compute-volumes.ts';
import { VolumeStepError } from './volume-error.ts';

/** A folder or block device of this host, as a persistent volume. */
export interface LocalVolume {
  readonly kind: 'local';
  /** The persistent volume's. */
  readonly name: string;
  /** What is mounted: a folder, or a block device. */
  readonly source: string;
  /** The pod's own mount of it. */
  readonly path: string;
  /** Where a device's file system is mounted for all pods. */
  readonly globalPath: string;
  /** Of a device that has no file system yet. */
  readonly fsType: string;
  readonly mountOptions: readonly string[];
  readonly readOnly: boolean;
  /** The container wants the device itself. */
  readonly isDevice: boolean;
}

/** What is behind a claim. */
export type PersistentSource = LocalVolume | NfsVolume | (HostPathVolume & { readonly readOnly: boolean });

/**
 * The name of the volume that a claim is bound to. Throws a VolumeStepError for one that cannot be used (yet). A pod that
 * has it mounted, from before keelson was started, keeps it although the claim is being deleted.
 */
export function boundVolume(
  pod: Pod,
  wanted: ClaimVolume,
  claim: PersistentVolumeClaim | undefined,
  hasMounted: (volume: string) => boolean,
): string {
  const { namespace = 'default', name, uid } = pod.metadata;
  const key = `${namespace}/${wanted.claimName}`;
  const refuse = (why: string) => VolumeStepError.unprocessed(wanted.name, new Error(why));
  const broken = (why: string) => refuse(`error processing PVC ${key}: ${why}`);
  if (!claim) {
    throw broken(
      `failed to fetch PVC from API server: persistentvolumeclaims ${JSON.stringify(wanted.claimName)} not found`,
    );
  }
  const { metadata, spec, status } = claim;
  if (metadata.deletionTimestamp && !hasMounted(spec?.volumeName ?? '')) throw broken('PVC is being deleted');
  if (status?.phase !== 'Bound') throw broken('PVC is not bound');
  if (!spec?.volumeName) throw broken('PVC has empty pvc.Spec.VolumeName');
  const owner = metadata.ownerReferences?.find((reference) => reference.controller === true);
  if (wanted.isEphemeral && owner?.uid !== uid) {
    throw refuse(`PVC ${key} was not created for pod ${namespace}/${name} (pod is not owner)`);
  }
  return spec.volumeName;
}

export interface PersistentInput {
  readonly pod: Pod;
  readonly uid: PodUid;
  readonly wanted: ClaimVolume;
  readonly claim: PersistentVolumeClaim;
  readonly volume: PersistentVolume | undefined;
  /** Undefined while it is not known: then its place is not checked. */
  readonly node: Node | undefined;
  readonly roots: VolumeRoots;
  /** Where devices are mounted for all pods. */
  readonly globalDir: string;
}

/** How the volume behind a claim is to be set up. Throws a VolumeStepError for what cannot be. */
export function computePersistentVolume(input: PersistentInput): PersistentSource {
  const { pod, uid, wanted, claim, volume, node, roots, globalDir } = input;
  const name = claim.spec?.volumeName ?? '';
  const key = `${pod.metadata.namespace ?? 'default'}/${wanted.claimName}`;
  const refuse = (why: string) => VolumeStepError.unprocessed(wanted.name, new Error(why));
  const broken = (why: string) => refuse(`error processing PVC ${key}: ${why}`);
  if (!volume?.spec) {
    throw broken(`failed to fetch PV ${name} from API server: persistentvolumes ${JSON.stringify(name)} not found`);
  }
  const { spec } = volume;
  if (!spec.claimRef) {
    const what = 'a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim';
    throw broken(`found PV object ${name} but it has ${what}`);
  }
  if (spec.claimRef.uid !== claim.metadata.uid) {
    const what = `${spec.claimRef.uid} does not point to claim.UID ${claim.metadata.uid}`;
    throw broken(`found PV object ${name} but its pv.Spec.ClaimRef.UID ${what}`);
  }
  const mode = spec.volumeMode ?? 'Filesystem';
  const used = `volume ${wanted.name} has volumeMode ${mode}, but is specified in`;
  if (wanted.isMounted && mode !== 'Filesystem') throw refuse(`${used} volumeMounts`);
  if (wanted.isDevice && mode !== 'Block') throw refuse(`${used} volumeDevices`);
  const terms = spec.nodeAffinity?.required?.nodeSelectorTerms;
  if (terms && node && !matchesNodeTerms(terms, node)) {
    const step = mode === 'Block' ? 'MapVolume.NodeAffinity check failed' : 'MountVolume.NodeAffinity check failed';
    throw VolumeStepError.of(step, name, new Error('no matching NodeSelectorTerms'));
  }
  // It becomes a folder's name.
  if (!isObjectName(name)) throw broken(`${JSON.stringify(name)} is not a name`);
  const { readOnly } = wanted;
  const { mountOptions = [], local, hostPath, nfs, csi } = spec;
  const isDevice = mode === 'Block';
  if (local && isAbsolutePath(local.path)) {
    return {
      kind: 'local',
      name,
      source: local.path,
      path: join(roots.pods, uid, 'volumes', 'kubernetes.io~local-volume', name),
      globalPath: join(globalDir, name),
      fsType: local.fsType || 'ext4',
      mountOptions,
      readOnly,
      isDevice,
    };
  }
  if (local) throw broken(`PV ${name}: invalid path: ${local.path}`);
  if (isDevice) throw broken(`PV ${name}: keelson makes block devices of local volumes only`);
  if (hostPath) return { ...computeHostPath(name, hostPath), readOnly };
  if (nfs) return nfsVolume({ name, at: roots, uid, nfs, readOnly, mountOptions });
  if (csi) throw broken(`PV ${name}: CSI driver ${JSON.stringify(csi.driver)} is not supported by keelson`);
  const known = new Set(['capacity', 'accessModes', 'claimRef', 'mountOptions', 'nodeAffinity']);
  const source = Object.keys(spec).find((field) => !known.has(field) && typeof spec[field] === 'object');
  throw broken(`PV ${name}: volume source ${source ?? '(none)'} is not supported by keelson`);
}

const isAbsolutePath = (path: unknown): boolean =>
  typeof path === 'string' && path.startsWith('/') && !path.split('/').includes('..');
