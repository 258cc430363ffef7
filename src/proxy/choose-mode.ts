import type { AgentError } from '../lib/errors.ts';
import type { ProxyMode } from './backend.ts';

/** What a mode's check has said: an error when the mode cannot work here, undefined when it can. */
export type ModeVerdicts = ReadonlyMap<ProxyMode, AgentError | undefined>;

export interface ModeDecision {
  readonly mode: ProxyMode;
  /** Modes that would have come before it, and why they cannot work here. */
  readonly refused: readonly { readonly mode: ProxyMode; readonly error: AgentError }[];
  /** Nothing that may be used works here: the mode is tried all the same, until it does. */
  readonly hopeless: boolean;
}

/** What `mode: ''` tries, and in which order: the fastest first. IPVS only when asked for, it is a scheduler of its own. */
const ownChoice: readonly ProxyMode[] = ['nftables', 'iptables', 'userspace'];

/**
 * The modes to look at, in order. `wanted`: the configuration's, '' for ours to choose; `fallbacks`: what may stand in
 * for a mode that was asked for by name.
 */
export function candidateModes(wanted: ProxyMode | '', fallbacks: readonly ProxyMode[]): readonly ProxyMode[] {
  return wanted === '' ? ownChoice : [...new Set([wanted, ...fallbacks])];
}

/** The first candidate whose verdict is good; without one, the first of all. `candidates` is never empty. */
export function decideMode(candidates: readonly ProxyMode[], verdicts: ModeVerdicts): ModeDecision {
  const refused: { mode: ProxyMode; error: AgentError }[] = [];
  for (const mode of candidates) {
    if (!verdicts.has(mode)) continue;
    const error = verdicts.get(mode);
    if (error === undefined) return { mode, refused, hopeless: false };
    refused.push({ mode, error });
  }
  return { mode: candidates[0] ?? 'nftables', refused, hopeless: true };
}

/** What of the host says which address families it has. */
export interface FamilyFacts {
  /** The content of /proc/net/if_inet6: a line for each address; undefined: the kernel has no IPv6. */
  readonly inet6Addresses: string | undefined;
  /** net.ipv6.conf.all.disable_ipv6; undefined: cannot be read. */
  readonly disableIpv6: string | undefined;
}

/**
 * Whether the node has IPv6 at all. Switched off for all interfaces it is off, unless one of them has an address
 * nevertheless: the switch of a single interface wins over that of all.
 */
export function hasIpv6({ inet6Addresses, disableIpv6 }: FamilyFacts): boolean {
  if (inet6Addresses === undefined) return false;
  return disableIpv6?.trim() !== '1' || inet6Addresses.trim() !== '';
}
