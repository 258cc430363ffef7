import { lstatSync } from 'node:fs';
import * as grpc from '@grpc/grpc-js';
import type protobuf from 'protobufjs';
import type { Clock } from '../lib/clock.ts';
import { AgentError, errnoOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { CriError } from './services.ts';

/** CRI lists grow with the node; gRPC's own limit of 4 MiB is reached by a few thousand containers. */
const MAX_MESSAGE_BYTES = 32 * 1024 * 1024;

/** Tuned so that a restarted containerd is found within a fraction of a second and an absent one costs little. */
const CHANNEL_OPTIONS: grpc.ChannelOptions = {
  'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
  'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
  'grpc.initial_reconnect_backoff_ms': 50,
  'grpc.max_reconnect_backoff_ms': 2000,
  'grpc.enable_channelz': 0,
  'grpc.use_local_subchannel_pool': 1,
};

/** One RPC: its path, and how its messages become bytes and back. */
export interface Rpc {
  readonly name: string;
  readonly path: string;
  readonly serialize: (message: object) => Buffer;
  readonly deserialize: (bytes: Buffer) => object;
}

/** The RPCs of one service of a .proto file, by name. */
export function rpcsOf(root: protobuf.Root, serviceName: string): (method: string) => Rpc {
  const service = root.lookupService(serviceName);
  const path = service.fullName.replace(/^\./, '');
  return (method) => {
    const { requestType, responseType } = service.methods[method] ?? {};
    if (requestType === undefined || responseType === undefined) throw new TypeError(`${serviceName} has no ${method}`);
    const request = service.lookupType(requestType);
    const response = service.lookupType(responseType);
    return {
      name: method,
      path: `/${path}/${method}`,
      serialize: (message) => request.encode(message).finish() as Buffer,
      deserialize: (bytes) => response.decode(bytes),
    };
  };
}

export interface ChannelOptions {
  /** 'unix:///run/containerd/containerd.sock', or the bare path. */
  readonly endpoint: string;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * A gRPC connection to a unix socket. It connects with the first call, and again by itself after the
 * other side went away; calls made in between fail with UNAVAILABLE. Retrying is the caller's business.
 */
export class GrpcChannel {
  readonly endpoint: string;
  readonly #socketPath: string;
  readonly #client: grpc.Client;
  readonly #clock: Clock;
  readonly #log: Log;

  constructor({ endpoint, clock, log }: ChannelOptions) {
    this.#socketPath = socketPathOf(endpoint);
    this.endpoint = `unix://${this.#socketPath}`;
    this.#client = new grpc.Client(this.endpoint, grpc.credentials.createInsecure(), CHANNEL_OPTIONS);
    this.#clock = clock;
    this.#log = log;
  }

  /**
   * Rejects with the signal's reason when it is aborted, else with a CriError. The deadline is ours and
   * not gRPC's, which counts in wall-clock time and so would go off when somebody sets the clock.
   */
  unary(
    rpc: Rpc,
    request: object,
    timeoutMs: number | undefined,
    signal: AbortSignal,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<object> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason);
      let timedOut = false;
      const call = this.#client.makeUnaryRequest(
        rpc.path,
        rpc.serialize,
        rpc.deserialize,
        request,
        grpc.Metadata.fromHttp2Headers(headers),
        {},
        (error, response) => {
          timer?.[Symbol.dispose]();
          signal.removeEventListener('abort', onAbort);
          if (error === null && response !== undefined) return resolve(response);
          if (signal.aborted) return reject(signal.reason);
          const failure = timedOut ? this.#deadlineError(rpc, timeoutMs ?? 0) : this.#criError(rpc, error);
          this.#log.debug(
            { method: rpc.name, grpcCode: failure.grpcCode, err: failure.details },
            'runtime call failed',
          );
          reject(failure);
        },
      );
      const onAbort = () => call.cancel();
      signal.addEventListener('abort', onAbort, { once: true });
      const timer =
        timeoutMs === undefined
          ? undefined
          : this.#clock.after(timeoutMs, () => {
              timedOut = true;
              call.cancel();
            });
    });
  }

  /**
   * What the other side streams. A reader that does not keep up slows the sender down (HTTP/2 flow
   * control), so no more than a few messages are ever held here. Leaving the loop cancels the call.
   */
  async *serverStream(
    rpc: Rpc,
    request: object,
    signal: AbortSignal,
    headers: Readonly<Record<string, string>> = {},
  ): AsyncGenerator<object, void, undefined> {
    signal.throwIfAborted();
    const call = this.#client.makeServerStreamRequest(
      rpc.path,
      rpc.serialize,
      rpc.deserialize,
      request,
      grpc.Metadata.fromHttp2Headers(headers),
      {},
    );
    // A cancelled call still emits its error after the loop was left, when nobody listens.
    call.on('error', () => {});
    const onAbort = () => call.cancel();
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      for await (const message of call) yield message as object;
    } catch (error) {
      if (signal.aborted) throw signal.reason;
      throw this.#criError(rpc, error);
    } finally {
      signal.removeEventListener('abort', onAbort);
      call.cancel();
    }
    signal.throwIfAborted();
  }

  close(): void {
    this.#client.close();
  }

  #deadlineError(rpc: Rpc, timeoutMs: number): CriError {
    return new CriError(rpc.name, 'DEADLINE_EXCEEDED', `no answer from ${this.endpoint} within ${timeoutMs} ms`);
  }

  #criError(rpc: Rpc, error: unknown): CriError {
    const status = error as Partial<grpc.ServiceError> | null;
    const code = grpc.status[status?.code ?? grpc.status.UNKNOWN] ?? 'UNKNOWN';
    const details = stripFraming(status?.details ?? String(error));
    const explained = explain(code, details, this.endpoint, () => socketState(this.#socketPath));
    const hint = explained.hint === undefined ? {} : { hint: explained.hint };
    // What has been put into plain words is not repeated in gRPC's.
    const cause = explained.details === details ? { cause: error } : {};
    return new CriError(rpc.name, explained.code, explained.details, { ...cause, ...hint });
  }
}

/** Accepts unix:///path, unix:path and /path; anything else is an AgentError that names what was given. */
export function socketPathOf(endpoint: string): string {
  const path = endpoint.replace(/^unix:(\/\/)?/, '');
  if (path.startsWith('/')) return path;
  throw new AgentError('BadRuntimeEndpoint', `container runtime endpoint "${endpoint}" is not a unix socket`, {
    hint: 'give the socket as unix:///run/containerd/containerd.sock',
  });
}

/** A runtime that passes another server's error on leaves Go's way of printing it in front of the words. */
function stripFraming(details: string): string {
  return details.replace(/^(?:rpc error: code = \w+ desc = )+/, '');
}

type SocketState = 'missing' | 'notASocket' | 'socket';

function socketState(path: string): SocketState {
  try {
    return lstatSync(path).isSymbolicLink() || lstatSync(path).isSocket() ? 'socket' : 'notASocket';
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? 'missing' : 'socket';
  }
}

interface Explained {
  readonly code: string;
  readonly details: string;
  readonly hint?: string;
}

const NOT_RUNNING = 'start containerd (systemctl start containerd), or correct containerRuntimeEndpoint';
const NOT_CRI =
  'containerd 1.6 or newer with its CRI plugin is needed: remove "cri" from disabled_plugins in /etc/containerd/config.toml and restart containerd, or correct containerRuntimeEndpoint';

/**
 * How gRPC servers in Go, JavaScript, Java and Python say that they know nothing of CRI at all. A runtime that
 * only lacks the method says "unknown method".
 */
const noSuchService = /unknown service|HTTP status code|does not implement the method|method not found/i;

/** What a failed call means to an operator: who is missing behind the socket, and what to do about it. */
export function explain(code: string, details: string, endpoint: string, socket: () => SocketState): Explained {
  // containerd 1.6 and 1.7 open the socket before their CRI plugin is ready, and then answer UNKNOWN.
  if (code === 'UNKNOWN' && /server is not initialized yet/.test(details)) return { code: 'UNAVAILABLE', details };
  if (code === 'UNIMPLEMENTED' && noSuchService.test(details)) {
    return { code, details: `what listens at ${endpoint} is not a CRI v1 runtime (${details})`, hint: NOT_CRI };
  }
  if (/protocol error|parse error|HTTP status code/i.test(details)) {
    return { code, details: `what listens at ${endpoint} does not speak gRPC`, hint: NOT_CRI };
  }
  if (code !== 'UNAVAILABLE') return { code, details };
  const state = socket();
  if (state === 'missing') {
    return { code, details: `cannot connect to ${endpoint}: no such socket`, hint: NOT_RUNNING };
  }
  if (state === 'notASocket') {
    return { code, details: `cannot connect to ${endpoint}: the file is not a socket`, hint: NOT_RUNNING };
  }
  if (/EACCES|EPERM/.test(details)) {
    return { code, details: `cannot connect to ${endpoint}: permission denied`, hint: 'keelson must run as root' };
  }
  if (/ECONNREFUSED/.test(details)) {
    return { code, details: `cannot connect to ${endpoint}: nobody listens on the socket`, hint: NOT_RUNNING };
  }
  return { code, details: `no connection to ${endpoint} (${details})` };
}
