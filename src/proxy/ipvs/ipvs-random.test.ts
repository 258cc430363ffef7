import assert from 'node:assert/strict';
import { test } from 'node:test';
import { FakeClock } from '../../lib/fake-clock.ts';
import { silentLog } from '../../lib/log.ts';
import type { RandomRig } from '../../testing/random-services.ts';
import { checkLeaks, checkSequence } from '../../testing/random-services.ts';
import { Proxier } from '../proxier.ts';
import { FakeIpvs } from './fake-ipvs.ts';
import type { IpvsSettings } from './ipvs-backend.ts';
import { IpvsBackend } from './ipvs-backend.ts';

/** Any sequence of changes of any field, with failures and restarts between, ends as a fresh start does. */

const never = new AbortController().signal;
const settings: IpvsSettings = {
  ...{ scheduler: 'rr', excludeCIDRs: [], strictARP: true },
  ...{ tcpTimeoutMs: 0, tcpFinTimeoutMs: 0, udpTimeoutMs: 250_000 },
};

interface Rig extends RandomRig {
  readonly kernel: FakeIpvs;
}

function newRig(): Rig {
  const kernel = new FakeIpvs();
  const clock = new FakeClock();
  return {
    kernel,
    start: () => {
      const backend = new IpvsBackend({ exec: kernel, log: silentLog, clock, family: 'IPv4', settings });
      const options = { clock, log: silentLog, nodeName: 'here', masqueradeAll: false, masqueradeBit: 14 };
      return new Proxier({ ...options, exec: kernel, backend, clusterCidrs: ['10.244.0.0/16'] });
    },
    failNext: (random) => kernel.failNext('interrupted', random(2) === 0, random(4)),
    dump: () => comparable(kernel),
    pass: async () => {
      await clock.advance(20_000);
      kernel.written.length = 0;
    },
  };
}

/** Who has which mark depends on what was before; each mark stands for where it leads. */
function comparable(kernel: FakeIpvs): readonly string[] {
  const lines = kernel.dump();
  const marks = new Map<string, string[]>();
  for (const line of lines) {
    const [, name = '', rest = ''] = /^-[Aa] -f (\d+) (.*)/.exec(line) ?? [];
    if (name !== '') marks.set(name, [...(marks.get(name) ?? []), rest]);
  }
  return lines
    .filter((line) => !/^-[Aa] -f /.test(line))
    .map((line) =>
      line.replace(/skbmark (0x[0-9a-f]+)/, (_, mark: string) => {
        return `to ${JSON.stringify(marks.get(String(Number(mark)))?.sort())}`;
      }),
    )
    .concat(`${marks.size} marks`)
    .sort();
}

for (let seed = 1; seed <= 100; seed++) {
  test(`sequence ${seed} ends as a fresh start does`, async () => {
    const { rig, cluster } = await checkSequence(seed, newRig);
    const before = rig.kernel.written.length;
    const again = rig.start();
    cluster.tell(again);
    await again.syncOnce('change', never);
    assert.deepEqual(rig.kernel.written.slice(before), [], 'a restart with nothing to change writes nothing');
  });
}

test('2,500 changes leak nothing: no server, address or set, and no memory', () => checkLeaks(newRig, 2_500));
