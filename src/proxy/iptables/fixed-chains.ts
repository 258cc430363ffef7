import type { TrafficRules } from '../backend.ts';
import type { TableName } from './chain-names.ts';
import {
  externalServicesChain,
  forwardChain,
  loopbackGuardChain,
  markMasqueradeChain,
  markOutsidersChain,
  nodePortsChain,
  ownerChain,
  postroutingChain,
  proxyCanaryChain,
  proxyFirewallChain,
  servicesChain,
  tableNames,
} from './chain-names.ts';
import { comment, localMatches, networkOf, rule, to } from './rule-text.ts';

export interface Chain {
  readonly table: TableName;
  readonly name: string;
  /** Without `-A <name>`. */
  readonly rules: readonly string[];
}

/** A chain of which every Service port adds rules of its own, in any order, before those of `tail`. */
export interface SharedChain {
  readonly table: TableName;
  readonly name: string;
  readonly tail: readonly string[];
}

/** Rules at the head of one of the kernel's own chains, where other programs have theirs. */
export interface Jumps {
  readonly table: TableName;
  readonly name: string;
  readonly rules: readonly string[];
}

export interface FixedRules {
  readonly chains: readonly Chain[];
  readonly shared: readonly SharedChain[];
  readonly jumps: readonly Jumps[];
}

/**
 * What does not depend on Services.
 *
 *   nat     PREROUTING, OUTPUT ─► KUBE-SERVICES ─► KUBE-SVC | KUBE-EXT | KUBE-FW ─► … ─► KUBE-SEP: DNAT
 *                                   └─ last, to an address of the node ─► KUBE-NODEPORTS ─► KUBE-EXT
 *           POSTROUTING ─► KUBE-POSTROUTING: masquerade what KUBE-MARK-MASQ has marked
 *   filter  INPUT, FORWARD, OUTPUT, new connections ─► KUBE-PROXY-FIREWALL ─► KUBE-FW: drop what is out of range
 *                                                   ─► KUBE-EXTERNAL-SERVICES (─► KUBE-NODEPORTS): reject, drop
 *           FORWARD, OUTPUT, new connections        ─► KUBE-SERVICES: reject, drop
 *           FORWARD ─► KUBE-FORWARD: accept what is a Service's, drop what conntrack takes for invalid
 *
 * kube-proxy asks KUBE-EXTERNAL-SERVICES for INPUT and FORWARD alone; here a process of this host is refused as well.
 */
export function fixedRules(rules: TrafficRules): FixedRules {
  const { family, masqueradeBit, localhostNodePorts } = rules;
  const bit = `0x${((1 << masqueradeBit) >>> 0).toString(16)}`;
  const isGuarded = localhostNodePorts && family === 'IPv4';
  const nodePorts = nodePortJumps(rules);
  const chain = (table: TableName, name: string, ...lines: readonly string[]): Chain => ({ table, name, rules: lines });
  const locals = localMatches(rules.local);
  return {
    chains: [
      ...tableNames.flatMap((table) => [chain(table, ownerChain), chain(table, proxyCanaryChain)]),
      chain('nat', markMasqueradeChain, `-j MARK --set-xmark ${bit}/${bit}`),
      chain(
        'nat',
        postroutingChain,
        `-m mark ! --mark ${bit}/${bit} -j RETURN`,
        // The bit is cleared so that a packet which passes again (through a tunnel, say) is not masqueraded twice.
        `-j MARK --set-xmark ${bit}/0x0`,
        rule(comment('kubernetes service traffic requiring SNAT'), '-j MASQUERADE --random-fully'),
      ),
      ...(locals.length > 1
        ? [
            chain(
              'nat',
              markOutsidersChain,
              ...locals.map((match) => rule(match, '-j RETURN')),
              `-j ${markMasqueradeChain}`,
            ),
          ]
        : []),
      chain(
        'filter',
        forwardChain,
        '-m conntrack --ctstate INVALID -j DROP',
        rule(comment('kubernetes forwarding rules'), `-m mark --mark ${bit}/${bit} -j ACCEPT`),
        rule(comment('kubernetes forwarding conntrack rule'), '-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'),
      ),
      ...(isGuarded
        ? [
            chain(
              'filter',
              loopbackGuardChain,
              rule(
                '-d 127.0.0.0/8 ! -i lo',
                comment('block incoming localnet connections'),
                '-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP',
              ),
            ),
          ]
        : []),
    ],
    shared: [
      { table: 'nat', name: servicesChain, tail: nodePorts },
      { table: 'nat', name: nodePortsChain, tail: [] },
      { table: 'filter', name: servicesChain, tail: [] },
      { table: 'filter', name: nodePortsChain, tail: [] },
      { table: 'filter', name: externalServicesChain, tail: nodePorts },
      { table: 'filter', name: proxyFirewallChain, tail: [] },
    ],
    jumps: jumps(isGuarded),
  };
}

function jumps(isGuarded: boolean): readonly Jumps[] {
  const always = (target: string, text: string) => rule(comment(text), `-j ${target}`);
  const fresh = (target: string, text: string) => rule('-m conntrack --ctstate NEW', always(target, text));
  const firewall = fresh(proxyFirewallChain, 'kubernetes load balancer firewall');
  const external = fresh(externalServicesChain, 'kubernetes externally-visible service portals');
  const services = fresh(servicesChain, 'kubernetes service portals');
  const guard = isGuarded ? [always(loopbackGuardChain, 'block incoming localnet connections')] : [];
  const translated = always(servicesChain, 'kubernetes service portals');
  return [
    { table: 'nat', name: 'PREROUTING', rules: [translated] },
    { table: 'nat', name: 'OUTPUT', rules: [translated] },
    { table: 'nat', name: 'POSTROUTING', rules: [always(postroutingChain, 'kubernetes postrouting rules')] },
    { table: 'filter', name: 'INPUT', rules: [...guard, firewall, external] },
    {
      table: 'filter',
      name: 'FORWARD',
      rules: [firewall, always(forwardChain, 'kubernetes forwarding rules'), services, external],
    },
    { table: 'filter', name: 'OUTPUT', rules: [firewall, services, external] },
  ];
}

const nodePortsText = 'kubernetes service nodeports; NOTE: this must be the last rule in this chain';

/** Leads packets to the addresses that serve node ports to KUBE-NODEPORTS. */
function nodePortJumps({ family, nodePortAddresses, localhostNodePorts }: TrafficRules): readonly string[] {
  const loopback = family === 'IPv4' ? '127.0.0.0/8' : '::1/128';
  const isServed = family === 'IPv4' && localhostNodePorts;
  const jump = (match: string) =>
    rule(match, comment(nodePortsText), `-m addrtype --dst-type LOCAL -j ${nodePortsChain}`);
  if (nodePortAddresses.length === 0) return [jump(isServed ? '' : `! -d ${loopback}`)];
  const skip = rule(`-d ${networkOf(loopback)}`, comment('node ports are not served on loopback'), '-j RETURN');
  return [...(isServed ? [] : [skip]), ...nodePortAddresses.map((cidr) => jump(to(cidr)))];
}
