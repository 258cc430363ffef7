import type { PortProtocol } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { serviceNameLabel } from '../api/discovery-v1.ts';
import { FieldReader } from './field-reader.ts';
import type { IpFamily } from './read-service.ts';
import { familyOf, readProtocol } from './read-service.ts';

/** What the proxy half knows of an EndpointSlice: one entry for each port, each with all addresses. */
export interface SliceInfo {
  /** `namespace/name` of the Service. */
  readonly serviceKey: string;
  readonly ports: readonly SlicePort[];
  readonly endpoints: readonly EndpointInfo[];
}

export interface SlicePort {
  readonly name: string;
  readonly protocol: PortProtocol;
  readonly port: number;
}

export interface EndpointInfo {
  readonly ip: string;
  /** Undefined when the slice does not say where the endpoint runs. */
  readonly nodeName: string | undefined;
  /** Of the pod that it is; absent when the slice does not say. */
  readonly podUid?: string;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  /** The zones and nodes that this endpoint is meant for; absent: no hint. */
  readonly forZones?: readonly string[];
  readonly forNodes?: readonly string[];
}

export interface ReadSlice {
  /** Undefined for a slice that belongs to no Service or is of another address family. */
  readonly slice: SliceInfo | undefined;
  readonly problems: readonly string[];
}

/**
 * Reads one EndpointSlice for one address family. A condition that is absent counts as the API defines it: ready
 * and serving are then true, terminating false. Of an endpoint with several addresses the first one counts. Whatever
 * stands in the object, this does not throw: what cannot be used is named and left out.
 */
export function readSlice(slice: EndpointSlice, family: IpFamily): ReadSlice {
  const fields = new FieldReader();
  const metadata = fields.object(slice.metadata, 'metadata') ?? {};
  const labels = fields.object(metadata['labels'], 'metadata.labels');
  const serviceName = fields.text(labels?.[serviceNameLabel], `metadata.labels.${serviceNameLabel}`);
  const isOurs = serviceName && fields.oneOf(slice.addressType, addressTypes, 'addressType') === family;
  if (!isOurs) return { slice: undefined, problems: fields.problems };
  const endpoints = fields.list(slice.endpoints, 'endpoints').flatMap((one, i): readonly EndpointInfo[] => {
    const endpoint = fields.object(one, `endpoints[${i}]`);
    return endpoint ? readEndpoint(endpoint, `endpoints[${i}]`, family, fields) : [];
  });
  const ports = fields.list(slice.ports, 'ports').flatMap((one, i): SlicePort[] => {
    const path = `ports[${i}]`;
    const fieldsOfOne = fields.object(one, path);
    if (!fieldsOfOne) return [];
    const port = fields.port(fieldsOfOne['port'], `${path}.port`);
    const protocol = readProtocol(fieldsOfOne['protocol'], `${path}.protocol`, fields);
    if (port === undefined || protocol === undefined) return [];
    return [{ name: fields.text(fieldsOfOne['name'], `${path}.name`) ?? '', protocol, port }];
  });
  const namespace = fields.text(metadata['namespace'], 'metadata.namespace') || 'default';
  // Copies, because a list that has grown keeps room for three times as many.
  const read = { serviceKey: `${namespace}/${serviceName}`, ports: [...ports], endpoints: [...endpoints] };
  return { slice: read, problems: fields.problems };
}

const addressTypes = ['IPv4', 'IPv6', 'FQDN'] as const;

function readEndpoint(
  endpoint: Readonly<Record<string, unknown>>,
  path: string,
  family: IpFamily,
  fields: FieldReader,
): readonly EndpointInfo[] {
  const address = fields.list(endpoint['addresses'], `${path}.addresses`)[0];
  const ip = fields.address(address, `${path}.addresses[0]`);
  if (ip === undefined) return [];
  if (familyOf(ip) !== family) {
    fields.refuse(`${path}.addresses[0]`, address, `is not an ${family} address`);
    return [];
  }
  const conditions = fields.object(endpoint['conditions'], `${path}.conditions`) ?? {};
  const condition = (name: string) => fields.flag(conditions[name], `${path}.conditions.${name}`);
  const ready = condition('ready') ?? true;
  const podUid = podUidOf(endpoint['targetRef']);
  const hints = fields.object(endpoint['hints'], `${path}.hints`);
  const forZones = hintsOf(hints?.['forZones'], `${path}.hints.forZones`, fields);
  const forNodes = hintsOf(hints?.['forNodes'], `${path}.hints.forNodes`, fields);
  return [
    {
      ip,
      nodeName: fields.text(endpoint['nodeName'], `${path}.nodeName`),
      ...(podUid === undefined ? {} : { podUid }),
      ready,
      serving: condition('serving') ?? true,
      terminating: condition('terminating') ?? false,
      ...(forZones.length > 0 ? { forZones } : {}),
      ...(forNodes.length > 0 ? { forNodes } : {}),
    },
  ];
}

/** Nothing is programmed by it: where it is not as the API says, no more is lost than a withdrawal. */
function podUidOf(targetRef: unknown): string | undefined {
  const { kind, uid } = (targetRef ?? {}) as { readonly kind?: unknown; readonly uid?: unknown };
  return kind === 'Pod' && typeof uid === 'string' && uid !== '' ? uid : undefined;
}

function hintsOf(written: unknown, path: string, fields: FieldReader): readonly string[] {
  return fields.list(written, path).flatMap((one, i) => {
    const name = fields.text(fields.object(one, `${path}[${i}]`)?.['name'], `${path}[${i}].name`);
    return name ? [name] : [];
  });
}
