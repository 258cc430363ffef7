import type { Exec } from '../../host/exec.ts';
import type { RunCause } from '../../lib/bounded-runner.ts';
import type { Clock } from '../../lib/clock.ts';
import { AgentError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Backend, SyncOutcome, Wish } from '../backend.ts';
import type { IpFamily } from '../read-service.ts';

export interface IptablesBackendOptions {
  readonly exec: Pick<Exec, 'run'>;
  readonly log: Log;
  readonly clock: Clock;
  readonly family: IpFamily;
}

/** Services as chains of iptables, by the names that kube-proxy gives them. */
export class IptablesBackend implements Backend {
  readonly mode = 'iptables';

  constructor(_options: IptablesBackendOptions) {}

  async sync(_wish: Wish, _context: { readonly cause: RunCause; readonly signal: AbortSignal }): Promise<SyncOutcome> {
    throw new AgentError('IptablesFailed', 'the iptables mode is not there yet');
  }

  async run(): Promise<void> {}

  plan(_wish: Wish): string {
    return '';
  }

  async diff(_wish: Wish, _signal: AbortSignal): Promise<readonly string[]> {
    return [];
  }

  explain(_frontend: string, _wish: Wish): readonly string[] {
    return [];
  }
}
