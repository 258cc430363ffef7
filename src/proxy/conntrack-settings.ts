import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { readIfExists } from '../host/files.ts';
import { errnoOf, messageOf } from '../lib/errors.ts';
import type { Log } from '../lib/log.ts';

/** `conntrack` of KubeProxyConfiguration; durations in milliseconds. */
export interface ConntrackConfig {
  /** Connections for each processor; 0: the kernel's limit stays. */
  readonly maxPerCore: number | undefined;
  readonly min: number | undefined;
  readonly tcpEstablishedTimeout: number | undefined;
  readonly tcpCloseWaitTimeout: number | undefined;
  readonly tcpBeLiberal: boolean;
  readonly udpTimeout: number;
  readonly udpStreamTimeout: number;
}

/** A file that is to hold at least this number. */
export interface KernelSetting {
  /** As an operator would set it; relative to /proc/sys, or to /sys. */
  readonly path: string;
  readonly in: '/proc/sys' | '/sys';
  readonly value: number;
}

const hashSize = 'module/nf_conntrack/parameters/hashsize';
/** Connections to a bucket of the table. */
const perBucket = 4;

/** What the kernel's connection tracking shall allow at least, by upstream's rules; zero and absent leave it as it is. */
export function computeConntrackSettings(config: ConntrackConfig, cores: number): readonly KernelSetting[] {
  const perCore = config.maxPerCore ?? 0;
  const max = perCore > 0 ? Math.max(config.min ?? 0, perCore * cores) : 0;
  const seconds = (ms: number | undefined) => Math.floor((ms ?? 0) / 1000);
  const ofKernel = (name: string, value: number): KernelSetting => ({
    ...{ path: `net/netfilter/nf_conntrack_${name}`, in: '/proc/sys', value },
  });
  const settings: readonly KernelSetting[] = [
    ofKernel('max', max),
    { path: hashSize, in: '/sys', value: Math.floor(max / perBucket) },
    ofKernel('tcp_timeout_established', seconds(config.tcpEstablishedTimeout)),
    ofKernel('tcp_timeout_close_wait', seconds(config.tcpCloseWaitTimeout)),
    ofKernel('tcp_be_liberal', config.tcpBeLiberal ? 1 : 0),
    ofKernel('udp_timeout', seconds(config.udpTimeout)),
    ofKernel('udp_timeout_stream', seconds(config.udpStreamTimeout)),
  ];
  return settings.filter(({ value }) => value > 0);
}

export interface ConntrackPlace {
  readonly log: Log;
  /** Default /proc/sys and /sys. */
  readonly procSysDir?: string;
  readonly sysDir?: string;
}

/**
 * EXECUTOR: raises what is lower than `settings` says, and never lowers anything, as upstream. What cannot be set is
 * said in one warning: connections work without it.
 */
export async function applyConntrackSettings(
  settings: readonly KernelSetting[],
  { log, procSysDir = '/proc/sys', sysDir = '/sys' }: ConntrackPlace,
): Promise<void> {
  const raised: Record<string, number> = {};
  const failed: { readonly setting: KernelSetting; readonly error: unknown }[] = [];
  for (const setting of settings) {
    const file = join(setting.in === '/sys' ? sysDir : procSysDir, setting.path);
    try {
      const present = await readIfExists(file);
      if (present === undefined) throw new Error('the kernel has no such setting');
      if (Number(present) >= setting.value) continue;
      await writeFile(file, `${setting.value}`, { flag: 'r+' });
      raised[nameOf(setting)] = setting.value;
    } catch (error) {
      failed.push({ setting, error });
    }
  }
  if (Object.keys(raised).length > 0) log.info({ settings: raised }, 'raised settings of connection tracking');
  if (failed.length === 0) return;
  const fields = {
    settings: failed.map(({ setting }) => `${nameOf(setting)}=${setting.value}`),
    err: messageOf(failed[0]?.error),
    hint: hintFor(failed.map(({ setting, error }) => ({ setting, errno: errnoOf(error) }))),
  };
  log.warn(fields, 'some settings of connection tracking cannot be set; the kernel keeps its own');
}

/** `net.netfilter.nf_conntrack_max`, or the path in /sys. */
const nameOf = (setting: KernelSetting): string =>
  setting.in === '/sys' ? `/sys/${setting.path}` : setting.path.replaceAll('/', '.');

function hintFor(failed: readonly { readonly setting: KernelSetting; readonly errno: string | undefined }[]): string {
  const readOnly = failed.some(({ errno }) => errno === 'EROFS' || errno === 'EACCES' || errno === 'EPERM');
  const commands = failed.map(({ setting }) =>
    setting.in === '/sys'
      ? `echo ${setting.value} > /sys/${setting.path}`
      : `sysctl -w ${nameOf(setting)}=${setting.value}`,
  );
  const how = `set them on the host: ${commands.join('; ')}`;
  return readOnly ? `${how}; or let keelson write to /proc/sys; or set conntrack.maxPerCore to 0` : how;
}
