import type { Exec } from '../../host/exec.ts';
import { ExecError } from '../../host/exec.ts';
import type { Remains } from '../backend.ts';
import type { TableName } from './chain-names.ts';
import { isOurs, isServiceChain, ownerChain, servicesChain, tableNames } from './chain-names.ts';
import { ourJumps, removal } from './diff-tables.ts';
import type { Variant } from './iptables-programs.ts';
import { IptablesError, IptablesPrograms } from './iptables-programs.ts';
import type { KernelTable, KernelTables } from './kernel-tables.ts';
import { readTables } from './kernel-tables.ts';
import { ScriptWriter, scriptLimits } from './restore-script.ts';

/** What one family of one variant of iptables holds. */
interface Place {
  readonly programs: IptablesPrograms;
  readonly tables: KernelTables;
}

type Reading = Place | 'missing' | 'unsupported';

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
    for (const { programs, tables } of await this.#places(signal)) {
      const writes = removal(tables);
      if (writes.length === 0) continue;
      const writer = new ScriptWriter(scriptLimits[await programs.variant(signal)]);
      for (const script of [...writer.add(writes), ...writer.end()]) await programs.restore(script, signal);
    }
  }

  async conflicts(signal: AbortSignal): Promise<readonly string[]> {
    const places = await this.#places(signal);
    return places.flatMap(({ programs, tables }) =>
      tableNames
        .filter((table) => tables[table].has(servicesChain) && !tables[table].has(ownerChain))
        .map((table) => `${programs.name} table ${table}: chain ${servicesChain} of kube-proxy`),
    );
  }

  /** Each family by each variant that is installed; saving makes no table and loads no module. */
  async #places(signal: AbortSignal): Promise<readonly Place[]> {
    const places: Place[] = [];
    for (const family of ['IPv4', 'IPv6'] as const) {
      const ofVariant = (variant?: Variant) => new IptablesPrograms(this.#exec, family, variant);
      const found: Reading[] = [await read(ofVariant('nft'), signal), await read(ofVariant('legacy'), signal)];
      // A host may have one variant only, without a name of its own.
      if (!found.some((one) => one !== 'missing')) found.push(await read(ofVariant(), signal));
      places.push(...found.filter((one) => typeof one === 'object'));
    }
    return places;
  }
}

async function read(programs: IptablesPrograms, signal: AbortSignal): Promise<Reading> {
  try {
    return { programs, tables: readTables(await programs.save(signal)) };
  } catch (error) {
    if (!(error instanceof IptablesError)) throw error;
    if (error.code === 'IptablesMissing') return 'missing';
    // A kernel without this variant has nothing of it.
    const said = error.cause instanceof ExecError ? error.cause.stderr : '';
    if (error.code === 'IptablesFailed' && /generation id|not supported|does not exist/i.test(said))
      return 'unsupported';
    throw error;
  }
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
