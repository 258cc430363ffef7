import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { didYouMean } from '../lib/did-you-mean.ts';
import { unreadableText } from '../lib/errors.ts';
import { isRecord, pathText, quote } from '../lib/schema.ts';
import { parseYaml, type SourcePath, type YamlDocument } from '../lib/yaml-source.ts';
import type { ConfigProblem } from './config-error.ts';
import { readTable, type Table, type TableReading } from './keys.ts';
import { type ConfigKind, configKinds, isConfigKind } from './kinds.ts';

/** One document of a configuration file. */
interface Source {
  readonly file: string;
  readonly document: YamlDocument;
}

export interface FilesReading {
  readonly documents: Readonly<{ [K in ConfigKind]: TableReading<(typeof configKinds)[K]['table']> }>;
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly ConfigProblem[];
  /** Where a key of a kind stands; the path alone when no file has it. */
  locate(kind: ConfigKind, path: SourcePath): Pick<ConfigProblem, 'file' | 'line' | 'column' | 'path'>;
}

/** Reads every file, in order, and every document in them. All faults of all files are found in one go. */
export function readConfigFiles(files: readonly string[]): FilesReading {
  const problems: ConfigProblem[] = [];
  const warnings: ConfigProblem[] = [];
  const sources = new Map<ConfigKind, Source>();
  for (const file of files) {
    for (const document of readDocuments(file, problems)) {
      const kind = kindOf(file, document, problems);
      const before = kind && sources.get(kind);
      if (before) {
        problems.push({
          file,
          ...document.start,
          path: 'kind',
          message: `a second ${kind}; the first is at ${before.file}:${before.document.start.line}`,
          hint: 'put everything into one of them',
        });
      } else if (kind) sources.set(kind, { file, document });
    }
  }
  const locate: FilesReading['locate'] = (kind, path) => {
    const source = sources.get(kind);
    return { ...(source ? { file: source.file, ...source.document.keyPosition(path) } : {}), path: pathText(path) };
  };
  const read = <const T extends Table>(kind: ConfigKind, table: T) =>
    readDocument(table, kind, sources.get(kind), problems, warnings);
  return {
    documents: {
      KubeletConfiguration: read('KubeletConfiguration', configKinds.KubeletConfiguration.table),
      KubeProxyConfiguration: read('KubeProxyConfiguration', configKinds.KubeProxyConfiguration.table),
      KeelsonConfiguration: read('KeelsonConfiguration', configKinds.KeelsonConfiguration.table),
    },
    problems: problems.toSorted(byPlace(files)),
    warnings: warnings.toSorted(byPlace(files)),
    locate,
  };
}

/** In the order in which the operator reads them. */
const byPlace = (files: readonly string[]) => (a: ConfigProblem, b: ConfigProblem) =>
  files.indexOf(a.file ?? '') - files.indexOf(b.file ?? '') ||
  (a.line ?? 0) - (b.line ?? 0) ||
  (a.column ?? 0) - (b.column ?? 0);

/** A file that is larger is none of ours. */
const maxBytes = 1024 * 1024;

function readDocuments(file: string, problems: ConfigProblem[]): YamlDocument[] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    problems.push({ file, path: '', message: unreadableText(error), hint: 'check --config' });
    return [];
  }
  if (text.length > maxBytes) {
    problems.push({ file, path: '', message: 'is larger than 1 MiB: not a configuration file' });
    return [];
  }
  const parsed = parseYaml(text);
  if (parsed.length === 0) {
    const kinds = Object.keys(configKinds).join(', ');
    problems.push({ file, path: '', message: 'is empty', hint: `it should hold documents of kind ${kinds}` });
  }
  return parsed.flatMap((document) => {
    if ('value' in document) return [document];
    for (const problem of document.problems) problems.push({ file, path: '', ...problem });
    return [];
  });
}

function kindOf(file: string, document: YamlDocument, problems: ConfigProblem[]): ConfigKind | undefined {
  const { kind, apiVersion } = isRecord(document.value) ? document.value : {};
  const refuse = (path: string, message: string, meant: string | undefined) => {
    const position = document.position(path ? [path] : []);
    problems.push({ file, ...position, path, message, ...(meant ? { hint: `did you mean ${meant}?` } : {}) });
    return undefined;
  };
  const kinds = Object.keys(configKinds);
  if (!isRecord(document.value))
    return refuse('', `${quote(document.value)} is not a map with apiVersion and kind`, undefined);
  if (kind === undefined) return refuse('kind', `is missing: expected one of ${kinds.join(', ')}`, undefined);
  if (!isConfigKind(kind)) {
    const meant = typeof kind === 'string' ? didYouMean(kind, kinds) : undefined;
    return refuse('kind', `${quote(kind)} is not one of ${kinds.join(', ')}`, meant);
  }
  const expected = configKinds[kind].apiVersion;
  if (apiVersion !== expected) {
    return refuse(
      'apiVersion',
      apiVersion === undefined
        ? `is missing: expected ${expected}`
        : `${quote(apiVersion)} is not ${expected}, the version of ${kind} that keelson reads`,
      undefined,
    );
  }
  return kind;
}

function readDocument<const T extends Table>(
  table: T,
  kind: ConfigKind,
  source: Source | undefined,
  problems: ConfigProblem[],
  warnings: ConfigProblem[],
): TableReading<T> {
  if (!source) return readTable(table, {}, () => {});
  const { file, document } = source;
  const content = isRecord(document.value) ? document.value : {};
  const { apiVersion: _apiVersion, kind: _kind, ...keys } = content;
  const reading = readTable(table, keys, (c) => {
    const position = c.about === 'unknown' ? document.keyPosition(c.path) : document.position(c.path);
    problems.push({
      file,
      ...position,
      path: pathText(c.path),
      message: c.message,
      ...(c.hint ? { hint: c.hint } : {}),
    });
  });
  for (const path of reading.unsupported) {
    warnings.push({
      file,
      ...document.keyPosition(path),
      path: pathText(path),
      message: `is valid in ${kind}, but keelson does not support it yet: it has no effect`,
    });
  }
  return reading;
}

/** Paths in a file are taken from the file's folder, as the kubelet takes them. */
export function fromFolderOf(file: string | undefined, path: string): string {
  return path === '' || file === undefined ? path : resolve(dirname(file), path);
}
