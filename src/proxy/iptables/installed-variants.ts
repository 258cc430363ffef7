import type { Exec } from '../../host/exec.ts';
import { ExecError } from '../../host/exec.ts';
import type { IpFamily } from '../read-service.ts';
import { canaryChain } from '../userspace/compile-portals.ts';
import { ownerChain } from './chain-names.ts';
import type { Variant } from './iptables-programs.ts';
import { IptablesError, IptablesPrograms } from './iptables-programs.ts';
import { unreadableTables } from './kernel-tables.ts';

/** What one family of one variant of iptables holds, as text. */
export interface Place {
  readonly family: IpFamily;
  readonly programs: IptablesPrograms;
  readonly saved: string;
}

type Reading = Place | 'missing' | 'unsupported';

/** Each family by each variant that is installed; saving makes no table and loads no module. */
export async function placesOf(exec: Pick<Exec, 'run'>, signal: AbortSignal): Promise<readonly Place[]> {
  const places: Place[] = [];
  for (const family of ['IPv4', 'IPv6'] as const) {
    const found: Reading[] = [
      await placeOf(exec, family, 'nft', signal),
      await placeOf(exec, family, 'legacy', signal),
    ];
    // A host may have one variant only, without a name of its own.
    if (!found.some((one) => one !== 'missing')) found.push(await placeOf(exec, family, undefined, signal));
    places.push(...found.filter((one) => typeof one === 'object'));
  }
  return places;
}

/** `variant`: undefined for the one that the host calls iptables. Throws when something of ours cannot be seen. */
export async function placeOf(
  exec: Pick<Exec, 'run'>,
  family: IpFamily,
  variant: Variant | undefined,
  signal: AbortSignal,
): Promise<Reading> {
  const programs = new IptablesPrograms(exec, family, variant);
  try {
    const saved = await programs.save(signal);
    for (const table of unreadableTables(saved)) {
      for (const mark of [ownerChain, canaryChain]) {
        if ((await programs.list(table, mark, signal)) !== undefined) throw programs.unreadable(table);
      }
    }
    return { family, programs, saved };
  } catch (error) {
    if (!(error instanceof IptablesError)) throw error;
    if (error.code === 'IptablesMissing') return 'missing';
    // A kernel without this variant has nothing of it.
    const said = error.cause instanceof ExecError ? error.cause.stderr : '';
    if (error.code === 'IptablesFailed' && /generation id|not supported|does not exist|can't initialize/i.test(said))
      return 'unsupported';
    throw error;
  }
}
