import { createKubeClient } from '../src/kubeapi/client.ts';
import { FakeKubeApi } from '../src/kubeapi/fake-kubeapi.ts';
import { serviceAccounts } from '../src/kubeapi/resources.ts';
import { systemClock } from '../src/lib/clock.ts';
import { StandInApiServer } from './apiserver/server.ts';
import { kubeApiContract } from './contract/kubeapi-contract.ts';
import { scratchDir } from './kubeapi-support.ts';

kubeApiContract('the API, faked in memory', async () => {
  const api = new FakeKubeApi(systemClock);
  const account = { metadata: { namespace: 'default', name: 'default' } };
  await api.create(serviceAccounts, account, new AbortController().signal);
  return {
    api,
    compact: () => api.compact(),
    bookmark: () => api.bookmark(),
    [Symbol.asyncDispose]: async () => api.dropWatches(),
  };
});

for (const kind of ['cert', 'token'] as const) {
  kubeApiContract(`the API, over HTTPS with a ${kind}`, async () => {
    await using stack = new AsyncDisposableStack();
    const server = stack.use(await StandInApiServer.start({ bookmarkIntervalMs: 50 }));
    const dir = stack.use(await scratchDir());
    const kubeconfig = server.kubeconfigFor('admin', { groups: ['system:masters'], kind }, `${dir.path}/kubeconfig`);
    const api = await createKubeClient({ kubeconfig, qps: 0 });
    stack.defer(() => api.close());
    const owned = stack.move();
    return {
      api,
      compact: () => server.store.compact(),
      bookmark: () => {},
      [Symbol.asyncDispose]: () => owned[Symbol.asyncDispose](),
    };
  });
}
