import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { messageOf } from '../lib/errors.ts';
import { ensureHostPath } from './host-path.ts';

const dir = mkdtempSync(join(tmpdir(), 'host-path-'));
const at = (name: string) => join(dir, name);
const server = createServer();
before(async () => {
  mkdirSync(at('folder'));
  writeFileSync(at('file'), '');
  symlinkSync('folder', at('link'));
  await new Promise<void>((resolve) => server.listen(at('socket'), resolve));
});
after(() => {
  server.close();
  rmSync(dir, { recursive: true, force: true });
});

const cases: Record<string, { path: string; type: string; fails?: RegExp; makes?: 'folder' | 'file' }> = {
  'no type checks nothing': { path: at('absent'), type: '' },
  'a folder is a Directory': { path: at('folder'), type: 'Directory' },
  'a link to a folder is a Directory': { path: at('link'), type: 'Directory' },
  'a file is none': {
    path: at('file'),
    type: 'Directory',
    fails: /^hostPath type check failed: .*file is not a directory$/,
  },
  'nothing is none': { path: at('absent'), type: 'Directory', fails: /absent is not a directory$/ },
  'DirectoryOrCreate makes it with its parents': { path: at('new/folder'), type: 'DirectoryOrCreate', makes: 'folder' },
  'DirectoryOrCreate takes one that is there': { path: at('folder'), type: 'DirectoryOrCreate' },
  'DirectoryOrCreate does not replace a file': {
    path: at('file'),
    type: 'DirectoryOrCreate',
    fails: /is not a directory$/,
  },
  'a file is a File': { path: at('file'), type: 'File' },
  'a folder is none (File)': { path: at('folder'), type: 'File', fails: /is not a file$/ },
  'FileOrCreate makes it': { path: at('new-file'), type: 'FileOrCreate', makes: 'file' },
  'FileOrCreate does not make parents': {
    path: at('no/such/file'),
    type: 'FileOrCreate',
    fails: /cannot set up .*ENOENT/,
  },
  'FileOrCreate does not replace a folder': { path: at('folder'), type: 'FileOrCreate', fails: /is not a file$/ },
  'a socket is a Socket': { path: at('socket'), type: 'Socket' },
  'a file is no Socket': { path: at('file'), type: 'Socket', fails: /is not a socket file$/ },
  '/dev/null is a CharDevice': { path: '/dev/null', type: 'CharDevice' },
  '/dev/null is no BlockDevice': { path: '/dev/null', type: 'BlockDevice', fails: /is not a block device$/ },
  'a file is no CharDevice': { path: at('file'), type: 'CharDevice', fails: /is not a character device$/ },
  'an unknown type is named': { path: at('file'), type: 'Door', fails: /^Door is an invalid volume type$/ },
};

for (const [sentence, { path, type, fails, makes }] of Object.entries(cases)) {
  test(sentence, async () => {
    const failure = await ensureHostPath(path, type, new AbortController().signal).then(() => '', messageOf);
    if (fails) assert.match(failure, fails);
    else assert.equal(failure, '');
    if (makes === 'folder') assert.equal(statSync(path).mode & 0o777, 0o755);
    if (makes === 'file') assert.equal(statSync(path).mode & 0o777, 0o644);
  });
}
