/** What a part of keelson has left on the host. */
export interface CleanupItem {
  /** Who left it, as an operator would say: `mode nftables`, `pod network`. */
  readonly what: string;
  /** A line each. */
  readonly found: readonly string[];
  /** Why it could not be looked for, or removed; absent: it could. */
  readonly problem?: string;
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
  const lines = items.flatMap(({ what, found, problem }): string[] => {
    const isDone = !isPlan && problem === undefined;
    const verb = isDone ? 'removed' : isPlan ? 'to remove' : 'not removed';
    const failed = problem === undefined ? [] : [`${what}: failed: ${problem}`];
    return [...found.map((one) => `${verb}: ${one} (${what})`), ...failed];
  });
  const good = items.every(({ problem }) => problem === undefined);
  const nothing = lines.length === 0 ? ['nothing of keelson is in the kernel'] : [];
  return { good, lines: [...lines, ...nothing, ...stays.map((one) => `stays: ${one}`)] };
}
