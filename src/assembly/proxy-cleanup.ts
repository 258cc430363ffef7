import { existsSync } from 'node:fs';
import type { CleanupItem, CleanupReport } from '../cli/cleanup.ts';
import { hostExec } from '../host/exec.ts';
import { lockRootDir } from '../host/root-lock.ts';
import { AgentError, adviceOf } from '../lib/errors.ts';
import { MasqueradeRemains } from '../network/masquerade-remains.ts';
import type { Remains } from '../proxy/backend.ts';
import { buildRemains } from './proxy-modes.ts';

export interface CleanupInput {
  /** List alone; a daemon may run. */
  readonly plan: boolean;
  /** Of the daemon that must not run. */
  readonly rootDir: string;
}

/** For all that one part has left; 40,000 Services are a matter of seconds. */
const patienceMs = 300_000;
/** Nobody can tell who else relies on them by now. */
const staying = [
  'kernel settings (route_localnet, ip_forward, forwarding, bridge-nf-call-iptables, bridge-nf-call-ip6tables, limits of connection tracking)',
  'the CNI configuration and the bridge of the pod network: pods that run need them',
];

/**
 * Lists or removes what keelson has made in the kernel, in all modes and both families, and nothing else; without a
 * daemon, and without its configuration. Throws an AgentError `DaemonRuns` when one runs that would put it all back.
 */
export async function cleanUp({ plan, rootDir }: CleanupInput): Promise<CleanupReport> {
  await using _lock = plan || !existsSync(rootDir) ? undefined : await lock(rootDir);
  const parts: readonly (readonly [string, Pick<Remains, 'found' | 'remove'>])[] = [
    ...Object.values(buildRemains(hostExec)).map((remains) => [`mode ${remains.mode}`, remains] as const),
    ['pod network', new MasqueradeRemains({ exec: hostExec })],
  ];
  const items: CleanupItem[] = [];
  for (const [what, remains] of parts) items.push(await cleanUpOne(what, remains, plan));
  return { isPlan: plan, items, stays: items.some(({ found }) => found.length > 0) ? staying : [] };
}

async function cleanUpOne(
  what: string,
  remains: Pick<Remains, 'found' | 'remove'>,
  plan: boolean,
): Promise<CleanupItem> {
  const signal = AbortSignal.timeout(patienceMs);
  let found: readonly string[] = [];
  try {
    found = await remains.found(signal);
    if (!plan && found.length > 0) await remains.remove(signal);
    return { what, found };
  } catch (error) {
    // What could be removed is gone, whatever held up the rest.
    const left = found.length > 0 ? await remains.found(signal).catch(() => found) : found;
    return { what, found, left, problem: adviceOf(error) };
  }
}

async function lock(rootDir: string): Promise<AsyncDisposable> {
  try {
    return await lockRootDir(rootDir);
  } catch (error) {
    if (!(error instanceof AgentError) || error.code !== 'RootDirLocked') throw error;
    throw new AgentError('DaemonRuns', 'keelson runs, and would put back what is removed', {
      cause: error,
      hint: 'stop it first: systemctl stop keelson; to see what there is: keelson cleanup --plan',
    });
  }
}
