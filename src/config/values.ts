import { isIP } from 'node:net';
import type { Taint } from '../api/core-v1.ts';
import { tryParseQuantity } from '../api/quantity.ts';
import { isSysctlPattern } from '../api/sysctl.ts';
import { parseGoDuration } from '../lib/go-duration.ts';
import { parseImageName } from '../lib/image-name.ts';
import { integer, isRecord, list, map, oneOf, type Schema, scalar, text } from '../lib/schema.ts';

/** The kinds of values that configuration files hold, beyond the plain ones. */

const durations = new WeakSet<Schema<unknown>>();

/** Whether what the schema reads is a duration, in milliseconds. */
export const isDuration = (schema: Schema<unknown>): boolean => durations.has(schema);

/** Marks a schema that reads milliseconds. */
export function asDuration(schema: Schema<number>): Schema<number> {
  durations.add(schema);
  return schema;
}

/** '1m30s' → milliseconds. */
export function duration(
  minMs = 0,
  maxMs = Number.POSITIVE_INFINITY,
  expects = 'a duration such as 30s or 1m30s',
): Schema<number> {
  const schema = scalar(expects, (value) => {
    const ms = typeof value === 'string' ? parseGoDuration(value) : undefined;
    return ms !== undefined && ms >= minMs && ms <= maxMs ? ms : undefined;
  });
  return asDuration(schema);
}

export const positive = duration(1, undefined, 'a duration above zero such as 10s');

const isQuantity = (value: unknown) =>
  (typeof value === 'string' || typeof value === 'number') && (tryParseQuantity(value)?.nano ?? -1n) >= 0n;

/** A quantity, in the words of the operator. */
export const quantity = text('a quantity such as 500m or 1Gi', isQuantity);

export const ip = text('an IP address', (value) => isIP(value) !== 0);

/** Where to listen; an address of IPv6 is in brackets. */
export const ipPort = text('an address and port such as 127.0.0.1:10249 or [::]:10249', (value) => {
  const { address, port } = splitIpPort(value);
  return isIP(address) !== 0 && port >= 0 && port <= 65_535;
});

/** The parts of an `ipPort`; the port is NaN where there is none. */
export function splitIpPort(value: string): { readonly address: string; readonly port: number } {
  const [, bracketed, plain, port = ''] = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(value) ?? [];
  return { address: bracketed ?? plain ?? '', port: port === '' ? Number.NaN : Number(port) };
}

/** Up to one IPv4 and one IPv6 range, separated by a comma. */
export const cidrs = text(
  'a range such as 10.244.0.0/16, or one for IPv4 and one for IPv6 separated by a comma',
  (value) => {
    const families = value.split(',').map(cidrFamily);
    return (
      families.every((family) => family !== 0) && new Set(families).size === families.length && families.length > 0
    );
  },
);

/** 4 or 6, or 0 for what is no range. */
export function cidrFamily(value: string): 0 | 4 | 6 {
  const [address = '', prefix = '', ...rest] = value.split('/');
  const family = isIP(address);
  if (rest.length > 0 || !/^\d{1,3}$/.test(prefix)) return 0;
  if (family === 4) return Number(prefix) <= 32 ? 4 : 0;
  return family === 6 && Number(prefix) <= 128 ? 6 : 0;
}

/** A path: files relative to the configuration file's folder are resolved by the loader. */
export const path = text('a path', (value) => !value.includes('\0'));

/** A Unix socket; a bare absolute path is taken for one, as the kubelet does. */
export const unixEndpoint = scalar('a Unix socket such as unix:///run/containerd/containerd.sock', (value) => {
  if (typeof value !== 'string') return undefined;
  if (value.startsWith('/')) return `unix://${value}`;
  return value.startsWith('unix:///') ? value : undefined;
});

const label = '[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?';
const prefix = '[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?';
const qualifiedName = new RegExp(`^(?:${prefix}/)?${label}$`);
const labelValue = new RegExp(`^(?:${label})?$`);

export const isQualifiedName = (value: string) => qualifiedName.test(value);
export const isLabelValue = (value: string) => labelValue.test(value);

const taintEffects = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'] as const;
const taintEffect = oneOf(...taintEffects);
const taintExpects = 'a taint with key, effect and maybe value';

export const taint: Schema<Taint> = {
  expects: taintExpects,
  read: (value, at, complain) => {
    const { key, value: worth, effect } = isRecord(value) ? value : {};
    const goodKey = typeof key === 'string' && isQualifiedName(key);
    const goodValue = worth === undefined || worth === null || (typeof worth === 'string' && isLabelValue(worth));
    if (!isRecord(value) || !goodKey || !goodValue) {
      complain({ about: 'value', path: at, message: `${JSON.stringify(value)} is not ${taintExpects}` });
      return undefined;
    }
    const read = taintEffect.read(effect, [...at, 'effect'], complain);
    return read && { key, ...(worth ? { value: String(worth) } : {}), effect: read };
  },
};

export const reservation = map(quantity, oneOf('cpu', 'memory', 'ephemeral-storage', 'pid'));

const evictionSignal = oneOf(
  'memory.available',
  'nodefs.available',
  'nodefs.inodesFree',
  'imagefs.available',
  'imagefs.inodesFree',
  'containerfs.available',
  'containerfs.inodesFree',
  'allocatableMemory.available',
  'pid.available',
);
const isPercentage = (value: string) => /^\d{1,3}(\.\d+)?%$/.test(value) && Number.parseFloat(value) <= 100;
const threshold = text('a quantity such as 100Mi or a percentage such as 10%', (v) => isPercentage(v) || isQuantity(v));

export const thresholds = map(threshold, evictionSignal);

export const nodeAllocatableTargets = list(
  oneOf(
    'none',
    'pods',
    'system-reserved',
    'kube-reserved',
    'system-reserved-compressible',
    'kube-reserved-compressible',
  ),
);

/** Images of one name, or of a registry or folder in it. */
export const imagePattern = text(
  'a whole image name without tag such as registry.example/team/app, or a prefix such as registry.example/team/*',
  (value) => {
    if (/^\S+\/\*$/.test(value)) return !value.slice(0, -1).includes('*') && value !== '/*';
    try {
      return parseImageName(value).base === value;
    } catch {
      return false;
    }
  },
);

export const port = integer(0, 65_535);
export const bit = integer(0, 31);
export const percent = integer(0, 100);
export const count = integer(0);
export const oomScore = integer(-1000, 1000);

/** A kernel parameter, or the beginning of some, in a namespace of the pod's own. */
export const sysctlPattern = text(
  'a namespaced kernel parameter such as net.core.somaxconn or net.ipv4.*',
  isSysctlPattern,
);

const userIds = 65_536;
/** How many user ids a pod with users of its own gets. */
export const idsPerPod = scalar(`a multiple of ${userIds} below 2^32`, (value) =>
  typeof value === 'number' && value > 0 && value < 2 ** 32 && value % userIds === 0 ? value : undefined,
);
