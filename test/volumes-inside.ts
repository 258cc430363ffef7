import { text } from 'node:stream/consumers';
import type { Pod, Secret } from '../src/api/core-v1.ts';
import { podUid } from '../src/api/ids.ts';
import { hostExec } from '../src/host/exec.ts';
import { HostMounts } from '../src/host/mount-table.ts';
import { FakeKubeApi } from '../src/kubeapi/fake-kubeapi.ts';
import { systemClock } from '../src/lib/clock.ts';
import { errorFields } from '../src/lib/errors.ts';
import { silentLog } from '../src/lib/log.ts';
import { ManifestObjectSource } from '../src/volumes/manifest-object-source.ts';
import { VolumeManager } from '../src/volumes/volume-manager.ts';

/*
 * Run inside a test host, where mounts are seen by the host's containerd: one life of a volume manager
 * that does what stdin asks for and prints what came of it. Every run is a restart.
 */
export interface Request {
  readonly rootDir: string;
  readonly secrets?: readonly Secret[];
  readonly memoryBytes?: number;
  readonly setUp?: Pod;
  readonly tearDown?: string;
}

export interface Answer {
  readonly volumes?: Readonly<Record<string, { readonly hostPath: string; readonly readOnly: boolean }>>;
  readonly error?: { readonly err: string; readonly code?: string; readonly hint?: string };
}

async function main({ rootDir, secrets = [], memoryBytes, setUp, tearDown }: Request): Promise<Answer> {
  const life = new AbortController();
  const manager = new VolumeManager({
    rootDir,
    api: new FakeKubeApi(systemClock),
    objects: new ManifestObjectSource(() => ({ configMaps: [], secrets })),
    mounts: new HostMounts(hostExec),
    exec: hostExec,
    clock: systemClock,
    log: silentLog,
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
  });
  try {
    await manager.start(life.signal);
    if (tearDown !== undefined) await manager.tearDown(podUid(tearDown), life.signal);
    if (!setUp) return {};
    return { volumes: Object.fromEntries(await manager.setUp(setUp, podUid(setUp.metadata.uid ?? ''), life.signal)) };
  } catch (error) {
    return { error: errorFields(error) };
  } finally {
    life.abort();
  }
}

if (import.meta.main) process.stdout.write(JSON.stringify(await main(JSON.parse(await text(process.stdin)))));
