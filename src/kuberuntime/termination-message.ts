import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import type * as cri from '../api/cri.ts';
import { criAnnotations } from '../api/labels.ts';
import { errnoOf, messageOf } from '../lib/errors.ts';
import { absolute } from './generate-mounts.ts';

// Limits of the core/v1 API: bytes from the file, lines and bytes from the log.
const maxFileBytes = 4096;
const maxLogLines = 80;
const maxLogBytes = 2048;
/** Enough for 80 lines unless they are long, and then 2048 bytes of content are in it. */
const logTailBytes = 64 * 1024;

export interface TerminationMessageInput {
  /** The host's side of the termination log; undefined for a container that never had one. */
  readonly terminationLog: string | undefined;
  readonly policy: 'File' | 'FallbackToLogsOnError';
  /** The container's current log file, in the CRI format. */
  readonly logFile: string;
  readonly exitCode: number;
  /** The runtime's reason; a container that could not be run has no log of its own. */
  readonly reason: string;
}

/** The last words of a container that has ended, by what the runtime stored with it. Never throws. */
export function lastWordsOf(status: cri.ContainerStatus): Promise<string> {
  const { annotations = {}, mounts = [] } = status;
  const path = annotations[criAnnotations.terminationMessagePath];
  const policy = annotations[criAnnotations.terminationMessagePolicy];
  return readTerminationMessage({
    terminationLog: path ? mounts.find((m) => m.containerPath === absolute(path))?.hostPath : undefined,
    policy: policy === 'FallbackToLogsOnError' ? policy : 'File',
    logFile: status.logPath ?? '',
    exitCode: status.exitCode ?? 0,
    reason: status.reason ?? '',
  });
}

/**
 * What a finished container says about its end: the last 4096 bytes of its termination log, or with
 * FallbackToLogsOnError, a failure and nothing written there, the last 80 lines (2048 bytes at most) of its log.
 * Never throws: a file that cannot be read is said in the message, as it is the pod's owner who can mend it.
 */
export async function readTerminationMessage(input: TerminationMessageInput): Promise<string> {
  const { terminationLog, policy, exitCode, reason } = input;
  const written = terminationLog === undefined ? '' : await readWritten(terminationLog);
  if (written !== '') return written;
  const wantsLog = policy === 'FallbackToLogsOnError' && exitCode !== 0 && reason !== 'ContainerCannotRun';
  return wantsLog ? await readLogTail(input.logFile) : '';
}

async function readWritten(path: string): Promise<string> {
  try {
    // Three more than wanted: a character that the limit cuts is recognised by the bytes before it.
    return lastBytes((await readTail(path, maxFileBytes + 3)).data, maxFileBytes);
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? '' : `Error on reading termination log ${path}: ${messageOf(error)}`;
  }
}

async function readLogTail(path: string): Promise<string> {
  try {
    const { data, whole } = await readTail(path, logTailBytes);
    return tailOfCriLog(data, whole);
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? '' : `Error on reading termination message from logs: ${messageOf(error)}`;
  }
}

/**
 * The content of the last 80 lines of a CRI log (`<time> <stdout|stderr> <tags> <content>`), its last 2048 bytes.
 * A line tagged P goes on in the next one. Unless `whole`, `data` may begin in the middle of a line.
 */
export function tailOfCriLog(data: Buffer, whole: boolean): string {
  const lines = splitLines(data);
  // A cut line is content without a header; it only matters when no whole line follows.
  const cut = whole ? undefined : lines.shift();
  const content = lines.slice(-maxLogLines).map(contentOf);
  if (content.length === 0 && cut !== undefined) content.push(cut);
  return lastBytes(Buffer.concat(content), maxLogBytes);
}

const space = 0x20;
const newline = 0x0a;

/** Lines without their line feeds; what follows the last line feed is a line when it is not empty. */
function splitLines(data: Buffer): Buffer[] {
  const lines: Buffer[] = [];
  for (let start = 0; start < data.length; ) {
    const end = data.indexOf(newline, start);
    lines.push(data.subarray(start, end === -1 ? data.length : end));
    start = end === -1 ? data.length : end + 1;
  }
  return lines;
}

function contentOf(line: Buffer): Buffer {
  const afterTime = line.indexOf(space) + 1;
  const afterStream = line.indexOf(space, afterTime) + 1;
  const afterTags = line.indexOf(space, afterStream) + 1;
  // A torn line (the host went down) is not in the format: it says nothing.
  if (afterTime === 0 || afterStream === 0 || afterTags === 0) return Buffer.alloc(0);
  const partial =
    line
      .subarray(afterStream, afterTags - 1)
      .toString('latin1')
      .split(':')[0] === 'P';
  const content = line.subarray(afterTags);
  return partial ? content : Buffer.concat([content, Buffer.from('\n')]);
}

/** The last `max` bytes as text, not beginning in the middle of a UTF-8 character. */
function lastBytes(data: Buffer, max: number): string {
  let start = Math.max(0, data.length - max);
  if (start > 0) while (start < data.length && ((data[start] ?? 0) & 0xc0) === 0x80) start++;
  return data.subarray(start).toString('utf8');
}

async function readTail(path: string, max: number): Promise<{ data: Buffer; whole: boolean }> {
  // The file lies where root of a container wrote: a link or a pipe put there must not lead or stop us.
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const stats = await file.stat();
    if (!stats.isFile()) throw new Error('not a regular file');
    const length = Math.min(stats.size, max);
    return { data: await readFully(file, stats.size - length, length), whole: length === stats.size };
  } finally {
    await file.close();
  }
}

async function readFully(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let read = 0;
  while (read < length) {
    const { bytesRead } = await file.read(buffer, read, length - read, position + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  return buffer.subarray(0, read);
}
