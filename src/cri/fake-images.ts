import { createHash } from 'node:crypto';
import type { Image } from '../api/cri.ts';
import { parseImageName } from '../lib/image-name.ts';
import { CriError } from './services.ts';

/** The images of a fake runtime: those it has, and those its registry has. */
export class FakeImages {
  readonly #present = new Map<string, Image>();
  readonly #remote = new Map<string, Image>();

  /** Present without a pull. */
  add(
    name: string,
    options: { readonly size?: number; readonly uid?: number; readonly username?: string } = {},
  ): Image {
    const image = fakeImage(name, options);
    this.#present.set(image.id ?? '', image);
    return image;
  }

  /** To be had by a pull. */
  addRemote(
    name: string,
    options: { readonly size?: number; readonly uid?: number; readonly username?: string } = {},
  ): void {
    this.#remote.set(name, fakeImage(name, options));
  }

  list(): readonly Image[] {
    return [...this.#present.values()];
  }

  /** By name, by digest reference or by id. */
  find(reference: string): Image | undefined {
    const name = fullName(reference);
    return this.list().find(
      ({ id, repoTags, repoDigests }) => id === reference || repoTags?.includes(name) || repoDigests?.includes(name),
    );
  }

  pull(name: string): string {
    const image = this.#remote.get(fullName(name)) ?? this.find(name);
    if (image === undefined) {
      const details = `failed to pull and unpack image "${name}": failed to resolve reference "${name}": ${name}: not found`;
      throw new CriError('PullImage', 'NOT_FOUND', details);
    }
    this.#present.set(image.id ?? '', image);
    return image.id ?? '';
  }

  remove(reference: string): void {
    this.#present.delete(this.find(reference)?.id ?? '');
  }
}

/** Short names are of docker.io, as for containerd; what is no name (an id, say) stays as it is. */
function fullName(reference: string): string {
  try {
    return parseImageName(reference).full;
  } catch {
    return reference;
  }
}

function fakeImage(name: string, options: { size?: number; uid?: number; username?: string }): Image {
  const digest = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`;
  const repository = name.replace(/[:@][^/]*$/, '');
  return {
    id: digest(name),
    repoTags: name.includes('@') ? [] : [name],
    repoDigests: [name.includes('@') ? name : `${repository}@${digest(`manifest of ${name}`)}`],
    size: options.size ?? 1_000_000,
    uid: options.uid === undefined ? null : { value: options.uid },
    username: options.username ?? '',
    spec: null,
    pinned: false,
  };
}
