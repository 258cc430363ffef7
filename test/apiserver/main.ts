import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { Pki, signingKey } from '../pki/pki.ts';
import { StandInApiServer } from './server.ts';

const USAGE = `Runs the stand-in API server as a process of its own.

  node test/apiserver/main.ts --dir DIR [options]

  --dir DIR            where the authority, the state and the kubeconfigs are kept:
                       admin.kubeconfig, proxy.kubeconfig, NODE.kubeconfig for each --node
  --port N             0 takes a free one (default)
  --host ADDRESS       to listen on, default 127.0.0.1
  --advertise HOST     the host in the kubeconfigs when it differs
  --node NAME          repeatable; default "node"
  --auto-bind NAME     binds pods without a node to this one
  --pod-network BLOCK  what nodes get their pod CIDRs from, default 10.244.0.0/16; "none" for no CIDRs
  --no-endpoint-slices leaves EndpointSlices to others
  --no-watch-list      refuses streaming lists
  --no-http2           HTTP/1.1 only

Prints one line of JSON {"url","dir","pid"} when it is ready; SIGTERM saves the state and ends it.`;

const { values } = parseArgs({
  options: {
    dir: { type: 'string' },
    port: { type: 'string', default: '0' },
    host: { type: 'string', default: '127.0.0.1' },
    advertise: { type: 'string' },
    node: { type: 'string', multiple: true, default: ['node'] },
    'auto-bind': { type: 'string' },
    'pod-network': { type: 'string' },
    'no-endpoint-slices': { type: 'boolean', default: false },
    'no-watch-list': { type: 'boolean', default: false },
    'no-http2': { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help || !values.dir) {
  console.log(USAGE);
  process.exit(values.help ? 0 : 2);
}

const dir = resolve(values.dir);
mkdirSync(dir, { recursive: true, mode: 0o700 });
const network = values['pod-network'];
const server = await StandInApiServer.start({
  port: Number(values.port),
  host: values.host,
  ...(values.advertise ? { advertise: values.advertise } : {}),
  tls: Pki.openOrCreate(dir),
  tokenKey: keptKey(join(dir, 'sa.key')),
  storageFile: join(dir, 'state.json'),
  ...(network === undefined ? {} : { podNetwork: network === 'none' ? false : network }),
  ...(values['auto-bind'] ? { autoBind: values['auto-bind'] } : {}),
  endpointSlices: !values['no-endpoint-slices'],
  watchList: !values['no-watch-list'],
  http2: !values['no-http2'],
});

server.kubeconfigFor('admin', { groups: ['system:masters'] }, join(dir, 'admin.kubeconfig'));
server.kubeconfigFor('system:kube-proxy', {}, join(dir, 'proxy.kubeconfig'));
for (const node of values.node) {
  server.kubeconfigFor(`system:node:${node}`, { groups: ['system:nodes'] }, join(dir, `${node}.kubeconfig`));
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    void server.stop().then(() => process.exit(0));
  });
}
console.log(JSON.stringify({ url: server.url, dir, pid: process.pid }));

function keptKey(file: string): string {
  if (!existsSync(file)) writeFileSync(file, signingKey().privateKey, { mode: 0o600 });
  return readFileSync(file, 'utf8');
}
