import type { Exec } from '../host/exec.ts';
import { errorFields } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

const key = 'net.ipv4.conf.all.route_localnet';
const timeoutMs = 5_000;

/**
 * EXECUTOR: lets the host reach pods from a loopback address. Not before there is a rule that keeps strangers off those
 * addresses. A failure is said, and costs only node ports at 127.0.0.1.
 */
export async function routeLoopback(
  { exec, log }: { readonly exec: Pick<Exec, 'run'>; readonly log: Log },
  signal: AbortSignal,
): Promise<void> {
  const options = { signal, timeoutMs };
  try {
    if ((await exec.run('sysctl', ['-n', key], options)).stdout.trim() === '1') return;
    await exec.run('sysctl', ['-q', '-w', `${key}=1`], options);
  } catch (error) {
    if (signal.aborted) throw error;
    const hint = `set it on the host: sysctl -w ${key}=1; or set iptables.localhostNodePorts to false`;
    log.warn({ ...errorFields(error), hint }, 'node ports do not answer on 127.0.0.1: route_localnet cannot be set');
  }
}
