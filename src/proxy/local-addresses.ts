import { networkInterfaces } from 'node:os';
import type { Exec } from '../host/exec.ts';
import type { IpFamily } from './read-service.ts';

/**
 * EXECUTOR: what the kernel takes for addresses of this host, as CIDRs of the family; the whole of 127.0.0.0/8 is among
 * them. Without the program `ip`: the addresses of interfaces that are up.
 */
export async function localAddresses(
  exec: Pick<Exec, 'run'>,
  family: IpFamily,
  signal: AbortSignal,
): Promise<readonly string[]> {
  try {
    const args = [family === 'IPv4' ? '-4' : '-6', 'route', 'show', 'table', 'local', 'type', 'local'];
    return localRangesIn((await exec.run('ip', args, { signal, timeoutMs: 10_000 })).stdout, family);
  } catch (error) {
    if (signal.aborted) throw error;
    const all = Object.values(networkInterfaces()).flatMap((addresses) => addresses ?? []);
    return all.filter((one) => one.family === family).map(({ address }) => whole(address, family));
  }
}

/** The destinations in the output of `ip route`, each once. */
export function localRangesIn(output: string, family: IpFamily): readonly string[] {
  const found = [...output.matchAll(/^local (\S+)/gm)].map(([, to = '']) =>
    to.includes('/') ? to : whole(to, family),
  );
  return [...new Set(found)];
}

const whole = (ip: string, family: IpFamily): string => `${ip}/${family === 'IPv4' ? 32 : 128}`;
