import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Exec } from '../host/exec.ts';
import { ExecError } from '../host/exec.ts';
import { atomicWrite, readIfExists } from '../host/files.ts';
import { AgentError, errorFields, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';
import { cniFileName, decideCni, generateCniConfig } from './cni-config.ts';
import type { MasqueradeTable } from './masquerade.ts';
import { generateMasquerade, isInPlace, masqueradeTableName } from './masquerade.ts';

export interface PodNetworkOptions {
  readonly exec: Pick<Exec, 'run'>;
  readonly log: Log;
  readonly cniConfDir: string;
  readonly bridgeName: string;
  /** Of the pods' interfaces; 0 takes that of the host's default route. */
  readonly mtu: number;
  readonly clusterCidrs: readonly string[];
  /** Where host-local keeps its leases; absent: its own default. */
  readonly ipamDataDir?: string;
  /** Default /proc and /sys. */
  readonly procDir?: string;
  readonly sysDir?: string;
}

/** Whose pod network it is: 'ours' is set up and masqueraded, 'foreign' is left alone, 'unknown' has no pod CIDR yet. */
export type NetworkOwner = 'ours' | 'foreign' | 'unknown';

/**
 * EXECUTOR: makes the pod network where nobody else does: the CNI configuration, the kernel settings it needs and the
 * masquerading of what leaves it. Idempotent: what is right is not touched, so it may run at any time.
 */
export class PodNetwork {
  readonly #options: PodNetworkOptions;
  readonly #said = new Set<string>();

  constructor(options: PodNetworkOptions) {
    this.#options = options;
  }

  /** Throws when a step failed that pods cannot do without; to be called again then, and when the CIDRs change. */
  async ensure(podCidrs: readonly string[], signal: AbortSignal): Promise<NetworkOwner> {
    if (podCidrs.length === 0) return 'unknown';
    const owner = await this.#ensureCniConfig(podCidrs);
    if (owner === 'foreign') {
      await this.#removeMasquerade(signal);
      return owner;
    }
    await this.#enableForwarding(podCidrs);
    const bridgeIsFiltered = await this.#filterBridge(podCidrs, signal);
    const { bridgeName, clusterCidrs } = this.#options;
    const tables = generateMasquerade({ bridgeName, podCidrs, clusterCidrs, bridgeIsFiltered });
    for (const table of tables) await this.#ensureMasquerade(table, signal);
    return owner;
  }

  async #ensureCniConfig(podCidrs: readonly string[]): Promise<NetworkOwner> {
    const { cniConfDir, bridgeName, mtu, ipamDataDir, log } = this.#options;
    const wanted = generateCniConfig({
      bridgeName,
      podCidrs,
      mtu: mtu || (await this.#hostMtu()),
      ...(ipamDataDir === undefined ? {} : { ipamDataDir }),
    });
    const path = join(cniConfDir, cniFileName);
    await mkdir(cniConfDir, { recursive: true });
    const present = await readIfExists(path);
    const decision = decideCni(await readdir(cniConfDir), present, wanted);
    if (decision.action === 'leave') {
      const file = join(cniConfDir, decision.file);
      this.#once('info', { file }, 'the pod network is left to the CNI configuration that is there');
      await this.#adviseOnBridge(file, podCidrs);
      return 'foreign';
    }
    if (decision.action === 'write') {
      await atomicWrite(path, wanted, { mode: 0o644 });
      log.info({ file: path, podCidrs, reason: decision.reason }, 'wrote the CNI configuration');
    }
    return 'ours';
  }

  /** MTU of the interface that the default route leaves by, 1500 when there is none. */
  async #hostMtu(): Promise<number> {
    const { procDir = '/proc', sysDir = '/sys' } = this.#options;
    // /proc/net is the calling thread's; columns: Iface Destination Gateway …, addresses in hexadecimal.
    const routes = (await readIfExists(join(procDir, 'net/route'))) ?? '';
    const line = routes.split('\n').find((one) => one.split(/\s+/)[1] === '00000000');
    const name = line?.split(/\s+/)[0];
    const mtu = name ? await readIfExists(join(sysDir, 'class/net', name, 'mtu')) : undefined;
    return Number(mtu) || 1500;
  }

  async #enableForwarding(podCidrs: readonly string[]): Promise<void> {
    const keys = new Set(podCidrs.map((cidr) => (cidr.includes(':') ? 'ipv6/conf/all/forwarding' : 'ipv4/ip_forward')));
    for (const key of keys) {
      if (await this.#sysctl(`net/${key}`)) continue;
      const hint = `set it on the host: sysctl -w net.${key.replaceAll('/', '.')}=1`;
      this.#once('warn', { sysctl: key, hint }, 'cannot enable forwarding: pods reach only this node');
    }
  }

  /** Has frames between two pods of the bridge seen by connection tracking; false when this kernel cannot. */
  async #filterBridge(podCidrs: readonly string[], signal: AbortSignal): Promise<boolean> {
    const keys = bridgeFilterKeys(podCidrs);
    const missing = () => this.#notSet(keys);
    if ((await missing()).length === 0) return true;
    try {
      await this.#options.exec.run('modprobe', ['br_netfilter'], { signal, timeoutMs: 10_000 });
    } catch (error) {
      signal.throwIfAborted();
      this.#options.log.debug(errorFields(error), 'cannot load br_netfilter');
    }
    const sysctls = await missing();
    if (sysctls.length === 0) return true;
    this.#once(
      'warn',
      { sysctls, hint: bridgeHint(sysctls) },
      'bridged packets are not filtered: pods of this node see the node as client of a Service when they share it',
    );
    return false;
  }

  /** The bridge of another is not ours to filter, but its pods lose answers of Services where nobody does. */
  async #adviseOnBridge(file: string, podCidrs: readonly string[]): Promise<void> {
    const config = (await readIfExists(file)) ?? '';
    if (!/"type"\s*:\s*"(bridge|flannel)"/.test(config)) return;
    const procDir = this.#options.procDir ?? '/proc';
    const isOff = async (key: string) => (await readIfExists(join(procDir, 'sys', key)))?.trim() !== '1';
    const sysctls: string[] = [];
    for (const key of bridgeFilterKeys(podCidrs)) if (await isOff(key)) sysctls.push(key);
    if (sysctls.length === 0) return;
    const fields = { file, sysctls, hint: bridgeHint(sysctls) };
    this.#once(
      'warn',
      fields,
      'bridged packets are not filtered: pods may reach no Service whose endpoint shares their bridge',
    );
  }

  /** Sets kernel settings to 1; returns those that could not be. */
  async #notSet(keys: Iterable<string>): Promise<readonly string[]> {
    const missing: string[] = [];
    for (const key of keys) if (!(await this.#sysctl(key))) missing.push(key);
    return missing;
  }

  /** Sets a kernel setting to 1; false when it is neither 1 nor could be set. */
  async #sysctl(key: string): Promise<boolean> {
    const path = join(this.#options.procDir ?? '/proc', 'sys', key);
    if ((await readIfExists(path))?.trim() === '1') return true;
    try {
      await writeFile(path, '1', { flag: 'r+' });
      return true;
    } catch (error) {
      this.#options.log.debug({ sysctl: key, err: messageOf(error) }, 'cannot change a kernel setting');
      return false;
    }
  }

  async #ensureMasquerade(table: MasqueradeTable, signal: AbortSignal): Promise<void> {
    try {
      const present = await this.#listTable(table.family, signal);
      if (present !== undefined && isInPlace(present, table)) return;
      await this.#nft(['-f', '-'], signal, table.script);
    } catch (error) {
      signal.throwIfAborted();
      throw new AgentError('PodNetworkFailed', 'cannot masquerade what leaves the pod network', {
        cause: error,
        retryable: true,
        hint: 'keelson needs nft and the capability NET_ADMIN',
      });
    }
    this.#options.log.info({ table: `${table.family} ${table.name}` }, 'masquerading what leaves the pod network');
  }

  async #removeMasquerade(signal: AbortSignal): Promise<void> {
    for (const family of ['ip', 'ip6'] as const) {
      try {
        if ((await this.#listTable(family, signal)) === undefined) continue;
        await this.#nft(['delete', 'table', family, masqueradeTableName], signal);
      } catch (error) {
        signal.throwIfAborted();
        this.#once('warn', errorFields(error), 'cannot tell whether old masquerading rules of keelson are left');
      }
    }
  }

  async #listTable(family: string, signal: AbortSignal): Promise<string | undefined> {
    try {
      return await this.#nft(['-j', 'list', 'table', family, masqueradeTableName], signal);
    } catch (error) {
      if (error instanceof ExecError && error.stderr.includes('No such file')) return undefined;
      throw error;
    }
  }

  async #nft(args: readonly string[], signal: AbortSignal, input = ''): Promise<string> {
    return (await this.#options.exec.run('nft', args, { signal, timeoutMs: 30_000, input })).stdout;
  }

  #once(level: 'info' | 'warn', fields: object, message: string): void {
    const said = `${message} ${JSON.stringify(fields)}`;
    if (this.#said.has(said)) return;
    this.#said.add(said);
    this.#options.log[level](fields, message);
  }
}

/** Some distributions switch them off, each for itself. */
const bridgeFilterKeys = (podCidrs: readonly string[]): ReadonlySet<string> =>
  new Set(podCidrs.map((cidr) => `net/bridge/bridge-nf-call-ip${cidr.includes(':') ? '6' : ''}tables`));

const bridgeHint = (sysctls: readonly string[]): string =>
  `load the kernel module br_netfilter at boot, and set ${sysctls.map((key) => `${key.replaceAll('/', '.')}=1`).join(' and ')}`;
