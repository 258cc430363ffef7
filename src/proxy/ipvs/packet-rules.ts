import { createHash } from 'node:crypto';
import type { TrafficRules } from '../backend.ts';
import type { IpFamily } from '../read-service.ts';
import { markPrefix, prefixMask } from './outside-marks.ts';
import type { SetRole } from './set-layout.ts';
import { setName } from './set-layout.ts';

export type TableName = 'mangle' | 'nat' | 'filter';

/** A rule without its chain: what it matches, and what becomes of the packet then. */
export interface PacketRule {
  readonly match: string;
  readonly target: string;
}

export interface PacketChain {
  readonly table: TableName;
  readonly name: string;
  /** `jump`: a chain of the kernel, of which only our rules, put first, are ours. */
  readonly kind: 'own' | 'jump';
  readonly rules: readonly PacketRule[];
}

/** An empty chain in each table that we write: says that this mode is or was in use. */
export const ipvsCanaryChain = 'KEELSON-IPVS-CANARY';

/**
 * The few rules around IPVS; which Services there are is in the sets alone, so these change with the configuration
 * only. A packet of a new connection meets, in this order: in mangle, who may come in at all, what clients from
 * outside get, what nobody gets; in nat, who is masqueraded; then IPVS. A packet of this host meets IPVS before the
 * filter table, which is why what is dropped is dropped in mangle. Chains have kube-proxy's names, except where the
 * iptables mode has a chain of that name: for a moment both modes are in place, and then one of them is removed.
 */
export function packetRules(rules: TrafficRules): readonly PacketChain[] {
  return [...mangleChains(rules), ...natChains(rules), ...filterChains(rules)];
}

const rule = (match: string, target: string): PacketRule => ({ match, target });
const isNew = '-m conntrack --ctstate NEW';
const fromHost = '-m addrtype --src-type LOCAL';
const hex = (value: number): string => `0x${(value >>> 0).toString(16)}`;
const bitOf = ({ masqueradeBit }: TrafficRules): string => hex(1 << masqueradeBit);
const marked = ({ masqueradeBit }: TrafficRules): string => `${hex(markPrefix(masqueradeBit))}/${hex(prefixMask)}`;

const own = (table: TableName, name: string, rules: readonly PacketRule[]): PacketChain => ({
  ...{ table, name, kind: 'own', rules },
});
const jump = (table: TableName, name: string, rules: readonly PacketRule[]): PacketChain => ({
  ...{ table, name, kind: 'jump', rules },
});
const canary = (table: TableName): PacketChain => own(table, ipvsCanaryChain, []);

/** Matches members of a set; most are of destination and port. */
const inSet = (family: IpFamily, role: SetRole, fields = 'dst,dst'): string =>
  `-m set --match-set ${setName(role, family)} ${fields}`;

function mangleChains(rules: TrafficRules): readonly PacketChain[] {
  const { family } = rules;
  const set = (role: SetRole, fields?: string) => inSet(family, role, fields);
  // The masquerade bit may have been put to it since.
  const clear = hex(~(1 << rules.masqueradeBit));
  return [
    canary('mangle'),
    own('mangle', 'KUBE-SOURCE-RANGES-FIREWALL', [
      rule(set('KUBE-LOAD-BALANCER-SOURCE-CIDR', 'dst,dst,src'), '-j RETURN'),
      rule('', '-j DROP'),
    ]),
    own('mangle', 'KUBE-PROXY-FIREWALL', [rule(set('KUBE-LOAD-BALANCER-FW'), '-j KUBE-SOURCE-RANGES-FIREWALL')]),
    own('mangle', 'KEELSON-IPVS-OUTSIDE', [
      ...localSources(rules).map((match) => rule(match, '-j RETURN')),
      rule(`${isNew} ${set('KEELSON-OUTSIDE-DROP')}`, '-j DROP'),
      rule('', `-j SET --map-set ${setName('KEELSON-OUTSIDE', family)} dst,dst --map-mark`),
    ]),
    own('mangle', 'KEELSON-IPVS-DROP', [rule(set('KEELSON-DROP'), '-j DROP')]),
    jump('mangle', 'PREROUTING', [
      rule(isNew, '-j KUBE-PROXY-FIREWALL'),
      rule('', '-j KEELSON-IPVS-OUTSIDE'),
      rule(`${isNew} -m mark ! --mark ${marked(rules)}`, '-j KEELSON-IPVS-DROP'),
    ]),
    jump('mangle', 'OUTPUT', [rule(isNew, '-j KUBE-PROXY-FIREWALL'), rule(isNew, '-j KEELSON-IPVS-DROP')]),
    jump('mangle', 'POSTROUTING', [rule(`-m mark --mark ${marked(rules)}`, `-j MARK --set-xmark 0x0/${clear}`)]),
  ];
}

/** Matches what comes from pods, and so not from outside; none: that cannot be told. */
function localSources({ local }: TrafficRules): readonly string[] {
  if (!local) return [];
  return 'cidrs' in local ? local.cidrs.map((cidr) => `-s ${cidr}`) : [`-i ${local.interface.replace(/\*$/, '+')}`];
}

function natChains(rules: TrafficRules): readonly PacketChain[] {
  const { family, masqueradeAll } = rules;
  const set = (role: SetRole, fields?: string) => inSet(family, role, fields);
  const masquerade = '-j KEELSON-IPVS-MARK-MASQ';
  const bit = bitOf(rules);
  const protocols = ['TCP', 'UDP', 'SCTP'] as const;
  return [
    canary('nat'),
    own('nat', 'KEELSON-IPVS-MARK-MASQ', [rule('', `-j MARK --set-xmark ${bit}/${bit}`)]),
    own('nat', 'KEELSON-IPVS-INTERNAL', [
      // A process of the host that asks a virtual address has that address as its own.
      rule(fromHost, masquerade),
      ...(masqueradeAll ? [] : localSources(rules).map((match) => rule(match, '-j RETURN'))),
      ...(masqueradeAll || rules.local ? [rule('', masquerade)] : []),
    ]),
    own('nat', 'KUBE-LOAD-BALANCER', [rule('', masquerade)]),
    own(
      'nat',
      'KUBE-NODE-PORT',
      protocols.flatMap((protocol) => {
        const match = (role: SetRole) => `-p ${protocol.toLowerCase()} ${set(role, 'dst')}`;
        return [
          rule(match(`KUBE-NODE-PORT-${protocol}`), masquerade),
          rule(`${match(`KUBE-NODE-PORT-LOCAL-${protocol}`)} ${fromHost}`, masquerade),
        ];
      }),
    ),
    own('nat', 'KEELSON-IPVS-SERVICES', [
      // What is for clients from outside shows their address; another bit would hide the mark from IPVS.
      rule(`-m mark --mark ${marked(rules)}`, '-j RETURN'),
      rule(set('KUBE-CLUSTER-IP'), '-j KEELSON-IPVS-INTERNAL'),
      rule(set('KUBE-EXTERNAL-IP'), masquerade),
      rule(`${set('KUBE-EXTERNAL-IP-LOCAL')} ${fromHost}`, masquerade),
      rule(set('KUBE-LOAD-BALANCER'), '-j KUBE-LOAD-BALANCER'),
      rule(`${set('KUBE-LOAD-BALANCER-LOCAL')} ${fromHost}`, masquerade),
      rule(
        // What listens on loopback has a client there, and no node port is served there.
        `! -d ${family === 'IPv4' ? '127.0.0.0/8' : '::1/128'} -m set ! --match-set ${setName('KUBE-IPVS-IPS', family)} dst -m addrtype --dst-type LOCAL`,
        '-j KUBE-NODE-PORT',
      ),
    ]),
    own('nat', 'KEELSON-IPVS-POSTROUTING', [
      rule(set('KUBE-LOOP-BACK', 'dst,dst,src'), '-j MASQUERADE'),
      rule(`-m mark ! --mark ${bit}/${bit}`, '-j RETURN'),
      // Cleared, so that a packet which passes again (through a tunnel, say) is not masqueraded twice.
      rule('', `-j MARK --set-xmark 0x0/${bit}`),
      rule('', '-j MASQUERADE --random-fully'),
    ]),
    jump('nat', 'PREROUTING', [rule('', '-j KEELSON-IPVS-SERVICES')]),
    jump('nat', 'OUTPUT', [rule('', '-j KEELSON-IPVS-SERVICES')]),
    jump('nat', 'POSTROUTING', [rule('', '-j KEELSON-IPVS-POSTROUTING')]),
  ];
}

const served: readonly SetRole[] = [
  ...(['KUBE-CLUSTER-IP', 'KUBE-EXTERNAL-IP', 'KUBE-EXTERNAL-IP-LOCAL'] as const),
  ...(['KUBE-LOAD-BALANCER', 'KUBE-LOAD-BALANCER-LOCAL'] as const),
];

function filterChains(rules: TrafficRules): readonly PacketChain[] {
  const { family } = rules;
  const [icmp, reject] =
    family === 'IPv4' ? ['icmp', 'icmp-port-unreachable'] : (['ipv6-icmp', 'icmp6-port-unreachable'] as const);
  const martians = rule('! -s 127.0.0.0/8 -d 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT', '-j DROP');
  return [
    canary('filter'),
    // The host has every virtual address, but what listens on all its addresses is not for everybody who asks there.
    own('filter', 'KUBE-IPVS-FILTER', [
      ...served.map((role) => rule(inSet(family, role), '-j RETURN')),
      rule(`! -p ${icmp} ${inSet(family, 'KUBE-IPVS-IPS', 'dst')}`, `-j REJECT --reject-with ${reject}`),
    ]),
    // Balancers get in whatever else the host's firewall refuses.
    own('filter', 'KUBE-NODE-PORT', [
      rule(`-p tcp ${inSet(family, 'KUBE-HEALTH-CHECK-NODE-PORT', 'dst')}`, '-j ACCEPT'),
    ]),
    // Answers of endpoints are forwarded, and many hosts let nothing be: Docker, for one, has DROP for its policy.
    own('filter', 'KEELSON-IPVS-FORWARD', [rule('-m conntrack --ctstate RELATED,ESTABLISHED', '-j ACCEPT')]),
    jump('filter', 'FORWARD', [rule('', '-j KEELSON-IPVS-FORWARD')]),
    jump('filter', 'INPUT', [
      // Whoever routes loopback addresses for node ports must not let neighbours reach what listens there.
      ...(rules.localhostNodePorts && family === 'IPv4' ? [martians] : []),
      rule(isNew, '-j KUBE-IPVS-FILTER'),
      rule(isNew, '-j KUBE-NODE-PORT'),
    ]),
  ];
}

/** What a rule's comment holds, so that it is known again whatever way iptables-save prints the rest. */
export const ruleTag = ({ match, target }: PacketRule): string =>
  `keelson ipvs ${createHash('sha256').update(`${match} ${target}`).digest('hex').slice(0, 12)}`;

/** A rule as iptables takes it after `-A CHAIN`. */
export const ruleText = (one: PacketRule): string =>
  [one.match, `-m comment --comment "${ruleTag(one)}"`, one.target].filter((part) => part !== '').join(' ');
