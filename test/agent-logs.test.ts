import assert from 'node:assert/strict';
import { appendFileSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { get } from 'node:https';
import { text } from 'node:stream/consumers';
import { after, before, describe, test } from 'node:test';
import { Cluster, containerOf, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE } from './images/images.ts';

/** `kubectl logs` and the rotation of logs, with a real kubectl on a real containerd. */

let cluster: Cluster;
before(async () => {
  cluster = await Cluster.boot('logs', {
    kubelet: 'containerLogMaxSize: 64Ki\ncontainerLogMaxFiles: 3',
  });
});
after(() => cluster[Symbol.asyncDispose]());

const container = (script: string, name = 'c') => ({ name, image: BUSYBOX_IMAGE, command: ['sh', '-c', script] });
const forever = 'trap "exit 0" TERM; while :; do sleep 0.05; done';
const logs = (...args: readonly string[]) => cluster.kubectl('logs', ...args);
const refused = (...args: readonly string[]) =>
  logs(...args).then(
    (text) => assert.fail(`answered ${text}`),
    (error: Error) => error.message.replace(/^kubectl.*?: /s, ''),
  );

const logFile = (pod: string, attempt = 0) =>
  `/var/log/pods/default_${pod}_${cluster.pod(pod)?.metadata.uid}/c/${attempt}.log`;

/** Resolves when the container has said it. */
const whenSaid = (pod: string, words: string, attempt = 0) =>
  cluster.host.exec(
    'sh',
    ['-c', 'until grep -q "$1" "$0" 2>/dev/null; do sleep 0.05; done', logFile(pod, attempt), words],
    {
      timeoutMs: 60_000,
    },
  );

interface Answer {
  readonly status: number;
  readonly text: string;
}

/** Asks the node through the API server's proxy, for answers that kubectl puts in words of its own. */
function askNode(path: string): Promise<Answer> {
  const identity = cluster.api.pki.client('admin', ['system:masters']);
  const options = { port: cluster.api.port, ca: cluster.api.pki.ca, ...identity, agent: false };
  return new Promise((resolve, reject) => {
    get({ ...options, path: `/api/v1/nodes/${NODE}/proxy${path}` }, (response) => {
      text(response).then((body) => resolve({ status: response.statusCode ?? 0, text: body }), reject);
    }).once('error', reject);
  });
}

describe('kubectl logs', () => {
  before(async () => {
    cluster.createPod(
      'says',
      {
        initContainers: [container('echo first things', 'init')],
        containers: [
          container(`echo one; echo two >&2; printf three; sleep 0.2; echo " and a half"; echo last; ${forever}`),
          container(`echo other; ${forever}`, 'other'),
        ],
      },
      { labels: { app: 'says' } },
    );
    await cluster.whenPodReady('says');
    await whenSaid('says', 'F last');
  });

  test('of a container, of all of them, of pods by label', async () => {
    const all = await logs('says', '-c', 'c');
    assert.equal(all.split('\n').toSorted().join('|'), '|last|one|three and a half|two');
    assert.equal(await logs('says', '-c', 'other'), 'other\n');
    assert.equal(await logs('says', '-c', 'init'), 'first things\n');
    const everyone = await logs('says', '--all-containers', '--prefix');
    for (const line of ['[pod/says/init] first things', '[pod/says/c] one', '[pod/says/other] other']) {
      assert.ok(everyone.includes(line), everyone);
    }
    assert.equal((await logs('-l', 'app=says', '-c', 'other')).trim(), 'other');
  });

  test('as much of it as is asked for', async () => {
    assert.equal(await logs('says', '-c', 'c', '--tail=1'), 'last\n');
    assert.equal(await logs('says', '-c', 'c', '--tail=0'), '');
    assert.equal((await logs('says', '-c', 'c', '--limit-bytes=5')).length, 5);
    assert.match(
      await logs('says', '-c', 'other', '--timestamps'),
      /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d) other\n$/,
    );
    assert.equal(await logs('says', '-c', 'other', '--since=1h'), 'other\n');
    assert.equal(await logs('says', '-c', 'other', '--since-time=2000-01-01T00:00:00Z'), 'other\n');
    assert.equal(await logs('says', '-c', 'other', '--since-time=2999-01-01T00:00:00Z'), '');
  });

  test('what cannot be answered, in the words people know', async () => {
    assert.match(await refused('says', '-c', 'nobody'), /container nobody is not valid for pod says/);
    assert.match(await refused('nobody'), /pods "nobody" not found/);
    assert.match(
      await refused('says', '-c', 'c', '--previous'),
      /previous terminated container "c" in pod "says" not found/,
    );
    const table: Record<string, [number, string]> = {
      'says/c?tailLines=-1': [422, '{"message": "Invalid request."}'],
      'says/c?tailLines=x': [400, '{"message": "Unable to decode query."}'],
      'says/nobody': [404, 'container "nobody" not found in pod "says"'],
      'elsewhere/c': [404, 'pod "elsewhere" does not exist'],
      'says/c?stream=Stderr': [
        400,
        'unable to return the given log stream: "Stderr". Please enable PodLogsQuerySplitStreams feature gate in kubelet',
      ],
    };
    for (const [query, [status, text]] of Object.entries(table)) {
      const answer = await askNode(`/containerLogs/default/${query}`);
      assert.deepEqual([answer.status, answer.text], [status, text], query);
    }
  });

  test('a container that waits for its image', async () => {
    cluster.createPod('waits', { containers: [{ name: 'c', image: 'localhost/none:1', imagePullPolicy: 'Never' }] });
    await cluster.whenPod('waits', (s) => s.containerStatuses?.[0]?.state?.waiting?.reason === 'ErrImageNeverPull');
    assert.match(await refused('waits'), /container "c" in pod "waits" is waiting to start: ErrImageNeverPull/);
  });

  test('the container before, and a follower that ends with the container', async () => {
    await cluster.host.writeFile('/var/lib/word/keep', '');
    cluster.createPod('again', {
      volumes: [{ name: 'word', hostPath: { path: '/var/lib/word' } }],
      containers: [
        {
          ...container('echo begins; until rm /word/go 2>/dev/null; do sleep 0.05; done; echo ends; exit 3'),
          volumeMounts: [{ name: 'word', mountPath: '/word' }],
        },
      ],
    });
    await cluster.whenPodReady('again');
    const kubectl = ['kubectl', '--kubeconfig=/etc/kubernetes/admin.conf', '--cache-dir=/tmp/kubectl'];
    const follower = cluster.host.spawn('kubectl logs', [...kubectl, 'logs', 'again', '-f']);
    await follower.waitForLog(/begins/);
    await cluster.host.writeFile('/var/lib/word/go', '');
    await cluster.whenPod('again', (s) => (s.containerStatuses?.[0]?.restartCount ?? 0) > 0);
    assert.equal((await follower.exited).code, 0);
    assert.deepEqual(follower.lines, ['begins', 'ends']);
    const pod = await cluster.whenPod('again', (s) => s.containerStatuses?.[0]?.state?.running !== undefined);
    assert.equal(containerOf(pod, 'c')?.restartCount, 1);
    assert.equal(await logs('again', '--previous'), 'begins\nends\n');
  });
});

test('a follower hears every line of a log that is rotated again and again', async () => {
  const lines = 40_000;
  cluster.createPod('chatty', {
    restartPolicy: 'Never',
    containers: [
      container(
        `i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo "line $i of many that fill a log"; [ $((i % 500)) = 0 ] && sleep 0.05; done`,
      ),
    ],
  });
  await cluster.whenPod(
    'chatty',
    (s) => s.containerStatuses?.[0]?.state?.waiting === undefined && s.containerStatuses !== undefined,
  );
  const said = await logs('chatty', '-f', '--pod-running-timeout=60s');
  const heard = said
    .trimEnd()
    .split('\n')
    .map((line) => Number(/^line (\d+) of/.exec(line)?.[1]));
  const begin = heard[0] ?? 0;
  assert.deepEqual(
    heard,
    Array.from({ length: heard.length }, (_, i) => begin + i),
  );
  assert.equal(heard.at(-1), lines);
  const folder = cluster.host.path(logFile('chatty').replace(/\/0\.log$/, ''));
  const files = readdirSync(folder);
  assert.ok(files.length > 1 && files.length <= 3, files.join());
});

describe('logs that are not what they should be', () => {
  const line = (words: string) => `2026-01-02T03:04:05.123456789Z stdout F ${words}\n`;
  const onHost = () => cluster.host.path(logFile('over'));
  before(async () => {
    cluster.createPod('over', { restartPolicy: 'Never', containers: [container('echo one')] });
    await cluster.whenPod('over', (s) => s.phase === 'Succeeded');
    await whenSaid('over', 'F one');
  });

  test('a log of 1 GiB is read from its end, and takes no memory', async () => {
    writeFileSync(onHost(), line('first'));
    truncateSync(onHost(), 2 ** 30);
    appendFileSync(onHost(), `\n${line('almost')}${line('last')}`);
    await logs('over', '--tail=1');
    const rss = () =>
      Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${cluster.keelson.pid}/status`, 'utf8'))?.[1]) / 1024;
    const before = rss();
    assert.equal(await logs('over', '--tail=2'), 'almost\nlast\n');
    // All of it: the hole is no line, whatever its length.
    assert.equal(await logs('over'), 'first\nalmost\nlast\n');
    assert.ok(rss() - before < 40, `${before} MiB before, ${rss()} MiB after`);
  });

  test('garbage, nothing, and no file', async () => {
    writeFileSync(onHost(), `garbage\n${line('words')}`);
    assert.equal(await logs('over'), 'failed to get parse function: unsupported log format: "garbage\\n"');
    writeFileSync(onHost(), `${line('words')}garbage\n${line('more')}`);
    assert.equal(await logs('over'), 'words\nmore\n');
    writeFileSync(onHost(), '');
    assert.equal(await logs('over', '-f'), '');
    rmSync(onHost());
    const path = logFile('over');
    assert.equal(
      await logs('over'),
      `failed to try resolving symlinks in path "${path}": lstat ${path}: no such file or directory`,
    );
  });
});

test("the machine's own logs, as files", async () => {
  await cluster.host.writeFile('/var/log/machine.log', 'words of the machine\n');
  const raw = (path: string) => cluster.kubectl('get', '--raw', `/api/v1/nodes/${NODE}/proxy${path}`);
  assert.match(await raw('/logs/'), /<a href="machine\.log">machine\.log<\/a>\n<a href="pods\/">/);
  assert.equal(await raw('/logs/machine.log'), 'words of the machine\n');
  // Queries are switched off: the parameter means nothing.
  assert.match(await raw('/logs/?query=kubelet'), /machine\.log/);
});

test('followers that go leave nothing open', async () => {
  cluster.createPod('quiet', { containers: [container(`echo here; ${forever}`)] });
  await cluster.whenPodReady('quiet');
  await whenSaid('quiet', 'F here');
  const openFiles = () => readdirSync(`/proc/${cluster.keelson.pid}/fd`).length;
  const followers = (count: number) => Promise.all(Array.from({ length: count }, () => followAndLeave('quiet')));
  await followers(5);
  const before = openFiles();
  for (let i = 0; i < 10; i++) await followers(10);
  // The server hears of the last ones a moment after they have gone.
  const signal = AbortSignal.timeout(10_000);
  while (openFiles() > before && !signal.aborted) await askNode('/healthz');
  assert.ok(openFiles() <= before, `${openFiles()} open files, ${before} before`);
});

test('a thousand requests that cannot be answered leave nothing open', async () => {
  await cluster.whenPodReady('quiet');
  const openFiles = () => readdirSync(`/proc/${cluster.keelson.pid}/fd`).length;
  const kinds = [
    '/containerLogs/default/nobody/c',
    '/containerLogs/default/quiet/nobody',
    '/containerLogs/default/quiet/c?previous=true',
    '/containerLogs/default/quiet/c?tailLines=-1',
    '/containerLogs/default/quiet/c?sinceTime=2999-01-01T00:00:00Z',
    '/exec/default/quiet/c?command=true&output=1',
    '/attach/default/nobody/c?output=1',
    '/portForward/default/nobody',
    '/nothing/here',
    '/stats/nothing',
  ];
  const round = () => Promise.all([...kinds, ...kinds].map((path) => askNode(path)));
  await round();
  const before = openFiles();
  for (let i = 0; i < 50; i++) {
    const answers = await round();
    assert.ok(answers.every(({ status, text: body }) => status < 600 && (status >= 400 || body === '')));
  }
  const signal = AbortSignal.timeout(10_000);
  while (openFiles() > before && !signal.aborted) await askNode('/healthz');
  assert.ok(openFiles() <= before, `${openFiles()} open files, ${before} before`);
});

/** Follows until something has come, and hangs up. */
async function followAndLeave(pod: string): Promise<void> {
  const identity = cluster.api.pki.client('admin', ['system:masters']);
  const options = { port: cluster.api.port, ca: cluster.api.pki.ca, ...identity, agent: false };
  await new Promise<void>((resolve, reject) => {
    const request = get({ ...options, path: `/api/v1/namespaces/default/pods/${pod}/log?follow=true` }, (response) => {
      response.once('data', () => {
        response.destroy();
        resolve();
      });
    });
    request.once('error', reject);
  });
}
