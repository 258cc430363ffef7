import { createReadStream } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { unreadableText } from '../lib/errors.ts';
import type { ObjectProblem } from '../proxy/decode-objects.ts';

/** 40,000 Services with their slices, as kubectl prints them, are half of it. */
const maxBytes = 256 * 1024 * 1024;

interface NamedText {
  readonly file: string;
  readonly text: string;
}

/** The texts of files, `-` for the standard input; of one that cannot be read it is said why. */
export async function readTexts(
  files: readonly string[],
): Promise<{ readonly texts: readonly NamedText[]; readonly problems: readonly ObjectProblem[] }> {
  const texts: NamedText[] = [];
  const problems: ObjectProblem[] = [];
  for (const file of new Set(files)) {
    try {
      const stream = file === '-' ? process.stdin : createReadStream(file, { end: maxBytes });
      const read = await buffer(stream);
      if (read.length > maxBytes) throw new Error('is larger than 256 MiB');
      texts.push({ file, text: read.toString() });
    } catch (error) {
      problems.push({
        place: { file, path: '' },
        message: unreadableText(error),
        hint: 'check --filename',
        isFault: true,
      });
    }
  }
  return { texts, problems };
}
