import type { Exec } from '../../host/exec.ts';
import { isProgramMissing } from '../../host/exec.ts';
import { AgentError } from '../../lib/errors.ts';
import type { ModeCheck } from '../backend.ts';
import { noLock } from '../iptables/iptables-programs.ts';
import { relayAddress } from './compile-portals.ts';

/** One rule of every kind that the mode writes. */
const sample = [
  '*nat',
  ':KEELSON-CHECK - [0:0]',
  '-A PREROUTING -m addrtype --dst-type LOCAL -j KEELSON-CHECK',
  `-A KEELSON-CHECK -p tcp -m comment --comment x -m tcp --dport 1 -j DNAT --to-destination ${relayAddress.IPv4}:1`,
  `-A KEELSON-CHECK -p udp -m comment --comment x -m udp --dport 1 -j DNAT --to-destination ${relayAddress.IPv4}:1`,
  'COMMIT',
  '*filter',
  ':KEELSON-CHECK - [0:0]',
  '-A INPUT -m conntrack --ctstate NEW -j KEELSON-CHECK',
  '-A KEELSON-CHECK -p tcp -m tcp --dport 1 -j REJECT --reject-with icmp-port-unreachable',
  'COMMIT',
  '',
].join('\n');

/** Whether the rules that lead to relays can be written on this host: tries in a network namespace that goes at once. */
export function userspaceUnusable(exec: Pick<Exec, 'run'>): ModeCheck {
  return async (signal) => {
    const options = { signal, timeoutMs: 30_000 };
    try {
      await exec.run('ip', ['-V'], options);
      // Asked for itself first, so that it is this program that is said to be missing.
      await exec.run('iptables-restore', ['--version'], options);
      await exec.run('unshare', ['--net', 'iptables-restore', '--noflush'], {
        ...{ ...options, input: sample, env: noLock },
      });
      return undefined;
    } catch (error) {
      if (signal.aborted) throw error;
      const hint = isProgramMissing(error)
        ? error.hint
        : 'run as root, with a kernel that has iptables’ nat and filter tables, or choose another mode';
      return new AgentError('ModeUnusable', 'mode userspace needs iptables to lead packets to its relays', {
        cause: error,
        ...(hint === undefined ? {} : { hint }),
      });
    }
  };
}
