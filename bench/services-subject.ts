import { existsSync } from 'node:fs';
import { hostExec } from '../src/host/exec.ts';
import { createKubeClient } from '../src/kubeapi/client.ts';
import type { KubeApi } from '../src/kubeapi/kube-api.ts';
import { endsInitialEvents } from '../src/kubeapi/reflector-decisions.ts';
import { systemClock as clock } from '../src/lib/clock.ts';
import type { Log } from '../src/lib/log.ts';
import { silentLog } from '../src/lib/log.ts';
import { Registry } from '../src/lib/metrics.ts';
import type { ProxyMode } from '../src/proxy/backend.ts';
import { DualProxier } from '../src/proxy/dual-proxier.ts';
import { IptablesBackend } from '../src/proxy/iptables/iptables-backend.ts';
import { NftBackend } from '../src/proxy/nftables/nft-backend.ts';
import { Proxier } from '../src/proxy/proxier.ts';
import { proxyMetrics } from '../src/proxy/proxy-metrics.ts';
import type { IpFamily } from '../src/proxy/read-service.ts';
import { ServiceFeed } from '../src/proxy/service-feed.ts';
import type { SubjectReport } from './services.ts';

/*
 * The process that the services bench measures: the daemon's half for Services, as src/assembly puts it together, and
 * nothing else. Says when both lists have come and when the kernel had them all; then, whenever it is asked, what it
 * has written since. Ends with the connection to its parent.
 */

process.on('disconnect', () => process.exit());

const [kubeconfig = '', mode = 'nftables'] = process.argv.slice(2) as [string, ProxyMode];
const now = (): number => Number(process.hrtime.bigint() / 1000n) / 1000;
/** What went into the kernel, for the floor to do again; a cold start's is too much to keep. */
const keptScripts = 100_000;
let scripts: string[] = [];
let writes = 0;
let listedAt = 0;

const exec: Pick<typeof hostExec, 'run'> = {
  run: (file, args, options) => {
    const { input } = options;
    if (input && input.length < keptScripts) scripts.push(input);
    return hostExec.run(file, args, options);
  },
};

const problems: string[] = [];
const note = (fields: object, message: string): void => {
  problems.push(`${message} ${JSON.stringify(fields)}`);
};
const log: Log = {
  ...silentLog,

  error: note,
  debug: (fields) => {
    writes += (fields as { writes?: number }).writes ?? 0;
  },
};

const client = await createKubeClient({ kubeconfig, qps: 50, burst: 100, userAgent: 'keelson-proxy', clock, log });
/** The client, and when it was given the last of what there was at the start. */
const api: KubeApi = {
  ...methodsOf(client),
  async *watch(resource, query, signal) {
    for await (const event of client.watch(resource, query, signal)) {
      if (endsInitialEvents(event)) listedAt = now();
      yield event;
    }
  },
};

const families: readonly IpFamily[] = existsSync('/proc/net/if_inet6') ? ['IPv4', 'IPv6'] : ['IPv4'];
const metrics = proxyMetrics(new Registry());
const nodeName = 'node-0.cluster.internal';
const proxiers = families.map((family) => {
  const backend = mode === 'iptables' ? new IptablesBackend({ exec, log, family }) : new NftBackend({ exec, log });
  return new Proxier({
    ...{ backend, exec, clock, log, family, metrics, nodeName },
    ...{ masqueradeAll: false, clusterCidrs: ['10.128.0.0/9'], masqueradeBit: 14 },
  });
});
const proxier = new DualProxier(...proxiers);
const feed = new ServiceFeed({ api, nodeName, proxier, clock, log, ...{ resyncMs: 900_000 } });

process.on('message', () => {
  const report: SubjectReport = { listedAt, scripts, writes, problems };
  process.send?.(report);
  scripts = [];
  writes = 0;
});
void Promise.all(proxiers.map((one) => one.synced)).then(() => {
  process.send?.({ listedAt, syncedAt: now() });
});
const never = new AbortController().signal;
await Promise.all([feed.run(never), proxier.run(never)]);

function methodsOf(all: KubeApi): KubeApi {
  return {
    get: (...args) => all.get(...args),
    list: (...args) => all.list(...args),
    create: (...args) => all.create(...args),
    createSubresource: (...args) => all.createSubresource(...args),
    update: (...args) => all.update(...args),
    patch: (...args) => all.patch(...args),
    delete: (...args) => all.delete(...args),
    watch: (...args) => all.watch(...args),
  };
}
