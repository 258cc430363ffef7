import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ContainerStatus } from '../api/core-v1.ts';
import { chooseLogContainer } from './choose-log-container.ts';
import { HttpError } from './endpoint.ts';
import { readPodLogOptions } from './pod-log-options.ts';

const now = Date.parse('2026-01-02T03:04:05Z');
const read = (query: string, splitStreams = true) => readPodLogOptions(new URLSearchParams(query), now, splitStreams);
const plain = { follow: false, previous: false, timestamps: false, stream: 'All' };

test('what a request asks for', () => {
  const table: Record<string, object> = {
    '': {},
    'follow=true&timestamps=1&previous=yes': { follow: true, timestamps: true, previous: true },
    'follow=&timestamps=false&previous=0': { follow: true },
    'follow=False': {},
    'tailLines=0': { tailLines: 0 },
    'tailLines=%2B5': { tailLines: 5 },
    'tail=7&tailLines=3': { tailLines: 7 },
    'tail=all&tailLines=3': {},
    'limitBytes=1': { limitBytes: 1 },
    'sinceSeconds=60': { sinceSeconds: now / 1000 - 60 },
    'sinceTime=2026-01-02T03:04:05%2B01:00': { sinceSeconds: now / 1000 - 3600 },
    'sinceTime=2999-01-01T00:00:00Z': { sinceSeconds: Date.parse('2999-01-01') / 1000 },
    'stream=Stderr': { stream: 'Stderr' },
    'stream=All&tailLines=1': { tailLines: 1 },
    'unknown=1': {},
  };
  for (const [query, expected] of Object.entries(table))
    assert.deepEqual(read(query), { ...plain, ...expected }, query);
});

test('requests that make no sense', () => {
  const undecodable = '{"message": "Unable to decode query."}';
  const invalid = '{"message": "Invalid request."}';
  const table: Record<string, [number, string]> = {
    'tailLines=x': [400, undecodable],
    'tailLines=': [400, undecodable],
    'tailLines=1.5': [400, undecodable],
    'tailLines=9223372036854775808': [400, undecodable],
    'sinceTime=yesterday': [400, undecodable],
    'sinceTime=2026-01-02': [400, undecodable],
    'tailLines=-1': [422, invalid],
    'limitBytes=0': [422, invalid],
    'sinceSeconds=0': [422, invalid],
    'sinceSeconds=1&sinceTime=2026-01-02T03:04:05Z': [422, invalid],
    'stream=Stdin': [422, invalid],
    'stream=Stdout&tailLines=1': [422, invalid],
  };
  for (const [query, [status, message]] of Object.entries(table)) {
    assert.throws(() => read(query), { name: 'HttpError', status, message }, query);
  }
  assert.throws(() => read('stream=Stdout', false), {
    status: 400,
    message:
      'unable to return the given log stream: "Stdout". Please enable PodLogsQuerySplitStreams feature gate in kubelet',
  });
});

test('which container’s log is meant', () => {
  const ended = (containerID?: string) => ({ terminated: { exitCode: 1, ...(containerID ? { containerID } : {}) } });
  const running = { running: { startedAt: '' } };
  const waiting = (reason?: string) => ({ waiting: reason ? { reason } : {} });
  const here = 'container "c" in pod "p"';
  const table: Record<string, [Partial<ContainerStatus> | undefined, boolean, string]> = {
    'one that runs': [{ state: running, containerID: 'x://1' }, false, 'x://1'],
    'one that has ended': [{ state: ended('x://1'), lastState: ended('x://0') }, false, 'x://1'],
    'one that was never started': [{ state: ended(), lastState: ended('x://0') }, false, 'x://0'],
    'the last one, while the next waits': [
      { state: waiting('CrashLoopBackOff'), lastState: ended('x://0') },
      false,
      'x://0',
    ],
    'the one before': [{ state: running, lastState: ended('x://0') }, true, 'x://0'],
    'no one before': [{ state: running, containerID: 'x://1' }, true, `! previous terminated ${here} not found`],
    'never started, and none before': [{ state: ended() }, false, `! ${here} is terminated`],
    'not made yet': [
      { state: waiting('ContainerCreating') },
      false,
      `! ${here} is waiting to start: ContainerCreating`,
    ],
    'no image': [{ state: waiting('ErrImagePull') }, false, `! ${here} is waiting to start: image can't be pulled`],
    'still no image': [
      { state: waiting('ImagePullBackOff') },
      false,
      `! ${here} is waiting to start: trying and failing to pull image`,
    ],
    'nothing known of it': [{}, false, `! ${here} is waiting to start - no logs yet`],
    'no status': [undefined, false, `! ${here} is not available`],
  };
  for (const [sentence, [status, previous, expected]] of Object.entries(table)) {
    const containerStatuses = status ? [{ name: 'c', ...status } as ContainerStatus] : [];
    const choose = () => chooseLogContainer('p', { containerStatuses }, 'c', previous);
    if (!expected.startsWith('! ')) assert.equal(choose(), expected, sentence);
    else
      assert.throws(
        choose,
        (e) => e instanceof HttpError && e.status === 400 && e.message === expected.slice(2),
        sentence,
      );
  }
});
