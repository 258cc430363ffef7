import type { Pod, Secret } from '../api/core-v1.ts';
import type { CredentialPlugin } from './credential-plugin.ts';
import type { NodeDockerConfig } from './node-docker-config.ts';
import { type PullCredential, pullCredentials, secretConfigs } from './pull-credentials.ts';

export interface CredentialSourcesOptions {
  readonly node: NodeDockerConfig | undefined;
  readonly plugins: readonly CredentialPlugin[];
}

/** Every place where a pod's credentials for an image may come from. */
export class CredentialSources {
  readonly #o: CredentialSourcesOptions;

  constructor(options: CredentialSourcesOptions) {
    this.#o = options;
  }

  /** In the order in which they are tried: the pod's secrets, the node's own, those of providers. Rejects by the signal alone. */
  async find(image: string, pod: Pod, secrets: readonly Secret[], signal: AbortSignal): Promise<PullCredential[]> {
    const { node, plugins } = this.#o;
    const provided = await Promise.all(plugins.map((plugin) => plugin.configFor(image, pod, signal)));
    const config = await node?.current();
    return [
      ...pullCredentials(image, secretConfigs(secrets)),
      ...pullCredentials(image, config ? [{ config }] : []),
      ...pullCredentials(
        image,
        provided.filter((answer) => answer !== undefined),
      ),
    ];
  }
}
