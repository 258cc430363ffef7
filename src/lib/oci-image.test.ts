import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { buildImage, imageArchive } from './oci-image.ts';
import { tarArchive } from './tar.ts';

const tar = (archive: Buffer, ...args: string[]) => execFileSync('tar', args, { input: archive, encoding: 'utf8' });

test('tar reads the archive back: kinds, modes, contents', () => {
  const archive = tarArchive([
    { path: 'tmp', mode: 0o1777 },
    { path: 'bin/tool', content: 'x'.repeat(513), mode: 0o755 },
    { path: 'bin/link', linkTo: 'tool' },
    { path: `${'long/'.repeat(25)}name`, content: 'end' },
  ]);
  const listed = tar(archive, '-tvf', '-').trim().split('\n');
  assert.match(listed[0] ?? '', /^drwxrwxrwt 0\/0 .* tmp\/$/);
  assert.match(listed[1] ?? '', /^-rwxr-xr-x 0\/0 +513 .* bin\/tool$/);
  assert.match(listed[2] ?? '', /^lrwxrwxrwx .* bin\/link -> tool$/);
  assert.equal(tar(archive, '-xOf', '-', `${'long/'.repeat(25)}name`), 'end');
  assert.equal(tar(archive, '-xOf', '-', 'bin/tool').length, 513);
});

test('a path that does not fit is refused by name', () => {
  assert.throws(() => tarArchive([{ path: 'x'.repeat(101), content: '' }]), /path too long .* xxx/);
});

test('an image is the same bytes each time, and every digest is that of its content', () => {
  const source = {
    name: 'registry.test/a:1',
    architecture: 'amd64',
    files: [{ path: 'a', content: 'b' }],
    cmd: ['/a'],
  };
  const image = buildImage(source);
  assert.deepEqual(buildImage(source), image);
  const blobs = [image.manifest, image.config, ...image.layers];
  for (const { digest, content } of blobs) {
    assert.equal(digest, `sha256:${createHash('sha256').update(content).digest('hex')}`);
  }
  const config = JSON.parse(`${image.config.content}`);
  assert.deepEqual(config.rootfs.diff_ids, [image.layers[0]?.digest]);
  assert.deepEqual(config.config.Cmd, ['/a']);
  const index = JSON.parse(tar(imageArchive([image]), '-xOf', '-', 'index.json'));
  assert.equal(index.manifests[0].digest, image.manifest.digest);
  assert.equal(index.manifests[0].annotations['io.containerd.image.name'], 'registry.test/a:1');
});

test('images that share a layer hold it once in an archive', () => {
  const files = [{ path: 'a', content: 'b' }];
  const images = ['x', 'y'].map((name) => buildImage({ name: `${name}:1`, architecture: 'amd64', files, cmd: [name] }));
  const blobs = tar(imageArchive(images), '-tf', '-').match(/blobs\/sha256\/[0-9a-f]{64}/g);
  assert.equal(blobs?.length, 5);
});
