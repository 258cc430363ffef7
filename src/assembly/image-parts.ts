import type { Config } from '../config/config.ts';
import { ContainerdContent } from '../cri/containerd-content.ts';
import type { ImageService } from '../cri/services.ts';
import { hostExec } from '../host/exec.ts';
import type { KubeApi } from '../kubeapi/kube-api.ts';
import { CredentialPlugin } from '../kuberuntime/credential-plugin.ts';
import { CredentialSources } from '../kuberuntime/credential-sources.ts';
import { ImageAccess } from '../kuberuntime/image-access.ts';
import type { ImageMetrics } from '../kuberuntime/image-metrics.ts';
import { ImagePuller } from '../kuberuntime/image-puller.ts';
import { NodeDockerConfig } from '../kuberuntime/node-docker-config.ts';
import { PullRecords } from '../kuberuntime/pull-records.ts';
import { ServiceAccountTokens } from '../kuberuntime/service-account-tokens.ts';
import { systemClock as clock } from '../lib/clock.ts';
import type { Log } from '../lib/log.ts';

/** What pulls images, with every place that credentials come from. */
export function buildImagePuller(
  config: Config,
  images: ImageService,
  api: KubeApi | undefined,
  metrics: ImageMetrics,
  log: Log,
): ImagePuller {
  const { kubelet, flags } = config;
  const tokens = api && new ServiceAccountTokens({ api, clock });
  const { binDir = '', providers = [] } = flags.credentialProviders ?? {};
  const plugins = providers.map(
    (provider) => new CredentialPlugin({ provider, binDir, exec: hostExec, tokens, clock, log }),
  );
  const node = new NodeDockerConfig({
    rootDir: flags.rootDir,
    workingDir: process.cwd(),
    homeDir: process.env['HOME'],
    clock,
  });
  return new ImagePuller({
    ...{ images, clock, log, metrics },
    maxParallelPulls: kubelet.serializeImagePulls ? 1 : (kubelet.maxParallelImagePulls ?? Number.POSITIVE_INFINITY),
    pullQps: kubelet.registryPullQPS,
    pullBurst: kubelet.registryBurst,
    credentials: new CredentialSources({ node, plugins }),
    access: new ImageAccess({
      records: new PullRecords(flags.rootDir),
      verification: {
        policy: kubelet.imagePullCredentialsVerificationPolicy,
        allowlist: kubelet.preloadedImagesVerificationAllowlist,
      },
      ...{ images, clock, log },
    }),
    content: new ContainerdContent({ endpoint: kubelet.imageServiceEndpoint, clock, log }),
  });
}
