import type { KubeProxyConfiguration } from '../config/kinds.ts';
import type { ProxyMode } from '../proxy/backend.ts';
import { modeSettings } from '../proxy/mode-settings.ts';
import type { ProxierOptions } from '../proxy/proxier.ts';

type ConfiguredOptions = 'masqueradeAll' | 'masqueradeBit' | 'minSyncPeriodMs' | 'clusterCidrs' | 'traffic';

/** What the configuration says to the proxiers of every family; `syncPeriodMs` is always there. */
export function proxierSettings(
  mode: ProxyMode,
  proxy: KubeProxyConfiguration,
): Pick<ProxierOptions, ConfiguredOptions> & { readonly syncPeriodMs: number } {
  const { minSyncPeriodMs, ...settings } = modeSettings(mode, proxy);
  return {
    ...settings,
    ...(minSyncPeriodMs === undefined ? {} : { minSyncPeriodMs }),
    clusterCidrs: proxy.clusterCIDR ? proxy.clusterCIDR.split(',') : [],
    traffic: {
      detectLocalMode: proxy.detectLocalMode,
      ...proxy.detectLocal,
      bindAddress: proxy.bindAddress,
      nodePortAddresses: proxy.nodePortAddresses,
      localhostNodePorts: proxy.iptables.localhostNodePorts ?? true,
    },
  };
}
