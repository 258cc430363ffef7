import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { FakeCri } from '../cri/fake-cri.ts';
import { FakeClock } from '../lib/fake-clock.ts';
import { parseImageName } from '../lib/image-name.ts';
import { silentLog } from '../lib/log.ts';
import { ImageAccess } from './image-access.ts';
import type { PullCredential } from './pull-credentials.ts';
import { PullRecords } from './pull-records.ts';

const folders: string[] = [];
after(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});
const signal = new AbortController().signal;
const image = 'registry.test/app:1';
const name = parseImageName(image);
const secret = (hash: string): PullCredential => ({
  ...{ auth: {}, hash },
  secret: { uid: 's-1', namespace: 'ns', name: 's' },
});

function setUp(images: readonly string[] = [image]) {
  const root = mkdtempSync(join(tmpdir(), 'image-access-'));
  folders.push(root);
  const clock = new FakeClock();
  const fake = new FakeCri({ clock, images });
  const present = fake.imageStore.find(image) ?? {};
  const id = present.id ?? '';
  const open = () =>
    new ImageAccess({
      ...{ images: fake.images, clock, log: silentLog, records: new PullRecords(root) },
      verification: { policy: 'NeverVerifyPreloadedImages', allowlist: [] },
    });
  const access = open();
  const allowed = (credentials: PullCredential[] = [], by = access) =>
    by.isAllowed(image, name, present, async () => credentials, signal);
  const pull = async (credential?: PullCredential, by = access) => {
    await by.begin(image);
    await by.end(image, name, { imageRef: id, credential });
  };
  const files = (folder: string) => readdirSync(join(root, 'image_manager', folder));
  return { root, clock, fake, id, present, open, access, allowed, pull, files };
}

test('an image that was there before us is for everybody', async () => {
  assert.equal(await setUp().allowed(), true);
});

test('an image that was pulled without credentials is for everybody', async () => {
  const o = setUp();
  await o.pull();
  assert.equal(await o.allowed(), true);
});

test('an image that was pulled with a secret is for those who have it', async () => {
  const o = setUp();
  await o.pull(secret('h'));
  assert.deepEqual([await o.allowed(), await o.allowed([secret('h')])], [false, true]);
});

test('credentials are not looked up where they do not count', async () => {
  const o = setUp();
  const never = async () => assert.fail('asked for credentials');
  assert.equal(await o.access.isAllowed(image, name, o.present, never, signal), true);
  await o.pull();
  assert.equal(await o.access.isAllowed(image, name, o.present, never, signal), true);
});

test('while it is pulled nobody knows whose an image will be', async () => {
  const o = setUp();
  await o.access.begin(image);
  await o.access.begin(image);
  assert.equal(await o.allowed(), false);
  await o.access.end(image, name, undefined);
  assert.deepEqual([await o.allowed(), o.files('pulling').length], [false, 1]);
  await o.access.end(image, name, undefined);
  assert.deepEqual([await o.allowed(), o.files('pulling').length], [true, 0]);
});

test('records survive a restart, in the files of the kubelet', async () => {
  const o = setUp();
  await o.pull(secret('h'));
  assert.equal(await o.allowed([], o.open()), false);
  assert.equal(await o.allowed([secret('h')], o.open()), true);
  const [file = ''] = o.files('pulled');
  assert.match(file, /^sha256-[0-9a-f]{64}$/);
  assert.deepEqual(JSON.parse(readFileSync(join(o.root, 'image_manager/pulled', file), 'utf8')), {
    kind: 'ImagePulledRecord',
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    lastUpdatedTime: '2026-01-01T00:00:00Z',
    imageRef: o.id,
    credentialMapping: {
      'registry.test/app': {
        kubernetesSecrets: [{ uid: 's-1', namespace: 'ns', name: 's', credentialHash: 'h' }],
      },
    },
  });
});

test('a pull that a restart interrupted leaves an image that must be asked for', async () => {
  const o = setUp();
  await o.access.begin(image);
  const next = o.open();
  assert.equal(await o.allowed([secret('h')], next), false);
  assert.deepEqual([o.files('pulling'), o.files('pulled').length], [[], 1]);
});

test('records of images that are gone go at the next start', async () => {
  const o = setUp();
  await o.pull(secret('h'));
  o.fake.imageStore.remove(o.id);
  await o.clock.advance(1000);
  await o.allowed([], o.open());
  assert.deepEqual(o.files('pulled'), []);
});

test('a record that cannot be read means that credentials must be shown', async () => {
  const o = setUp();
  await o.pull();
  const [file = ''] = o.files('pulled');
  writeFileSync(join(o.root, 'image_manager/pulled', file), '{');
  assert.equal(await o.allowed(), false);
});

test('an older version of the records is read', async () => {
  const o = setUp();
  await o.pull();
  const path = join(o.root, 'image_manager/pulled', o.files('pulled')[0] ?? '');
  writeFileSync(path, readFileSync(path, 'utf8').replace('v1beta1', 'v1alpha1'));
  assert.equal(await o.allowed(), true);
});

test('an image that was there under one name stays for everybody when it is pulled under another', async () => {
  const o = setUp();
  await o.pull(secret('h'));
  const preloaded = { ...o.present, repoTags: [image, 'docker.io/library/web:1'] };
  const ask = (asked: string) => o.access.isAllowed(asked, parseImageName(asked), preloaded, async () => [], signal);
  assert.deepEqual([await ask('web:1'), await ask(image)], [true, false]);
});

test('who names an image by its id, or by a name that it has not, gets nothing by that', async () => {
  const o = setUp();
  await o.pull(secret('h'));
  const ask = (asked: string) => o.access.isAllowed(asked, parseImageName(asked), o.present, async () => [], signal);
  assert.deepEqual([await ask(o.id), await ask('registry.test/ap:1')], [false, false]);
});
