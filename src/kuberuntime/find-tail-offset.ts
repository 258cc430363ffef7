/** Reads up to `buffer.length` bytes at `position` into it; resolves with how many there were. */
export type ReadAt = (buffer: Buffer, position: number) => Promise<number>;

const blockBytes = 64 * 1024;
const newline = 10;

/**
 * Where the last `lines` lines of a file of `size` bytes begin, found from its end, block by block: the cost is
 * that of the tail, whatever stands before. Something behind the last newline is a line that has only begun, and
 * comes on top of them.
 */
export async function findTailOffset(read: ReadAt, size: number, lines: number): Promise<number> {
  const block = Buffer.allocUnsafe(Math.min(blockBytes, Math.max(size, 1)));
  let missing = lines + 1;
  for (let right = size; right > 0; ) {
    const left = Math.max(0, right - block.length);
    const wanted = block.subarray(0, right - left);
    const length = await read(wanted, left);
    // The file has become shorter while it was read: what is left of it is the tail.
    if (length < wanted.length) return left;
    for (let at = wanted.lastIndexOf(newline); at >= 0; at = at === 0 ? -1 : wanted.lastIndexOf(newline, at - 1)) {
      if (--missing === 0) return left + at + 1;
    }
    right = left;
  }
  return 0;
}
