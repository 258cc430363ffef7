import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isDeepStrictEqual } from 'node:util';
import { configSeenAnnotation, podKey } from '../api/pod.ts';
import { errnoOf, messageOf } from '../lib/errors.ts';
import {
  type DecodedManifest,
  decodeManifest,
  type ManifestObject,
  type ManifestProblem,
  maxManifestBytes,
} from './decode-manifest.ts';

/** What one file gave when it was last read. */
export interface ManifestFile {
  readonly file: string;
  /** Changes when the file does: it is not read again while this stays. */
  readonly signature: string;
  readonly objects: readonly ManifestObject[];
  readonly problems: readonly ManifestProblem[];
  /** How many of the objects are of an earlier reading, because the file is broken now. */
  readonly kept: number;
}

/** More files than any node has pods for. */
const maxFiles = 2_000;

/** The manifests at the path, in order of name: a directory's, or the file itself. Undefined: there is nothing there. */
export async function listManifests(path: string): Promise<string[] | undefined> {
  try {
    if (!(await stat(path)).isDirectory()) return [path];
    const names = await readdir(path);
    return names
      .filter(isManifestName)
      .sort()
      .slice(0, maxFiles)
      .map((name) => join(path, name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Not hidden, and not what editors leave while they write. */
const isManifestName = (name: string) => !name.startsWith('.') && !name.endsWith('~') && !/^#.*#$/.test(name);

/** A file written so recently may be written again without its time stamp showing it. Milliseconds. */
const settledAfterMs = 100;
const justWritten = 'just written';

/**
 * Reads a file, or gives back `before` when it has not changed. Undefined: there is no such file (any more),
 * or it is a directory. What a file that has become bad held before goes on: one bad save must not kill a pod.
 */
export async function readManifest(
  file: string,
  before: ManifestFile | undefined,
  origin: { readonly nodeName: string; readonly seenAt: number },
): Promise<ManifestFile | undefined> {
  try {
    const { signature, size, isFile } = await statOf(file);
    if (!isFile) return undefined;
    if (before?.signature === signature && signature !== justWritten) return before;
    const decoded =
      size > maxManifestBytes
        ? refused(file, `is ${size} bytes long: more than the ${maxManifestBytes} that a manifest may have`)
        : decodeManifest(await readFile(file, 'utf8'), { file, ...origin });
    return afterReading(file, signature, decoded, before);
  } catch (error) {
    const code = errnoOf(error);
    if (code === 'ENOENT') return undefined;
    const message = `cannot be read: ${code ?? messageOf(error)}`;
    return afterReading(file, 'unreadable', refused(file, message), before);
  }
}

function afterReading(
  file: string,
  signature: string,
  { objects, problems }: DecodedManifest,
  before: ManifestFile | undefined,
): ManifestFile {
  const former = new Map((before?.objects ?? []).map((entry) => [objectKey(entry), entry]));
  const now = objects.map((entry) => sameAs(former.get(objectKey(entry)), entry) ?? entry);
  const broken = problems.some(({ severity }) => severity === 'refused');
  const present = new Set(now.map(objectKey));
  const kept = broken ? [...former.values()].filter((entry) => !present.has(objectKey(entry))) : [];
  return { file, signature, problems, objects: [...now, ...kept], kept: kept.length };
}

/** The former object where the new one says the same: what has not changed keeps the time it was first seen. */
function sameAs(former: ManifestObject | undefined, entry: ManifestObject): ManifestObject | undefined {
  if (!former) return undefined;
  return isDeepStrictEqual(content(former), content(entry)) ? former : undefined;
}

function content({ object }: ManifestObject): object {
  const { annotations, ...metadata } = object.metadata;
  const { [configSeenAnnotation]: _seen, ...others } = annotations ?? {};
  return { ...object, metadata: { ...metadata, annotations: others } };
}

/** Whether two readings of the directory have the same objects and problems. */
export function sameContent(a: ReadonlyMap<string, ManifestFile>, b: ReadonlyMap<string, ManifestFile>): boolean {
  return a.size === b.size && [...a].every(([path, file]) => sameFile(file, b.get(path)));
}

function sameFile(a: ManifestFile, b: ManifestFile | undefined): boolean {
  if (a === b) return true;
  if (!b || a.objects.length !== b.objects.length || a.kept !== b.kept) return false;
  return a.objects.every((entry, i) => entry === b.objects[i]) && isDeepStrictEqual(a.problems, b.problems);
}

async function statOf(file: string): Promise<{ signature: string; size: number; isFile: boolean }> {
  const stats = await stat(file, { bigint: true });
  const { dev, ino, size, mtimeNs, ctimeNs } = stats;
  const settled = Date.now() - Number(stats.mtimeMs) > settledAfterMs;
  const signature = settled ? [dev, ino, size, mtimeNs, ctimeNs].join(':') : justWritten;
  return { signature, size: Number(size), isFile: stats.isFile() };
}

function refused(file: string, message: string): DecodedManifest {
  return { objects: [], problems: [{ file, path: '', message, severity: 'refused' }] };
}

export const objectKey = ({ kind, object }: ManifestObject) => `${kind} ${podKey(object)}`;
