import { stat } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join, posix } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { constants, createGzip } from 'node:zlib';
import { type Exec, isProgramMissing } from '../host/exec.ts';
import type { ProgramOptions } from '../host/program-output.ts';
import { disabledEndpoint } from './disabled.ts';
import { type Endpoint, HttpError, type ServedRequest } from './endpoint.ts';
import { journalArguments, type NodeLogQuery, readNodeLogQuery } from './node-log-query.ts';
import { readInside, serveFile } from './static-files.ts';

export interface SystemLogsOptions {
  /** The folder of the machine's logs, /var/log. */
  readonly root: string;
  /** enableSystemLogHandler. */
  readonly enabled: boolean;
  /** enableSystemLogQuery. */
  readonly queries: boolean;
  readonly exec: Exec;
  readonly output: (file: string, args: readonly string[], options: ProgramOptions) => AsyncIterable<Buffer>;
}

/** For one query, from asking the journal for its units to the last line. */
const queryTimeoutMs = 30_000;
const unitsMaxBytes = 16 * 1024 * 1024;

/** The logs of the machine: files below /var/log, and services' logs by name where that is switched on. */
export function systemLogs(options: SystemLogsOptions): Endpoint[] {
  if (!options.enabled) return [disabledEndpoint('/logs/*', 'logs endpoint is disabled.')];
  const logs = new SystemLogs(options);
  return [{ path: '/logs/*', methods: ['GET'], handle: (request, response) => logs.handle(request, response) }];
}

class SystemLogs {
  readonly #o: SystemLogsOptions;

  constructor(options: SystemLogsOptions) {
    this.#o = options;
  }

  async handle(request: ServedRequest, response: ServerResponse): Promise<void> {
    const { pathname, searchParams } = request.url;
    if (!pathname.startsWith('/logs/')) throw new HttpError(404, '404 page not found\n');
    const rest = request.params['*'] ?? '';
    const path = rest !== '' && pathname.endsWith('/') ? `${rest}/` : rest;
    const query = this.#o.queries ? readNodeLogQuery(searchParams) : undefined;
    if (query && 'status' in query) throw new HttpError(query.status, `${query.message}\n`);
    if (!query) return serveFile(this.#o.root, path, request, response);
    if (path !== '') throw new HttpError(406, 'path not allowed in query mode\n');
    if (query.file === undefined) return this.#sendServices(query, request, response);
    await this.#requireFile(query.file);
    return serveFile(this.#o.root, query.file, request, response);
  }

  async #requireFile(file: string): Promise<void> {
    const path = join(this.#o.root, posix.normalize(`/${file}`));
    await stat(path).catch(() => {
      throw new HttpError(
        406,
        `query: Invalid value: []string{${JSON.stringify(file)}}: stat ${path}: no such file or directory\n`,
      );
    });
  }

  async #sendServices(query: NodeLogQuery, { raw, signal }: ServedRequest, response: ServerResponse): Promise<void> {
    const gzip = raw.headers['accept-encoding'] === 'gzip';
    response.writeHead(200, {
      'content-type': 'text/plain;charset=UTF-8',
      ...(gzip ? { 'content-encoding': 'gzip' } : {}),
    });
    const both = AbortSignal.any([signal, AbortSignal.timeout(queryTimeoutMs)]);
    const text = Readable.from(this.#textOf(query, both), { objectMode: false });
    const steps = gzip ? [text, createGzip({ level: constants.Z_BEST_SPEED }), response] : [text, response];
    // What was found until the time was over is an answer; one that is cut short shows that it is.
    await pipeline(steps as [Readable, ServerResponse], { signal }).catch(() => response.destroy());
  }

  async *#textOf({ services, options }: NodeLogQuery, signal: AbortSignal): AsyncGenerator<Buffer | string> {
    const units = await this.#units(signal);
    const journaled = services.filter((service) => units.includes(`${service}.service`));
    const others = services.filter((service) => !journaled.includes(service));
    if (journaled.length) yield* this.#journal(journalArguments(journaled, options), signal);
    if (others.length && Object.keys(options).length) {
      yield `\noptions present and query resolved to log files for [${others.join(' ')}]\ntry without specifying options\n`;
      return;
    }
    for (const service of others) yield* this.#fileOf(service);
  }

  async *#journal(args: readonly string[], signal: AbortSignal): AsyncGenerator<Buffer | string> {
    try {
      yield* this.#o.output('journalctl', args, { signal, timeoutMs: queryTimeoutMs });
    } catch (error) {
      if (!isProgramMissing(error)) throw error;
      yield '\nerror: journal output not available\n';
    }
  }

  /** The units that the journal has anything of; without a journal, services have files. */
  async #units(signal: AbortSignal): Promise<string> {
    const limits = { signal, timeoutMs: queryTimeoutMs, maxOutputBytes: unitsMaxBytes };
    return this.#o.exec.run('journalctl', ['--field', '_SYSTEMD_UNIT'], limits).then(
      ({ stdout }) => stdout,
      (error: unknown) => {
        if (signal.aborted) throw error;
        return '';
      },
    );
  }

  async *#fileOf(service: string): AsyncGenerator<Buffer | string> {
    for (const name of [service, `${service}.log`, `${service}/${service}.log`]) {
      const file = await readInside(this.#o.root, name);
      if (!file) continue;
      yield* file;
      return;
    }
    yield `\nlog not found for ${service}\n`;
  }
}
