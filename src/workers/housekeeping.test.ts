import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PodUid, podUid } from '../api/ids.ts';
import { AgentError } from '../lib/errors.ts';
import { silentLog } from '../lib/log.ts';
import { housekeepOnce } from './housekeeping.ts';

const signal = new AbortController().signal;

interface World {
  readonly ready?: boolean;
  readonly known?: string[];
  /** Pods that a worker has taken up since they were looked for. */
  readonly taken?: string[];
  readonly disk?: string[];
  readonly cgroups?: string[];
  /** Steps that fail, as 'step uid', with their errors. */
  readonly broken?: Record<string, Error>;
}

/** A host with leftovers; gives the steps taken, in order. */
async function keepHouse(
  { ready = true, known = [], taken = [], disk = [], cgroups = [], broken = {} }: World,
  told: string[] = [],
): Promise<string[]> {
  const steps: string[] = [];
  const step = (name: string) => async (uid: PodUid) => {
    steps.push(`${name} ${uid}`);
    const error = broken[`${name} ${uid}`];
    if (error) throw error;
  };
  const list = (name: string, uids: string[]) => async () => {
    steps.push(name);
    return uids.map(podUid);
  };
  const options = {
    ready: () => ready,
    isKnown: (uid: PodUid) => known.includes(uid),
    withoutWorker: async (uid: PodUid, work: () => Promise<void>) => {
      if (!taken.includes(uid)) await work();
    },
    podsOnDisk: list('disk?', disk),
    podsWithCgroup: list('cgroups?', cgroups),
    removeCgroup: step('cgroup'),
    tearDownVolumes: step('volumes'),
    removePodDir: step('folder'),
    tell: (type: string, reason: string, message: string) => told.push(`${type} ${reason} ${message}`),
    log: silentLog,
  };
  const isClean = await housekeepOnce(options, signal);
  assert.equal(isClean, ready && Object.keys(broken).length === 0);
  return steps.filter((s) => !s.endsWith('?'));
}

const cases: Record<string, { world: World; expect: string[] }> = {
  'nothing is left: nothing is done': { world: {}, expect: [] },
  'before everybody has reported nothing is unwanted': {
    world: { ready: false, disk: ['o'], cgroups: ['o'] },
    expect: [],
  },
  'an orphan: processes first, then volumes, then the folder': {
    world: { disk: ['o'], cgroups: ['o'] },
    expect: ['cgroup o', 'volumes o', 'folder o'],
  },
  'an orphan that has a cgroup only': { world: { cgroups: ['o'] }, expect: ['cgroup o', 'volumes o', 'folder o'] },
  'an orphan that has a folder only': { world: { disk: ['o'] }, expect: ['cgroup o', 'volumes o', 'folder o'] },
  'pods that somebody answers for are left alone': {
    world: { known: ['k'], disk: ['k', 'o'], cgroups: ['k'] },
    expect: ['cgroup o', 'volumes o', 'folder o'],
  },
  'a pod that a worker takes up meanwhile is left alone': {
    world: { taken: ['t'], disk: ['t', 'o'], cgroups: ['t'] },
    expect: ['cgroup o', 'volumes o', 'folder o'],
  },
  'a folder stays while its volumes cannot be taken down, and the next orphan goes': {
    world: { disk: ['o', 'p'], broken: { 'volumes o': new AgentError('Busy', 'target is busy') } },
    expect: ['cgroup o', 'volumes o', 'cgroup p', 'volumes p', 'folder p'],
  },
  'volumes stay while processes will not go': {
    world: { disk: ['o'], broken: { 'cgroup o': new AgentError('CgroupBusy', 'busy') } },
    expect: ['cgroup o'],
  },
};

for (const [sentence, { world, expect }] of Object.entries(cases)) {
  test(sentence, async () => assert.deepEqual(await keepHouse(world), expect));
}

test('an orphan that goes is told of once, one that stays with the reason', async () => {
  const told: string[] = [];
  const busy = new AgentError('Busy', 'target is busy', { hint: 'see who uses it' });
  await keepHouse({ disk: ['o', 'p'], cgroups: ['p'], broken: { 'volumes o': busy } }, told);
  assert.deepEqual(told.sort(), [
    'Normal OrphanedPodRemoved Removed what pod p left behind on this node',
    'Warning OrphanedPodNotRemoved Cannot remove what pod o left behind on this node: target is busy (see who uses it)',
  ]);
});

test('who asks us to stop is heard', async () => {
  const broken = { 'cgroup o': new DOMException('stop', 'AbortError') };
  await assert.rejects(keepHouse({ disk: ['o'], broken }), { name: 'AbortError' });
});
