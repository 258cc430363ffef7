import type { Exec } from '../../host/exec.ts';
import type { Remains } from '../backend.ts';

/** What the IPVS mode may have left in the kernel. */
export class IpvsRemains implements Remains {
  readonly mode = 'ipvs';

  constructor(_options: { readonly exec: Pick<Exec, 'run'> }) {}

  async found(): Promise<readonly string[]> {
    return [];
  }

  async remove(): Promise<void> {}

  async conflicts(): Promise<readonly string[]> {
    return [];
  }
}
