import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseAllDocuments,
} from 'yaml';

/**
 * YAML or JSON text, together with the place of everything in it, so that a complaint about a value can
 * say where the value stands. Scalars are read as the Go programs that own these formats read them:
 * YAML 1.1 (yes/no, 0644 octal, merge keys), without its base-60 numbers and dates.
 */

export interface SourcePosition {
  /** From 1. */
  readonly line: number;
  /** From 1. */
  readonly column: number;
}

export type SourcePath = readonly (string | number)[];

export interface SyntaxProblem extends SourcePosition {
  readonly message: string;
  readonly hint?: string;
}

export interface YamlDocument {
  readonly value: unknown;
  /** Where the document begins. */
  readonly start: SourcePosition;
  /** Where the value at the path stands, or what is left of the path when it leads nowhere. */
  position(path: SourcePath): SourcePosition;
  /** Where the last key of the path stands. */
  keyPosition(path: SourcePath): SourcePosition;
}

/** A document, or the one problem for which it cannot be read. Empty documents are left out. */
export type ParsedDocument = YamlDocument | { readonly problems: readonly SyntaxProblem[] };

/** Reads every document of a text. Never throws: what cannot be read is a problem in its place. */
export function parseYaml(text: string): ParsedDocument[] {
  const lines = new LineCounter();
  const at = (offset: number): SourcePosition => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  let documents: Document.Parsed[];
  try {
    documents = readDocuments(jsonWithoutTabs(text), lines);
  } catch (error) {
    return [{ problems: [{ line: 1, column: 1, message: overflowOr(error) }] }];
  }
  return documents.flatMap((document): ParsedDocument[] => {
    const syntax = document.errors[0];
    if (syntax) return [{ problems: [{ ...at(syntax.pos[0]), ...explain(syntax.code, syntax.message) }] }];
    if (!document.contents || (isScalar(document.contents) && document.contents.value === null)) return [];
    const duplicates = [...duplicateKeys(document.contents, at)];
    if (duplicates.length > 0) return [{ problems: duplicates }];
    const start = at(document.contents.range?.[0] ?? document.range[0]);
    return [convert(document, start, at)];
  });
}

function readDocuments(text: string, lineCounter: LineCounter): Document.Parsed[] {
  const found = parseAllDocuments(text, {
    lineCounter,
    prettyErrors: false,
    uniqueKeys: false,
    version: '1.1',
    merge: true,
    customTags: (tags) => tags.filter((tag) => typeof tag !== 'object' || !isForeign(tag.tag, tag)),
  });
  return Array.isArray(found) ? found : [];
}

/** Tags that YAML 1.1 has and Go's reader has not: base-60 numbers ('22:22') and dates stay text. */
const isForeign = (name: string, tag: object) =>
  name === 'tag:yaml.org,2002:timestamp' || ('format' in tag && tag.format === 'TIME');

function convert(
  document: Document.Parsed,
  start: SourcePosition,
  at: (offset: number) => SourcePosition,
): ParsedDocument {
  try {
    const value: unknown = document.toJS();
    return {
      value,
      start,
      position: (path) => locate(document, path, false, at) ?? start,
      keyPosition: (path) => locate(document, path, true, at) ?? start,
    };
  } catch (error) {
    return { problems: [{ ...start, message: overflowOr(error) }] };
  }
}

const overflowOr = (error: unknown): string =>
  error instanceof RangeError ? 'nested too deeply' : error instanceof Error ? error.message : String(error);

/** JSON may be indented by tabs, which YAML forbids; a blank in their place keeps every column. */
function jsonWithoutTabs(text: string): string {
  return /^\s*[{[]/.test(text) ? text.replaceAll('\t', ' ') : text;
}

function explain(code: string, message: string): { message: string; hint?: string } {
  if (code === 'TAB_AS_INDENT' || /\btab/i.test(message)) {
    return { message: 'a tab is used for indentation, which YAML does not allow', hint: 'indent with spaces' };
  }
  return { message: message.replace(/\s+/g, ' ') };
}

function* duplicateKeys(node: unknown, at: (offset: number) => SourcePosition): Generator<SyntaxProblem> {
  if (isSeq(node)) {
    for (const item of node.items) yield* duplicateKeys(item, at);
  } else if (isMap(node)) {
    const first = new Map<string, number>();
    for (const pair of node.items) {
      const [key, offset] = [keyOf(pair), startOf(pair.key)];
      const before = key === '<<' ? undefined : first.get(key);
      if (before === undefined) first.set(key, offset);
      else yield { ...at(offset), message: `the key "${key}" is given twice, first in line ${at(before).line}` };
      yield* duplicateKeys(pair.value, at);
    }
  }
}

function locate(
  document: Document.Parsed,
  path: SourcePath,
  key: boolean,
  at: (offset: number) => SourcePosition,
): SourcePosition | undefined {
  let node: unknown = document.contents;
  let offset = startOf(node);
  for (const [index, step] of path.entries()) {
    if (isAlias(node)) node = node.resolve(document);
    if (isMap(node)) {
      const pair: Pair | undefined = node.items.find((p) => keyOf(p) === String(step));
      if (!pair) break;
      const wantKey = (key && index === path.length - 1) || pair.value === null || isBlank(pair.value);
      offset = startOf(wantKey ? pair.key : pair.value);
      node = pair.value;
    } else if (isSeq(node)) {
      node = node.items[Number(step)];
      if (node === undefined) break;
      offset = startOf(node);
    } else break;
  }
  return offset < 0 ? undefined : at(offset);
}

/** A value left empty has no place of its own. */
const isBlank = (node: unknown) => isScalar(node) && node.value === null && node.source === '';
const keyOf = (pair: Pair) => String(isScalar(pair.key) ? pair.key.value : pair.key);
const startOf = (node: unknown) => (node as Node | null)?.range?.[0] ?? -1;
