import type { Container, ObjectFieldSelector, Pod, ResourceList } from '../api/core-v1.ts';
import { quantityMilliValue, quantityValue } from '../api/quantity.ts';

/** What a field or resource reference may need besides the pod. */
export interface DownwardContext {
  readonly pod: Pod;
  /** The UID under which the pod runs here: a static pod's is not in its manifest. */
  readonly uid: string;
  /** Stands in for limits that a container does not have. */
  readonly allocatable: ResourceList;
}

/**
 * The value of a field path of the pod (core/v1 ObjectFieldSelector): metadata and a few of spec.
 * Throws upstream's `unsupported fieldPath: …`.
 */
export function resolveField(fieldPath: string, { pod, uid }: DownwardContext): string {
  const { metadata, spec } = pod;
  const subscript = /^metadata\.(labels|annotations)\['(.*)'\]$/.exec(fieldPath);
  if (subscript) return metadata[subscript[1] as 'labels' | 'annotations']?.[subscript[2] ?? ''] ?? '';
  switch (fieldPath) {
    case 'metadata.name':
      return metadata.name;
    case 'metadata.namespace':
      return metadata.namespace ?? 'default';
    case 'metadata.uid':
      return uid;
    case 'metadata.labels':
      return formatMap(metadata.labels ?? {});
    case 'metadata.annotations':
      return formatMap(metadata.annotations ?? {});
    case 'spec.nodeName':
      return spec.nodeName ?? '';
    case 'spec.serviceAccountName':
      return spec.serviceAccountName ?? '';
    default:
      throw new Error(`unsupported fieldPath: ${fieldPath}`);
  }
}

/** What variables may refer to besides: it is known when their container is made. */
export interface EnvFieldContext extends DownwardContext {
  /** The primary one first; the node's for a host-network pod. */
  readonly podIPs: readonly string[];
  readonly hostIPs: readonly string[];
}

/** Field paths that the API takes, and that no variable can have. */
const wordless = ['spec.restartPolicy', 'spec.schedulerName', 'spec.terminationGracePeriodSeconds', 'status.phase'];
const plainFields = ['name', 'namespace', 'uid', 'labels', 'annotations'].map((field) => `metadata.${field}`);
const fieldLabels = new Set([...plainFields, 'spec.nodeName', 'spec.serviceAccountName', ...wordless]);

/** The value of a variable's `fieldRef`. Throws upstream's sentence for a field that there is not. */
export function resolveEnvField(
  { apiVersion = 'v1', fieldPath }: ObjectFieldSelector,
  context: EnvFieldContext,
): string {
  const { podIPs, hostIPs } = context;
  if (apiVersion !== 'v1') throw new Error(`unsupported pod version: ${apiVersion}`);
  switch (fieldPath) {
    case 'status.hostIP':
      return hostIPs[0] ?? '';
    case 'status.hostIPs':
      return hostIPs.join(',');
    case 'status.podIP':
      return podIPs[0] ?? '';
    case 'status.podIPs':
      return podIPs.join(',');
    case 'spec.host':
      return context.pod.spec.nodeName ?? '';
    default: {
      const subscripted = /^(.+?)\['.*'\]$/.exec(fieldPath)?.[1];
      if (subscripted === undefined && !fieldLabels.has(fieldPath)) {
        throw new Error(`field label not supported: ${fieldPath}`);
      }
      if (subscripted !== undefined && subscripted !== 'metadata.labels' && subscripted !== 'metadata.annotations') {
        throw new Error(`field label does not support subscript: ${fieldPath}`);
      }
      return resolveField(fieldPath, context);
    }
  }
}

/** core/v1 ResourceFieldSelector. */
export interface ResourceFieldRef {
  readonly containerName?: string;
  readonly resource: string;
  readonly divisor?: string | number;
}

/**
 * A container's request or limit in units of the divisor, rounded up: of `own`, or of the one that is named. Throws for
 * what there is not.
 */
export function resolveResource(ref: ResourceFieldRef, { pod, allocatable }: DownwardContext, own?: Container): string {
  const all = [...pod.spec.containers, ...(pod.spec.initContainers ?? [])];
  const container = own ?? all.find((candidate) => candidate.name === ref.containerName);
  if (!container) throw new Error(`container ${ref.containerName ?? ''} not found`);
  const [kind, ...rest] = ref.resource.split('.');
  const name = rest.join('.');
  if ((kind !== 'limits' && kind !== 'requests') || !/^(cpu|memory|ephemeral-storage|hugepages-.+)$/.test(name)) {
    throw new Error(`unsupported container resource : ${ref.resource}`);
  }
  const quantity = resourceOf(container, kind, name, allocatable);
  // An absent divisor arrives as "0" from the API server.
  const divisor = ref.divisor === undefined || quantityMilliValue(ref.divisor) === 0 ? 1 : ref.divisor;
  const read = name === 'cpu' ? quantityMilliValue : quantityValue;
  return String(Math.ceil(read(quantity) / read(divisor)));
}

function resourceOf(container: Container, kind: 'limits' | 'requests', name: string, allocatable: ResourceList) {
  const own = container.resources?.[kind]?.[name];
  const isEmpty = own === undefined || quantityMilliValue(own) === 0;
  // Huge pages are never overcommitted: without a limit there are none.
  const isDefaulted = isEmpty && kind === 'limits' && !name.startsWith('hugepages-');
  return (isDefaulted ? allocatable[name] : own) ?? 0;
}

/** One `key="value"` a line, sorted by key, without a line feed at the end. */
function formatMap(map: Readonly<Record<string, string>>): string {
  const keys = Object.keys(map).sort((a, b) => (a < b ? -1 : 1));
  return keys.map((key) => `${key}=${quote(map[key] ?? '')}`).join('\n');
}

const shortEscapes: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\u0007': '\\a',
  '\b': '\\b',
  '\f': '\\f',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\v': '\\v',
};

/** Quotes as Go's %q does, which readers of these files parse: what cannot be printed is escaped. */
function quote(value: string): string {
  const escaped = value.replace(/["\\]|[\p{C}\p{Z}]/gu, (character) => {
    if (character === ' ') return character;
    const code = character.codePointAt(0) ?? 0;
    const hex = code.toString(16);
    if (code < 0x20 || code === 0x7f) return shortEscapes[character] ?? `\\x${hex.padStart(2, '0')}`;
    return shortEscapes[character] ?? (code > 0xffff ? `\\U${hex.padStart(8, '0')}` : `\\u${hex.padStart(4, '0')}`);
  });
  return `"${escaped}"`;
}
