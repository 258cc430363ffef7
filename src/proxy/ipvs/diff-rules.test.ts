import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { TrafficRules } from '../backend.ts';
import { readTables } from '../iptables/kernel-tables.ts';
import { removedChains, rulesScript } from './diff-rules.ts';
import { FakeRules } from './fake-rules.ts';
import { packetRules } from './packet-rules.ts';

const rules: TrafficRules = {
  ...{ family: 'IPv4', masqueradeAll: false, masqueradeBit: 14, local: { cidrs: ['10.244.0.0/16'] } },
  ...{ nodePortAddresses: [], localhostNodePorts: false },
};
const hasSet = () => true;
const others = `*nat
:KUBE-SERVICES - [0:0]
-A KUBE-SERVICES -d 10.96.0.1/32 -j ACCEPT
-I PREROUTING 1 -j KUBE-SERVICES
COMMIT
*filter
:KUBE-FIREWALL - [0:0]
-I INPUT 1 -j KUBE-FIREWALL
-A INPUT -p tcp --dport 22 -j ACCEPT
COMMIT
`;

const variants: Readonly<Record<string, Partial<TrafficRules>>> = {
  'pods known by ranges': {},
  'pods known by their bridge': { local: { interface: 'cni0' } },
  'pods known by the names of their interfaces': { local: { interface: 'veth*' } },
  'pods not known': { local: undefined },
  'everything masqueraded': { masqueradeAll: true },
  'another bit': { masqueradeBit: 30 },
  'loopback routed': { localhostNodePorts: true },
  IPv6: { family: 'IPv6', local: undefined },
};

describe('packet rules', () => {
  for (const [sentence, more] of Object.entries(variants)) {
    const wished = packetRules({ ...rules, ...more });

    test(`${sentence}: written to what others have, in step, changed, and gone again`, () => {
      const kernel = new FakeRules();
      assert.equal(kernel.restore(others, hasSet), undefined);
      const before = kernel.save();
      const bring = (to: typeof wished) => {
        const script = rulesScript(readTables(kernel.save()), to);
        assert.equal(kernel.restore(script, hasSet), undefined);
        return script;
      };
      assert.notEqual(bring(wished), '');
      assert.equal(bring(wished), '');
      const after = kernel.save();
      bring(packetRules({ ...rules, masqueradeBit: 9 }));
      bring(wished);
      assert.deepEqual(kernel.save().split('\n').sort(), after.split('\n').sort());
      assert.ok(removedChains(readTables(kernel.save())).includes('nat KEELSON-IPVS-SERVICES'));
      bring([]);
      const empty =
        '*mangle\n:PREROUTING - [0:0]\n:INPUT - [0:0]\n:FORWARD - [0:0]\n:OUTPUT - [0:0]\n:POSTROUTING - [0:0]\nCOMMIT\n';
      assert.deepEqual(kernel.save().split('\n').sort(), (before + empty).split('\n').sort());
      assert.deepEqual(removedChains(readTables(kernel.save())), []);
    });
  }

  test('ours come first, whatever others have put before them since', () => {
    const kernel = new FakeRules();
    kernel.restore(rulesScript(readTables(''), packetRules(rules)), hasSet);
    const first = readTables(kernel.save()).nat.get('PREROUTING')?.[0];
    kernel.restore(others, hasSet);
    assert.equal(
      rulesScript(readTables(kernel.save()), packetRules(rules)),
      '',
      'another’s rule before ours does no harm',
    );
    assert.match(first ?? '', /KEELSON-IPVS-SERVICES/);
  });

  test('a rule changed by hand is put right', () => {
    const kernel = new FakeRules();
    kernel.restore(rulesScript(readTables(''), packetRules(rules)), hasSet);
    const before = kernel.save();
    kernel.restore('*nat\n-F KEELSON-IPVS-POSTROUTING\n-A KEELSON-IPVS-POSTROUTING -j ACCEPT\nCOMMIT\n', hasSet);
    kernel.restore(rulesScript(readTables(kernel.save()), packetRules(rules)), hasSet);
    assert.equal(kernel.save(), before);
  });
});
