import type { Pod } from '../api/core-v1.ts';
import { AgentError } from '../lib/errors.ts';

/** What a pod is called inside. */
export interface PodNames {
  readonly hostname: string;
  /** `<subdomain>.<namespace>.svc.<cluster domain>`; '' without a subdomain. */
  readonly domain: string;
}

/** The kernel takes 64 characters; names with a zero at the end, as some programs keep them, have one less. */
const maxHostname = 63;
const maxFqdn = 64;

/** The pod's short name and its domain. An override stands alone: no subdomain, no fully qualified name. */
export function podNames(pod: Pod, clusterDomain: string): PodNames {
  const { hostname, subdomain, hostnameOverride } = pod.spec;
  if (hostnameOverride !== undefined) return { hostname: cutHostname(hostnameOverride, pod), domain: '' };
  const { namespace = 'default' } = pod.metadata;
  return {
    hostname: cutHostname(hostname || pod.metadata.name, pod),
    domain: subdomain ? `${subdomain}.${namespace}.svc.${clusterDomain}` : '',
  };
}

/** What `hostname` says in the pod. Fails, as upstream does, when the fully qualified name is too long for the kernel. */
export function kernelHostname(pod: Pod, clusterDomain: string): string {
  const { hostname, domain } = podNames(pod, clusterDomain);
  if (domain === '' || pod.spec.setHostnameAsFQDN !== true) return hostname;
  const fqdn = `${hostname}.${domain}`;
  if (fqdn.length <= maxFqdn) return fqdn;
  throw new AgentError(
    'FqdnTooLong',
    `failed to construct FQDN from pod hostname and cluster domain, FQDN ${fqdn} is too long (${maxFqdn} characters is the max, ${fqdn.length} characters requested)`,
    { hint: 'shorten spec.hostname or spec.subdomain, or set setHostnameAsFQDN to false' },
  );
}

/** A name that was cut must not end in a dot or a dash. */
function cutHostname(name: string, pod: Pod): string {
  if (name.length <= maxHostname) return name;
  const cut = name.slice(0, maxHostname).replace(/[-.]+$/, '');
  if (cut !== '') return cut;
  throw new AgentError('InvalidHostname', `hostname for pod "${pod.metadata.name}" was invalid: "${name}"`);
}
