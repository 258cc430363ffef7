import { join, resolve } from 'node:path';
import { readIfExists } from '../host/files.ts';
import type { Clock } from '../lib/clock.ts';
import { type DockerConfig, parseDockerConfigJson, parseDockercfg } from './pull-credentials.ts';

export interface NodeDockerConfigOptions {
  readonly rootDir: string;
  /** The process' own folder, and the home folder of its user, if it has one. */
  readonly workingDir: string;
  readonly homeDir: string | undefined;
  readonly clock: Clock;
}

/** How long what was read is believed. */
const lifetimeMs = 300_000;

/**
 * The Docker configuration of the node, which every pod may use: the first file that can be read of
 * config.json in the root directory, the working directory, ~/.docker and /.docker, then .dockercfg in the
 * root directory, the working directory, ~ and /.
 */
export class NodeDockerConfig {
  readonly #clock: Clock;
  readonly #files: readonly { path: string; parse: (text: string) => DockerConfig | undefined }[];
  #read: { readonly at: number; readonly config: DockerConfig } | undefined;

  constructor({ rootDir, workingDir, homeDir = '', clock }: NodeDockerConfigOptions) {
    this.#clock = clock;
    const at = (folder: string, name: string) => resolve(workingDir, join(folder, name));
    this.#files = [
      ...[rootDir, workingDir, join(homeDir, '.docker'), '/.docker'].map((folder) => ({
        path: at(folder, 'config.json'),
        parse: parseDockerConfigJson,
      })),
      ...[rootDir, workingDir, homeDir, '/'].map((folder) => ({
        path: at(folder, '.dockercfg'),
        parse: parseDockercfg,
      })),
    ];
  }

  async current(): Promise<DockerConfig> {
    const now = this.#clock.monotonic();
    if (!this.#read || now - this.#read.at >= lifetimeMs) this.#read = { at: now, config: await this.#load() };
    return this.#read.config;
  }

  async #load(): Promise<DockerConfig> {
    for (const { path, parse } of this.#files) {
      // A file that cannot be read is none, as for Docker: the next one counts.
      const text = await readIfExists(path).catch(() => undefined);
      const config = text === undefined ? undefined : parse(text);
      if (config) return config;
    }
    return {};
  }
}
