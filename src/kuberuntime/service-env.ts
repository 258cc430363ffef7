import type { Service, ServicePort } from '../api/core-v1.ts';

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
  const ports = portsOf(service);
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

/** One Service without its specification must not keep every pod of the node from starting. */
function clusterIpOf({ spec }: Partial<Service>): string | undefined {
  const address: unknown = spec?.clusterIP;
  if (typeof address !== 'string' || address === '' || address === 'None') return undefined;
  return spec?.type === 'ExternalName' ? undefined : address;
}

const portsOf = ({ spec }: Service): readonly ServicePort[] =>
  Array.isArray(spec.ports) ? spec.ports.filter(isPort) : [];

const isPort = (one: ServicePort | null): boolean =>
  Number.isInteger(one?.port) && [one?.name, one?.protocol].every((text) => typeof (text ?? '') === 'string');

const variablePrefix = (name: string): string => name.toUpperCase().replaceAll('-', '_');
