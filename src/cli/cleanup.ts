/** What a part of keelson has left on the host. */
export interface CleanupItem {
  /** Who left it, as an operator would say: `mode nftables`, `pod network`. */
  readonly what: string;
  /** A line each. */
  readonly found: readonly string[];
  /** Why it could not be looked for, or not all of it be removed; absent: it could. */
  readonly problem?: string;
  /** What is still there after that, in the words of now; absent: all that was found. */
  readonly left?: readonly string[];
}

export interface CleanupReport {
  /** Only looked for. */
  readonly isPlan: boolean;
  readonly items: readonly CleanupItem[];
  /** What is left where it is on purpose. */
  readonly stays: readonly string[];
}

/** `keelson cleanup`: what is printed, a line each, and whether all went well. */
export function cleanupLines({ isPlan, items, stays }: CleanupReport): { good: boolean; lines: readonly string[] } {
  const lines = items.flatMap(({ what, found, problem, left = found }): string[] => {
    const say = (verb: string, these: readonly string[]) => these.map((one) => `${verb}: ${one} (${what})`);
    if (problem === undefined) return say(isPlan ? 'to remove' : 'removed', found);
    const gone = found.filter((one) => !left.includes(one));
    return [...say('removed', gone), ...say('not removed', left), `${what}: failed: ${problem}`];
  });
  const good = items.every(({ problem }) => problem === undefined);
  const nothing = lines.length === 0 ? ['nothing of keelson is in the kernel'] : [];
  return { good, lines: [...lines, ...nothing, ...stays.map((one) => `stays: ${one}`)] };
}
