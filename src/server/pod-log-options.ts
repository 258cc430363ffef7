import type { LogOptions, LogStream } from '../kuberuntime/log-renderer.ts';
import { HttpError } from './endpoint.ts';

export interface PodLogOptions extends LogOptions {
  readonly previous: boolean;
}

const streams: readonly string[] = ['Stdout', 'Stderr', 'All'];

/**
 * What a request for a container's log asks for, checked as upstream does (PodLogOptions of v1). `now` in
 * milliseconds since the epoch; `splitStreams` is the feature gate PodLogsQuerySplitStreams. Fails with an
 * HttpError 400 or 422.
 */
export function readPodLogOptions(query: URLSearchParams, now: number, splitStreams: boolean): PodLogOptions {
  const tail = query.get('tail') || undefined;
  // `tail` is how the parameter was called once.
  const tailLines = tail === 'all' ? undefined : integer(tail ?? query.get('tailLines'));
  const limitBytes = integer(query.get('limitBytes'));
  const sinceSeconds = integer(query.get('sinceSeconds'));
  const sinceTime = time(query.get('sinceTime'));
  const stream = query.get('stream') ?? 'All';
  const isInvalid =
    (tailLines !== undefined && tailLines < 0) ||
    (limitBytes !== undefined && limitBytes < 1) ||
    (sinceSeconds !== undefined && (sinceTime !== undefined || sinceSeconds < 1)) ||
    !streams.includes(stream) ||
    (stream !== 'All' && tailLines !== undefined);
  if (isInvalid) throw new HttpError(422, '{"message": "Invalid request."}');
  if (stream !== 'All' && !splitStreams) {
    const gate = 'Please enable PodLogsQuerySplitStreams feature gate in kubelet';
    throw new HttpError(400, `unable to return the given log stream: ${JSON.stringify(stream)}. ${gate}`);
  }
  const since = sinceSeconds === undefined ? sinceTime : now / 1000 - sinceSeconds;
  return {
    follow: boolean(query.get('follow')),
    previous: boolean(query.get('previous')),
    timestamps: boolean(query.get('timestamps')),
    stream: stream as LogStream,
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(limitBytes === undefined ? {} : { limitBytes }),
    ...(since === undefined ? {} : { sinceSeconds: since }),
  };
}

const undecodable = (): HttpError => new HttpError(400, '{"message": "Unable to decode query."}');

/** As parameters of the API are read: anything but these two is true, also nothing. */
const boolean = (value: string | null): boolean => value !== null && value !== '0' && value.toLowerCase() !== 'false';

function integer(value: string | null): number | undefined {
  if (value === null) return undefined;
  if (!/^[+-]?\d+$/.test(value) || BigInt.asIntN(64, BigInt(value.replace('+', ''))) !== BigInt(value.replace('+', '')))
    throw undecodable();
  return Number(value);
}

/** Seconds since the epoch. */
function time(value: string | null): number | undefined {
  if (value === null) return undefined;
  if (value === '' || value === 'null') return Number.NEGATIVE_INFINITY;
  const ms = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/.test(value) ? Date.parse(value) : Number.NaN;
  if (Number.isNaN(ms)) throw undecodable();
  return ms / 1000;
}
