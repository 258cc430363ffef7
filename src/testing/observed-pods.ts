import { containerId, podUid, sandboxId } from '../api/ids.ts';
import type { ObservedContainer, ObservedPod } from '../pod/observed.ts';

/** A container that runs, as the PLEG sees it; its id is its name and attempt. */
export const observedContainer = (name: string, over: Partial<ObservedContainer> = {}): ObservedContainer => ({
  id: containerId(`${name}${over.attempt ?? 0}`),
  name,
  sandboxId: sandboxId('s'),
  state: 'running',
  attempt: 0,
  createdAt: 0,
  startedAt: 0,
  finishedAt: 0,
  exitCode: 0,
  reason: '',
  message: '',
  image: 'i',
  imageRef: 'i',
  hash: '',
  terminationMessage: '',
  ...over,
});

/** A pod with a ready sandbox; containers newest first. */
export const observedPod = (containers: readonly ObservedContainer[]): ObservedPod => ({
  uid: podUid('u'),
  name: 'p',
  namespace: 'ns',
  sandboxes: [{ id: sandboxId('s'), state: 'ready', attempt: 0, createdAt: 0, ips: ['192.0.2.9'], hostNetwork: false }],
  containers,
});
