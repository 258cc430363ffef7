import type { Container, Pod, Service } from '../api/core-v1.ts';
import { waitingReason } from '../api/reasons.ts';
import { expandEnv, lookupIn } from './expand-env.ts';
import { generateServiceEnv } from './service-env.ts';
import { ContainerError } from './sync-error.ts';

/**
 * A container's environment: the Services' variables, then its own, each of which may refer to those
 * before it. Fails with CreateContainerConfigError for a source that this version cannot read: a
 * container must not start with half of its environment.
 */
export function generateEnv(pod: Pod, container: Container, services: Iterable<Service>): Map<string, string> {
  const { namespace = 'default' } = pod.metadata;
  const links = generateServiceEnv(services, namespace, pod.spec.enableServiceLinks ?? true);
  if (container.envFrom?.length) throw unsupported('envFrom');
  const env = new Map<string, string>();
  for (const variable of container.env ?? []) {
    if (variable.valueFrom !== undefined) throw unsupported(`env[${variable.name}].valueFrom`);
    env.set(variable.name, expandEnv(variable.value ?? '', lookupIn(env, links)));
  }
  for (const [key, value] of links) if (!env.has(key)) env.set(key, value);
  return env;
}

const unsupported = (field: string): ContainerError =>
  new ContainerError(waitingReason.createContainerConfigError, `${field} is not supported by this version of keelson`);
