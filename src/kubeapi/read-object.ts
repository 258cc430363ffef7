import type { KubeObject } from '../api/meta-v1.ts';
import { int64, isRecord, pathText, quote, type Schema } from '../lib/schema.ts';
import { shapes } from './object-shapes.ts';
import type { Resource } from './resources.ts';

/** What came as an object of a kind. */
export interface ReadObject<T extends KubeObject> {
  /** 'namespace/name', or 'name' for cluster-scoped kinds; undefined where it does not say which object it is. */
  readonly key: string | undefined;
  /** 'Pod ns/web', as far as it is known. */
  readonly about: string;
  /** Without members that are null, which count as absent; to be used only without faults. */
  readonly object: T;
  /** 'field value what is wrong', each; values that may be secret are not shown. */
  readonly faults: readonly string[];
}

/** One object may be wrong in thousands of places. */
const maxFaults = 5;

/** Their values, and annotations of all kinds, which often repeat the object, are not for logs. */
const secretive = new Set(['Secret', 'ConfigMap']);

/**
 * Reads an object from a list or a watch, where anything may stand. The metadata has to be right for every kind; of
 * most kinds the types of those fields that keelson reads too: `shape` says what they are. Keys that it does not know
 * and words that are none of its words are no fault: a server may be newer than keelson. Does not throw.
 */
export function readObject<T extends KubeObject>(
  resource: Resource<T>,
  value: unknown,
  shape: Schema<object> | undefined = shapes[resource.kind],
): ReadObject<T> {
  const { kind } = resource;
  const faults: string[] = [];
  const refuse = (path: string, wrong: unknown, why: string): void => {
    const hide = secretive.has(kind) || path.startsWith('metadata.annotations');
    if (faults.length < maxFaults) faults.push(`${path} ${hide ? typeOf(wrong) : shown(wrong)} ${why}`);
  };
  const raw = isRecord(value) ? value : undefined;
  if (!raw) refuse('the object', value, 'is not an object');
  const metadata = raw && isRecord(raw['metadata']) ? withoutNulls(raw['metadata']) : undefined;
  if (raw && !metadata) refuse('metadata', raw['metadata'], 'is not an object');
  const { key, about } = metadata ? readIdentity(resource, metadata, refuse) : { key: undefined, about: kind };
  if (metadata) readMetadata(metadata, refuse);
  const object = { ...withoutNullMembers(raw ?? {}), metadata } as unknown as T;
  if (shape && faults.length === 0) faults.push(...shapeFaults(shape, object, secretive.has(kind)));
  return { key, about, object, faults };
}

type Refuse = (path: string, wrong: unknown, why: string) => void;
type Fields = Readonly<Record<string, unknown>>;

/**
 * Names and UIDs become parts of paths, on this host and at the server. Only the name of a ClusterTrustBundle, which has
 * its signer's before it, can be longer than 253.
 */
const nameRule = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,252}$/;
const bundleNameRule = /^[A-Za-z0-9][A-Za-z0-9._:-]{0,824}$/;
const namespaceRule = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;
const uidRule = /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/;

function readIdentity(
  { kind, namespaced }: Resource<KubeObject>,
  { name, namespace, uid }: Fields,
  refuse: Refuse,
): { readonly key: string | undefined; readonly about: string } {
  const matches = (rule: RegExp, value: unknown): value is string => typeof value === 'string' && rule.test(value);
  const isName = matches(kind === 'ClusterTrustBundle' ? bundleNameRule : nameRule, name);
  if (!isName) refuse('metadata.name', name, 'is no name');
  const home = namespaced ? namespace : '';
  if (home !== '' && !matches(namespaceRule, home)) refuse('metadata.namespace', home, 'is no namespace');
  if (uid !== undefined && !matches(uidRule, uid)) refuse('metadata.uid', uid, 'is no UID');
  const known = isName && (home === '' || matches(namespaceRule, home));
  const key = known ? (home === '' ? name : `${home as string}/${name}`) : undefined;
  const hint = [home, name, uid].filter((part) => typeof part === 'string' && part !== '').map(shown);
  return { key, about: key === undefined ? [kind, ...hint].join(' ') : `${kind} ${key}` };
}

function readMetadata(metadata: Fields, refuse: Refuse): void {
  const check = (field: string, isRight: (value: unknown) => boolean, what: string) => {
    const value = metadata[field];
    if (value !== undefined && !isRight(value)) refuse(`metadata.${field}`, value, `is not ${what}`);
  };
  for (const field of ['resourceVersion', 'generateName']) check(field, isText, 'a text');
  for (const field of ['generation', 'deletionGracePeriodSeconds']) check(field, isInt64, 'a whole number');
  for (const field of ['creationTimestamp', 'deletionTimestamp']) check(field, isTime, 'a time');
  for (const field of ['labels', 'annotations']) {
    check(field, isRecord, 'a map');
    for (const [key, value] of Object.entries(isRecord(metadata[field]) ? metadata[field] : {})) {
      if (!isText(value)) refuse(pathText(['metadata', field, key]), value, 'is not a text');
    }
  }
  check('ownerReferences', (value) => Array.isArray(value) && value.every(isRecord), 'a list of references');
  check('finalizers', (value) => Array.isArray(value) && value.every(isText), 'a list of texts');
}

const isText = (value: unknown): value is string => typeof value === 'string';
const isInt64 = (value: unknown): boolean => int64.read(value, [], () => {}) !== undefined;
const isTime = (value: unknown): boolean =>
  isText(value) && /^\d{4}-\d\d-\d\dT/.test(value) && !Number.isNaN(Date.parse(value));

function shapeFaults(shape: Schema<object>, object: object, hide: boolean): readonly string[] {
  const faults = new Set<string>();
  shape.read(object, [], ({ about, path, message, isWord }) => {
    if (about !== 'value' || isWord || faults.size >= maxFaults) return;
    faults.add(`${pathText(path)} ${hide ? 'is not as the API defines it' : message}`);
  });
  return [...faults];
}

/** The object is the server's word on its status, where null and absent differ for who patches it. */
function withoutNullMembers(object: Fields): Fields {
  const entries = Object.entries(object).filter(([, value]) => value !== null);
  return Object.fromEntries(entries.map(([name, value]) => [name, name === 'status' ? value : withoutNulls(value)]));
}

/** Null counts as absent, as in Go; but not in a list, where it would move the others. The same value where there is none. */
function withoutNulls<T>(value: T): T {
  if (!hasNull(value)) return value;
  if (Array.isArray(value)) return value.map(withoutNulls) as T;
  const entries = Object.entries(value as object).filter(([, member]) => member !== null);
  return Object.fromEntries(entries.map(([name, member]) => [name, withoutNulls(member)])) as T;
}

function hasNull(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false;
  if (Array.isArray(value)) return value.some(hasNull);
  for (const name in value) {
    const member = (value as Fields)[name];
    if (member === null || hasNull(member)) return true;
  }
  return false;
}

const shown = (value: unknown): string => (value === undefined ? 'is absent and' : quote(value));
const typeOf = (value: unknown): string =>
  `(${Array.isArray(value) ? 'list' : value === null ? 'null' : typeof value})`;
