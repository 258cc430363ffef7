import { constants } from 'node:fs';
import { type FileHandle, open, readdir, realpath } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { extname, join, posix } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { errnoOf } from '../lib/errors.ts';
import { answerText } from './answer.ts';
import { HttpError, type ServedRequest } from './endpoint.ts';

/**
 * Serves what is below a folder as Go's file server does: files with ranges, folders as a list of links. Links are
 * followed as long as they stay inside: whoever can write one there must not choose what is read with our rights.
 */
export async function serveFile(
  root: string,
  path: string,
  request: ServedRequest,
  response: ServerResponse,
): Promise<void> {
  const clean = posix.normalize(`/${path}`).replace(/(.)\/$/, '$1');
  const file = await openInside(root, clean);
  try {
    const stats = await file.stat();
    // Paths of folders end with a slash, and no others: or the links in a list would lead elsewhere.
    if (stats.isDirectory()) {
      if (!path.endsWith('/') && path !== '') return redirect(response, `${posix.basename(clean)}/`, request);
      return await listFolder(join(root, clean), response);
    }
    if (path.endsWith('/')) return redirect(response, `../${posix.basename(clean)}`, request);
    if (!stats.isFile()) throw new HttpError(404, '404 page not found\n');
    await sendFile(file, clean, stats, request, response);
  } finally {
    await file.close();
  }
}

/** The content of a file below the folder; undefined when there is none. Fails with an HttpError. */
export async function readInside(root: string, path: string): Promise<AsyncIterable<Buffer> | undefined> {
  const file = await openInside(root, posix.normalize(`/${path}`)).catch((error: unknown) => {
    if (error instanceof HttpError && error.status === 404) return undefined;
    throw error;
  });
  if ((await file?.stat())?.isFile()) return file?.createReadStream();
  await file?.close();
  return undefined;
}

async function openInside(root: string, path: string): Promise<FileHandle> {
  if (path.includes('\0')) throw new HttpError(404, '404 page not found\n');
  try {
    const folder = await realpath(root);
    const real = await realpath(join(root, path));
    if (real !== folder && !real.startsWith(`${folder}/`)) throw new HttpError(403, '403 Forbidden\n');
    // A pipe that nobody writes must not hold us.
    return await open(real, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    if (error instanceof HttpError) throw error;
    const errno = errnoOf(error);
    if (errno === 'ENOENT' || errno === 'ENOTDIR' || errno === 'ELOOP' || errno === 'ENAMETOOLONG' || errno === 'ENXIO')
      throw new HttpError(404, '404 page not found\n');
    if (errno === 'EACCES' || errno === 'EPERM') throw new HttpError(403, '403 Forbidden\n');
    throw new HttpError(500, '500 Internal Server Error\n', { cause: error });
  }
}

function redirect(response: ServerResponse, to: string, { url }: ServedRequest): void {
  const location = to.split('/').map(encodeURIComponent).join('/').replaceAll('%2E', '.');
  response.writeHead(301, { location: location + url.search, 'content-length': 0 });
  response.end();
}

async function listFolder(path: string, response: ServerResponse): Promise<void> {
  const entries = await readdir(path, { withFileTypes: true });
  const names = entries.map((e) => (e.isDirectory() ? `${e.name}/` : e.name)).toSorted((a, b) => (a < b ? -1 : 1));
  const links = names.map((name) => `<a href="${hrefOf(name)}">${escaped(name)}</a>\n`);
  const head = '<!doctype html>\n<meta name="viewport" content="width=device-width">\n';
  answerText(response, 200, `${head}<pre>\n${links.join('')}</pre>\n`, { 'content-type': 'text/html; charset=utf-8' });
}

const hrefOf = (name: string): string => encodeURIComponent(name).replaceAll('%2F', '/');

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&#34;',
  "'": '&#39;',
};
const escaped = (text: string): string => text.replace(/[&<>"']/g, (c) => entities[c] ?? c);

interface FileFacts {
  readonly size: number;
  readonly mtimeMs: number;
}

async function sendFile(
  file: FileHandle,
  path: string,
  { size, mtimeMs }: FileFacts,
  { raw, signal }: ServedRequest,
  response: ServerResponse,
): Promise<void> {
  const modified = Math.floor(mtimeMs / 1000) * 1000;
  const headers = { 'last-modified': new Date(modified).toUTCString(), 'accept-ranges': 'bytes' };
  const since = Date.parse(raw.headers['if-modified-since'] ?? '');
  if (since >= modified) {
    response.writeHead(304, headers).end();
    return;
  }
  const range = rangeOf(raw.headers.range, size);
  if (range === 'none of it') {
    return answerText(response, 416, 'invalid range: failed to overlap\n', { 'content-range': `bytes */${size}` });
  }
  const [start, end] = range ?? [0, size];
  response.writeHead(range ? 206 : 200, {
    ...headers,
    'content-type': await typeOf(file, path),
    'content-length': end - start,
    'x-content-type-options': 'nosniff',
    ...(range ? { 'content-range': `bytes ${start}-${end - 1}/${size}` } : {}),
  });
  if (end === start) {
    response.end();
    return;
  }
  // Not a byte more than was promised, however the file grows meanwhile.
  const stream = file.createReadStream({ start, end: end - 1, autoClose: false });
  await pipeline(stream, response, { signal }).catch((error: unknown) => {
    if (!signal.aborted) response.destroy();
    if (!signal.aborted && errnoOf(error) !== undefined) throw error;
  });
}

/** The bytes [start, end) that are asked for; undefined for all, also when several ranges are. */
export function rangeOf(
  header: string | undefined,
  size: number,
): readonly [number, number] | 'none of it' | undefined {
  const [, from = '', to = ''] = /^bytes=(\d*)-(\d*)$/.exec(header?.trim() ?? '') ?? [];
  if (from === '' && to === '') return undefined;
  if (from === '') return to === '0' ? 'none of it' : [Math.max(0, size - Number(to)), size];
  if (to !== '' && Number(to) < Number(from)) return undefined;
  if (Number(from) >= size) return 'none of it';
  return [Number(from), to === '' ? size : Math.min(size, Number(to) + 1)];
}

const types: Readonly<Record<string, string>> = {
  '.gz': 'application/gzip',
  '.htm': 'text/html; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.json': 'application/json',
  '.xml': 'text/xml; charset=utf-8',
};

const sniffedBytes = 512;

async function typeOf(file: FileHandle, path: string): Promise<string> {
  const known = types[extname(path)];
  if (known) return known;
  const head = Buffer.alloc(sniffedBytes);
  const { bytesRead } = await file.read(head, 0, head.length, 0);
  // Control characters that no text has.
  const isBinary = head
    .subarray(0, bytesRead)
    .some((b) => b < 9 || b === 11 || (b > 13 && b < 27) || (b > 27 && b < 32));
  return isBinary ? 'application/octet-stream' : 'text/plain; charset=utf-8';
}
