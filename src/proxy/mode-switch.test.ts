import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notFound } from '../host/exec.ts';
import { AgentError } from '../lib/errors.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import type { Log } from '../lib/log.ts';
import { silentLog } from '../lib/log.ts';
import { type ProxyMode, proxyModes } from './backend.ts';
import { type ModePart, ModeSwitch } from './mode-switch.ts';

const never = new AbortController().signal;
const hour = 3_600_000;

/** What a host has of one mode. */
class FakeMode implements ModePart {
  readonly mode: ProxyMode;
  error: AgentError | undefined;
  left: readonly string[] = [];
  foreign: readonly string[] = [];
  failures: Error[] = [];
  asked = 0;
  hangs = false;
  cannotLook = false;

  constructor(mode: ProxyMode) {
    this.mode = mode;
  }

  get remains() {
    return this;
  }

  async unusable(signal: AbortSignal): Promise<AgentError | undefined> {
    this.asked += 1;
    if (this.hangs) await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    return this.error;
  }

  async found(): Promise<readonly string[]> {
    return this.left;
  }

  async remove(): Promise<void> {
    const failure = this.failures.shift();
    if (failure) throw failure;
    this.left = [];
  }

  async conflicts(): Promise<readonly string[]> {
    if (this.cannotLook) throw new Error('timed out');
    return this.foreign;
  }
}

function setUp() {
  const modes = Object.fromEntries(proxyModes.map((mode) => [mode, new FakeMode(mode)])) as Record<ProxyMode, FakeMode>;
  const lines: { readonly level: string; readonly message: string; readonly fields: Record<string, unknown> }[] = [];
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, message, fields: fields as Record<string, unknown> });
  const log: Log = { ...silentLog, info: at('info'), warn: at('warn'), error: at('error') };
  const clock = new FakeClock();
  const said = (level: string) => lines.filter((line) => line.level === level);
  return { modes, clock, said, modeSwitch: new ModeSwitch({ modes, clock, log }) };
}

test('modes that are not needed are not asked', async () => {
  const { modes, modeSwitch, said } = setUp();
  const { mode } = await modeSwitch.choose('', ['iptables'], never);
  assert.equal(mode, 'nftables');
  assert.deepEqual([modes.nftables.asked, modes.iptables.asked, modes.ipvs.asked], [1, 0, 0]);
  assert.deepEqual(said('info')[0]?.fields, { mode: 'nftables' });
});

test('what was asked for and cannot work is one error with its remedy', async () => {
  const { modes, modeSwitch, said } = setUp();
  modes.ipvs.error = new AgentError('IpvsMissing', 'the kernel has no IPVS', { hint: 'modprobe ip_vs' });
  const { mode } = await modeSwitch.choose('ipvs', ['nftables'], never);
  assert.equal(mode, 'nftables');
  assert.deepEqual(
    said('error').map(({ fields }) => fields),
    [{ mode: 'ipvs', err: 'the kernel has no IPVS', code: 'IpvsMissing', hint: 'modprobe ip_vs', instead: 'nftables' }],
  );
  assert.deepEqual(said('info')[0]?.fields, { mode: 'nftables', wanted: 'ipvs' });
});

test('without a fallback the mode is kept, and that is said', async () => {
  const { modes, modeSwitch, said } = setUp();
  modes.ipvs.error = new AgentError('IpvsMissing', 'the kernel has no IPVS');
  const { mode, hopeless } = await modeSwitch.choose('ipvs', [], never);
  assert.deepEqual([mode, hopeless], ['ipvs', true]);
  assert.match(said('error')[0]?.message ?? '', /no other to fall back to/);
});

test('a check that hangs counts as a mode that cannot work', async () => {
  const { modes, modeSwitch, clock } = setUp();
  modes.nftables.hangs = true;
  const choice = modeSwitch.choose('', [], never);
  await clock.advance(10_000);
  assert.equal((await choice).mode, 'iptables');
});

test('what other modes have left is removed, what the chosen one has is kept', async () => {
  const { modes, modeSwitch, said } = setUp();
  modes.nftables.left = ['nftables table ip keelson'];
  modes.iptables.left = ['chain KUBE-SERVICES'];
  await modeSwitch.removeOthers('iptables', never);
  assert.deepEqual([modes.nftables.left, modes.iptables.left], [[], ['chain KUBE-SERVICES']]);
  assert.deepEqual(
    said('info').map(({ fields }) => fields),
    [{ mode: 'nftables', count: 1, removed: ['nftables table ip keelson'] }],
  );
});

test('a removal that fails is said once, and tried until it works', async () => {
  const { modes, modeSwitch, said, clock } = setUp();
  modes.iptables.left = ['chain KUBE-SERVICES'];
  modes.iptables.failures = [new Error('the lock is held'), new Error('the lock is held')];
  const removal = modeSwitch.removeOthers('nftables', never);
  await clock.advance(60_000);
  await removal;
  assert.deepEqual(modes.iptables.left, []);
  assert.equal(said('warn').length, 1);
});

test('a mode whose program is not installed has left nothing', async () => {
  const { modes, modeSwitch, said } = setUp();
  modes.ipvs.left = ['dummy device'];
  modes.ipvs.failures = [notFound('ipvsadm')];
  await modeSwitch.removeOthers('nftables', never);
  assert.deepEqual(said('warn'), []);
});

test('rules of kube-proxy are warned of once, until they change', async () => {
  const { modes, modeSwitch, said, clock } = setUp();
  const stop = new AbortController();
  modes.iptables.foreign = ['chain KUBE-SERVICES of table nat'];
  const watch = modeSwitch.watchConflicts(stop.signal);
  await clock.advance(3 * hour);
  assert.equal(said('warn').length, 1);
  assert.match(`${said('warn')[0]?.fields['hint']}`, /kube-proxy --cleanup/);
  modes.nftables.foreign = ['nftables table ip kube-proxy'];
  await clock.advance(hour);
  assert.deepEqual(said('warn')[1]?.fields['found'], [
    'nftables table ip kube-proxy',
    'chain KUBE-SERVICES of table nat',
  ]);
  modes.iptables.foreign = modes.nftables.foreign = [];
  await clock.advance(hour);
  assert.match(said('info')[0]?.message ?? '', /are gone/);
  stop.abort();
  await watch;
});

test('rules of kube-proxy that cannot be looked for are not taken for gone', async () => {
  const { modes, modeSwitch, said, clock } = setUp();
  const stop = new AbortController();
  modes.iptables.foreign = ['chain KUBE-SERVICES of table nat'];
  const watch = modeSwitch.watchConflicts(stop.signal);
  await clock.advance(hour);
  modes.iptables.cannotLook = true;
  await clock.advance(hour);
  assert.deepEqual(said('info'), []);
  modes.iptables.cannotLook = false;
  await clock.advance(hour);
  assert.equal(said('warn').length, 1);
  stop.abort();
  await watch;
});
