import { once } from 'node:events';
import { createReadStream } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { pipeline } from 'node:stream/promises';
import type { Pod, PodStatus } from '../src/api/core-v1.ts';
import { podUid } from '../src/api/ids.ts';
import { systemClock } from '../src/lib/clock.ts';
import { silentLog } from '../src/lib/log.ts';
import type { ObservedPod } from '../src/pod/observed.ts';
import { PodCache } from '../src/pod/pod-cache.ts';
import { PodManager } from '../src/pod/pod-manager.ts';
import { containerLogs } from '../src/server/container-logs.ts';
import type { Endpoint } from '../src/server/endpoint.ts';
import { NodeServer } from '../src/server/server.ts';
import { Pki } from '../test/pki/pki.ts';

/*
 * The serving process of the logs bench: the node's port with the logs of one container that runs for ever, and
 * below /floor its file as it is. Reports its port, then for every message the milliseconds of processor time it
 * has used. Ends with the connection to its parent.
 */

const [podLogsDir = ''] = process.argv.slice(2);
process.on('disconnect', () => process.exit());

const uid = podUid('u1');
const pod: Pod = {
  metadata: { name: 'p', namespace: 'default', uid },
  spec: { containers: [{ name: 'c', image: 'i' }] },
};
const status: PodStatus = {
  containerStatuses: [
    { name: 'c', containerID: 'containerd://c1', state: { running: { startedAt: '' } } },
  ] as unknown as NonNullable<PodStatus['containerStatuses']>,
};
const cache = new PodCache();
const containers = [{ id: 'c1', name: 'c', attempt: 0, state: 'running' }];
cache.commit(uid, { uid, name: 'p', namespace: 'default', sandboxes: [], containers } as unknown as ObservedPod, 1);
const manager = new PodManager(
  () => 0,
  () => {},
);
manager.setFromApi('default/p', pod);

const floor: Endpoint = {
  path: '/floor',
  methods: ['GET'],
  handle: async (_request, response) => {
    response.writeHead(200);
    await pipeline(createReadStream(`${podLogsDir}/default_p_u1/c/0.log`, { highWaterMark: 128 * 1024 }), response);
  },
};

const port = await freePort();
const logs = containerLogs({
  manager,
  cache,
  status: () => status,
  onPodChange: () => ({ [Symbol.dispose]: () => {} }),
  podLogsDir,
  splitStreams: false,
  clock: systemClock,
});
const material = Pki.create().serving(['127.0.0.1']);
const server = new NodeServer({
  address: '127.0.0.1',
  port,
  tls: {},
  files: { read: async () => material, watch: (_material, _changed, signal) => once(signal, 'abort').then(() => {}) },
  endpoints: [...logs, floor],
  guard: { admit: async () => ({ username: 'bench', groups: [] }) },
  clock: systemClock,
  log: { ...silentLog, info: () => process.send?.(port) },
});
process.on('message', () => {
  const { user, system } = process.cpuUsage();
  process.send?.((user + system) / 1000);
});
await server.run(new AbortController().signal);

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1');
  await once(probe, 'listening');
  const { port: free } = probe.address() as AddressInfo;
  await new Promise<void>((resolve) => probe.close(() => resolve()));
  return free;
}
