import type { Exec } from '../../host/exec.ts';
import { AgentError } from '../../lib/errors.ts';
import type { ModeCheck } from '../backend.ts';
import type { IpvsSettings } from './ipvs-backend.ts';
import { IpvsError, ipvsErrorOf, ipvsRefusal } from './ipvs-error.ts';

const timeoutMs = 10_000;
/** Names nothing that anybody has; made and removed at once. */
const trialMark = String(0x4bfffffe);
const trialDevice = 'keelson-trial';

/** Why IPVS cannot carry Services here: programs, kernel, scheduler. Tries each on something nobody uses. */
export const ipvsUnusable =
  (exec: Pick<Exec, 'run'>, settings: Pick<IpvsSettings, 'scheduler'>): ModeCheck =>
  async (signal) => {
    const run = (file: string, ...args: readonly string[]) => exec.run(file, args, { signal, timeoutMs });
    try {
      await run('ipvsadm', '-Sn');
      await run('ipset', 'list', '-n').catch(noSets);
      await run('iptables-save', '-t', 'mangle');
      await tryScheduler(run, settings.scheduler);
      await tryDummy(run);
      return undefined;
    } catch (error) {
      signal.throwIfAborted();
      const known = error instanceof IpvsError ? error : ipvsErrorOf(error);
      return known instanceof AgentError
        ? known
        : new IpvsError('IpvsFailed', 'IPVS cannot be tried', { cause: error });
    }
  };

type Run = (file: string, ...args: readonly string[]) => Promise<{ readonly stderr: string }>;

function noSets(error: unknown): never {
  const known = ipvsErrorOf(error);
  if (!(known instanceof IpvsError) || known.code !== 'IpvsFailed') throw known;
  const hint = 'run modprobe ip_set, use a kernel that has it, or set another proxy mode';
  throw new IpvsError('IpvsNoSets', 'IPVS cannot be used: the kernel has no IP sets', { cause: error, hint });
}

async function tryScheduler(run: Run, scheduler: string): Promise<void> {
  // One that a check before left behind when it was killed.
  await run('ipvsadm', '-D', '-f', trialMark).catch(() => {});
  const { stderr } = await run('ipvsadm', '-A', '-f', trialMark, '-s', scheduler).catch((error: unknown) => {
    const known = ipvsErrorOf(error);
    const isUnknown = known instanceof IpvsError && ['IpvsFailed', 'IpvsScheduler'].includes(known.code);
    throw isUnknown ? unknownScheduler(scheduler, error) : known;
  });
  await run('ipvsadm', '-D', '-f', trialMark).catch(() => {});
  if (stderr.trim() !== '') throw unknownScheduler(scheduler, ipvsRefusal('ipvsadm', stderr));
}

const unknownScheduler = (scheduler: string, cause: unknown): IpvsError =>
  new IpvsError('IpvsScheduler', `the kernel does not have the IPVS scheduler ${scheduler}`, {
    cause,
    hint: 'set ipvs.scheduler to one that the kernel has (rr always is), or load its module',
  });

async function tryDummy(run: Run): Promise<void> {
  await run('ip', 'link', 'del', 'dev', trialDevice).catch(() => {});
  try {
    await run('ip', 'link', 'add', 'name', trialDevice, 'type', 'dummy');
  } catch (error) {
    const known = ipvsErrorOf(error);
    if (known instanceof IpvsError && known.code !== 'IpvsFailed') throw known;
    const hint = 'run modprobe dummy, use a kernel that has it, or set another proxy mode';
    throw new IpvsError('IpvsNoDummy', 'IPVS cannot be used: the kernel has no dummy devices', { cause: error, hint });
  }
  await run('ip', 'link', 'del', 'dev', trialDevice);
}
