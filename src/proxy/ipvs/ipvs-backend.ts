import type { Exec } from '../../host/exec.ts';
import type { RunCause } from '../../lib/bounded-runner.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Log } from '../../lib/log.ts';
import type { Backend, SyncOutcome, Wish } from '../backend.ts';
import type { IpFamily } from '../read-service.ts';
import { IpvsError } from './ipvs-error.ts';

/** As KubeProxyConfiguration.ipvs; durations in milliseconds, 0 leaves what the kernel has. */
export interface IpvsSettings {
  readonly scheduler: string;
  /** Virtual servers of others in these ranges are left alone. */
  readonly excludeCIDRs: readonly string[];
  readonly strictARP: boolean;
  readonly tcpTimeoutMs: number;
  readonly tcpFinTimeoutMs: number;
  readonly udpTimeoutMs: number;
}

/** Services as virtual servers of IPVS. */
export class IpvsBackend implements Backend {
  readonly mode = 'ipvs';

  constructor(_options: {
    readonly exec: Pick<Exec, 'run'>;
    readonly log: Log;
    readonly clock: Clock;
    readonly family: IpFamily;
    readonly settings: IpvsSettings;
  }) {}

  sync(_wish: Wish, _context: { readonly cause: RunCause; readonly signal: AbortSignal }): Promise<SyncOutcome> {
    return Promise.reject(new IpvsError('IpvsFailed', 'IPVS is not there yet'));
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
