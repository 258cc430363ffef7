import type { IpvsSettings } from './ipvs-backend.ts';

/** From here on a connection that reuses a port is told apart well by default; before, connections were lost. */
const goodReuse: readonly [number, number] = [5, 9];

/** Sysctls that IPVS with conntrack needs, wished value by name. `release`: of the kernel, such as `6.1.0-56-amd64`. */
export function wishedSysctls(settings: Pick<IpvsSettings, 'strictARP'>, release: string): ReadonlyMap<string, string> {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  const isOld = Number(major) < goodReuse[0] || (Number(major) === goodReuse[0] && Number(minor) < goodReuse[1]);
  return new Map([
    // Without it packets leave unknown to the packet filter, and cannot be masqueraded.
    ['net.ipv4.vs.conntrack', '1'],
    // Connections to an endpoint that is gone end, and clients kept with one that takes nobody new are let go.
    ['net.ipv4.vs.expire_nodest_conn', '1'],
    ['net.ipv4.vs.expire_quiescent_template', '1'],
    ['net.ipv4.ip_forward', '1'],
    ...(isOld ? ([['net.ipv4.vs.conn_reuse_mode', '0']] as const) : []),
    // Else the host would answer neighbours who ask for a virtual address.
    ...(settings.strictARP
      ? ([
          ['net.ipv4.conf.all.arp_ignore', '1'],
          ['net.ipv4.conf.all.arp_announce', '2'],
        ] as const)
      : []),
  ]);
}

export const releaseSysctl = 'kernel.osrelease';

/** The output of `sysctl name…`. */
export const readSysctls = (output: string): ReadonlyMap<string, string> =>
  new Map(
    output.split('\n').flatMap((line) => {
      const [, name, value] = /^(\S+) = (.*)$/.exec(line) ?? [];
      return name === undefined ? [] : [[name, value?.trim() ?? ''] as const];
    }),
  );

/** Arguments for `ipvsadm --set`, seconds; undefined: the kernel has what is wished. `output`: of `ipvsadm -L --timeout`. */
export function timeoutArguments(
  { tcpTimeoutMs, tcpFinTimeoutMs, udpTimeoutMs }: Omit<IpvsSettings, 'scheduler' | 'excludeCIDRs' | 'strictARP'>,
  output: string,
): readonly string[] | undefined {
  const seconds = [tcpTimeoutMs, tcpFinTimeoutMs, udpTimeoutMs].map((ms) => Math.ceil(ms / 1000));
  const has = (/: (\d+) (\d+) (\d+)/.exec(output) ?? []).slice(1).map(Number);
  const differs = seconds.some((wished, i) => wished !== 0 && wished !== has[i]);
  return differs ? ['--set', ...seconds.map(String)] : undefined;
}
