import type { Node, Service } from '../api/core-v1.ts';
import type { EndpointSlice } from '../api/discovery-v1.ts';
import { didYouMean } from '../lib/did-you-mean.ts';
import { isRecord, pathText, quote } from '../lib/schema.ts';
import {
  type ParsedDocument,
  parseYaml,
  type SourcePath,
  type SourcePosition,
  type YamlDocument,
} from '../lib/yaml-source.ts';
import { FieldReader } from './field-reader.ts';

/** Where an object, or what should be one, was found. */
export interface ObjectPlace {
  /** As it was named; `-` for the standard input. */
  readonly file: string;
  /** From 1; absent: the file itself. */
  readonly document?: number;
  /** Where in the document: `items[3]`; '' for all of it. */
  readonly path: string;
  readonly position?: SourcePosition;
}

/** Something to say of an object. */
export interface ObjectProblem {
  readonly place: ObjectPlace;
  /** Field and value among it. */
  readonly message: string;
  readonly hint: string;
  /** Something that was asked for is left out; otherwise it is only worth knowing. */
  readonly isFault: boolean;
}

export interface Found<T> {
  readonly object: T;
  readonly place: ObjectPlace;
}

/** By namespace/name; Nodes by name. */
export interface DecodedObjects {
  readonly services: ReadonlyMap<string, Found<Service>>;
  readonly slices: ReadonlyMap<string, Found<EndpointSlice>>;
  readonly nodes: ReadonlyMap<string, Found<Node>>;
  readonly problems: readonly ObjectProblem[];
}

const versions = { Service: 'v1', EndpointSlice: 'discovery.k8s.io/v1', Node: 'v1' } as const;
type Kind = keyof typeof versions;
const kinds = Object.keys(versions) as readonly Kind[];
const kindsText = 'Service, EndpointSlice, Node or a List of them';

/** `FILE:LINE:COLUMN: document N: WHAT (REMEDY)`, the form that editors jump to. */
export function objectProblemText({ place, message, hint, isFault }: ObjectProblem): string {
  const { file, document, path, position } = place;
  const at = position ? `${file}:${position.line}:${position.column}` : file;
  const within = document === undefined ? [] : [`document ${document}${path === '' ? '' : `, ${path}`}`];
  return `${isFault ? '' : 'note: '}${[at, ...within, message].join(': ')} (${hint})`;
}

/**
 * The Services, EndpointSlices and Nodes in the texts of files, YAML or JSON, of one or more documents. What is wrong
 * with one of them is named and holds up no other; of two objects with one name the first counts. The fields of
 * Services and slices are looked at by who uses them.
 */
export function decodeObjects(texts: Iterable<{ readonly file: string; readonly text: string }>): DecodedObjects {
  const found = { Service: new Map(), EndpointSlice: new Map(), Node: new Map() } as const;
  const problems: ObjectProblem[] = [];
  for (const { file, text } of texts) {
    let document = 0;
    for (const parsed of documentsOf(text)) {
      document += 1;
      if ('problems' in parsed) {
        for (const { message, hint = 'correct it: nothing of this document is read', ...position } of parsed.problems)
          problems.push({ place: { file, document, path: '', position }, message, hint, isFault: true });
        continue;
      }
      const placeOf = (at: SourcePath): ObjectPlace => ({
        ...{ file, document, path: pathText(at) },
        ...(parsed.position ? { position: parsed.position(at) } : {}),
      });
      decodeValue(parsed.value, [], { found, placeOf, say: (problem) => problems.push(problem) });
    }
    if (document > 0) continue;
    const hint = `it should hold objects of kind ${kindsText}`;
    problems.push({ place: { file, path: '' }, message: 'is empty', hint, isFault: true });
  }
  return { services: found.Service, slices: found.EndpointSlice, nodes: found.Node, problems };
}

type ObjectDocument = Exclude<ParsedDocument, YamlDocument> | PlainDocument;

interface PlainDocument {
  readonly value: unknown;
  /** Absent: where what stands is not known. */
  readonly position?: (path: SourcePath) => SourcePosition;
}

/** What kubectl prints as JSON may be large, and is read much faster as what it is. */
function documentsOf(text: string): readonly ObjectDocument[] {
  if (!text.trimStart().startsWith('{')) return parseYaml(text);
  try {
    return [{ value: JSON.parse(text) }];
  } catch {
    return parseYaml(text);
  }
}

interface Context {
  readonly found: Readonly<Record<Kind, Map<string, Found<unknown>>>>;
  readonly placeOf: (at: SourcePath) => ObjectPlace;
  readonly say: (problem: ObjectProblem) => void;
}

function decodeValue(value: unknown, at: SourcePath, context: Context): void {
  const place = context.placeOf(at);
  const say = (message: string, hint: string, isFault = true) => context.say({ place, message, hint, isFault });
  if (!isRecord(value)) return void say(`${quote(value)} is no object`, `expected: ${kindsText}`);
  const { kind, apiVersion } = value;
  if (typeof kind !== 'string' || kind === '') {
    return void say(`kind ${quote(kind ?? null)} is not the name of one`, `expected: ${kindsText}`);
  }
  const itemKind = kind.endsWith('List') ? kind.slice(0, -'List'.length) : undefined;
  if (itemKind !== undefined && (itemKind === '' || isKind(itemKind))) {
    const { items } = value;
    if (!Array.isArray(items)) return void say(`items ${quote(items ?? null)} is not a list`, 'list the objects there');
    // The items of a ServiceList and the like need not say what they are.
    const typed = itemKind === '' ? {} : { kind: itemKind, apiVersion };
    for (const [i, item] of items.entries())
      decodeValue(isRecord(item) ? { ...typed, ...item } : item, [...at, 'items', i], context);
    return;
  }
  if (!isKind(kind)) return void sayForeign(kind, say);
  if (apiVersion !== versions[kind]) {
    return void say(`apiVersion ${quote(apiVersion ?? null)} is not that of ${kind}`, `write ${versions[kind]}`);
  }
  const decoded = checked(kind, value, say);
  if (!decoded) return;
  const before = context.found[kind].get(decoded.key);
  if (before) {
    const { file, document, position } = before.place;
    const first = `${file}${position ? `:${position.line}` : ''}, document ${document}`;
    return void say(`a second ${kind} ${decoded.key}; the first is in ${first}`, 'give one of them');
  }
  context.found[kind].set(decoded.key, { object: decoded.object, place });
}

const isKind = (kind: string): kind is Kind => kinds.some((known) => known === kind);

function sayForeign(kind: string, say: (message: string, hint: string, isFault: boolean) => void): void {
  if (kind === 'Endpoints') return void say('kind Endpoints is not read', 'give its EndpointSlices', true);
  const meant = didYouMean(kind, kinds);
  if (meant) return void say(`kind ${quote(kind)} is not known`, `did you mean ${meant}?`, true);
  say(`kind ${kind} has no part in it`, `what counts is ${kindsText}`, false);
}

/** The object, with that in order which its readers rely on: the rest of a Service or a slice may be anything. */
function checked(
  kind: Kind,
  value: Readonly<Record<string, unknown>>,
  say: (message: string, hint: string) => void,
): { readonly key: string; readonly object: unknown } | undefined {
  const fields = new FieldReader();
  const metadata = fields.object(value['metadata'], 'metadata') ?? {};
  const name = fields.text(metadata['name'], 'metadata.name');
  if (!name && fields.problems.length === 0) fields.refuse('metadata.name', name ?? null, 'is no name');
  const namespace = fields.text(metadata['namespace'], 'metadata.namespace') || 'default';
  const labels = fields.object(metadata['labels'], 'metadata.labels') ?? {};
  const spec = fields.object(value['spec'], 'spec');
  if (kind === 'Service' && !spec && fields.problems.length === 0) fields.refuse('spec', null, 'is no specification');
  if (kind === 'Service') {
    for (const field of ['type', 'clusterIP']) fields.text(spec?.[field], `spec.${field}`);
    fields.texts(spec?.['clusterIPs'], 'spec.clusterIPs');
  }
  const node = kind === 'Node' ? nodeFields(spec, value['status'], fields) : {};
  const called = !name ? kind : kind === 'Node' ? `Node ${name}` : `${kind} ${namespace}/${name}`;
  for (const problem of fields.problems) say(`${called}: ${problem}`, 'correct it: nothing of this object is used');
  if (fields.problems.length > 0 || !name) return undefined;
  if (kind === 'Node') return { key: name, object: { metadata: { name, labels }, ...node } };
  const object = { ...value, metadata: { ...metadata, name, namespace, labels } };
  return { key: `${namespace}/${name}`, object };
}

/** What of a node decides about its packets. */
function nodeFields(
  spec: Readonly<Record<string, unknown>> | undefined,
  status: unknown,
  fields: FieldReader,
): Pick<Node, 'spec' | 'status'> {
  const podCIDRs = fields.texts(spec?.['podCIDRs'], 'spec.podCIDRs');
  const list = fields.list(fields.object(status, 'status')?.['addresses'], 'status.addresses');
  const addresses = list.flatMap((one, i) => {
    const path = `status.addresses[${i}]`;
    const entry = fields.object(one, path);
    const [type, address] = [
      fields.text(entry?.['type'], `${path}.type`),
      fields.text(entry?.['address'], `${path}.address`),
    ];
    return type && address ? [{ type, address }] : [];
  });
  return { spec: { podCIDRs }, status: { addresses } };
}

/** A slice of which whatever asks may take for granted that it has the shape of one; nothing that is used is lost. */
export function wellShaped(slice: EndpointSlice): EndpointSlice {
  const records = <T>(list: readonly T[] | null | undefined): readonly T[] =>
    Array.isArray(list) ? (list as readonly T[]).filter(isRecord) : [];
  const isUsable = ({ addresses }: { readonly addresses: readonly string[] }) =>
    Array.isArray(addresses) && typeof addresses[0] === 'string';
  return { ...slice, endpoints: records(slice.endpoints).filter(isUsable), ports: records(slice.ports) };
}
