import { qosClassOf } from './defaults-pod.ts';
import {
  BINDINGS,
  CONFIG_MAPS,
  EVENTS,
  LEASES,
  NAMESPACES,
  NODES,
  PODS,
  type ResourceKind,
  SECRETS,
  SERVICES,
} from './kinds.ts';
import { type ApiObject, canonical, type Fields, isFields, listAt, sameJson, stringAt, valueAt } from './objects.ts';
import type { Cause } from './status.ts';

type FieldCause = Required<Cause>;

const required = (field: string, detail = ''): FieldCause => ({
  reason: 'FieldValueRequired',
  message: `Required value${detail && `: ${detail}`}`,
  field,
});

export const invalidValue = (field: string, value: unknown, detail: string): FieldCause => ({
  reason: 'FieldValueInvalid',
  message: `Invalid value: ${JSON.stringify(value)}: ${detail}`,
  field,
});

const unsupported = (field: string, value: string, supported: readonly string[]): FieldCause => ({
  reason: 'FieldValueNotSupported',
  message: `Unsupported value: "${value}": supported values: ${supported.map((v) => `"${v}"`).join(', ')}`,
  field,
});

const duplicate = (field: string, value: string): FieldCause => ({
  reason: 'FieldValueDuplicate',
  message: `Duplicate value: "${value}"`,
  field,
});

const LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;
const LABEL_RULE =
  "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with " +
  "an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN_RULE =
  "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and " +
  "end with an alphanumeric character (e.g. 'example.com', regex used for validation is " +
  "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/** What is wrong with an object; only the rules that a client of ours could trip over. */
export function problemsOf(kind: ResourceKind, object: ApiObject): FieldCause[] {
  const found = nameProblems(kind, object);
  switch (kind) {
    case PODS:
      return [...found, ...podProblems(object.spec ?? {})];
    case SERVICES:
      return [...found, ...serviceProblems(object)];
    case BINDINGS:
      return stringAt(object, 'target.name') ? found : [...found, required('target.name')];
    case LEASES: {
      const seconds = valueAt(object, 'spec.leaseDurationSeconds');
      return typeof seconds === 'number' && seconds <= 0
        ? [...found, invalidValue('spec.leaseDurationSeconds', seconds, 'must be greater than 0')]
        : found;
    }
    case EVENTS: {
      const involved = stringAt(object, 'involvedObject.namespace') || 'default';
      return involved === object.metadata.namespace
        ? found
        : [
            ...found,
            invalidValue(
              'involvedObject.namespace',
              stringAt(object, 'involvedObject.namespace'),
              'does not match event.namespace',
            ),
          ];
    }
    default:
      return found;
  }
}

function nameProblems(kind: ResourceKind, object: ApiObject): FieldCause[] {
  const { name } = object.metadata;
  if (!name) return [required('metadata.name', 'name or generateName is required')];
  if (kind === SERVICES || kind === NAMESPACES) {
    return LABEL.test(name) && name.length <= 63 ? [] : [invalidValue('metadata.name', name, LABEL_RULE)];
  }
  const strict = [PODS, NODES, CONFIG_MAPS, SECRETS, LEASES].includes(kind);
  if (strict ? SUBDOMAIN.test(name) && name.length <= 253 : !/[/%]/.test(name)) return [];
  return [invalidValue('metadata.name', name, SUBDOMAIN_RULE)];
}

function podProblems(spec: Fields): FieldCause[] {
  const found: FieldCause[] = [];
  const volumes = new Set(listAt(spec, 'volumes').map((volume) => stringAt(volume, 'name')));
  const names = new Set<string>();
  if (listAt(spec, 'containers').length === 0) found.push(required('spec.containers'));
  for (const list of ['initContainers', 'containers', 'ephemeralContainers']) {
    for (const [index, container] of listAt(spec, list).entries()) {
      const path = `spec.${list}[${index}]`;
      const name = stringAt(container, 'name');
      if (!name) found.push(required(`${path}.name`));
      else if (!LABEL.test(name)) found.push(invalidValue(`${path}.name`, name, LABEL_RULE));
      else if (names.has(name)) found.push(duplicate(`${path}.name`, name));
      names.add(name);
      if (!stringAt(container, 'image')) found.push(required(`${path}.image`));
      for (const [i, mount] of listAt(container, 'volumeMounts').entries()) {
        const volume = stringAt(mount, 'name');
        if (volumes.has(volume)) continue;
        found.push({
          reason: 'FieldValueNotFound',
          message: `Not found: "${volume}"`,
          field: `${path}.volumeMounts[${i}].name`,
        });
      }
    }
  }
  const policies = ['Always', 'OnFailure', 'Never'];
  const policy = stringAt(spec, 'restartPolicy');
  if (!policies.includes(policy)) found.push(unsupported('spec.restartPolicy', policy, policies));
  return found;
}

function serviceProblems(service: ApiObject): FieldCause[] {
  const spec = service.spec ?? {};
  const found: FieldCause[] = [];
  const type = stringAt(spec, 'type');
  const types = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];
  if (!types.includes(type)) found.push(unsupported('spec.type', type, types));
  const ports = listAt(spec, 'ports');
  if (ports.length === 0 && type !== 'ExternalName' && spec['clusterIP'] !== 'None') found.push(required('spec.ports'));
  const seen = new Set<string>();
  for (const [index, port] of ports.entries()) {
    const name = stringAt(port, 'name');
    if (!name && ports.length > 1) found.push(required(`spec.ports[${index}].name`));
    if (name && seen.has(name)) found.push(duplicate(`spec.ports[${index}].name`, name));
    seen.add(name);
    const number = port['port'];
    if (typeof number !== 'number' || number < 1 || number > 65535) {
      found.push(invalidValue(`spec.ports[${index}].port`, number ?? 0, 'must be between 1 and 65535, inclusive'));
    }
  }
  return found;
}

/** What an update may not do; `target` is the subresource that it goes to. */
export function updateProblems(
  kind: ResourceKind,
  updated: ApiObject,
  current: ApiObject,
  target: string,
): FieldCause[] {
  if (kind === PODS && target === 'status') {
    const qos = stringAt(updated, 'status.qosClass');
    return qos === stringAt(current, 'status.qosClass')
      ? []
      : [invalidValue('status.qosClass', qos, 'field is immutable')];
  }
  if (kind === PODS && target === 'resize') {
    const [now, before] = [qosClassOf(updated.spec ?? {}), qosClassOf(current.spec ?? {})];
    return now === before ? [] : [invalidValue('spec', now, 'Pod QOS Class may not change as a result of resizing')];
  }
  if (kind === PODS && target === 'ephemeralcontainers') return ephemeralProblems(updated, current);
  if (kind === PODS && !sameJson(unchangeable(updated.spec), unchangeable(current.spec))) {
    return [
      {
        reason: 'FieldValueForbidden',
        message:
          'Forbidden: pod updates may not change fields other than `spec.containers[*].image`,' +
          '`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing ' +
          'tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)',
        field: 'spec',
      },
    ];
  }
  if (kind === SERVICES && stringAt(updated, 'spec.type') === stringAt(current, 'spec.type')) {
    const [was, is] = [stringAt(current, 'spec.clusterIP'), stringAt(updated, 'spec.clusterIP')];
    return was && was !== is ? [invalidValue('spec.clusterIPs[0]', [is], 'may not change once set')] : [];
  }
  if ((kind === CONFIG_MAPS || kind === SECRETS) && current['immutable'] === true) {
    const same = ['data', 'binaryData', 'immutable'].every(
      (key) => canonical(updated[key]) === canonical(current[key]),
    );
    return same
      ? []
      : [
          {
            reason: 'FieldValueForbidden',
            message: 'Forbidden: field is immutable when `immutable` is set',
            field: 'data',
          },
        ];
  }
  return [];
}

/** Ephemeral containers are only ever added. */
function ephemeralProblems(updated: ApiObject, current: ApiObject): FieldCause[] {
  const [now, before] = [updated, current].map((pod) => listAt(pod.spec, 'ephemeralContainers'));
  return (before ?? []).every((container, i) => sameJson(container, now?.[i]))
    ? []
    : [
        {
          reason: 'FieldValueForbidden',
          message: 'Forbidden: existing ephemeral containers may not be changed or removed',
          field: 'spec.ephemeralContainers',
        },
      ];
}

/** A pod's spec without what an update may change. */
function unchangeable(spec: Fields | undefined): Fields {
  const { activeDeadlineSeconds: _, tolerations: __, terminationGracePeriodSeconds: ___, ...rest } = spec ?? {};
  for (const list of ['containers', 'initContainers']) {
    if (Array.isArray(rest[list])) {
      rest[list] = rest[list].map((c: unknown) => (isFields(c) ? { ...c, image: '' } : c));
    }
  }
  return rest;
}
