import type { Pod, Secret } from '../api/core-v1.ts';
import { eventReason } from '../api/reasons.ts';
import type { ObjectSource } from '../volumes/object-source.ts';

/** How long secrets may keep a pull waiting: a public image needs none of them. */
const secretsTimeoutMs = 10_000;
let askings = 0;

/**
 * The pod's pull secrets, as far as they are to be had; those that are not are told in one event. Never
 * fails: a missing secret must not keep a public image away.
 */
export async function fetchPullSecrets(
  pod: Pod,
  objects: ObjectSource,
  event: (type: 'Warning', reason: string, message: string) => void,
): Promise<readonly Secret[]> {
  const { namespace = 'default', uid } = pod.metadata;
  const names = (pod.spec.imagePullSecrets ?? []).flatMap(({ name }) => (name ? [name] : []));
  if (names.length === 0) return [];
  const owner = `${uid}/pull/${askings++}`;
  objects.acquire(
    owner,
    names.map((name) => ({ kind: 'Secret', namespace, name })),
  );
  try {
    const signal = AbortSignal.timeout(secretsTimeoutMs);
    const answers = await Promise.allSettled(names.map((name) => objects.get('Secret', { namespace, name }, signal)));
    const secrets = answers.map((answer) => (answer.status === 'fulfilled' ? answer.value : undefined));
    const missing = names.filter((_, i) => secrets[i] === undefined);
    if (missing.length > 0) {
      const list = missing.join(', ');
      const message = `Unable to retrieve some image pull secrets (${list}); attempting to pull the image may not succeed.`;
      event('Warning', eventReason.failedToRetrieveImagePullSecret, message);
    }
    return secrets.filter((secret) => secret !== undefined);
  } finally {
    objects.release(owner);
  }
}
