import type { Exec } from '../../host/exec.ts';
import type { Remains } from '../backend.ts';
import type { TableName } from './chain-names.ts';
import { isOurs, isServiceChain, ownerChain, servicesChain, tableNames } from './chain-names.ts';
import { ourJumps, removal } from './diff-tables.ts';
import type { Place } from './installed-variants.ts';
import { placesOf } from './installed-variants.ts';
import type { IptablesPrograms } from './iptables-programs.ts';
import { IptablesError } from './iptables-programs.ts';
import type { KernelTable, KernelTables } from './kernel-tables.ts';
import { readTables } from './kernel-tables.ts';
import { ScriptWriter, scriptLimits } from './restore-script.ts';
import { removeHolder } from './write-lines.ts';

/** How many are named in an error. */
const shownChains = 5;

interface PlaceTables {
  readonly programs: IptablesPrograms;
  readonly tables: KernelTables;
}

/**
 * What the iptables mode may have in the kernel, whatever variant and family it was written with. A table with the
 * chain KEELSON-CANARY is ours as far as the names in `chain-names.ts` go. One with KUBE-SERVICES and without that
 * chain is kube-proxy's; KUBE-PROXY-CANARY alone decides about no packet and says nothing. What kubelet leaves
 * (KUBE-KUBELET-CANARY, KUBE-IPTABLES-HINT, KUBE-FIREWALL) is nobody's business here.
 */
export class IptablesRemains implements Remains {
  readonly mode = 'iptables';
  readonly #exec: Pick<Exec, 'run'>;

  constructor(options: { readonly exec: Pick<Exec, 'run'> }) {
    this.#exec = options.exec;
  }

  async found(signal: AbortSignal): Promise<readonly string[]> {
    const places = await this.#places(signal);
    return places.flatMap(({ programs, tables }) =>
      tableNames.flatMap((table) => foundIn(tables[table], `${programs.name} table ${table}`, table)),
    );
  }

  async remove(signal: AbortSignal): Promise<void> {
    const errors: unknown[] = [];
    for (const place of await placesOf(this.#exec, signal)) {
      try {
        await removeOurs(place, signal);
      } catch (error) {
        if (signal.aborted) throw error;
        errors.push(error);
      }
    }
    if (errors.length > 0) throw errors[0];
  }

  async conflicts(signal: AbortSignal): Promise<readonly string[]> {
    const places = await this.#places(signal);
    return places.flatMap(({ programs, tables }) =>
      tableNames
        .filter((table) => tables[table].has(servicesChain) && !tables[table].has(ownerChain))
        .map((table) => `${programs.name} table ${table}: chain ${servicesChain} of kube-proxy`),
    );
  }

  async #places(signal: AbortSignal): Promise<readonly PlaceTables[]> {
    const places = await placesOf(this.#exec, signal);
    return places.map(({ programs, saved }) => ({ programs, tables: readTables(saved) }));
  }
}

/**
 * Removes what is ours from one family of one variant; false when there was nothing. Throws when something has to stay,
 * once all else is gone.
 */
export async function removeOurs({ programs, saved }: Omit<Place, 'family'>, signal: AbortSignal): Promise<boolean> {
  const { writes, held } = removal(readTables(saved));
  if (writes.length > 0) {
    const writer = new ScriptWriter(scriptLimits[await programs.variant(signal)]);
    for (const script of [...writer.add(writes), ...writer.end()]) await programs.restore(script, signal);
  }
  const [first] = held;
  if (!first) return writes.length > 0;
  const names = held.slice(0, shownChains).map(({ table, chain }) => `${table} ${chain}`);
  const message = `chains that rules of others lead to have to stay: ${names.join(', ')}`;
  throw new IptablesError('ChainHeld', message, { hint: removeHolder(first, programs.name) });
}

function foundIn(kernel: KernelTable, where: string, table: TableName): readonly string[] {
  if (!kernel.has(ownerChain)) return [];
  const names = [...kernel.keys()].filter((name) => isOurs(table, name));
  const ofServices = names.filter(isServiceChain).length;
  return [
    ...ourJumps(kernel, table).map(({ chain, rule }) => `${where}: rule -A ${chain} ${rule}`),
    ...names.filter((name) => !isServiceChain(name)).map((name) => `${where}: chain ${name}`),
    ...(ofServices > 0 ? [`${where}: ${ofServices} chains of Services`] : []),
  ];
}
