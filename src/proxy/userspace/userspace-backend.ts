import type { Exec } from '../../host/exec.ts';
import type { RunCause } from '../../lib/bounded-runner.ts';
import type { Clock } from '../../lib/clock.ts';
import { AgentError } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { Backend, SyncOutcome, Wish } from '../backend.ts';
import type { IpFamily } from '../read-service.ts';

export interface UserspaceOptions {
  readonly exec: Pick<Exec, 'run'>;
  readonly log: Log;
  readonly clock: Clock;
  readonly family: IpFamily;
}

/** Services as relays inside this process, behind rules of iptables that lead to them. */
export class UserspaceBackend implements Backend {
  readonly mode = 'userspace';
  readonly #options: UserspaceOptions;

  constructor(options: UserspaceOptions) {
    this.#options = options;
  }

  sync(_wish: Wish, _context: { readonly cause: RunCause; readonly signal: AbortSignal }): Promise<SyncOutcome> {
    const { family } = this.#options;
    return Promise.reject(new AgentError('ModeUnsupported', `mode userspace does not carry ${family} yet`));
  }

  async run(): Promise<void> {}

  plan(): string {
    return '';
  }

  async diff(): Promise<readonly string[]> {
    return [];
  }

  explain(): readonly string[] {
    return [];
  }
}
