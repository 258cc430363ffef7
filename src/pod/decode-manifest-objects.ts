import { isIP } from 'node:net';
import type { ConfigMap, Secret, Service, ServicePort } from '../api/core-v1.ts';
import type { ObjectMeta } from '../api/meta-v1.ts';
import { anything, boolean, hiddenString, integer, list, map, object, oneOf, scalar, string } from '../lib/schema.ts';
import { duplicate, type Fault, Faults, invalid, isDnsLabel, isDnsSubdomain, required } from './validate-pod-faults.ts';
import { validateMetadata } from './validate-pod-metadata.ts';
import { objectMeta } from './validate-pod-schema.ts';

/** Services, ConfigMaps and Secrets that stand in the manifest directory, for a node without an API server. */

const intOrString = scalar('a number or a string', (v) =>
  typeof v === 'string' || (typeof v === 'number' && Number.isInteger(v)) ? v : undefined,
);
const policy = oneOf('Cluster', 'Local');
const typeMeta = { apiVersion: string, kind: string, metadata: objectMeta };

export const serviceSchema = object({
  ...typeMeta,
  spec: object({
    type: oneOf('ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'),
    clusterIP: string,
    clusterIPs: list(string),
    ipFamilies: list(oneOf('IPv4', 'IPv6')),
    ipFamilyPolicy: oneOf('SingleStack', 'PreferDualStack', 'RequireDualStack'),
    ports: list(
      object({
        name: string,
        protocol: oneOf('TCP', 'UDP', 'SCTP'),
        port: integer(),
        targetPort: intOrString,
        nodePort: integer(),
        appProtocol: string,
      }),
    ),
    selector: map(string),
    externalIPs: list(string),
    externalName: string,
    sessionAffinity: oneOf('None', 'ClientIP'),
    sessionAffinityConfig: object({ clientIP: object({ timeoutSeconds: integer(1, 86_400) }) }),
    externalTrafficPolicy: policy,
    internalTrafficPolicy: policy,
    healthCheckNodePort: integer(),
    publishNotReadyAddresses: boolean,
    loadBalancerIP: string,
    loadBalancerSourceRanges: list(string),
    loadBalancerClass: string,
    allocateLoadBalancerNodePorts: boolean,
    trafficDistribution: string,
  }),
  status: anything,
});

const texts = map(hiddenString);

export const configMapSchema = object({ ...typeMeta, data: texts, binaryData: texts, immutable: boolean });
export const secretSchema = object({ ...typeMeta, data: texts, stringData: texts, type: string, immutable: boolean });

/** An object as it goes on, or what is wrong with it. */
export type Checked<T> = { readonly object: T; readonly faults: readonly Fault[] };

const inNamespace = (metadata: ObjectMeta): ObjectMeta => ({ ...metadata, namespace: metadata.namespace || 'default' });

/** With the API's defaults. Addresses must be given: nobody hands them out here. */
export function checkService(written: Service): Checked<Service> {
  const faults = new Faults();
  validateMetadata(written.metadata, faults, isDnsLabel);
  const spec = written.spec ?? {};
  const type = spec.type ?? 'ClusterIP';
  const clusterIP = spec.clusterIP || spec.clusterIPs?.[0] || '';
  const clusterIPs = spec.clusterIPs ?? (clusterIP ? [clusterIP] : []);
  if (type !== 'ExternalName') validateAddresses(clusterIP, clusterIPs, faults);
  const ports = spec.ports ?? [];
  if (ports.length === 0 && clusterIP !== 'None' && type !== 'ExternalName') faults.add(['spec', 'ports'], required);
  validatePorts(ports, faults);
  const families = clusterIPs.flatMap((ip): ('IPv4' | 'IPv6')[] =>
    isIP(ip) === 6 ? ['IPv6'] : isIP(ip) === 4 ? ['IPv4'] : [],
  );
  const object: Service = {
    ...written,
    metadata: inNamespace(written.metadata),
    spec: {
      type,
      sessionAffinity: 'None',
      internalTrafficPolicy: 'Cluster',
      ...(type === 'NodePort' || type === 'LoadBalancer' ? { externalTrafficPolicy: 'Cluster' } : {}),
      ...(families.length > 0
        ? { ipFamilies: families, ipFamilyPolicy: families.length > 1 ? 'RequireDualStack' : 'SingleStack' }
        : {}),
      ...spec,
      ...(clusterIP ? { clusterIP, clusterIPs } : {}),
      ports: ports.map((port) => ({ protocol: 'TCP' as const, targetPort: port.port, ...port })),
      ...(spec.sessionAffinity === 'ClientIP'
        ? { sessionAffinityConfig: { clientIP: { timeoutSeconds: 10_800, ...spec.sessionAffinityConfig?.clientIP } } }
        : {}),
    },
  };
  return { object, faults: faults.all };
}

function validateAddresses(clusterIP: string, clusterIPs: readonly string[], faults: Faults): void {
  if (clusterIP === '') {
    faults.add(
      ['spec', 'clusterIP'],
      `${required}: without an API server nobody hands out addresses; choose one, such as 10.96.0.10, or None`,
    );
  } else if (clusterIPs[0] !== clusterIP) {
    faults.add(['spec', 'clusterIPs'], invalid(clusterIPs, 'the first must be clusterIP'));
  }
  if (clusterIP === 'None') return;
  for (const [i, ip] of clusterIPs.entries()) {
    const path = i === 0 ? ['spec', 'clusterIP'] : ['spec', 'clusterIPs', i];
    if (isIP(ip) === 0) faults.add(path, invalid(ip, 'must be a valid IP address'));
  }
}

function validatePorts(ports: readonly ServicePort[], faults: Faults): void {
  const names = new Set<string>();
  const numbers = new Set<string>();
  for (const [i, port] of ports.entries()) {
    const at = ['spec', 'ports', i];
    const range = (field: 'port' | 'nodePort' | 'targetPort') => {
      const value = port[field];
      if (typeof value === 'number' && (value < 1 || value > 65_535)) {
        faults.add([...at, field], invalid(value, 'must be between 1 and 65535, inclusive'));
      }
    };
    if (port.port === undefined) faults.add([...at, 'port'], required);
    for (const field of ['port', 'nodePort', 'targetPort'] as const) range(field);
    const name = port.name ?? '';
    if (name === '' && ports.length > 1) faults.add([...at, 'name'], required);
    else if (name !== '' && !isDnsLabel(name))
      faults.add([...at, 'name'], invalid(name, 'must be lower-case letters, digits and dashes'));
    else if (names.has(name)) faults.add([...at, 'name'], duplicate(name));
    names.add(name);
    const number = `${port.protocol ?? 'TCP'}/${port.port}`;
    if (numbers.has(number)) faults.add(at, duplicate(number));
    numbers.add(number);
  }
}

const dataKey = /^[-._a-zA-Z0-9]{1,253}$/;
const base64 = /^[A-Za-z0-9+/\s]*={0,2}\s*$/;

export function checkConfigMap(written: ConfigMap): Checked<ConfigMap> {
  const faults = new Faults();
  validateMetadata(written.metadata, faults, isDnsSubdomain);
  const { data = {}, binaryData = {} } = written;
  validateKeys({ data, binaryData }, faults);
  validateBase64('binaryData', binaryData, faults);
  for (const key of Object.keys(binaryData)) if (key in data) faults.add(['binaryData', key], duplicate(key));
  return { object: { ...written, metadata: inNamespace(written.metadata) }, faults: faults.all };
}

/** With `stringData` encoded into `data`, as the API server does. */
export function checkSecret(written: Secret): Checked<Secret> {
  const faults = new Faults();
  validateMetadata(written.metadata, faults, isDnsSubdomain);
  const { stringData = {}, ...rest } = written;
  validateKeys({ data: written.data ?? {}, stringData }, faults);
  validateBase64('data', written.data ?? {}, faults);
  const encoded = Object.entries(stringData).map(([key, text]) => [key, Buffer.from(text).toString('base64')]);
  const data = { ...written.data, ...Object.fromEntries(encoded) };
  return { object: { type: 'Opaque', ...rest, metadata: inNamespace(written.metadata), data }, faults: faults.all };
}

function validateKeys(fields: Readonly<Record<string, Readonly<Record<string, string>>>>, faults: Faults): void {
  for (const [field, entries] of Object.entries(fields)) {
    for (const key of Object.keys(entries)) {
      if (!dataKey.test(key) || key === '.' || key.startsWith('..')) {
        faults.add([field, key], invalid(key, 'a key has letters, digits, dashes, underscores and dots'));
      }
    }
  }
}

/** The values themselves are not shown: they may be secret. */
function validateBase64(field: string, entries: Readonly<Record<string, string>>, faults: Faults): void {
  for (const [key, value] of Object.entries(entries)) {
    if (!base64.test(value) || value.replace(/\s/g, '').length % 4 !== 0) {
      faults.add([field, key], 'Invalid value: is not base64');
    }
  }
}
