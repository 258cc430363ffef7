import type { Exec } from '../../host/exec.ts';
import { isProgramMissing } from '../../host/exec.ts';
import type { Remains } from '../backend.ts';
import type { Place } from '../iptables/installed-variants.ts';
import { placesOf } from '../iptables/installed-variants.ts';
import type { IpFamily } from '../read-service.ts';
import { canaryChain, portalTables } from './compile-portals.ts';
import { parseSaved, removeScript } from './diff-portals.ts';
import { PortalRulesInKernel, relayCidr } from './portal-rules.ts';

const families: readonly IpFamily[] = ['IPv4', 'IPv6'];

/**
 * The rules that lead to relays, in whatever variant of iptables, and the relays' address, as a daemon that is gone
 * may have left them. Chains with kube-proxy's names are ours where the canary is beside them, and nobody else writes
 * rules to the relays' address.
 */
export class UserspaceRemains implements Remains {
  readonly mode = 'userspace';
  readonly #exec: Pick<Exec, 'run'>;

  constructor(options: { readonly exec: Pick<Exec, 'run'> }) {
    this.#exec = options.exec;
  }

  async found(signal: AbortSignal): Promise<readonly string[]> {
    const found = [...(await this.#chains(signal, true))];
    for (const family of families) {
      if (await this.#hasAddress(family, signal)) found.push(`address ${relayCidr(family)} on lo`);
    }
    return found;
  }

  async remove(signal: AbortSignal): Promise<void> {
    for (const place of await placesOf(this.#exec, signal)) await removePortals(place, signal);
    for (const family of families) {
      if (!(await this.#hasAddress(family, signal))) continue;
      const rules = new PortalRulesInKernel(this.#exec, family);
      await rules.removeAddress(signal);
      await rules.endFlows(signal).catch((error) => {
        // They end by their timeout, once their clients are at rest.
        if (signal.aborted) throw error;
      });
    }
  }

  conflicts(signal: AbortSignal): Promise<readonly string[]> {
    return this.#chains(signal, false);
  }

  /** Chains by our names, a line each, of the tables that are ours or of those that are not. */
  async #chains(signal: AbortSignal, ours: boolean): Promise<readonly string[]> {
    const places = await placesOf(this.#exec, signal);
    return places.flatMap(({ programs, saved }) =>
      portalTables.flatMap((table) => {
        const { chains } = parseSaved(table, saved);
        return chains.has(canaryChain) === ours
          ? [...chains.keys()].map((chain) => `${programs.name} chain ${table} ${chain}`)
          : [];
      }),
    );
  }

  async #hasAddress(family: IpFamily, signal: AbortSignal): Promise<boolean> {
    try {
      return await new PortalRulesInKernel(this.#exec, family).hasAddress(signal);
    } catch (error) {
      if (signal.aborted || !isProgramMissing(error)) throw error;
      return false;
    }
  }
}

/** Removes the rules of ours from one family of one variant; false when there were none. */
export async function removePortals({ programs, saved }: Omit<Place, 'family'>, signal: AbortSignal): Promise<boolean> {
  const script = portalTables
    .map((table) => {
      const found = parseSaved(table, saved);
      return found.chains.has(canaryChain) ? removeScript(table, found) : '';
    })
    .join('');
  if (script !== '') await programs.restore(script, signal);
  return script !== '';
}
