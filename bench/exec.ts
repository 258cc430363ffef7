import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { SpdyClient } from '../src/server/spdy-client.ts';
import { NodeConnections } from '../test/apiserver/node-connections.ts';
import { Cluster, NODE } from '../test/host/cluster.ts';
import { BUSYBOX_IMAGE, busyboxImage } from '../test/images/images.ts';
import { machine, median, percentile } from './measure.ts';

/** Milliseconds from the request to the end of `true`. */
export interface ExecFigures {
  readonly rounds: number;
  readonly nodeP50Ms: number;
  readonly nodeP99Ms: number;
  readonly bareP50Ms: number;
  readonly bareP99Ms: number;
  /** The node's port against bare CRI, by their medians. */
  readonly ratio: number;
}

const budget = 1.3;
const command = ['sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait; done'];

/**
 * `true` in a container through the node's port (TLS, a certificate, authorization, SPDY) and straight from
 * the runtime, in turns, by the same client.
 */
export async function benchExec(rounds = 100): Promise<ExecFigures> {
  await using cluster = await Cluster.create('execbench', { images: [busyboxImage()] });
  const { host, api } = cluster;
  await host.configureNetwork();
  await cluster.startKeelson(['--v=2'], { installed: true });
  cluster.createPod('box', { containers: [{ name: 'main', image: BUSYBOX_IMAGE, command }] });
  const pod = await cluster.whenPodReady('box');
  const containerId = pod.status?.containerStatuses?.[0]?.containerID?.replace(/^.*:\/\//, '') ?? '';
  const nodes = new NodeConnections(api.registry, api.pki, (address, port) => host.connect(port, address));
  const signal = AbortSignal.timeout(600_000);

  const throughNode = async () => runTrue(await nodes.open(NODE), '/exec/default/box/main?command=true&output=1');
  const bare = async () => {
    const request = { containerId, cmd: ['true'], stdout: true };
    const url = new URL(await host.cri().runtime.exec(request, signal));
    await runTrue(await host.connect(Number(url.port), url.hostname), url.pathname);
  };
  const [node, floor]: [number[], number[]] = [[], []];
  const timed = async (run: () => Promise<void>, into: number[]) => {
    const start = performance.now();
    await run();
    into.push(performance.now() - start);
  };
  for (let i = 0; i < 10; i++) {
    await throughNode();
    await bare();
  }
  for (let i = 0; i < rounds; i++) {
    await timed(throughNode, node);
    await timed(bare, floor);
  }
  const [nodeP50Ms, bareP50Ms] = [median(node), median(floor)];
  const [nodeP99Ms, bareP99Ms] = [percentile(node, 0.99), percentile(floor, 0.99)];
  return { rounds, nodeP50Ms, nodeP99Ms, bareP50Ms, bareP99Ms, ratio: nodeP50Ms / bareP50Ms };
}

/** Asks for the command and reads its status. */
async function runTrue(socket: Duplex, path: string): Promise<void> {
  const headers = 'Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io\r\n';
  socket.write(`POST ${path} HTTP/1.1\r\nHost: node\r\nContent-Length: 0\r\n${headers}\r\n`);
  const [answer] = (await once(socket, 'data')) as [Buffer];
  if (!`${answer}`.startsWith('HTTP/1.1 101 ')) throw new Error(`refused: ${answer}`);
  const { promise: over, resolve, reject } = Promise.withResolvers<void>();
  const spdy = new SpdyClient(socket, {
    data: (id, piece) => {
      if (id !== errorStream || piece.length === 0) return;
      if (`${piece}`.includes('"Success"')) resolve();
      else reject(new Error(`failed: ${piece}`));
    },
    reset: () => {},
  });
  const errorStream = spdy.open({ streamtype: 'error' });
  spdy.open({ streamtype: 'stdout' });
  await over;
  socket.destroy();
}

export function execTable(figures: ExecFigures): string {
  const ms = (value: number) => value.toFixed(1).padStart(8);
  const verdict = figures.ratio <= budget ? 'within' : 'ABOVE';
  return [
    machine(),
    `${figures.rounds} × true                p50      p99`,
    `through the node's port  ${ms(figures.nodeP50Ms)} ${ms(figures.nodeP99Ms)} ms`,
    `bare CRI                 ${ms(figures.bareP50Ms)} ${ms(figures.bareP99Ms)} ms`,
    `ratio ${figures.ratio.toFixed(2)}, ${verdict} ${budget}`,
  ].join('\n');
}
