import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Exec } from '../../host/exec.ts';
import type { TrafficRules } from '../backend.ts';
import { FakeIptables } from '../iptables/fake-iptables.ts';
import { IptablesRemains } from '../iptables/iptables-remains.ts';
import { compilePortals } from './compile-portals.ts';
import { nothingSaved, restoreScript } from './diff-portals.ts';
import { UserspaceRemains } from './userspace-remains.ts';

const signal = new AbortController().signal;
const rules: TrafficRules = {
  ...{ family: 'IPv4', masqueradeAll: false, masqueradeBit: 14, local: undefined },
  ...{ nodePortAddresses: [], localhostNodePorts: false },
};

/** A host with the rules of the userspace mode, in one variant of iptables, and without the relays' address. */
async function hostWithPortals(variant: 'nft' | 'legacy') {
  const iptables = new FakeIptables('nft');
  const exec: Pick<Exec, 'run'> = {
    run: async (file, args, options) =>
      file === 'ip' ? { stdout: '', stderr: '' } : iptables.run(file, args, options),
  };
  const { script } = restoreScript(
    { nat: nothingSaved, filter: nothingSaved },
    compilePortals([], rules, () => undefined),
  );
  const options = { signal, timeoutMs: 1, input: script };
  await exec.run(`iptables-${variant}-restore`, ['-w', '5', '--noflush'], options);
  return { iptables, exec };
}

for (const variant of ['nft', 'legacy'] as const) {
  test(`rules of iptables-${variant} are found and removed, whatever variant the host uses now`, async () => {
    const { iptables, exec } = await hostWithPortals(variant);
    const remains = new UserspaceRemains({ exec });
    assert.ok((await remains.found(signal)).includes(`iptables-${variant} chain nat KUBE-PORTALS-HOST`));
    assert.deepEqual(await remains.conflicts(signal), []);
    await remains.remove(signal);
    assert.deepEqual(await remains.found(signal), []);
    assert.doesNotMatch(iptables.dump(), /KUBE-|KEELSON-/);
  });
}

test('the iptables mode does not take this mode’s chains for its own, nor what tells whose they are', async () => {
  const { iptables, exec } = await hostWithPortals('nft');
  const before = iptables.dump();
  const other = new IptablesRemains({ exec });
  assert.deepEqual(await other.found(signal), []);
  await other.remove(signal);
  assert.equal(iptables.dump(), before);
});
