/** What a pod's /etc/hosts is made of. */
export interface EtcHostsInput {
  readonly hostNetwork: boolean;
  /** The host's own file; used for host-network pods only. */
  readonly hostFile: string;
  readonly podIPs: readonly string[];
  readonly hostname: string;
  /** The domain of a pod with a subdomain: `<subdomain>.<namespace>.svc.<cluster domain>`; '' without. */
  readonly domain: string;
  readonly hostAliases: readonly { readonly ip: string; readonly hostnames?: readonly string[] }[];
}

const localNames = [
  ['127.0.0.1', 'localhost'],
  ['::1', 'localhost ip6-localhost ip6-loopback'],
  ['fe00::0', 'ip6-localnet'],
  ['fe00::0', 'ip6-mcastprefix'],
  ['fe00::1', 'ip6-allnodes'],
  ['fe00::2', 'ip6-allrouters'],
] as const;

/**
 * The text of a pod's /etc/hosts as the kubelet writes it: programs in the field look for its first line
 * to tell a managed file from the image's own.
 */
export function generateEtcHosts(input: EtcHostsInput): string {
  const aliases = generateAliases(input.hostAliases);
  if (input.hostNetwork) return `# Kubernetes-managed hosts file (host network).\n${input.hostFile}${aliases}`;
  const { hostname, domain } = input;
  const names = domain === '' ? hostname : `${hostname}.${domain}\t${hostname}`;
  const lines = [...localNames, ...input.podIPs.map((ip) => [ip, names] as const)].map(
    ([ip, name]) => `${ip}\t${name}\n`,
  );
  return `# Kubernetes-managed hosts file.\n${lines.join('')}${aliases}`;
}

function generateAliases(aliases: EtcHostsInput['hostAliases']): string {
  if (aliases.length === 0) return '';
  const lines = aliases.map(({ ip, hostnames = [] }) => `${[ip, ...hostnames].join('\t')}\n`);
  return `\n# Entries added by HostAliases.\n${lines.join('')}`;
}
