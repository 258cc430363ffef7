import type { KubeObject } from '../api/meta-v1.ts';
import { isAlreadyExists, isNotFound, type KubeApi } from '../kubeapi/kube-api.ts';
import { csiNodes } from '../kubeapi/resources.ts';

/** In-tree volume plugins whose volumes their CSI drivers serve: the scheduler and controllers look for this list. */
const migratedPlugins = [
  'kubernetes.io/aws-ebs',
  'kubernetes.io/azure-disk',
  'kubernetes.io/azure-file',
  'kubernetes.io/cinder',
  'kubernetes.io/gce-pd',
  'kubernetes.io/portworx-volume',
  'kubernetes.io/vsphere-volume',
].join(',');

const annotations = { 'storage.alpha.kubernetes.io/migrated-plugins': migratedPlugins };

/** The CSINode of a Node that has no CSI drivers yet. */
export function generateCsiNode(
  nodeName: string,
  nodeUid: string,
): KubeObject & { spec: { drivers: readonly unknown[] | null } } {
  return {
    apiVersion: csiNodes.apiVersion,
    kind: csiNodes.kind,
    metadata: {
      name: nodeName,
      annotations,
      ownerReferences: [{ apiVersion: 'v1', kind: 'Node', name: nodeName, uid: nodeUid }],
    },
    spec: { drivers: null },
  };
}

/**
 * Creates the CSINode where it is missing. One that belongs to an earlier Node of this name is handed to the present one:
 * the garbage collector would remove it otherwise.
 */
export async function ensureCsiNode(
  api: KubeApi,
  nodeName: string,
  nodeUid: string,
  signal: AbortSignal,
): Promise<void> {
  const wanted = generateCsiNode(nodeName, nodeUid);
  const existing = await api.get(csiNodes, { name: nodeName }, signal).catch((error: unknown) => {
    if (!isNotFound(error)) throw error;
    return undefined;
  });
  if (!existing) {
    await api.create(csiNodes, wanted, signal).catch((error: unknown) => {
      if (!isAlreadyExists(error)) throw error;
    });
    return;
  }
  const owned = existing.metadata.ownerReferences?.some((o) => o.uid === nodeUid);
  const annotated = Object.entries(annotations).every(([k, v]) => existing.metadata.annotations?.[k] === v);
  if (owned && annotated) return;
  const body = { metadata: { annotations, ownerReferences: wanted.metadata.ownerReferences } };
  await api.patch(csiNodes, { name: nodeName }, { type: 'merge', body }, signal);
}
