/**
 * Expands `$(NAME)` in commands, arguments and environment values by the rules of Kubernetes' core/v1:
 * `$$` is a literal `$` (so `$$(NAME)` stays `$(NAME)`), a name that `lookup` does not know stays as it
 * is written, and so does a parenthesis that is never closed.
 */
export function expandEnv(input: string, lookup: (name: string) => string | undefined): string {
  if (!input.includes('$')) return input;
  // One token is `$` with whatever follows it; a lone `$` at the very end matches nothing and stays.
  return input.replace(/\$(?:\(([^)]*)\)|[\s\S])/g, (token, name: string | undefined) => {
    if (name !== undefined) return lookup(name) ?? token;
    return token === '$$' ? '$' : token;
  });
}

/** A lookup over maps, the first that has the name wins. */
export function lookupIn(...maps: readonly ReadonlyMap<string, string>[]): (name: string) => string | undefined {
  return (name) => maps.find((map) => map.has(name))?.get(name);
}
