import type { Container, LifecycleHandler, Pod } from '../api/core-v1.ts';
import { eventReason } from '../api/reasons.ts';
import { CriError, type RuntimeService } from '../cri/services.ts';
import type { EventSink } from '../kubeapi/event-sink.ts';
import type { Clock } from '../lib/clock.ts';
import { AgentError, isAbort, messageOf } from '../lib/errors.ts';
import { httpGet as realHttpGet } from '../probes/http-get.ts';
import { hostPort } from '../probes/network-error.ts';
import { httpGetRequest } from '../probes/resolve-port.ts';
import { podReference } from './pod-reference.ts';
import type { HookMetrics } from './start-metrics.ts';

/** In which container a hook runs. */
export interface HookTarget {
  readonly pod: Pod;
  readonly container: Pick<Container, 'name' | 'ports'>;
  readonly id: string;
  /** The pod's primary address; hooks without a host of their own go there. */
  readonly podIP: string | undefined;
}

export interface HookRunnerOptions {
  readonly runtime: RuntimeService;
  readonly clock: Clock;
  readonly events: EventSink;
  readonly httpGet?: typeof realHttpGet;
  readonly hookMetrics?: HookMetrics;
}

/** The hook did not do what it should. The message is what the container's status says, and may quote its output. */
export class HookError extends AgentError {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super('HookFailed', message, options);
  }
}

/** A hook may take its time; one over HTTP that hangs for an hour is not coming back. */
const httpTimeoutMs = 3_600_000;

/**
 * Runs postStart and preStop handlers: exec, httpGet and sleep. A tcpSocket is accepted by the API and has
 * never been carried out by any kubelet: it fails, as there. Whoever calls sets the limit of time by the signal.
 */
export class HookRunner {
  readonly #o: HookRunnerOptions;
  readonly #httpGet: typeof realHttpGet;

  constructor(options: HookRunnerOptions) {
    this.#o = options;
    this.#httpGet = options.httpGet ?? realHttpGet;
  }

  /** Resolves when the hook is over; rejects with a HookError, or with the signal's reason. */
  async run(handler: LifecycleHandler, target: HookTarget, signal: AbortSignal): Promise<void> {
    const { exec, httpGet, sleep } = handler;
    if (exec) return this.#exec(exec.command ?? [], target, signal);
    if (httpGet) return this.#get(httpGet, target, signal);
    if (sleep) return this.#sleep(sleep.seconds, signal);
    throw new HookError(`Cannot run handler: invalid handler: ${Object.keys(handler).join(', ') || 'none'}`);
  }

  async #sleep(seconds: number, signal: AbortSignal): Promise<void> {
    try {
      await this.#o.clock.sleep(seconds * 1000, signal);
    } catch (error) {
      this.#o.hookMetrics?.cutSleeps.inc();
      throw error;
    }
  }

  async #exec(command: readonly string[], target: HookTarget, signal: AbortSignal): Promise<void> {
    const failed = (error: string, output: string, cause?: unknown) =>
      new HookError(
        `Exec lifecycle hook ([${command.join(' ')}]) for ${nameOf(target)} failed - error: ${error}, message: ${JSON.stringify(output)}`,
        { cause },
      );
    const answer = await this.#o.runtime.execSync(target.id, command, 0, signal).catch((error: unknown) => {
      if (isAbort(error)) throw error;
      throw failed(error instanceof CriError ? error.details : messageOf(error), '', error);
    });
    if (!answer.exitCode) return;
    const [out, err] = [text(answer.stdout), text(answer.stderr)];
    throw failed(`command '${command.join(' ')}' exited with ${answer.exitCode}: ${err}`, out + err);
  }

  /** Any answer will do, whatever its status says; upstream's hooks never looked at it. */
  async #get(action: NonNullable<LifecycleHandler['httpGet']>, target: HookTarget, signal: AbortSignal): Promise<void> {
    try {
      if (!action.host && !target.podIP) throw new AgentError('NoAddress', 'the pod has no address');
      const request = {
        ...httpGetRequest(action, target.container, target.podIP ?? '', httpTimeoutMs),
        userAgent: 'kube-lifecycle/1.36',
      };
      await this.#httpGet(request, signal).catch(async (error: unknown) => {
        if (request.scheme !== 'HTTPS' || !answeredInPlain(error)) throw error;
        const headers = request.headers.filter(([name]) => name.toLowerCase() !== 'authorization');
        // The first error is the one to tell of when plain HTTP does not work either.
        await this.#httpGet({ ...request, scheme: 'HTTP', headers }, signal).catch(() => {
          signal.throwIfAborted();
          throw error;
        });
        this.#o.hookMetrics?.httpFallbacks.inc();
        const message = `request to HTTPS lifecycle hook ${hostPort(request.host, request.port)} got HTTP response, retry with HTTP succeeded`;
        this.#o.events.event(podReference(target.pod), 'Warning', eventReason.lifecycleHttpFallback, message);
      });
    } catch (error) {
      if (isAbort(error)) throw error;
      const message = `HTTP lifecycle hook (${action.path ?? ''}) for ${nameOf(target)} failed - error: ${error instanceof Error ? error.message : String(error)}`;
      throw new HookError(message, { cause: error });
    }
  }
}

/** What TLS makes of bytes that are no TLS. */
const notTls = new Set(['EPROTO', 'ERR_SSL_WRONG_VERSION_NUMBER', 'ERR_SSL_PACKET_LENGTH_TOO_LONG']);

function answeredInPlain(error: unknown): boolean {
  for (let e = error; e instanceof Error; e = e.cause) {
    if (notTls.has((e as NodeJS.ErrnoException).code ?? '')) return true;
  }
  return false;
}

const nameOf = ({ pod, container }: HookTarget): string => {
  const { name, namespace, uid } = pod.metadata;
  return `Container ${JSON.stringify(container.name)} in Pod ${JSON.stringify(`${name}_${namespace}(${uid})`)}`;
};

/** More of a hook's output than a status has room for helps nobody. */
const maxOutputBytes = 4096;
const text = (bytes: Uint8Array | undefined): string =>
  Buffer.from(bytes ?? [])
    .subarray(0, maxOutputBytes)
    .toString('utf8');
