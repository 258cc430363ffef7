import type { KubeObject, Status } from '../api/meta-v1.ts';
import { AgentError } from '../lib/errors.ts';
import { integer, isRecord, list, object, string } from '../lib/schema.ts';
import { ApiError, type WatchEvent } from './kube-api.ts';

/** Objects are at most a few MiB in etcd; JSON makes them somewhat larger. */
export const maxWatchLineBytes = 64 * 1024 * 1024;

/**
 * Cuts a byte stream at newlines. A line that comes in many chunks is joined once, when it is
 * complete, so that a large object costs no quadratic copying.
 */
export class LineSplitter {
  readonly #limit: number;
  #parts: Buffer[] = [];
  #held = 0;

  constructor(limit = maxWatchLineBytes) {
    this.#limit = limit;
  }

  /** The lines that this chunk completes. Throws when a line grows over the limit. */
  *push(chunk: Buffer): Generator<string> {
    let from = 0;
    for (;;) {
      const end = chunk.indexOf(10, from);
      if (end < 0) break;
      yield this.#complete(chunk.subarray(from, end));
      from = end + 1;
    }
    if (from === chunk.length) return;
    this.#held += chunk.length - from;
    if (this.#held > this.#limit) {
      throw new AgentError('WatchLineTooLong', `A watch event is longer than ${this.#limit} bytes`, {
        retryable: true,
      });
    }
    this.#parts.push(chunk.subarray(from));
  }

  /** What is left when the stream ends: a last line without newline, or ''. */
  end(): string {
    return this.#complete(Buffer.alloc(0));
  }

  #complete(tail: Buffer): string {
    if (this.#parts.length === 0) return tail.toString('utf8');
    const line = Buffer.concat([...this.#parts, tail]).toString('utf8');
    this.#parts = [];
    this.#held = 0;
    return line;
  }
}

/**
 * One line of a watch, with whatever it has for a type and an object: who follows the watch looks at them. Throws
 * ApiError for an ERROR event, AgentError for what is no JSON: the rest of a line that was cut.
 */
export function decodeWatchEvent<T extends KubeObject>(line: string): WatchEvent<T> {
  const event = parseEvent(line);
  if (event.type !== 'ERROR') return event as WatchEvent<T>;
  throw apiErrorOf(isRecord(event.object) ? (event.object as unknown as Status) : noStatus);
}

function parseEvent(line: string): { readonly type: unknown; readonly object: unknown } {
  try {
    const event: unknown = JSON.parse(line);
    return isRecord(event) ? { type: event['type'], object: event['object'] } : { type: undefined, object: undefined };
  } catch {
    throw notAnEvent(line);
  }
}

const noStatus: Status = {
  kind: 'Status',
  message: 'the API server ended the watch with an error that it does not name',
};

function notAnEvent(line: string): AgentError {
  const length = Buffer.byteLength(line);
  // Not a word of the content: it may be a Secret cut in two.
  return new AgentError('WatchBroken', `A line of ${length} bytes in the watch stream is not a watch event`, {
    retryable: true,
  });
}

/** The error a Status object stands for, as far as it makes sense; `httpStatus` counts where the Status has no code. */
export function apiErrorOf(given: Status, httpStatus = 500, retryAfterMs?: number): ApiError {
  const status = readStatus(given);
  const seconds = status.details?.retryAfterSeconds;
  const wait = retryAfterMs ?? (seconds ? seconds * 1000 : undefined);
  return new ApiError(
    status.code ?? httpStatus,
    {
      message: status.message || `the API server answered ${status.reason ?? status.code ?? httpStatus}`,
      ...(status.reason === undefined ? {} : { reason: status.reason }),
      ...(status.details === undefined ? {} : { details: status.details }),
    },
    wait === undefined ? {} : { retryAfterMs: wait },
  );
}

const causes = list(object({ reason: string, message: string, field: string }));
const statusShape = object({
  message: string,
  reason: string,
  code: integer(100, 599),
  details: object({ name: string, kind: string, uid: string, retryAfterSeconds: integer(0, 86_400), causes }),
});

const readStatus = (given: unknown): Omit<Status, 'kind'> =>
  (statusShape.read(given, [], () => {}) ?? {}) as Omit<Status, 'kind'>;
