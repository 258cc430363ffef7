import type { Service } from '../api/core-v1.ts';

/**
 * The environment variables by which a container finds Services: those of its own namespace where
 * `enableServiceLinks` is not false, and always the API server's (`kubernetes` in `default`, unless the
 * pod's namespace has a Service of that name and links are on). Headless and ExternalName Services have none.
 */
export function generateServiceEnv(
  services: Iterable<Service>,
  namespace: string,
  enableServiceLinks: boolean,
): ReadonlyMap<string, string> {
  const byName = new Map<string, Service>();
  for (const service of services) {
    if (!clusterIpOf(service)) continue;
    const { name, namespace: home } = service.metadata;
    if (enableServiceLinks && home === namespace) byName.set(name, service);
    else if (name === 'kubernetes' && home === 'default' && !byName.has(name)) byName.set(name, service);
  }
  const env = new Map<string, string>();
  for (const [name, service] of byName) addVariables(env, variablePrefix(name), service);
  return env;
}

function addVariables(env: Map<string, string>, prefix: string, service: Service): void {
  const address = clusterIpOf(service);
  const ports = service.spec.ports ?? [];
  const first = ports[0];
  if (address === undefined || first === undefined) return;
  env.set(`${prefix}_SERVICE_HOST`, address);
  env.set(`${prefix}_SERVICE_PORT`, String(first.port));
  for (const port of ports) {
    if (port.name) env.set(`${prefix}_SERVICE_PORT_${variablePrefix(port.name)}`, String(port.port));
  }
  const host = address.includes(':') ? `[${address}]` : address;
  for (const port of ports) {
    const protocol = port.protocol ?? 'TCP';
    const url = `${protocol.toLowerCase()}://${host}:${port.port}`;
    const link = `${prefix}_PORT_${port.port}_${protocol}`;
    if (port === first) env.set(`${prefix}_PORT`, url);
    env.set(link, url);
    env.set(`${link}_PROTO`, protocol.toLowerCase());
    env.set(`${link}_PORT`, String(port.port));
    env.set(`${link}_ADDR`, address);
  }
}

function clusterIpOf(service: Service): string | undefined {
  const address = service.spec.clusterIP;
  return address && address !== 'None' && service.spec.type !== 'ExternalName' ? address : undefined;
}

const variablePrefix = (name: string): string => name.toUpperCase().replaceAll('-', '_');
