import { type ContainerId, containerId, type PodUid, type SandboxId, sandboxId } from '../api/ids.ts';
import { criAnnotations, criLabels } from '../api/labels.ts';
import type { FakeCri } from '../cri/fake-cri.ts';

const signal = new AbortController().signal;

/** The image that the containers below are made of; a FakeCri has to have it. */
export const testImage = 'registry.test/app:1';

/** Runs a pod in the fake runtime as an earlier keelson would have, and gives the ids of what it made. */
export async function runPod(
  fake: FakeCri,
  uid: PodUid,
  names: readonly string[],
): Promise<{ readonly sandbox: SandboxId; readonly containers: readonly ContainerId[] }> {
  const labels = { [criLabels.podUid]: uid, [criLabels.podName]: `pod-${uid}`, [criLabels.podNamespace]: 'ns' };
  const metadata = { name: `pod-${uid}`, namespace: 'ns', uid, attempt: 0 };
  const sandbox = await fake.runtime.runPodSandbox({ metadata, labels }, '', signal);
  const containers: ContainerId[] = [];
  for (const name of names) containers.push(await runContainer(fake, sandboxId(sandbox), uid, name, 0));
  return { sandbox: sandboxId(sandbox), containers };
}

/** Starts one more container in a sandbox of `runPod`. */
export async function runContainer(
  fake: FakeCri,
  sandbox: SandboxId,
  uid: PodUid,
  name: string,
  attempt: number,
): Promise<ContainerId> {
  const config = {
    metadata: { name, attempt },
    image: { image: testImage },
    labels: { [criLabels.podUid]: uid, [criLabels.containerName]: name },
    annotations: { [criAnnotations.restartCount]: String(attempt), [criAnnotations.hash]: 'h' },
  };
  const id = await fake.runtime.createContainer(sandbox, config, {}, signal);
  await fake.runtime.startContainer(id, signal);
  return containerId(id);
}
