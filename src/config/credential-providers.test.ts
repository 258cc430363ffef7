import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { type ConfigProblem, problemText } from './config-error.ts';
import { readCredentialProviders } from './credential-providers.ts';

const folder = mkdtempSync(join(tmpdir(), 'keelson-providers-'));
after(() => rmSync(folder, { recursive: true }));
const binDir = join(folder, 'bin');
mkdirSync(binDir);
writeFileSync(join(binDir, 'ecr'), '#!/bin/sh\n', { mode: 0o755 });
writeFileSync(join(binDir, 'gcr'), '#!/bin/sh\n', { mode: 0o755 });
writeFileSync(join(binDir, 'locked'), '');
chmodSync(join(binDir, 'locked'), 0o644);

let files = 0;
function read(text: string) {
  const file = join(folder, `${files++}.yaml`);
  writeFileSync(file, text);
  const problems: ConfigProblem[] = [];
  const { providers } = readCredentialProviders(file, binDir, problems);
  const said = problems.map((p) => problemText(p).replaceAll(`${file}:`, '').replaceAll(`${folder}/`, ''));
  return { providers, said };
}

const head = 'apiVersion: kubelet.config.k8s.io/v1\nkind: CredentialProviderConfig\n';
const provider = (lines = '', name = 'ecr') => `- name: ${name}
  matchImages: ["*.ecr.test"]
  defaultCacheDuration: 12h
  apiVersion: credentialprovider.kubelet.k8s.io/v1
${lines}`;

test('everything that can be said is read', () => {
  const { providers, said } = read(`${head}providers:
${provider(`  args: [get, --quiet]
  env:
  - {name: REGION, value: eu}
  tokenAttributes:
    serviceAccountTokenAudience: ecr
    cacheType: Token
    requireServiceAccount: true
    requiredServiceAccountAnnotationKeys: [ecr.test/role]
    optionalServiceAccountAnnotationKeys: [ecr.test/team]
`)}`);
  assert.deepEqual(said, []);
  assert.deepEqual(providers, [
    {
      name: 'ecr',
      apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
      matchImages: ['*.ecr.test'],
      defaultCacheDuration: 12 * 3600_000,
      args: ['get', '--quiet'],
      env: { REGION: 'eu' },
      tokenAttributes: {
        ...{ audience: 'ecr', cacheType: 'Token', requireServiceAccount: true },
        ...{ requiredAnnotationKeys: ['ecr.test/role'], optionalAnnotationKeys: ['ecr.test/team'] },
      },
    },
  ]);
});

const faults: Record<string, { text: string; says: string[] }> = {
  'another kind': {
    text: 'apiVersion: kubelet.config.k8s.io/v1\nkind: KubeletConfiguration\n',
    says: ['2:7: kind: "KubeletConfiguration" is not CredentialProviderConfig'],
  },
  'a version that nobody reads': {
    text: 'apiVersion: kubelet.config.k8s.io/v2\nkind: CredentialProviderConfig\n',
    says: [
      '1:13: apiVersion: "kubelet.config.k8s.io/v2" is not one of kubelet.config.k8s.io/v1, kubelet.config.k8s.io/v1beta1, kubelet.config.k8s.io/v1alpha1',
    ],
  },
  'no provider': { text: `${head}providers: []\n`, says: ['3:12: providers: names no provider'] },
  'a misspelt key': {
    text: `${head}providers:\n${provider('  arg: [x]\n')}`,
    says: ['8:3: providers[0].arg: no such key (did you mean args?)'],
  },
  'a provider with nothing but a name': {
    text: `${head}providers:\n- name: ecr\n`,
    says: [
      '4:3: providers[0]: has no apiVersion (write apiVersion: credentialprovider.kubelet.k8s.io/v1)',
      '4:3: providers[0]: has no matchImages (say for which registries it knows credentials)',
      '4:3: providers[0]: has no defaultCacheDuration (write 0s to keep nothing)',
    ],
  },
  'a name that leads elsewhere': {
    text: `${head}providers:\n${provider('', '../sh')}`,
    says: ['4:9: providers[0].name: "../sh" is not the name of a program: no slash, no space, not . or ..'],
  },
  'an image pattern with a scheme': {
    text: `${head}providers:\n${provider().replace('*.ecr.test', 'https://ecr.test')}`,
    says: [
      '5:17: providers[0].matchImages[0]: "https://ecr.test" is not a registry such as *.example.com or registry.example:5000/team, without https://',
    ],
  },
  'a program that is missing': {
    text: `${head}providers:\n${provider('', 'acr')}`,
    says: ['4:9: providers[0].name: there is no program bin/acr (check --image-credential-provider-bin-dir)'],
  },
  'two of one name': {
    text: `${head}providers:\n${provider()}${provider()}`,
    says: [`8:9: providers[1].name: a second provider "ecr"; the first is in 8.yaml (leave one of them out)`],
  },
  'tokens in an old version': {
    text: `${head}providers:
${provider(`  tokenAttributes:
    {serviceAccountTokenAudience: a, cacheType: Token, requireServiceAccount: true}
`).replace('k8s.io/v1', 'k8s.io/v1beta1')}`,
    says: [
      '9:5: providers[0].tokenAttributes: needs apiVersion credentialprovider.kubelet.k8s.io/v1 (change apiVersion of the provider)',
    ],
  },
  'annotations that contradict': {
    text: `${head}providers:
${provider(`  tokenAttributes:
    serviceAccountTokenAudience: a
    cacheType: Token
    requireServiceAccount: false
    requiredServiceAccountAnnotationKeys: [x/y, "a b"]
    optionalServiceAccountAnnotationKeys: [x/y]
`)}`,
    says: [
      '12:43: providers[0].tokenAttributes.requiredServiceAccountAnnotationKeys: needs requireServiceAccount: true',
      '12:49: providers[0].tokenAttributes.requiredServiceAccountAnnotationKeys[1]: "a b" is not the key of an annotation',
      '9:5: providers[0].tokenAttributes: "x/y" cannot be both required and optional',
    ],
  },
};

for (const [sentence, { text, says }] of Object.entries(faults)) {
  test(`refused: ${sentence}`, () => {
    const { said } = read(text);
    assert.deepEqual(
      said.map((line) => line.replace(/in \d+\.yaml/, 'in 8.yaml')),
      says,
    );
  });
}

test('a program that may not be run is named with the remedy', () => {
  const { said } = read(`${head}providers:\n${provider('', 'locked')}`);
  assert.deepEqual(said, [
    '4:9: providers[0].name: bin/locked cannot be run: EACCES (make it executable: chmod +x bin/locked)',
  ]);
});

test('a folder is read file by file in the order of names, and other files are left alone', () => {
  const many = join(folder, 'many');
  mkdirSync(many);
  writeFileSync(join(many, 'b.yaml'), `${head}providers:\n${provider('', 'gcr')}`);
  writeFileSync(join(many, 'a.yml'), `${head}providers:\n${provider()}`);
  writeFileSync(join(many, 'notes.txt'), 'not for us');
  const problems: ConfigProblem[] = [];
  const { providers } = readCredentialProviders(many, binDir, problems);
  assert.deepEqual([providers.map((p) => p.name), problems], [['ecr', 'gcr'], []]);
});

test('a folder without a configuration, and no folder at all, are named', () => {
  const problems: ConfigProblem[] = [];
  readCredentialProviders(binDir, binDir, problems);
  readCredentialProviders(join(folder, 'nowhere'), binDir, problems);
  assert.deepEqual(
    problems.map((p) => problemText(p).replaceAll(`${folder}/`, '')),
    [
      'bin: has no *.json, *.yaml or *.yml in it (check --image-credential-provider-config)',
      'nowhere: there is no such file (check --image-credential-provider-config)',
    ],
  );
});
