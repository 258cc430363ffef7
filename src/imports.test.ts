import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import { dirname, posix } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const src = fileURLToPath(new URL('.', import.meta.url));

/** A folder may import from itself and from the folders before it. */
const order = [
  'lib',
  'api',
  'config',
  'kubeapi',
  'cri',
  'host',
  'network',
  'pod',
  'stats',
  'resources',
  'volumes',
  'probes',
  'kuberuntime',
  'workers',
  'status',
  'eviction',
  'node',
  'server',
  'admin',
  'proxy',
  'cli',
];

/** Columns of their own: these folders, and no others. */
const columns: Readonly<Record<string, readonly string[]>> = {
  network: ['lib', 'api', 'config', 'host'],
  proxy: ['lib', 'api', 'config', 'kubeapi', 'host'],
  cli: ['lib', 'api', 'config', 'admin'],
};

/** Puts everything together, and so may import everything: agent.ts, main.ts, and the parts of the agent's assembly. */
const isComposition = (file: string) => file === 'agent.ts' || file === 'main.ts' || file.startsWith('assembly/');

/** Who may use which package: the outer world has one door each. */
const packages: Readonly<Record<string, readonly string[]>> = {
  '@grpc/grpc-js': ['cri'],
  commander: ['cli', 'main.ts'],
  execa: ['host'],
  pino: ['main.ts'],
  protobufjs: ['cri'],
  systeminformation: ['host'],
  undici: ['kubeapi'],
  yaml: ['lib', 'kubeapi'],
};

interface Import {
  /** Relative to src. */
  readonly file: string;
  /** A path relative to src, or the name of a package. */
  readonly target: string;
  readonly relative: boolean;
}

const folderOf = (path: string) => (path.includes('/') ? (path.split('/')[0] ?? '') : path);
const isTest = (file: string) => file.endsWith('.test.ts');
const isForTests = (path: string) => path.startsWith('testing/') || posix.basename(path).startsWith('fake-');

/** The imports of a file: statements, re-exports and import(). */
function importsOf(file: string, text: string): Import[] {
  const pattern =
    /(?:^|\n)\s*(?:import|export)\b[^;'"]*?\bfrom\s*['"]([\w@./:-]+)['"]|\bimport\s*\(?\s*['"]([\w@./:-]+)['"]/g;
  return [...text.matchAll(pattern)].map(([, statement, call]) => {
    const specifier = statement ?? call ?? '';
    const relative = specifier.startsWith('.');
    return { file, relative, target: relative ? posix.normalize(posix.join(dirname(file), specifier)) : specifier };
  });
}

/** What is wrong with an import, or undefined. */
function violation({ file, target, relative }: Import): string | undefined {
  if (!relative) return packageViolation(file, target);
  if (target.startsWith('..')) return isTest(file) || target.startsWith('../package.json') ? undefined : 'leaves src';
  if (isTest(file)) return undefined;
  if (isForTests(target) && !isForTests(file)) return 'is for tests only';
  if (isForTests(file) || isComposition(file)) return undefined;
  const [from, to] = [folderOf(file), folderOf(target)];
  if (from === to) return undefined;
  if (!order.includes(from)) return `${from} has no place in the order of folders`;
  const allowed = columns[from] ?? order.slice(0, order.indexOf(from));
  return allowed.includes(to) ? undefined : `${from} may import ${allowed.join(', ') || 'no other folder'}`;
}

function packageViolation(file: string, target: string): string | undefined {
  if (target.startsWith('node:')) return undefined;
  if (builtinModules.includes(target)) return 'must be written with node:';
  const users = packages[target];
  if (!users) return 'is a package that nobody may import';
  return isTest(file) || users.includes(folderOf(file)) ? undefined : `only ${users.join(' and ')} may import it`;
}

test('every import points from a later folder to an earlier one', () => {
  const files = globSync('**/*.ts', { cwd: src });
  assert.ok(files.length > 50);
  const imports = files.flatMap((file) => importsOf(file, readFileSync(`${src}/${file}`, 'utf8')));
  assert.ok(imports.length > files.length);
  const violations = imports.flatMap((i) => {
    const wrong = violation(i);
    return wrong ? [`${i.file} → ${i.target}: ${wrong}`] : [];
  });
  assert.deepEqual(violations, []);
});

test('what the rule refuses', () => {
  const table: Record<string, [string, string, boolean]> = {
    'an earlier folder': ['pod/a.ts', "import { x } from '../lib/x.ts';", true],
    'a type from an earlier folder': ['pod/a.ts', "import type { x } from '../lib/x.ts';", true],
    'its own folder': ['pod/a.ts', "import { x } from './b.ts';", true],
    'a later folder': ['lib/a.ts', "import { x } from '../pod/x.ts';", false],
    'a type from a later folder': ['lib/a.ts', "import type {\n  x,\n} from '../pod/x.ts';", false],
    'a later folder, re-exported': ['lib/a.ts', "export * from '../pod/x.ts';", false],
    'a later folder, at run time': ['lib/a.ts', "await import('../pod/x.ts');", false],
    'an earlier folder outside the column': ['proxy/a.ts', "import { x } from '../pod/x.ts';", false],
    'a fake': ['pod/a.ts', "import { x } from '../lib/fake-clock.ts';", false],
    'a fake from a test': ['pod/a.test.ts', "import { x } from '../lib/fake-clock.ts';", true],
    'a fake from a fake': ['host/fake-host.ts', "import { x } from '../lib/fake-clock.ts';", true],
    "tests' helpers": ['pod/a.ts', "import { x } from '../testing/x.ts';", false],
    'anything, from the agent': ['agent.ts', "import { x } from './proxy/x.ts';", true],
    'a folder nobody knows': ['utils/a.ts', "import { x } from '../lib/x.ts';", false],
    "Node's own": ['lib/a.ts', "import fs from 'node:fs';", true],
    "Node's own without prefix": ['lib/a.ts', "import fs from 'fs';", false],
    'the package of another folder': ['pod/a.ts', "import { request } from 'undici';", false],
    'its own package': ['kubeapi/a.ts', "import { request } from 'undici';", true],
  };
  for (const [sentence, [file, text, allowed]] of Object.entries(table)) {
    const found = importsOf(file, text);
    assert.equal(found.length, 1, sentence);
    assert.equal(
      found.every((i) => violation(i) === undefined),
      allowed,
      sentence,
    );
  }
});
