import type { Exec } from '../../host/exec.ts';
import type { ModeCheck } from '../backend.ts';
import { IptablesError, IptablesPrograms } from './iptables-programs.ts';

/** All the matches and targets that any rule of ours needs. */
const sample = [
  '*nat',
  ':KEELSON-CHECK - [0:0]',
  '-A KEELSON-CHECK -m comment --comment "check" -m statistic --mode random --probability 0.5 -j RETURN',
  '-A KEELSON-CHECK -m recent --rcheck --seconds 1 --reap --name KEELSON-CHECK --rsource -j RETURN',
  '-A KEELSON-CHECK -m conntrack --ctstate NEW -j RETURN',
  '-A KEELSON-CHECK -m addrtype --dst-type LOCAL -m mark --mark 0x1/0x1 -j RETURN',
  '-A KEELSON-CHECK -p tcp -m tcp -j DNAT --to-destination 192.0.2.1:80',
  '-A KEELSON-CHECK -j MARK --set-xmark 0x1/0x1',
  '-A KEELSON-CHECK -j MASQUERADE --random-fully',
  'COMMIT',
  '*filter',
  ':KEELSON-CHECK - [0:0]',
  '-A KEELSON-CHECK -j REJECT --reject-with icmp-port-unreachable',
  'COMMIT',
  '',
].join('\n');

/**
 * Whether this host can carry Services in iptables: the program is there, may ask the kernel, and knows what our rules
 * need. Writes no rule; where the program is of the legacy variant, the kernel may get an empty table by being asked.
 */
export const iptablesUnusable =
  (exec: Pick<Exec, 'run'>): ModeCheck =>
  async (signal) => {
    const programs = new IptablesPrograms(exec, 'IPv4');
    try {
      await programs.variant(signal);
      await programs.save(signal);
      await programs.test(sample, signal);
      return undefined;
    } catch (error) {
      if (!(error instanceof IptablesError)) throw error;
      return error.code === 'IptablesFailed' ? unsupported(error) : error;
    }
  };

function unsupported(cause: IptablesError): IptablesError {
  return new IptablesError('IptablesUnsupported', 'iptables or the kernel does not know what rules for Services need', {
    cause,
    hint: 'load or build the kernel with xt_comment, xt_conntrack, xt_addrtype, xt_statistic, xt_recent, xt_mark, xt_nat, xt_MASQUERADE and ipt_REJECT, or choose another mode',
  });
}
