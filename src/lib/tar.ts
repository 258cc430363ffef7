/** A file (`content`), a symbolic link (`linkTo`), or a directory (neither). */
export interface TarEntry {
  /** Relative, without a leading slash; at most 100 bytes, or 155/100 split at a slash. */
  readonly path: string;
  readonly content?: Buffer | string;
  readonly linkTo?: string;
  /** Permission bits; 0o755 for directories and 0o644 for files unless told. */
  readonly mode?: number;
}

const BLOCK = 512;

/** A POSIX ustar archive (pax(1)), owned by root, with all times zero. */
export function tarArchive(entries: readonly TarEntry[]): Buffer {
  const blocks: Buffer[] = [];
  for (const entry of entries) {
    const content = entry.content === undefined ? Buffer.alloc(0) : Buffer.from(entry.content);
    blocks.push(header(entry, content.length), content, padding(content.length));
  }
  return Buffer.concat([...blocks, Buffer.alloc(2 * BLOCK)]);
}

function header(entry: TarEntry, size: number): Buffer {
  const type = entry.linkTo !== undefined ? '2' : entry.content !== undefined ? '0' : '5';
  const { prefix, name } = splitPath(type === '5' ? `${entry.path.replace(/\/$/, '')}/` : entry.path);
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, offset: number, length: number) =>
    block.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, 'latin1');
  block.write(name, 0);
  octal(entry.mode ?? (type === '5' ? 0o755 : type === '2' ? 0o777 : 0o644), 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(0, 136, 12);
  block.write(' '.repeat(8), 148, 'latin1');
  block.write(type, 156, 'latin1');
  block.write(limited(entry.linkTo ?? '', 100, entry.path), 157);
  block.write('ustar\x0000', 257, 'latin1');
  block.write(prefix, 345);
  octal(
    block.reduce((sum, byte) => sum + byte, 0),
    148,
    7,
  );
  return block;
}

const padding = (size: number): Buffer => Buffer.alloc((BLOCK - (size % BLOCK)) % BLOCK);

function splitPath(path: string): { prefix: string; name: string } {
  if (Buffer.byteLength(path) <= 100) return { prefix: '', name: path };
  for (let at = path.indexOf('/'); at > 0; at = path.indexOf('/', at + 1)) {
    const [prefix, name] = [path.slice(0, at), path.slice(at + 1)];
    if (name !== '' && Buffer.byteLength(name) <= 100) return { prefix: limited(prefix, 155, path), name };
  }
  throw new RangeError(`path too long for a tar archive: ${path}`);
}

function limited(value: string, bytes: number, path: string): string {
  if (Buffer.byteLength(value) > bytes) throw new RangeError(`path or link too long for a tar archive: ${path}`);
  return value;
}
