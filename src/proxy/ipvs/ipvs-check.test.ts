import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Exec, ExecOptions } from '../../host/exec.ts';
import { ExecError, notFound } from '../../host/exec.ts';
import { FakeIpvs } from './fake-ipvs.ts';
import { ipvsUnusable } from './ipvs-check.ts';

const never = new AbortController().signal;
const refused = (file: string, stderr: string) =>
  new ExecError(file, 'exited with status 2', { code: 'ExecFailed', exitCode: 2, stderr, timedOut: false });

/** A kernel that works, but for what `fails` says of a command. */
function hostWith(fails: (command: string) => Error | undefined): { exec: Pick<Exec, 'run'>; kernel: FakeIpvs } {
  const kernel = new FakeIpvs();
  const run = async (file: string, args: readonly string[], options: ExecOptions) => {
    const error = fails([file, ...args].join(' '));
    if (error) throw error;
    return kernel.run(file, args, options);
  };
  return { exec: { run }, kernel };
}

const noKernel =
  "Can't initialize ipvs: Protocol not available\nAre you sure that IP Virtual Server is built in the kernel?";
const hosts: Readonly<
  Record<string, readonly [fails: (command: string) => Error | undefined, code: string, hint: RegExp]>
> = {
  'ipvsadm is not installed': [
    (command) => (command.startsWith('ipvsadm') ? notFound('ipvsadm') : undefined),
    'IpvsMissing',
    /apt-get install ipvsadm/,
  ],
  'ipset is not installed': [
    (command) => (command.startsWith('ipset') ? notFound('ipset') : undefined),
    'IpvsMissing',
    /apt-get install ipset/,
  ],
  'iptables is not installed': [
    (command) => (command.startsWith('iptables') ? notFound('iptables-save') : undefined),
    'IpvsMissing',
    /install/,
  ],
  'the kernel has no IPVS': [
    (command) => (command.startsWith('ipvsadm') ? refused('ipvsadm', noKernel) : undefined),
    'IpvsNoKernel',
    /modprobe ip_vs/,
  ],
  'the kernel has no IP sets': [
    (command) => (command.startsWith('ipset') ? refused('ipset', 'Cannot open session to kernel.') : undefined),
    'IpvsNoSets',
    /modprobe ip_set/,
  ],
  'the kernel has no dummy devices': [
    (command) => (command.includes('type dummy') ? refused('ip', 'Error: Unknown device type.') : undefined),
    'IpvsNoDummy',
    /modprobe dummy/,
  ],
  'it may not be changed': [
    (command) =>
      command.startsWith('ipvsadm') ? refused('ipvsadm', 'Operation not permitted (you must be root)') : undefined,
    'IpvsDenied',
    /NET_ADMIN/,
  ],
};

describe('IPVS cannot be used where', () => {
  for (const [sentence, [fails, code, hint]] of Object.entries(hosts)) {
    test(sentence, async () => {
      const { exec, kernel } = hostWith(fails);
      const before = kernel.dump();
      const error = await ipvsUnusable(exec, { scheduler: 'rr' })(never);
      assert.equal(error?.code, code);
      assert.match(error.hint ?? '', hint);
      assert.deepEqual(kernel.dump(), before);
    });
  }

  test('the scheduler is none of the kernel’s', async () => {
    const { exec, kernel } = hostWith(() => undefined);
    const before = kernel.dump();
    const error = await ipvsUnusable(exec, { scheduler: 'fancy' })(never);
    assert.equal(error?.message, 'the kernel does not have the IPVS scheduler fancy');
    assert.match(error.hint ?? '', /rr always is/);
    assert.deepEqual(kernel.dump(), before);
  });
});

test('where all is there nothing is said, and nothing is left behind', async () => {
  const { exec, kernel } = hostWith(() => undefined);
  const before = kernel.dump();
  assert.equal(await ipvsUnusable(exec, { scheduler: 'wlc' })(never), undefined);
  assert.deepEqual(kernel.dump(), before);
});
