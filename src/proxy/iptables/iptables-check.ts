import type { Exec } from '../../host/exec.ts';
import { AgentError } from '../../lib/errors.ts';
import type { ModeCheck } from '../backend.ts';

/** Whether this host can carry Services in iptables. */
export const iptablesUnusable =
  (_exec: Pick<Exec, 'run'>): ModeCheck =>
  async () =>
    new AgentError('IptablesFailed', 'the iptables mode is not there yet');
