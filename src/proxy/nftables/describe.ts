import type { DesiredFrontend } from './compile.ts';
import { diffFrontend } from './diff-frontend.ts';
import type { RulesetOptions } from './ruleset.ts';
import { chainFor, ownChains } from './ruleset.ts';
import { verdictsOf } from './table-state.ts';

/**
 * A script of transactions for people, a line for each element, rule, chain and set: `+ …` is what the kernel lacks,
 * `- …` what it has and should not.
 */
export const differencesOf = (script: string): readonly string[] => {
  // A table is added before it is deleted for the case that it is not there.
  const lines = script.replaceAll(/^add table (.*)\n(?=delete table \1\n)/gm, '').split('\n');
  return lines.flatMap(differences);
};

function differences(line: string): readonly string[] {
  const [, verb, kind, where = '', rest = ''] = /^(add|delete|flush) (\w+) (\S+ \S+) ?(.*)$/.exec(line) ?? [];
  if (verb === undefined) return [];
  const sign = verb === 'add' ? '+' : '-';
  if (verb === 'flush') return [`- rules of ${kind} ${where} ${rest}`];
  if (kind === 'rule') return [`+ rule ${where} ${rest.replace(/ comment "[^"]*"$/, '')}`];
  const [, set, elements] = /^(\S+) \{ (.*) \}$/.exec(rest) ?? [];
  if (kind === 'element' && elements !== undefined) {
    return elements.split(', ').map((element) => `${sign} element ${where} ${set} ${element}`);
  }
  return [`${sign} ${kind} ${where} ${rest}`.trimEnd()];
}

/** The elements that a frontend has, then the rules of every chain that one of them leads to. */
export function explainFrontend(desired: DesiredFrontend, options: RulesetOptions): readonly string[] {
  const change = diffFrontend(undefined, desired);
  const elements = (change?.add ?? []).map(({ set, element, value }) => `${set} { ${element} : ${value} }`);
  const chains = new Set(verdictsOf(change?.next).map((verdict) => verdict.slice(verdict.indexOf(' ') + 1)));
  const own = ownChains(desired, options);
  const rules = [...chains].flatMap((name) => {
    const chain = chainFor(name, options) ?? own.find((one) => one.name === name);
    return (chain?.rules ?? []).map((rule) => `chain ${name}: ${rule}`);
  });
  return [...elements, ...rules];
}
