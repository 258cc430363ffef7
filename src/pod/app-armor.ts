import type { Container, Pod, Profile } from '../api/core-v1.ts';
import { containersOf } from '../api/pod.ts';

const annotationPrefix = 'container.apparmor.security.beta.kubernetes.io/';

/**
 * The AppArmor profile of a container: its own field, else the annotation of old manifests that nobody
 * has turned into a field, else the pod's field. Undefined leaves it to the runtime.
 */
export function appArmorProfile(pod: Pod, container: Container): Profile | undefined {
  return (
    container.securityContext?.appArmorProfile ??
    fromAnnotation(pod.metadata.annotations?.[annotationPrefix + container.name]) ??
    pod.spec.securityContext?.appArmorProfile
  );
}

function fromAnnotation(value: string | undefined): Profile | undefined {
  if (value === 'runtime/default') return { type: 'RuntimeDefault' };
  if (value === 'unconfined') return { type: 'Unconfined' };
  if (value?.startsWith('localhost/')) return { type: 'Localhost', localhostProfile: value.slice('localhost/'.length) };
  return undefined;
}

/**
 * Why the pod's profiles cannot be enforced on this host, in upstream's words; undefined when they can
 * or none is asked for. Whether a profile is loaded is the runtime's to say, when the container is made.
 */
export function appArmorViolation(pod: Pod, hostHasAppArmor: boolean): string | undefined {
  // What ran here before was let in before; upstream asks of pending pods only.
  if ((pod.status?.phase ?? 'Pending') !== 'Pending') return undefined;
  const profiles = containersOf(pod).map(({ container }) => appArmorProfile(pod, container));
  if (!profiles.some((profile) => profile !== undefined && profile.type !== 'Unconfined')) return undefined;
  if (!hostHasAppArmor) return 'Cannot enforce AppArmor: AppArmor is not enabled on the host';
  const nameless = profiles.some((p) => p?.type === 'Localhost' && !p.localhostProfile?.trim());
  return nameless ? 'Cannot enforce AppArmor: invalid AppArmor profile name: ""' : undefined;
}
