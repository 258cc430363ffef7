import type { SetSpec } from './ruleset.ts';

/**
 * Text of one transaction. nft reads it from top to bottom, so that what is referred to comes before what refers to
 * it: declarations, chains, rules, elements that go, elements that come, chains that go.
 */
export class TransactionScript {
  readonly #where: string;
  readonly #head: string[] = [];
  readonly #rules: string[] = [];
  readonly #tail: string[] = [];
  readonly #removed = new Map<string, string[]>();
  readonly #added = new Map<string, string[]>();
  #writes = 0;

  constructor(family: string, table: string) {
    this.#where = `${family} ${table}`;
  }

  get writes(): number {
    return this.#writes;
  }

  /** Elements and rules: what the kernel takes its time for. */
  get size(): number {
    return this.#writes + this.#rules.length;
  }

  get isEmpty(): boolean {
    return this.#writes === 0 && !this.changesRules;
  }

  /** Adds the table; `replaces`: without anything that may be in one of that name, if there is one. */
  recreateTable(replaces: boolean): void {
    if (replaces) this.#head.push(`add table ${this.#where}`, `delete table ${this.#where}`);
    this.#head.push(`add table ${this.#where}`);
  }

  /** Whether it does more than add and remove elements. */
  get changesRules(): boolean {
    return this.#head.length + this.#rules.length + this.#tail.length > 0;
  }

  declare(set: SetSpec): void {
    this.#head.push(`add ${set.kind} ${this.#where} ${set.name} { ${set.declaration} }`);
  }

  addLine(line: string): void {
    this.#head.push(line);
  }

  flushChain(name: string): void {
    this.#head.push(`flush chain ${this.#where} ${name}`);
  }

  addRule(line: string): void {
    this.#rules.push(line);
  }

  deleteChain(name: string): void {
    this.#tail.push(`delete chain ${this.#where} ${name}`);
  }

  remove(set: string, element: string): void {
    this.#writes += 1;
    push(this.#removed, set, element);
  }

  add(set: string, element: string, value?: string): void {
    this.#writes += 1;
    push(this.#added, set, value === undefined ? element : `${element} : ${value}`);
  }

  text(): string {
    const elements = (verb: string, sets: ReadonlyMap<string, readonly string[]>) =>
      [...sets].map(([set, list]) => `${verb} element ${this.#where} ${set} { ${list.join(', ')} }`);
    const lines = [
      ...this.#head,
      ...this.#rules,
      ...elements('delete', this.#removed),
      ...elements('add', this.#added),
      ...this.#tail,
    ];
    return `${lines.join('\n')}\n`;
  }
}

function push(lists: Map<string, string[]>, key: string, value: string): void {
  const list = lists.get(key);
  if (list) list.push(value);
  else lists.set(key, [value]);
}
