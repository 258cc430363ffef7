import assert from 'node:assert/strict';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { SpdyClient } from '../src/server/spdy-client.ts';
import { NodeConnections } from './apiserver/node-connections.ts';
import { Cluster, isReady, NODE } from './host/cluster.ts';
import { BUSYBOX_IMAGE, HTTPD_IMAGE } from './images/images.ts';

/*
 * kubectl's streams through the stand-in API server and the node's port to a real containerd. kubectl
 * speaks WebSocket where it is not told otherwise.
 */
let cluster: Cluster;

const protocols = {
  WebSocket: '',
  SPDY: 'KUBECTL_REMOTE_COMMAND_WEBSOCKETS=false KUBECTL_PORT_FORWARD_WEBSOCKETS=false',
};

before(async () => {
  cluster = await Cluster.boot('exec', { kubelet: 'streamingConnectionIdleTimeout: 6s' });
  const idle = ['sh', '-c', 'trap "exit 0" TERM; sleep 100000 & wait'];
  cluster.createPod('box', {
    containers: [
      { name: 'main', image: BUSYBOX_IMAGE, command: idle },
      { name: 'side', image: BUSYBOX_IMAGE, command: idle },
    ],
  });
  cluster.createPod('web', { containers: [{ name: 'main', image: HTTPD_IMAGE }] });
  await Promise.all([cluster.whenPodReady('box'), cluster.whenPodReady('web')]);
});
after(() => cluster[Symbol.asyncDispose]());

/** A script on the host, in which `$k` is kubectl; its output, both kinds in one, at its end. */
function shell(script: string, protocol: keyof typeof protocols = 'WebSocket', timeoutMs = 120_000): Promise<string> {
  const env = protocols[protocol];
  const k = `k="env ${env} kubectl --kubeconfig=/etc/kubernetes/admin.conf --cache-dir=/run/kubectl"`;
  return cluster.host.exec('bash', ['-c', `set -o pipefail; ${k}; { ${script}\n} 2>&1`], { timeoutMs });
}

/** Opens a pipe that does not end, with something in it, as descriptor 5: a runtime ends an attachment with its input. */
const pipeOf = (content: string): string =>
  `rm -f /run/pipe; mkfifo /run/pipe; exec 5<>/run/pipe; printf '${content}' >&5`;

const nodeConnections = () =>
  new NodeConnections(cluster.api.registry, cluster.api.pki, (address, port) => cluster.host.connect(port, address));

const verbsOf = (subresource: string) =>
  cluster.api.requests.filter((request) => request.subresource === subresource).map(({ verb }) => verb);

for (const protocol of ['WebSocket', 'SPDY'] as const) {
  test(`${protocol}: both outputs and the exit code of a command arrive apart`, async () => {
    cluster.api.requests.length = 0;
    const script = `$k exec box -c main -- sh -c 'echo out; echo err >&2; exit 42' 2>/run/err; echo code $?; cat /run/err`;
    const printed = await shell(script, protocol);
    assert.equal(printed, 'out\ncode 42\nerr\ncommand terminated with exit code 42\n');
    assert.deepEqual(verbsOf('exec'), [protocol === 'SPDY' ? 'create' : 'get']);
  });

  test(`${protocol}: a terminal is one, and has the size of the caller's`, async () => {
    const inside = 'until [ "$(stty size)" = "33 77" ]; do sleep 0.1; done; tty; echo error >&2; exit 3';
    await shell(
      `cat > /run/tty.sh <<'END'\nstty rows 33 cols 77\n${kubectlWords(protocol)} exec -it box -c main -- sh -c '${inside}'\nEND`,
    );
    const printed = await shell(`script -qec 'sh /run/tty.sh' /dev/null < /dev/null; echo code $?`);
    assert.match(printed, /\/dev\/pts\/0\r?\n/);
    assert.match(printed, /error\r?\n/);
    assert.match(printed, /code 3/);
  });

  test(`${protocol}: standard input ends where the caller's ends, also a large binary one`, async () => {
    const bytes = 64 * 2 ** 20;
    const script = `head -c ${bytes} /dev/urandom > /run/in
      $k exec -i box -c main -- sh -c 'cat; echo done >&2' < /run/in 2>/run/err | cmp - /run/in && cat /run/err
      $k exec -i box -c main -- md5sum < /dev/null`;
    assert.equal(await shell(script, protocol), 'done\nd41d8cd98f00b204e9800998ecf8427e  -\n');
  });

  test(`${protocol}: a port is forwarded to twenty downloads at once, and one where nobody listens is said`, async () => {
    const script = `
      $k exec web -- sh -c 'head -c 4000000 /dev/urandom > /www/blob; md5sum < /www/blob' > /run/sum
      $k port-forward pod/web 18080:8080 > /run/forward 2>&1 & forward=$!
      $k port-forward pod/web 18081:9 > /run/nobody 2>&1 & nobody=$!
      until grep -q 18080 /run/forward && grep -q 18081 /run/nobody; do sleep 0.05; done
      curl -sS http://127.0.0.1:18081/ 2>/dev/null; echo bad $?
      for i in $(seq 20); do
        { curl -sS http://127.0.0.1:18080/blob | md5sum > /run/sum.$i; } & jobs="$jobs $!"
      done
      wait $jobs
      for i in $(seq 20); do cmp /run/sum /run/sum.$i && echo same; done | sort | uniq -c
      kill $forward; wait $forward $nobody
      grep -o 'connection refused' /run/nobody | head -1`;
    assert.match(await shell(script, protocol), /^bad (52|56)\n +20 same\nconnection refused\n$/);
  });

  test(`${protocol}: input reaches the process that a container was started with`, async () => {
    const name = `reader-${protocol.toLowerCase()}`;
    const command = ['sh', '-c', 'while read line; do echo got $line; [ $line = end ] && exit 0; done'];
    cluster.createPod(name, {
      restartPolicy: 'Never',
      containers: [{ name: 'main', image: BUSYBOX_IMAGE, command, stdin: true }],
    });
    await cluster.whenPodReady(name);
    const script = `${pipeOf('one\\nend\\n')}; $k attach -i ${name} <&5`;
    const printed = await shell(script, protocol);
    assert.match(printed, /got one\ngot end\n/);
    await cluster.whenPod(name, (status) => status.phase === 'Succeeded');
  });
}

const kubectlWords = (protocol: keyof typeof protocols) =>
  `env ${protocols[protocol]} kubectl --kubeconfig=/etc/kubernetes/admin.conf --cache-dir=/run/kubectl`;

test('a gibibyte comes through unharmed, both ways', async () => {
  const script = `seq 1 200000000 | head -c 1073741824 | tee >(md5sum > /run/sent) | $k exec -i box -c main -- cat | md5sum > /run/came
    cmp /run/sent /run/came && echo same`;
  assert.equal(await shell(script, 'WebSocket', 300_000), 'same\n');
});

test('ten sessions at once do not touch each other', async () => {
  const script = `for i in $(seq 10); do
      { seq $i 1000000 | $k exec -i box -c side -- md5sum > /run/ten.$i; seq $i 1000000 | md5sum | cmp - /run/ten.$i && echo same; } &
    done; wait`;
  assert.equal(await shell(script), 'same\n'.repeat(10));
});

test('kubectl cp takes a tree of 100 MiB there and back', async () => {
  const script = `
    rm -rf /run/tree /run/back; mkdir -p /run/tree/a/b
    for i in $(seq 10); do head -c 5242880 /dev/urandom > /run/tree/a/$i; head -c 5242880 /dev/urandom > /run/tree/a/b/$i; done
    $k cp /run/tree box:/tmp/tree -c main
    $k cp box:/tmp/tree /run/back -c main > /dev/null
    (cd /run/tree; find . -type f -exec md5sum {} + | sort) > /run/tree.sums
    (cd /run/back; find . -type f -exec md5sum {} + | sort) | cmp - /run/tree.sums && wc -l < /run/tree.sums`;
  assert.match(await shell(script), /(^|\n)20\n$/);
});

test('kubectl debug attaches to the container that it adds', async () => {
  const inside = 'read word; echo heard $word; ps | grep -c "sleep 10000[0]$"';
  const script = `${pipeOf('hello\\n')}; $k debug box --image=${BUSYBOX_IMAGE} --target=main -c peek -i -- sh -c '${inside}' <&5`;
  assert.match(await shell(script), /heard hello\n1\n/);
});

test('kubectl run -i talks to a pod of its own, and takes it away', async () => {
  const overrides = JSON.stringify({ spec: { nodeName: 'node-a', terminationGracePeriodSeconds: 1 } });
  const script = `echo hello | $k run talk -i --rm --restart=Never --image=${BUSYBOX_IMAGE} --overrides='${overrides}' -- sh -c 'read word; echo heard $word'`;
  assert.match(await shell(script), /heard hello\n/);
  await cluster.whenPodGone('talk');
});

test('what cannot be done is said in words that are known', async () => {
  const exec = (what: string, protocol: keyof typeof protocols) => shell(`$k exec ${what}; echo code $?`, protocol);
  for (const protocol of ['WebSocket', 'SPDY'] as const) {
    assert.match(await exec('box -c main -- /no/such', protocol), /exec: "\/no\/such": stat \/no\/such: no such file/);
    assert.match(await exec('none -- true', protocol), /pods "none" not found/);
    assert.match(
      await exec('box -c other -- true', protocol),
      /container other is not valid for pod box|not found in pod/,
    );
  }
  cluster.createPod('once', {
    restartPolicy: 'Never',
    containers: [{ name: 'main', image: BUSYBOX_IMAGE, command: ['true'] }],
  });
  await cluster.whenPod('once', (status) => status.phase === 'Succeeded' && !isReady(status));
  assert.match(await shell('$k exec once -- true; echo code $?'), /completed pod|container not found \("main"\)/);
});

test('a session ends with containerd, and the next one is served', async () => {
  const script = `$k exec box -c main -- sh -c 'echo on; sleep 1000' > /run/on 2>&1; echo code $?`;
  const running = shell(`rm -f /run/on; ${script}`);
  await cluster.host.exec('bash', ['-c', 'until grep -qsx on /run/on; do sleep 0.05; done']);
  await cluster.host.killContainerd();
  assert.equal(await running, 'code 1\n');
  assert.match(await cluster.host.exec('cat', ['/run/on']), /^on\n.*the container runtime ended the connection/);
  await cluster.host.startContainerd();
  assert.equal(await shell('$k exec box -c main -- echo again'), 'again\n');
});

test('a stream to a port where nobody listens fails alone', async () => {
  const socket = await nodeConnections().open(NODE);
  const request = ['POST /portForward/default/web HTTP/1.1', 'Host: node', 'Connection: Upgrade', 'Upgrade: SPDY/3.1'];
  socket.write(`${[...request, 'X-Stream-Protocol-Version: portforward.k8s.io'].join('\r\n')}\r\n\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  assert.match(`${answer}`, /^HTTP\/1.1 101 /);
  const said = new Map<number, string>();
  const { promise: over, resolve } = Promise.withResolvers<void>();
  const ended = new Set<number>();
  const end = (id: number) => {
    ended.add(id);
    if (good.every((stream) => ended.has(stream))) resolve();
  };
  const spdy = new SpdyClient(socket, {
    data: (id, piece, last) => {
      said.set(id, `${said.get(id) ?? ''}${piece}`);
      if (last) end(id);
      // Only now is the good one asked for anything.
      if (id === bad[0]) spdy.send(good[1], Buffer.from('GET / HTTP/1.0\r\n\r\n'));
    },
    reset: end,
  });
  const open = (port: number, requestid: string) =>
    ['error', 'data'].map((streamtype) => spdy.open({ streamtype, port: `${port}`, requestid })) as [number, number];
  const good = open(8080, '0');
  const bad = open(9, '1');
  await over;
  assert.match(said.get(bad[0]) ?? '', /connection refused/);
  assert.match(said.get(good[1]) ?? '', /^HTTP\/1.1 200 OK[\s\S]*web/);
  socket.destroy();
});

test('the output of /run is its answer, and a request that asks for no streams is refused', async () => {
  const ask = async (method: string, path: string) => {
    const socket = await nodeConnections().open(NODE);
    socket.write(`${method} ${path} HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\nConnection: close\r\n\r\n`);
    const answer = await text(socket);
    return `${answer.split(' ')[1]} ${answer.slice(answer.indexOf('\r\n\r\n') + 4)}`;
  };
  assert.equal(await ask('POST', '/run/default/box/main?cmd=echo%20hello%20there'), '200 hello there\n');
  assert.match(
    await ask('POST', '/run/default/box/main?cmd=ls%20/none'),
    /^500 command 'ls \/none' exited with 1: ls: /,
  );
  assert.equal(await ask('POST', '/exec/default/box/main?command=true&output=1'), '500 Upgrade request required');
});

test('sessions that end in every way leave no descriptors behind, not even one in which nothing can move', async () => {
  const pid = (await cluster.host.exec('pgrep', ['-f', 'main.ts run'])).trim().split('\n')[0];
  const descriptors = `ls /proc/${pid}/fd | wc -l`;
  const round = `$k exec box -c main -- true; $k exec box -c main -- false; $k exec box -c gone -- true
    timeout 0.5 $k exec box -c main -- sleep 2; yes | timeout 0.5 $k exec -i box -c main -- cat`;
  const rounds = (n: number) => `for i in $(seq ${n}); do ${round}\ndone > /dev/null 2>&1; echo`;
  await shell(rounds(1));
  const before = Number(await cluster.host.exec('bash', ['-c', descriptors]));
  // A runtime that writes to a process which does not read never says that the process is over.
  const stuck = 'yes | timeout 1 $k exec -i box -c main -- sleep 2 > /dev/null 2>&1; echo';
  await Promise.all([shell(rounds(4)), shell(rounds(4), 'SPDY'), shell(stuck), shell(stuck, 'SPDY')]);
  await cluster.host.exec('bash', ['-c', `until [ $(${descriptors}) -le ${before} ]; do sleep 0.1; done`]);
});
