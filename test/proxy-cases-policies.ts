import type { IpFamily } from '../src/proxy/read-service.ts';
import { caseMaker, web } from './proxy-case-maker.ts';
import type { CaseAddresses, Sender, World } from './proxy-cases.ts';
import { tcpPort } from './proxy-lab.ts';

/** Traffic policies, hints and conditions of endpoints, where several of them meet. */

const local = { externalTrafficPolicy: 'Local' } as const;
const inner = { internalTrafficPolicy: 'Local' } as const;
const leaving = { conditions: { ready: false, serving: true, terminating: true } };
const unready = { conditions: { ready: false, serving: false } };
const everybody: readonly Sender[] = ['client', 'host', 'outside'];
const usual = { tcp: 80, udp: 53 };
const on = (number: number) => ({ tcp: 30_000 + number, udp: 30_000 + number });

export function policiesOf(
  family: IpFamily,
  addresses: Readonly<Record<IpFamily, CaseAddresses>>,
): Pick<World, 'services' | 'slices' | 'cases'> {
  const a = addresses[family];
  const { add, endpoint, expect, nodePorts, table } = caseMaker(family, addresses);
  const client = `${a.pod}10`;
  /** With a node port. */
  const open = (number: number, ...more: readonly object[]) =>
    Object.assign({ type: 'NodePort', ports: nodePorts(number) } as const, ...more);

  const half = { conditions: { ready: false, terminating: true } };
  add('untoldServing', { number: 101, slices: [{ endpoints: [endpoint('s1', half)] }] });
  expect('a leaving endpoint serves unless told otherwise', 'client', `${a.vip}101`, usual, ['s1']);
  add('leavingAlike', {
    number: 102,
    spec: open(102, local),
    slices: [{ endpoints: [endpoint('s1', leaving), endpoint('s3', leaving)] }],
  });
  expect('all leave, the local one serves', 'outside', a.node, on(102), ['s1'], a.outside);
  expect('all leave, any serves', 'client', a.node, on(102), ['s1', 's3'], client);
  expect('all leave, any serves', 'host', a.node, on(102), ['s1', 's3'], a.bridge);
  add('leavingAway', {
    number: 103,
    spec: open(103, local),
    slices: [{ endpoints: [endpoint('s3', leaving), endpoint('s1', unready)] }],
  });
  expect('dropped, as only another node’s leaving one serves', 'outside', a.node, on(103), 'DROP');
  expect('another node’s leaving one', 'client', a.node, on(103), ['s3'], client);
  add('innerLeaving', {
    number: 104,
    spec: inner,
    slices: [{ endpoints: [endpoint('s1', leaving), endpoint('s3')] }],
  });
  for (const from of everybody) expect('the leaving one of this node', from, `${a.vip}104`, usual, ['s1']);
  add('innerLeavingAway', {
    number: 105,
    spec: inner,
    slices: [{ endpoints: [endpoint('s1', unready), endpoint('s3', leaving)] }],
  });
  for (const from of everybody) expect('only another node’s leaves and serves', from, `${a.vip}105`, usual, 'DROP');
  add('both', {
    number: 106,
    spec: open(106, local, inner),
    slices: [{ endpoints: [endpoint('s1'), endpoint('s3')] }],
  });
  expect('both policies: the local one', 'client', `${a.vip}106`, usual, ['s1'], client);
  expect('both policies: the local one', 'outside', a.node, on(106), ['s1'], a.outside);
  expect('both policies: any from inside', 'client', a.node, on(106), ['s1', 's3'], client);
  expect('both policies: any from inside', 'host', a.node, on(106), ['s1', 's3'], a.bridge);
  add('bothAway', { number: 107, spec: open(107, local, inner), slices: [{ endpoints: [endpoint('s3')] }] });
  for (const from of everybody) expect('both policies: not from here', from, `${a.vip}107`, usual, 'DROP');
  expect('both policies: not from here', 'outside', a.node, on(107), 'DROP');
  expect('both policies: anywhere from inside', 'client', a.node, on(107), ['s3']);
  expect('both policies: anywhere from inside', 'host', a.node, on(107), ['s3']);
  add('bothNone', {
    number: 108,
    spec: open(108, local, inner),
    slices: [{ endpoints: [endpoint('s1', unready), endpoint('s3', unready)] }],
  });
  for (const from of everybody) {
    expect('nobody serves anywhere', from, `${a.vip}108`, usual, 'REJECT');
    expect('nobody serves anywhere', from, a.node, on(108), 'REJECT');
  }

  const nowhere = { addresses: [`${a.pod}11`] };
  add('nodeless', { number: 109, spec: open(109, local, inner), slices: [{ endpoints: [nowhere] }] });
  expect('an endpoint of no known node is not local', 'outside', a.node, on(109), 'DROP');
  expect('an endpoint of no known node is not local', 'client', `${a.vip}109`, usual, 'DROP');
  expect('an endpoint of no known node', 'client', a.node, on(109), ['s1'], client);
  add('told', {
    number: 110,
    spec: open(110, local),
    slices: [{ endpoints: [nowhere] }, { endpoints: [endpoint('s1')] }, { endpoints: [nowhere] }],
  });
  expect('local, as one of its copies says', 'outside', a.node, on(110), ['s1'], a.outside);
  add('idle', {
    number: 111,
    slices: [{ endpoints: [endpoint('s1', { conditions: { ready: false, serving: true } })] }],
  });
  expect('serving, but neither ready nor leaving', 'client', `${a.vip}111`, usual, 'REJECT');
  add('readyLeaving', {
    number: 112,
    spec: { publishNotReadyAddresses: true },
    slices: [
      {
        endpoints: [endpoint('s1', { conditions: { ready: true, serving: false, terminating: true } }), endpoint('s2')],
      },
    ],
  });
  expect('ready by word of its slice, though it leaves', 'client', `${a.vip}112`, usual, ['s1', 's2']);

  const hints = (zones: readonly string[], nodes: readonly string[] = []) => ({
    hints: { forZones: zones.map((name) => ({ name })), forNodes: nodes.map((name) => ({ name })) },
  });
  const hinted = (number: number, sentence: string, endpoints: readonly object[], expected: readonly string[]) => {
    add(`hinted${number}`, { number, slices: [{ endpoints: endpoints as never }] });
    expect(sentence, 'client', `${a.vip}${number}`, usual, expected);
  };
  const s1InB = endpoint('s1', hints(['b']));
  const s2InA = endpoint('s2', hints(['a']));
  hinted(120, 'all, as none is for this zone', [s1InB, endpoint('s3', hints(['c']))], ['s1', 's3']);
  hinted(121, 'one for several zones', [endpoint('s1', hints(['b', 'a'])), endpoint('s2', hints(['b']))], ['s1']);
  hinted(122, 'the unready need no hint', [s1InB, s2InA, endpoint('s3', unready)], ['s2']);
  const elsewhere = endpoint('s1', hints([], ['other']));
  hinted(123, 'all, as none is for this node', [elsewhere, endpoint('s3', hints([], ['other']))], ['s1', 's3']);
  const byZone = [endpoint('s1', hints(['b'], ['other'])), endpoint('s2', hints(['a'], ['other']))];
  hinted(124, 'by zone, as none is for this node', byZone, ['s2']);
  const partly = [endpoint('s1', hints(['a'], ['node'])), s2InA, endpoint('s3', hints(['b'], ['other']))];
  hinted(125, 'by zone, as one has no hint of a node', partly, ['s1', 's2']);
  const gone = [endpoint('s1', { ...hints(['b']), ...leaving }), endpoint('s2', { ...hints(['a']), ...leaving })];
  hinted(126, 'hints of those that leave say nothing', gone, ['s1', 's2']);
  const readyElsewhere = [endpoint('s2', { ...hints(['a']), ...leaving }), endpoint('s3', hints(['b']))];
  hinted(127, 'a ready one elsewhere before a leaving one here', readyElsewhere, ['s3']);
  add('hintedLocal', { number: 128, spec: open(128, local), slices: [{ endpoints: [s1InB, s2InA] }] });
  expect('hints say nothing of local endpoints', 'outside', a.node, on(128), ['s1', 's2'], a.outside);
  expect('hints count from inside', 'client', a.node, on(128), ['s2'], client);
  add('hintedInner', { number: 129, spec: inner, slices: [{ endpoints: [s1InB, s2InA] }] });
  expect('hints say nothing of local endpoints', 'client', `${a.vip}129`, usual, ['s1', 's2']);

  const balancer = (...loadBalancerSourceRanges: readonly string[]) =>
    ({ type: 'LoadBalancer', loadBalancerSourceRanges, ...local }) as const;
  add('rangedLocal', {
    number: 130,
    spec: balancer(` ${a.outside}${a.only} `),
    slices: [{ endpoints: [endpoint('s1'), endpoint('s3')] }],
  });
  expect('in its range, local endpoints', 'outside', `${a.balancer}130`, usual, ['s1'], a.outside);
  for (const from of ['client', 'host'] as const) expect('out of range', from, `${a.balancer}130`, usual, 'DROP');
  add('rangedAway', {
    number: 131,
    spec: balancer(a.outside + a.only, client + a.only),
    slices: [{ endpoints: [endpoint('s3')] }],
  });
  expect('in its range, but only another node serves it', 'outside', `${a.balancer}131`, usual, 'DROP');
  expect('in its range, and inside', 'client', `${a.balancer}131`, usual, ['s3'], client);
  const foreign = addresses[family === 'IPv4' ? 'IPv6' : 'IPv4'].elsewhere;
  add('rangedForeign', { number: 132, spec: balancer(foreign), slices: [{ endpoints: [endpoint('s1')] }] });
  for (const from of everybody) expect('no range of this family', from, `${a.balancer}132`, usual, ['s1']);
  expect('itself, masqueraded', 's1', `${a.balancer}132`, usual, ['s1'], a.bridge);
  add('closedLocal', {
    number: 133,
    spec: { ...balancer(a.elsewhere), ...inner, externalIPs: [`${a.external}133`], ports: nodePorts(133) },
    slices: [{ endpoints: [endpoint('s1')] }],
  });
  expect('ranges say nothing here', 'outside', `${a.external}133`, usual, ['s1'], a.outside);
  expect('ranges say nothing here', 'outside', a.node, on(133), ['s1'], a.outside);
  expect('itself, out of range', 's1', `${a.balancer}133`, usual, 'DROP');
  add('same', {
    number: 134,
    spec: { type: 'LoadBalancer', externalIPs: [`${a.balancer}134`] },
    slices: [{ endpoints: [endpoint('s1')] }],
  });
  for (const from of everybody) {
    expect('the balancer’s address is an external one too', from, `${a.balancer}134`, usual, ['s1'], a.bridge);
  }
  add('externalLocal', {
    number: 135,
    spec: { externalIPs: [`${a.external}135`], ...local },
    slices: [{ endpoints: [endpoint('s1'), endpoint('s3')] }],
  });
  expect('local endpoints of a ClusterIP Service', 'outside', `${a.external}135`, usual, ['s1'], a.outside);
  expect('any endpoint of a ClusterIP Service', 'client', `${a.external}135`, usual, ['s1', 's3'], client);
  const port = 30_137;
  add('onNodeLocal', {
    number: 136,
    spec: { externalIPs: [a.node], ports: [{ ...web, port }], ...local },
    slices: [{ endpoints: [endpoint('s1'), endpoint('s3')] }],
  });
  add('nodePort', {
    number: 137,
    spec: { type: 'NodePort', ports: [{ ...web, nodePort: port }] },
    slices: [{ endpoints: [endpoint('s2')] }],
  });
  expect('an external address goes before a node port', 'outside', a.node, { tcp: port }, ['s1'], a.outside);
  // IPVS masquerades by the number of a node port at any address of the node: the client's is not looked at.
  expect('an external address goes before a node port', 'client', a.node, { tcp: port }, ['s1', 's3']);
  expect('the node port of the other addresses', 'outside', a.bridge, { tcp: port }, ['s2'], a.bridge);

  const clientIp = {
    sessionAffinity: 'ClientIP',
    sessionAffinityConfig: { clientIP: { timeoutSeconds: 10 } },
  } as const;
  add('sticky', {
    number: 138,
    spec: open(138, local, clientIp),
    slices: [{ endpoints: [endpoint('s1'), endpoint('s3', unready)] }],
  });
  for (const from of everybody) expect('whoever holds on to the one', from, a.node, on(138), ['s1']);
  const targets = (...ports: readonly object[]) => ({ endpoints: [endpoint('s1')], ports: ports as never });
  add('numberless', { number: 140, slices: [targets({ name: 'web', protocol: 'TCP' })] });
  expect('a slice whose port has no number', 'client', `${a.vip}140`, { tcp: 80 }, 'REJECT');
  add('misnamed', { number: 141, slices: [targets({ name: '', protocol: 'TCP', port: tcpPort })] });
  expect('a slice whose port has another name', 'client', `${a.vip}141`, { tcp: 80 }, 'REJECT');
  add('mistyped', { number: 142, slices: [targets({ name: 'web', protocol: 'UDP', port: tcpPort })] });
  expect('a slice whose port has another protocol', 'client', `${a.vip}142`, { tcp: 80 }, 'REJECT');
  add('fqdn', {
    number: 143,
    slices: [{ addressType: 'FQDN', endpoints: [{ addresses: ['example.com'] }] }, { endpoints: [endpoint('s1')] }],
  });
  expect('slices of names are nobody’s business', 'client', `${a.vip}143`, usual, ['s1']);
  add('several', {
    number: 144,
    slices: [{ endpoints: [endpoint('s1', { addresses: [`${a.pod}11`, `${a.pod}12`] })] }],
  });
  expect('of an endpoint’s addresses the first', 'client', `${a.vip}144`, usual, ['s1']);
  const headless = { 'service.kubernetes.io/headless': '' };
  const elses = { 'service.kubernetes.io/service-proxy-name': '' };
  add('labelled', { number: 145, labels: headless, slices: [{ endpoints: [endpoint('s1')] }] });
  expect('labelled headless', 'client', `${a.vip}145`, usual, 'DROP');
  add('elses', { number: 146, labels: elses, slices: [{ endpoints: [endpoint('s1')] }] });
  expect('labelled as another proxy’s without its name', 'client', `${a.vip}146`, usual, 'DROP');
  add('zero', {
    number: 147,
    spec: { type: 'NodePort', ports: [{ ...web, nodePort: 0 }] },
    slices: [{ endpoints: [endpoint('s1')] }],
  });
  expect('a node port not given yet', 'client', `${a.vip}147`, { tcp: 80 }, ['s1']);
  return table;
}
