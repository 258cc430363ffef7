import { constants } from 'node:fs';
import { lstat, open, readlink, realpath } from 'node:fs/promises';
import { join } from 'node:path';

/** Bytes. Containers write these files, and we hold them in memory. */
const maxFileBytes = 1 << 20;
/** Upstream's limit for a line, in bytes. */
const maxLineBytes = 64 * 1024;
/** As many as the kernel follows, give or take. */
const maxLinks = 40;

/**
 * The value of `key` in an env file (KEP-3721), '' when it is not there: lines `NAME='value'`, a value being whatever
 * is between two single quotes, over several lines too. Blank lines and lines that begin with # say nothing; a blank
 * behind the = means an empty value. What comes after the key is not looked at. Throws for a line of any other form.
 */
export function parseEnvFile(text: string, key: string): string {
  const lines = text.split('\n').map((line) => line.replace(/\r$/, ''));
  if (lines.at(-1) === '') lines.pop();
  for (let at = 0; at < lines.length; at++) {
    const line = lineAt(lines, at).replace(/^[ \t]+/, '');
    if (line === '' || line.startsWith('#')) continue;
    const refuse = (why: string): Error => new Error(`invalid environment variable format at line ${at + 1}: ${why}`);
    const equals = line.indexOf('=');
    if (equals === -1) throw refuse("missing '='");
    const name = line.slice(0, equals);
    if (/^[ \t]*$/.test(name)) throw refuse('empty variable name');
    if (/[ \t]$/.test(name)) throw refuse("whitespace before '=' is not allowed");
    let rest = line.slice(equals + 1);
    if (/^[ \t]/.test(rest)) {
      if (name === key) return '';
      continue;
    }
    if (!rest.startsWith("'")) throw refuse('value must be enclosed in single quotes');
    rest = rest.slice(1);
    let value = '';
    const begin = at + 1;
    while (!rest.includes("'")) {
      value += `${rest}\n`;
      if (++at === lines.length) {
        throw new Error(`invalid environment variable format starting at line ${begin}: unclosed single quote`);
      }
      rest = lineAt(lines, at);
    }
    const close = rest.indexOf("'");
    if (!/^[ \t]*(#|$)/.test(rest.slice(close + 1))) throw refuse('unexpected content after closing quote');
    if (name === key) return value + rest.slice(0, close);
  }
  return '';
}

function lineAt(lines: readonly string[], at: number): string {
  const line = lines[at] ?? '';
  if (Buffer.byteLength(line) > maxLineBytes) throw new Error(`line ${at + 1} is longer than ${maxLineBytes} bytes`);
  return line;
}

/** An env file as it was read, and where. */
export interface EnvFile {
  readonly path: string;
  readonly text: string;
}

/**
 * Reads `path` inside a volume. A container may have made the file, or a link in its place: links are followed as
 * if the volume were the root of everything, and what was opened in the end must lie in the volume. Throws for
 * anything that is not a regular file of at most 1 MiB.
 */
export async function readEnvFile(volumePath: string, path: string): Promise<EnvFile> {
  const root = await realpath(volumePath);
  const place = await resolveInside(root, path);
  const file = await open(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    // Somebody may have changed a folder on the way after we had looked at it.
    const opened = await readlink(`/proc/self/fd/${file.fd}`);
    if (!opened.startsWith(`${root}/`)) throw new Error(`${path} is not inside its volume`);
    const stats = await file.stat();
    if (!stats.isFile()) throw new Error(`${path} is not a regular file`);
    if (stats.size > maxFileBytes) throw new Error(`${path} is larger than ${maxFileBytes} bytes`);
    const { buffer, bytesRead } = await file.read(Buffer.alloc(stats.size), 0, stats.size, 0);
    return { path: join(volumePath, path), text: buffer.subarray(0, bytesRead).toString('utf8') };
  } finally {
    await file.close();
  }
}

/** Where `path` leads to when `root` is `/`: neither `..` nor a link gets above it. */
async function resolveInside(root: string, path: string): Promise<string> {
  const ahead = path.split('/').reverse();
  let inside: string[] = [];
  let links = 0;
  while (ahead.length > 0) {
    const name = ahead.pop() ?? '';
    if (name === '' || name === '.') continue;
    if (name === '..') {
      inside.pop();
      continue;
    }
    const stats = await lstat(join(root, ...inside, name));
    if (!stats.isSymbolicLink()) {
      inside.push(name);
      continue;
    }
    if (++links > maxLinks) throw new Error(`${path} has too many links`);
    const target = await readlink(join(root, ...inside, name));
    if (target.startsWith('/')) inside = [];
    ahead.push(...target.split('/').reverse());
  }
  return join(root, ...inside);
}
