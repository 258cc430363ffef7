import { request } from 'node:http';
import type {
  AdminError,
  AdminPodList,
  AdminServiceDiff,
  AdminServicePlan,
  AdminServiceTrace,
} from '../admin/admin-api.ts';
import { AgentError, errnoOf } from '../lib/errors.ts';

/** A daemon that has not answered after this long hangs; milliseconds. */
const timeoutMs = 10_000;
/** The same where it has to read the kernel back first, and the longest it takes for that. */
const kernelTimeoutMs = 130_000;
/** More than this no node has to say. */
const maxBytes = 256 << 20;

/** Each asks the daemon of this machine. Fails with one sentence that says what to do. */
export const askPods = (socket: string): Promise<AdminPodList> => ask(socket, '/v1/pods');

export const askServicePlan = (socket: string): Promise<AdminServicePlan> =>
  ask(socket, '/v1/services/plan', kernelTimeoutMs);

export const askServiceDiff = (socket: string): Promise<AdminServiceDiff> =>
  ask(socket, '/v1/services/diff', kernelTimeoutMs);

export const askServiceTrace = (socket: string, question: Record<string, string>): Promise<AdminServiceTrace> =>
  ask(socket, `/v1/services/trace?${new URLSearchParams(question)}`);

async function ask<T>(socket: string, path: string, limitMs = timeoutMs): Promise<T> {
  const { status, body } = await get(socket, path, limitMs);
  const answer: unknown = JSON.parse(body);
  if (status === 200) return answer as T;
  const { message, hint } = answer as AdminError;
  const isOurs = status === 400 || status === 503;
  const sentence = isOurs ? message : `keelson answers ${status}: ${message}`;
  throw new AgentError('AdminRefused', sentence, hint === undefined ? {} : { hint });
}

async function get(
  socket: string,
  path: string,
  limitMs: number,
): Promise<{ readonly status: number; readonly body: string }> {
  try {
    return await new Promise((resolve, reject) => {
      const signal = AbortSignal.timeout(limitMs);
      const asked = request({ socketPath: socket, path, agent: false, signal }, (response) => {
        const parts: Buffer[] = [];
        let bytes = 0;
        response.on('data', (part: Buffer) => {
          bytes += part.length;
          if (bytes > maxBytes) asked.destroy(new Error('the answer is too long'));
          parts.push(part);
        });
        response.once('error', reject);
        response.once('end', () => {
          resolve({ status: response.statusCode ?? 0, body: Buffer.concat(parts).toString() });
        });
      });
      asked.once('error', reject).end();
    });
  } catch (cause) {
    throw unreachable(socket, cause);
  }
}

function unreachable(socket: string, cause: unknown): AgentError {
  switch (errnoOf(cause)) {
    case 'ENOENT':
    case 'ECONNREFUSED':
      return new AgentError('NotRunning', `keelson is not running here: no answer at ${socket}`, {
        hint: 'see: systemctl status keelson',
      });
    case 'EACCES':
      return new AgentError('NotAllowed', `only root may ask keelson: no access to ${socket}`, { hint: 'use sudo' });
    default:
      return new AgentError('NoAnswer', `keelson does not answer at ${socket}`, { cause });
  }
}
