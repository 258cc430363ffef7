import { isDeepStrictEqual } from 'node:util';
import { PatchError } from './strategic-merge.ts';

interface Operation {
  readonly op: string;
  readonly path: string;
  readonly from?: string;
  readonly value?: unknown;
}

/** RFC 6902 JSON patch; returns a new document. Throws PatchError when an operation does not fit or a test fails. */
export function applyJsonPatch(original: unknown, operations: readonly unknown[]): unknown {
  let document: unknown = structuredClone(original);
  for (const operation of operations) document = applyOperation(document, operation as Operation);
  return document;
}

function applyOperation(document: unknown, { op, path, from, value }: Operation): unknown {
  switch (op) {
    case 'add':
      return edit(document, path, () => structuredClone(value), 'insert');
    case 'replace':
      read(document, path);
      return edit(document, path, () => structuredClone(value), 'set');
    case 'remove':
      return remove(document, path);
    case 'copy':
      return edit(document, path, () => structuredClone(read(document, from ?? '')), 'insert');
    case 'move': {
      const moved = read(document, from ?? '');
      return edit(remove(document, from ?? ''), path, () => moved, 'insert');
    }
    case 'test':
      if (!isDeepStrictEqual(read(document, path), value)) throw new PatchError(`testing value ${path} failed`);
      return document;
    default:
      throw new PatchError(`Unexpected kind: ${op}`);
  }
}

const segmentsOf = (path: string): string[] =>
  path
    .split('/')
    .slice(1)
    .map((segment) => segment.replaceAll('~1', '/').replaceAll('~0', '~'));

function read(document: unknown, path: string): unknown {
  let at = document;
  for (const segment of segmentsOf(path)) {
    const container = containerAt(at, path);
    if (!Object.hasOwn(container, segment)) throw new PatchError(`path does not exist: ${path}`);
    at = (container as Record<string, unknown>)[segment];
  }
  return at;
}

function containerAt(value: unknown, path: string): object {
  if (typeof value !== 'object' || value === null) throw new PatchError(`path does not exist: ${path}`);
  return value;
}

function edit(document: unknown, path: string, make: () => unknown, mode: 'insert' | 'set'): unknown {
  const segments = segmentsOf(path);
  const last = segments.pop();
  if (last === undefined) return make();
  const container = containerAt(read(document, toPath(segments)), path);
  if (!Array.isArray(container)) (container as Record<string, unknown>)[last] = make();
  else if (mode === 'set') container[Number(last)] = make();
  else {
    const index = last === '-' ? container.length : Number(last);
    if (!Number.isInteger(index) || index < 0 || index > container.length) throw new PatchError(`bad index in ${path}`);
    container.splice(index, 0, make());
  }
  return document;
}

function remove(document: unknown, path: string): unknown {
  read(document, path);
  const segments = segmentsOf(path);
  const last = segments.pop() ?? '';
  const container = containerAt(read(document, toPath(segments)), path);
  if (Array.isArray(container)) container.splice(Number(last), 1);
  else delete (container as Record<string, unknown>)[last];
  return document;
}

const toPath = (segments: readonly string[]): string =>
  segments.map((segment) => `/${segment.replaceAll('~', '~0').replaceAll('/', '~1')}`).join('');
