import type { Exec } from '../../host/exec.ts';
import { isProgramMissing } from '../../host/exec.ts';
import type { Remains } from '../backend.ts';
import type { IpFamily } from '../read-service.ts';
import type { PortalTable } from './compile-portals.ts';
import { canaryChain, portalChains, portalTables } from './compile-portals.ts';
import { parseSaved, removeScript } from './diff-portals.ts';
import { PortalRulesInKernel, relayCidr } from './portal-rules.ts';

const families: readonly IpFamily[] = ['IPv4', 'IPv6'];
const programOf = { IPv4: 'iptables', IPv6: 'ip6tables' } as const;

/**
 * The rules that lead to relays, and the relays' address, as a daemon that is gone may have left them. Chains with
 * kube-proxy's names are ours where the canary is beside them, and nobody else writes rules to the relays' address.
 */
export class UserspaceRemains implements Remains {
  readonly mode = 'userspace';
  readonly #exec: Pick<Exec, 'run'>;

  constructor(options: { readonly exec: Pick<Exec, 'run'> }) {
    this.#exec = options.exec;
  }

  async found(signal: AbortSignal): Promise<readonly string[]> {
    const found: string[] = [];
    for (const family of families) {
      for (const table of portalTables) {
        const { isOurs, chains } = await this.#look(family, table, signal);
        if (isOurs) found.push(...chains.map((chain) => `${programOf[family]} chain ${table} ${chain}`));
      }
      if (await this.#hasAddress(family, signal)) found.push(`address ${relayCidr(family)} on lo`);
    }
    return found;
  }

  async remove(signal: AbortSignal): Promise<void> {
    for (const family of families) {
      const rules = new PortalRulesInKernel(this.#exec, family);
      const scripts: string[] = [];
      for (const table of portalTables) {
        const { isOurs, text, isShared } = await this.#look(family, table, signal);
        if (isOurs) scripts.push(removeScript(table, parseSaved(table, text), isShared));
      }
      const script = scripts.join('');
      if (script !== '') await rules.restore(script, signal);
      if (!(await this.#hasAddress(family, signal))) continue;
      await rules.removeAddress(signal);
      await rules.endFlows(signal).catch((error) => {
        // They end by their timeout, once their clients are at rest.
        if (signal.aborted) throw error;
      });
    }
  }

  async conflicts(signal: AbortSignal): Promise<readonly string[]> {
    const found: string[] = [];
    for (const family of families) {
      for (const table of portalTables) {
        const { isOurs, chains } = await this.#look(family, table, signal);
        if (!isOurs) found.push(...chains.map((chain) => `${programOf[family]} chain ${table} ${chain}`));
      }
    }
    return found;
  }

  /** `chains`: those that this mode has, without a canary that another mode put there. */
  async #look(
    family: IpFamily,
    table: PortalTable,
    signal: AbortSignal,
  ): Promise<{ isOurs: boolean; isShared: boolean; chains: readonly string[]; text: string }> {
    const text = await this.#save(family, table, signal);
    const names = [...text.matchAll(/^:(\S+) - /gm)].map(([, name = '']) => name);
    const ours: readonly string[] = portalChains[table];
    const own = names.filter((name) => ours.includes(name) && name !== canaryChain);
    // The iptables mode has the same canary, beside chains of other names.
    const isShared = names.some((name) => !ours.includes(name) && /^KUBE-/.test(name));
    const hasCanary = names.includes(canaryChain);
    const isOurs = hasCanary && own.length > 0;
    return { isOurs, isShared, chains: isOurs && !isShared ? [...own, canaryChain] : own, text };
  }

  async #save(family: IpFamily, table: PortalTable, signal: AbortSignal): Promise<string> {
    try {
      return await new PortalRulesInKernel(this.#exec, family).save(table, signal);
    } catch (error) {
      // Whoever has no such program has no rules of it; nor has a kernel without the table.
      if (signal.aborted || (!isProgramMissing(error) && !isTableMissing(error))) throw error;
      return '';
    }
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

const isTableMissing = (error: unknown): boolean =>
  error instanceof Error && /can't initialize|does not exist|not supported/i.test(error.message);
