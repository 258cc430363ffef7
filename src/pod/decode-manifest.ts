import type { ConfigMap, Pod, Secret, Service } from '../api/core-v1.ts';
import type { KubeObject } from '../api/meta-v1.ts';
import { didYouMean } from '../lib/did-you-mean.ts';
import { type Complaint, isRecord, pathText, quote, type Schema } from '../lib/schema.ts';
import { parseYaml, type SourcePath, type YamlDocument } from '../lib/yaml-source.ts';
import {
  type Checked,
  checkConfigMap,
  checkSecret,
  checkService,
  configMapSchema,
  secretSchema,
  serviceSchema,
} from './decode-manifest-objects.ts';
import { defaultPod } from './default-pod.ts';
import { staticPod } from './static-pod.ts';
import { validatePod } from './validate-pod.ts';
import { podSchema } from './validate-pod-schema.ts';

/** Something to say about a manifest. */
export interface ManifestProblem {
  readonly file: string;
  readonly line?: number;
  readonly column?: number;
  /** 'spec.containers[0].image'; '' for the whole object or file. */
  readonly path: string;
  readonly message: string;
  readonly hint?: string;
  /** 'refused': the object is left out; 'ignored': it goes on without the field. */
  readonly severity: 'refused' | 'ignored';
}

export type ManifestObject =
  | { readonly kind: 'Pod'; readonly object: Pod; readonly line: number }
  | { readonly kind: 'Service'; readonly object: Service; readonly line: number }
  | { readonly kind: 'ConfigMap'; readonly object: ConfigMap; readonly line: number }
  | { readonly kind: 'Secret'; readonly object: Secret; readonly line: number };

export interface DecodedManifest {
  readonly objects: readonly ManifestObject[];
  readonly problems: readonly ManifestProblem[];
}

export interface ManifestOrigin {
  /** The manifest's path, for messages and for the identity of its pods. */
  readonly file: string;
  readonly nodeName: string;
  /** Milliseconds since the epoch. */
  readonly seenAt: number;
}

/** Larger files are refused before they are read. */
export const maxManifestBytes = 1024 * 1024;

const kinds = ['Pod', 'Service', 'ConfigMap', 'Secret', 'List'] as const;

/**
 * Text of one manifest, YAML or JSON, one or more documents, → the objects in it: checked, with defaults,
 * pods with their identity. What is wrong with one object does not hold up the others.
 */
export function decodeManifest(text: string, origin: ManifestOrigin): DecodedManifest {
  const objects: ManifestObject[] = [];
  const problems: ManifestProblem[] = [];
  const say = (problem: Omit<ManifestProblem, 'file'>) => problems.push({ file: origin.file, ...problem });
  const documents = parseYaml(text);
  if (documents.length === 0) say({ path: '', message: 'holds no object', severity: 'refused' });
  for (const document of documents) {
    if ('problems' in document) {
      for (const problem of document.problems) say({ path: '', severity: 'refused', ...problem });
    } else decodeObject({ document, origin, at: [], say, keep: (object) => objects.push(object) }, document.value);
  }
  return { objects, problems };
}

interface Context {
  readonly document: YamlDocument;
  readonly origin: ManifestOrigin;
  /** Where in the document the object stands: within a List, not at its top. */
  readonly at: SourcePath;
  readonly say: (problem: Omit<ManifestProblem, 'file'>) => void;
  readonly keep: (object: ManifestObject) => void;
}

function decodeObject(context: Context, value: unknown): void {
  const { document, at } = context;
  const refuse = (key: string, message: string, hint?: string) =>
    context.say({
      ...document.position(key ? [...at, key] : at),
      path: pathText(key ? [...at, key] : at),
      message,
      severity: 'refused',
      ...(hint ? { hint } : {}),
    });
  if (!isRecord(value)) return void refuse('', `${quote(value)} is not an object with apiVersion and kind`);
  const { apiVersion, kind } = value;
  if (kind === undefined || kind === '') return void refuse('kind', `is missing: expected one of ${kinds.join(', ')}`);
  const items = listItems(kind, value);
  if (items) {
    for (const [i, item] of items.entries()) decodeObject({ ...context, at: [...at, 'items', i] }, item);
    return;
  }
  const known = kinds.find((name) => name === kind);
  if (!known || known === 'List') {
    const meant = typeof kind === 'string' ? didYouMean(kind, kinds) : undefined;
    return void refuse('kind', `${quote(kind)} is not one of ${kinds.join(', ')}`, meant && `did you mean ${meant}?`);
  }
  if (apiVersion !== 'v1')
    return void refuse('apiVersion', `${quote(apiVersion ?? '')} is not v1, the version of ${known}`);
  keepChecked(known, value, context);
}

/** The items of a List, or of a PodList and the like, whose items need not say their kind. */
function listItems(kind: unknown, value: Record<string, unknown>): unknown[] | undefined {
  if (typeof kind !== 'string' || !kind.endsWith('List')) return undefined;
  const itemKind = kind.slice(0, -'List'.length);
  if (itemKind !== '' && !kinds.some((known) => known === itemKind)) return undefined;
  if (!Array.isArray(value['items'])) return [];
  if (itemKind === '') return value['items'];
  return value['items'].map((item: unknown) => (isRecord(item) ? { apiVersion: 'v1', kind: itemKind, ...item } : item));
}

function keepChecked(kind: ManifestObject['kind'], value: Record<string, unknown>, context: Context): void {
  const { line } = context.document.position(context.at);
  switch (kind) {
    case 'Pod': {
      const pod = checked(podSchema, checkPod(value, context.origin), value, context);
      if (pod) context.keep({ kind, object: pod, line });
      return;
    }
    case 'Service': {
      const service = checked(serviceSchema, checkService, value, context);
      if (service) context.keep({ kind, object: service, line });
      return;
    }
    case 'ConfigMap': {
      const configMap = checked(configMapSchema, checkConfigMap, value, context);
      if (configMap) context.keep({ kind, object: configMap, line });
      return;
    }
    case 'Secret': {
      const secret = checked(secretSchema, checkSecret, value, context);
      if (secret) context.keep({ kind, object: secret, line });
      return;
    }
    default:
      kind satisfies never;
  }
}

const checkPod =
  (written: unknown, origin: ManifestOrigin) =>
  (pod: Pod): Checked<Pod> => {
    const defaulted = defaultPod({ ...pod, spec: pod.spec ?? { containers: [] } });
    const faults = validatePod(defaulted);
    return { object: faults.length === 0 ? staticPod(defaulted, { ...origin, written }) : defaulted, faults };
  };

/**
 * First the types of all fields, then (only when they are right) what they say. Unknown fields are said and
 * left out: a manifest made for a later version still runs.
 */
function checked<T extends KubeObject>(
  schema: Schema<object>,
  check: (written: T) => Checked<T>,
  value: Record<string, unknown>,
  context: Context,
): T | undefined {
  const { document, at, say } = context;
  const complaints: Complaint[] = [];
  const read = schema.read(value, [], (complaint) => complaints.push(complaint));
  for (const { about, path, message, hint } of complaints) {
    const full = [...at, ...path];
    const position = about === 'unknown' ? document.keyPosition(full) : document.position(full);
    const severity = about === 'unknown' ? 'ignored' : 'refused';
    say({ ...position, path: pathText(full), message, severity, ...(hint ? { hint } : {}) });
  }
  if (complaints.some(({ about }) => about === 'value')) return undefined;
  const { object, faults } = check(complete<T>(read));
  for (const { path, message } of faults) {
    const full = [...at, ...path];
    say({ ...document.position(full), path: pathText(full), message, severity: 'refused' });
  }
  return faults.length === 0 ? object : undefined;
}

/** What the schema read has the shape of T, but for what may be missing; without metadata no check could begin. */
function complete<T extends KubeObject>(read: object | undefined): T {
  return { metadata: { name: '' }, ...read } as unknown as T;
}
