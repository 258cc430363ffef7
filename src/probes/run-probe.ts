import type { Container, Probe } from '../api/core-v1.ts';
import type { ContainerId } from '../api/ids.ts';
import { CriError, goRpcError, isCriCode, type RuntimeService } from '../cri/services.ts';
import { isAbort, messageOf } from '../lib/errors.ts';
import { expandEnv } from '../lib/expand-env.ts';
import { goDuration } from '../lib/go-duration.ts';
import { checkGrpcHealth } from './grpc-health.ts';
import { HttpGetError, httpGet } from './http-get.ts';
import { probeNumbers } from './next-probe-state.ts';
import { httpGetRequest, resolvePort } from './resolve-port.ts';
import { DialError, dial } from './tcp-dial.ts';

/** Whom to ask, and what. */
export interface ProbeTarget {
  readonly probe: Probe;
  readonly container: Container;
  readonly containerId: ContainerId;
  readonly podIP: string;
}

export type ProbeAnswer =
  | { readonly kind: 'success'; readonly message: string }
  /** A success that somebody ought to know of. */
  | { readonly kind: 'warning'; readonly message: string }
  | { readonly kind: 'failure'; readonly message: string; readonly timedOut: boolean }
  /** The container could not be asked: this says nothing about it. */
  | { readonly kind: 'error'; readonly message: string };

const maxOutputBytes = 10 * 1024;
/** How often somebody is asked who could not be asked, as upstream does. */
const maxTries = 3;

const success = (message: string): ProbeAnswer => ({ kind: 'success', message });
const failure = (message: string, timedOut = false): ProbeAnswer => ({ kind: 'failure', message, timedOut });

/** Asks a container once. Rejects only with the signal's reason. */
export async function runProbe(
  runtime: RuntimeService,
  target: ProbeTarget,
  signal: AbortSignal,
): Promise<ProbeAnswer> {
  for (let tries = 1; ; tries++) {
    try {
      return await ask(runtime, target, signal);
    } catch (error) {
      if (signal.aborted || isAbort(error)) throw error;
      if (tries === maxTries)
        return { kind: 'error', message: error instanceof CriError ? goRpcError(error) : messageOf(error) };
    }
  }
}

/** An empty address would be this machine itself. */
function addressOf(podIP: string): string {
  if (podIP === '') throw new Error('the pod has no address');
  return podIP;
}

/** Throws what says nothing about the container. */
function ask(runtime: RuntimeService, target: ProbeTarget, signal: AbortSignal): Promise<ProbeAnswer> {
  const { probe, container, podIP } = target;
  const { timeoutMs } = probeNumbers(probe);
  if (probe.exec) return askExec(runtime, target, signal);
  if (probe.httpGet) return askHttp(target, signal);
  if (probe.tcpSocket) {
    const { host, port } = probe.tcpSocket;
    return askTcp(host || addressOf(podIP), resolvePort(port, container), timeoutMs, signal);
  }
  if (probe.grpc) {
    const { port, service = '' } = probe.grpc;
    return checkGrpcHealth({ host: addressOf(podIP), port, service, timeoutMs }, signal);
  }
  throw new Error(`missing probe handler for ${container.name}`);
}

async function askHttp({ probe, container, podIP }: ProbeTarget, signal: AbortSignal): Promise<ProbeAnswer> {
  if (!probe.httpGet) throw new Error('no httpGet');
  const ip = probe.httpGet.host ? '' : addressOf(podIP);
  const request = httpGetRequest(probe.httpGet, container, ip, probeNumbers(probe).timeoutMs);
  try {
    const { status, body } = await httpGet(request, signal);
    if (status < 200 || status >= 400) return failure(`HTTP probe failed with statuscode: ${status}`);
    if (status < 300) return success(body);
    return { kind: 'warning', message: `Probe terminated redirects, Response body: ${body}` };
  } catch (error) {
    // A body that breaks off says no more than that nobody knows; its time being up does.
    if (error instanceof HttpGetError && (!error.inBody || error.timedOut))
      return failure(error.message, error.timedOut);
    throw error;
  }
}

async function askTcp(host: string, port: number, timeoutMs: number, signal: AbortSignal): Promise<ProbeAnswer> {
  try {
    await dial(host, port, timeoutMs, signal);
    return success('');
  } catch (error) {
    if (error instanceof DialError) return failure(error.message, error.timedOut);
    throw error;
  }
}

async function askExec(runtime: RuntimeService, target: ProbeTarget, signal: AbortSignal): Promise<ProbeAnswer> {
  const { probe, container, containerId } = target;
  const { timeoutMs } = probeNumbers(probe);
  // Only what the spec spells out: values from elsewhere are not looked up for a probe.
  const env = new Map(container.env?.map(({ name, value }) => [name, value ?? '']));
  const command = (probe.exec?.command ?? []).map((word) => expandEnv(word, (name) => env.get(name)));
  try {
    const { stdout, stderr, exitCode } = await runtime.execSync(containerId, command, timeoutMs / 1000, signal);
    const output = Buffer.concat([stdout ?? new Uint8Array(), stderr ?? new Uint8Array()]);
    const text = output.toString('utf8', 0, maxOutputBytes);
    return exitCode ? failure(text) : success(text);
  } catch (error) {
    if (!isCriCode(error, 'DEADLINE_EXCEEDED')) throw error;
    return failure(`command timed out: "${command.join(' ')}" timed out after ${goDuration(timeoutMs)}`, true);
  }
}
