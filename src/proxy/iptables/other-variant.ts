import type { Exec } from '../../host/exec.ts';
import { errorFields } from '../../lib/errors.ts';
import type { Log } from '../../lib/log.ts';
import type { IpFamily } from '../read-service.ts';
import type { Place } from './installed-variants.ts';
import { placeOf } from './installed-variants.ts';
import type { Variant } from './iptables-programs.ts';

/**
 * EXECUTOR: removes what an earlier start wrote with the other variant of iptables, once this one carries everything:
 * the kernel asks both, and rules that nobody changes any more would go on deciding. What is in the way of that stops
 * nothing else, and is tried again at the next call.
 */
export class OtherVariant {
  readonly #exec: Pick<Exec, 'run'>;
  readonly #log: Log;
  readonly #family: IpFamily;
  readonly #remove: (place: Place, signal: AbortSignal) => Promise<boolean>;
  #isGone = false;
  #said = '';

  /** `remove` takes a mode's rules away from one place; false when there were none. */
  constructor(options: {
    readonly exec: Pick<Exec, 'run'>;
    readonly log: Log;
    readonly family: IpFamily;
    readonly remove: (place: Place, signal: AbortSignal) => Promise<boolean>;
  }) {
    this.#exec = options.exec;
    this.#log = options.log;
    this.#family = options.family;
    this.#remove = options.remove;
  }

  /** `used`: the variant that carries everything now. Does nothing once it has found nothing of the other. */
  async leave(used: Variant, signal: AbortSignal): Promise<void> {
    if (this.#isGone) return;
    const variant = used === 'nft' ? 'legacy' : 'nft';
    try {
      const place = await placeOf(this.#exec, this.#family, variant, signal);
      if (typeof place === 'object' && (await this.#remove(place, signal))) {
        this.#log.info({ variant }, 'removed our rules of the other variant of iptables');
      }
      this.#isGone = true;
    } catch (error) {
      if (signal.aborted) throw error;
      const fields = { variant, ...errorFields(error) };
      if (fields.err !== this.#said) {
        this.#log.warn(fields, 'our rules of the other variant of iptables cannot be removed yet');
      }
      this.#said = fields.err;
    }
  }
}
