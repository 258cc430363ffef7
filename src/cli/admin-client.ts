import { request } from 'node:http';
import type { AdminError, AdminPodList } from '../admin/admin-api.ts';
import { AgentError, errnoOf } from '../lib/errors.ts';

/** A daemon that has not answered after this long hangs; milliseconds. */
const timeoutMs = 10_000;
/** More than this no node has to say. */
const maxBytes = 64 << 20;

/** Asks the daemon of this machine for its pods. Fails with one sentence that says what to do. */
export async function askPods(socket: string): Promise<AdminPodList> {
  const { status, body } = await get(socket, '/v1/pods');
  const answer: unknown = JSON.parse(body);
  if (status === 200) return answer as AdminPodList;
  throw new AgentError('AdminRefused', `keelson answers ${status}: ${(answer as AdminError).message}`);
}

async function get(socket: string, path: string): Promise<{ readonly status: number; readonly body: string }> {
  try {
    return await new Promise((resolve, reject) => {
      const signal = AbortSignal.timeout(timeoutMs);
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
