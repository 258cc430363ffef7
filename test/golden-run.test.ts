import { after, before, describe, test } from 'node:test';
import { differsEverywhere, golden, goldenImage, prepareNamespace, runGolden } from './golden-run.ts';
import { Cluster, NODE } from './host/cluster.ts';

/** The recorded pods on a real containerd, cgroup v1 with the cgroupfs driver. */

const patienceMs = 90_000;

describe('the recorded pods become what they became under kubelet', { concurrency: 4 }, () => {
  let cluster: Cluster;
  before(async () => {
    cluster = await Cluster.create('golden', { images: [goldenImage()] });
    // As on the machine of the recordings, where Bidirectional mounts were refused for it.
    await cluster.host.exec('mount', ['--make-private', '/']);
    await cluster.startKeelson();
    prepareNamespace(cluster.api);
  });
  after(() => cluster[Symbol.asyncDispose]());

  for (const recorded of golden('pods')) {
    test(recorded.name, async () => {
      const { api, host } = cluster;
      const node = {
        api,
        name: NODE,
        exec: (command: string, args: readonly string[]) => host.exec(command, args),
        patienceMs,
      };
      await runGolden(node, recorded, differsEverywhere[recorded.name]);
    });
  }
});
