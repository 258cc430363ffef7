import type { KubeProxyConfiguration } from '../config/kinds.ts';
import type { ProxyMode } from './backend.ts';

/** What a section of KubeProxyConfiguration says for the mode that is used. Milliseconds. */
export interface ModeSettings {
  readonly masqueradeAll: boolean;
  readonly masqueradeBit: number;
  readonly syncPeriodMs: number;
  /** Undefined: not set, changes are taken up as quickly as they come. */
  readonly minSyncPeriodMs: number | undefined;
}

type Sections = Pick<KubeProxyConfiguration, 'iptables' | 'ipvs' | 'nftables'>;

/**
 * The settings of a mode, from the section that upstream takes them from: what IPVS says of periods is its own, what it
 * masquerades is said by `iptables`. The userspace mode has no section and writes iptables rules: it is said there.
 */
export function modeSettings(mode: ProxyMode, sections: Sections): ModeSettings {
  const masquerade = mode === 'nftables' ? sections.nftables : sections.iptables;
  const periods = mode === 'userspace' ? sections.iptables : sections[mode];
  return {
    masqueradeAll: masquerade.masqueradeAll,
    masqueradeBit: masquerade.masqueradeBit ?? 14,
    syncPeriodMs: periods.syncPeriod,
    minSyncPeriodMs: periods.minSyncPeriod || undefined,
  };
}
