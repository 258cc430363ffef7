import type { IpFamily } from '../read-service.ts';

/**
 * The IP sets that the packet rules of the IPVS mode look into. Names as kube-proxy's where a set means what its set
 * means, so that other tools find them; those of IPv6 begin with `6-`. What kube-proxy has no word for is `KEELSON-…`.
 */
export const setRoles = [
  'KUBE-IPVS-IPS',
  'KUBE-CLUSTER-IP',
  'KUBE-EXTERNAL-IP',
  'KUBE-EXTERNAL-IP-LOCAL',
  'KUBE-LOAD-BALANCER',
  'KUBE-LOAD-BALANCER-LOCAL',
  'KUBE-LOAD-BALANCER-FW',
  'KUBE-LOAD-BALANCER-SOURCE-CIDR',
  'KUBE-LOOP-BACK',
  'KUBE-NODE-PORT-TCP',
  'KUBE-NODE-PORT-UDP',
  'KUBE-NODE-PORT-SCTP',
  'KUBE-NODE-PORT-LOCAL-TCP',
  'KUBE-NODE-PORT-LOCAL-UDP',
  'KUBE-NODE-PORT-LOCAL-SCTP',
  'KUBE-HEALTH-CHECK-NODE-PORT',
  'KEELSON-DROP',
  'KEELSON-OUTSIDE',
  'KEELSON-OUTSIDE-DROP',
] as const;
export type SetRole = (typeof setRoles)[number];

/** The kernel allows no more. */
const longestName = 31;
/** Far more than any cluster has; a set that is full would refuse all that come later. */
const maxElements = 1_048_576;

export const setName = (role: SetRole, family: IpFamily): string =>
  (family === 'IPv4' ? role : `6-${role}`).slice(0, longestName);

/** What ipset is told to make a set. */
export const createSet = (role: SetRole, family: IpFamily): string =>
  `create ${setName(role, family)} ${typeOf(role, family)}`;

/** Whether a set is of ports alone, whatever the address. */
const isOfPorts = (role: SetRole): boolean =>
  role.startsWith('KUBE-NODE-PORT-') || role === 'KUBE-HEALTH-CHECK-NODE-PORT';

function typeOf(role: SetRole, family: IpFamily): string {
  if (isOfPorts(role)) return 'bitmap:port range 0-65535';
  const options = `family ${family === 'IPv4' ? 'inet' : 'inet6'} maxelem ${maxElements}`;
  switch (role) {
    case 'KUBE-IPVS-IPS':
      return `hash:ip ${options}`;
    case 'KUBE-LOOP-BACK':
      return `hash:ip,port,ip ${options}`;
    case 'KUBE-LOAD-BALANCER-SOURCE-CIDR':
      return `hash:ip,port,net ${options}`;
    case 'KEELSON-OUTSIDE':
      return `hash:ip,port ${options} skbinfo`;
    default:
      return `hash:ip,port ${options}`;
  }
}
