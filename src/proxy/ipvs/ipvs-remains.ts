import type { Exec } from '../../host/exec.ts';
import { isProgramMissing } from '../../host/exec.ts';
import type { Remains } from '../backend.ts';
import { tableNames } from '../iptables/chain-names.ts';
import type { Place } from '../iptables/installed-variants.ts';
import { placesOf } from '../iptables/installed-variants.ts';
import type { KernelTables } from '../iptables/kernel-tables.ts';
import { readTables } from '../iptables/kernel-tables.ts';
import type { IpFamily } from '../read-service.ts';
import { removedChains, rulesScript } from './diff-rules.ts';
import { ourServers } from './diff-state.ts';
import { IpvsError, ipvsRefusal } from './ipvs-error.ts';
import { deviceName, ownDevices, readAddresses, readServers, readSets } from './kernel-state.ts';
import { ipvsCanaryChain } from './packet-rules.ts';
import type { SetRole } from './set-layout.ts';
import { setName } from './set-layout.ts';

const timeoutMs = 60_000;
const maxOutputBytes = 512 * 1024 * 1024;
const families = ['IPv4', 'IPv6'] as const;

interface FamilyRemains {
  readonly family: IpFamily;
  readonly servers: readonly string[];
  readonly sets: readonly SetRole[];
  /** By each variant of iptables that is installed. */
  readonly rules: readonly Rules[];
}

interface Rules extends Pick<Place, 'family' | 'programs'> {
  readonly tables: KernelTables;
}

interface AllRemains {
  readonly devices: readonly string[];
  readonly families: readonly FamilyRemains[];
}

/**
 * What the IPVS mode may have left in the kernel: known by the alias of the device and by a chain of ours in the
 * tables of the packet filter. Where there is neither, IPVS and IP sets are not asked for, because asking has the
 * kernel load them.
 */
export class IpvsRemains implements Remains {
  readonly mode = 'ipvs';
  readonly #exec: Pick<Exec, 'run'>;

  constructor({ exec }: { readonly exec: Pick<Exec, 'run'> }) {
    this.#exec = exec;
  }

  async found(signal: AbortSignal): Promise<readonly string[]> {
    const { devices, families: both } = await this.#read(signal);
    const lines = both.flatMap(({ family, servers, sets, rules }) => [
      ...(servers.length > 0 ? [`IPVS: ${servers.length} virtual servers of ${family}`] : []),
      ...rules.flatMap(({ programs, tables }) =>
        removedChains(tables).map((chain) => `${programs.name} chain ${chain}`),
      ),
      ...sets.map((role) => `ipset ${setName(role, family)}`),
    ]);
    return [...lines, ...devices.map((name) => `dummy device ${name}`)];
  }

  /** What tells of the rest goes last, device and chain, so that a removal that is interrupted is found again. */
  async remove(signal: AbortSignal): Promise<void> {
    const { devices, families: both } = await this.#read(signal);
    for (const { family, servers, sets, rules } of both) {
      if (servers.length > 0) {
        const { stderr } = await this.#run('ipvsadm', ['-R'], signal, servers.map((key) => `-D ${key}\n`).join(''));
        if (stderr.trim() !== '') throw ipvsRefusal('ipvsadm', stderr);
      }
      // Chains first: a set that a rule looks into cannot go.
      await removeChains(rules, (chain) => chain !== ipvsCanaryChain, signal);
      if (sets.length > 0) {
        await this.#run(
          'ipset',
          ['restore'],
          signal,
          sets.map((role) => `destroy ${setName(role, family)}\n`).join(''),
        );
      }
    }
    for (const name of devices) await this.#run('ip', ['link', 'del', 'dev', name], signal);
    for (const { rules } of both) await removeChains(rules, (chain) => chain === ipvsCanaryChain, signal);
  }

  async conflicts(signal: AbortSignal): Promise<readonly string[]> {
    const device = readAddresses(await this.#read1('ip', ['-d', '-j', 'addr', 'show'], signal), 'IPv4').device;
    return device === 'foreign' ? [`dummy device ${deviceName}`] : [];
  }

  async #read(signal: AbortSignal): Promise<AllRemains> {
    const links = await this.#read1('ip', ['-d', '-j', 'addr', 'show'], signal);
    const places = await placesOf(this.#exec, signal);
    const rules = places.map(({ saved, ...place }): Rules => ({ ...place, tables: readTables(saved) }));
    const { device } = readAddresses(links, 'IPv4');
    const isMarkedBy = ({ tables }: Rules) => tableNames.some((name) => tables[name].has(ipvsCanaryChain));
    const devices = ownDevices(links);
    const isThere = devices.length > 0 || rules.some(isMarkedBy);
    if (!isThere) return { devices, families: [] };
    const servers = await this.#read1('ipvsadm', ['-Sn'], signal);
    const saved = await this.#read1('ipset', ['save'], signal);
    return {
      devices,
      families: families.map((family) => {
        // Another's device may have kube-proxy's addresses and sets, which are called as ours are.
        const isOurs = device === 'ours';
        const { addresses } = readAddresses(links, family);
        const sets = readSets(saved, family);
        const isMarked = isOurs || [...sets.keys()].some(isOwnName);
        const marked = isMarked ? sets : new Map<SetRole, Map<string, string>>();
        const all = { servers: readServers(servers, family), sets: marked };
        const ours = ourServers({ ...all, addresses: isOurs ? addresses : new Set() });
        // Those that tell of the rest go last.
        const roles = [...marked.keys()].sort((a, b) => Number(isOwnName(a)) - Number(isOwnName(b)));
        return { family, servers: ours, sets: roles, rules: rules.filter((one) => one.family === family) };
      }),
    };
  }

  /** '' where the program is not there, as then nobody can have used it. */
  async #read1(file: string, args: readonly string[], signal: AbortSignal): Promise<string> {
    try {
      return (await this.#run(file, args, signal)).stdout;
    } catch (error) {
      signal.throwIfAborted();
      if (isProgramMissing(error)) return '';
      throw new IpvsError('IpvsFailed', `${file} does not tell what is there`, { cause: error });
    }
  }

  #run(file: string, args: readonly string[], signal: AbortSignal, input = '') {
    return this.#exec.run(file, args, { signal, timeoutMs, input, maxOutputBytes });
  }
}

const isOwnName = (role: SetRole): boolean => role.startsWith('KEELSON-');

async function removeChains(
  rules: readonly Rules[],
  isMeant: (chain: string) => boolean,
  signal: AbortSignal,
): Promise<void> {
  for (const { programs, tables } of rules) {
    const meant = tableNames.map((name) => [name, new Map([...tables[name]].filter(([chain]) => isMeant(chain)))]);
    const script = rulesScript(Object.fromEntries(meant), []);
    if (script !== '') await programs.restore(script, signal);
  }
}
