import type { Log } from '../lib/log.ts';

/** More lines than these are not said: something has gone wrong with all objects. */
const maxLines = 100;

/** Warns of objects that cannot be used: of each once, and anew only with other faults or when it was right in between. */
export class BadObjects {
  readonly #log: Log;
  /** By object, what was said of it. */
  readonly #said = new Map<string, ReadonlySet<string>>();
  #lines = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  /** `about` is 'Pod ns/web', or what is known of it; `isKept`: the last good state of it goes on being used. */
  found(about: string, faults: readonly string[], isKept = false): void {
    const details = faults.join('; ');
    const said = this.#said.get(about) ?? new Set();
    if (said.has(details) || this.#lines > maxLines) return;
    this.#lines += 1;
    if (this.#lines > maxLines) {
      this.#log.warn({ lines: maxLines, hint: server }, 'more objects cannot be used than are told of');
      return;
    }
    this.#said.set(about, new Set([...said, details]));
    const fields = { about, details, isKept, hint: remedyOf(about) };
    this.#log.warn(fields, 'the API server sent an object that cannot be used');
  }

  /** The object is right now, or gone. */
  mended(about: string): void {
    const said = this.#said.get(about);
    if (!said) return;
    this.#said.delete(about);
    this.#lines = Math.min(this.#lines, maxLines) - said.size;
  }
}

const server = 'look at what stands between keelson and the API server, and at what writes to its storage';

/** Whoever has a name can be looked at. */
function remedyOf(about: string): string {
  const [, kind, namespace, name] = /^(\w+) (?:([\w.-]+)\/)?([\w.:-]+)$/.exec(about) ?? [];
  if (kind === undefined || name === undefined) return server;
  const place = namespace === undefined ? '' : ` -n ${namespace}`;
  return `correct or delete it; kubectl get ${kind.toLowerCase()}${place} ${name} -o yaml shows it; if that looks right, ${server}`;
}
