import { createHash } from 'node:crypto';
import type { Pod } from '../api/core-v1.ts';
import { configHashAnnotation, configSeenAnnotation, configSourceAnnotation } from '../api/pod.ts';
import { rfc3339 } from '../lib/timestamps.ts';

export interface StaticPodOrigin {
  readonly nodeName: string;
  /** The manifest's path. */
  readonly file: string;
  /** The manifest as it was written, before defaults: a newer keelson with more defaults makes no other pod of it. */
  readonly written: unknown;
  /** Milliseconds since the epoch at which this content was first seen. */
  readonly seenAt: number;
}

/**
 * Gives a pod from a file its identity, as the kubelet does: a UID that is the same after every restart
 * and another one when the content changes, the node's name in its own, and a toleration of every taint
 * that would drive it out. A UID in the manifest is kept.
 */
export function staticPod(pod: Pod, origin: StaticPodOrigin): Pod {
  const uid = pod.metadata.uid || contentUid(origin);
  const nodeName = origin.nodeName.toLowerCase();
  const { status: _status, ...rest } = pod;
  return {
    ...rest,
    metadata: {
      ...pod.metadata,
      name: `${pod.metadata.name}-${nodeName}`,
      namespace: pod.metadata.namespace || 'default',
      uid,
      annotations: {
        ...pod.metadata.annotations,
        [configHashAnnotation]: uid,
        [configSeenAnnotation]: rfc3339(origin.seenAt),
        [configSourceAnnotation]: 'file',
      },
    },
    spec: {
      ...pod.spec,
      nodeName: origin.nodeName,
      tolerations: [...(pod.spec.tolerations ?? []), { operator: 'Exists', effect: 'NoExecute' }],
    },
  };
}

/** 32 hexadecimal digits over node, file and content. */
function contentUid({ nodeName, file, written }: StaticPodOrigin): string {
  return createHash('sha256')
    .update(JSON.stringify([nodeName, file, sorted(written)]))
    .digest('hex')
    .slice(0, 32);
}

/** The same value with its keys in order: moving a line within a manifest changes nothing. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
}
