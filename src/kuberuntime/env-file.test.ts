import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { parseEnvFile, readEnvFile } from './env-file.ts';

/** The value of A. */
const values: Record<string, { text: string; expect: string }> = {
  'a value in quotes': { text: "A='1'\n", expect: '1' },
  'the last line needs no line feed': { text: "A='1'", expect: '1' },
  'lines of DOS': { text: "B='2'\r\nA='1'\r\n", expect: '1' },
  'nothing in it is expanded': { text: "A='$(B) $C \\n \"'", expect: '$(B) $C \\n "' },
  'an equals sign in it': { text: "A='a=b'", expect: 'a=b' },
  'several lines': { text: "A='one\n\n# two\n three'\n", expect: 'one\n\n# two\n three' },
  'a comment behind it': { text: "A='1' # why\n", expect: '1' },
  'blank lines, comments and blanks in front': { text: "\n  \n# A='0'\n \t A='1'\n", expect: '1' },
  'the first of two': { text: "A='1'\nA='2'\n", expect: '1' },
  'an empty value': { text: "A=''\n", expect: '' },
  'a blank behind the equals sign is an empty value': { text: "A= '1'\n", expect: '' },
  'a key that is not there': { text: "B='1'\n", expect: '' },
  'an empty file': { text: '', expect: '' },
  'what comes after the key does not matter': { text: "A='1'\nrubbish\n", expect: '1' },
};

for (const [sentence, { text, expect }] of Object.entries(values)) {
  test(`env file: ${sentence}`, () => assert.equal(parseEnvFile(text, 'A'), expect));
}

const faults: Record<string, { text: string; message: RegExp }> = {
  'a line without an equals sign': { text: "\nrubbish\nA='1'", message: /at line 2: missing '='$/ },
  'a value without quotes': { text: 'A=1', message: /at line 1: value must be enclosed in single quotes$/ },
  'a blank in front of the equals sign': {
    text: "A ='1'",
    message: /at line 1: whitespace before '=' is not allowed$/,
  },
  'no name': { text: "='1'", message: /at line 1: empty variable name$/ },
  'more behind the value': { text: "B='x\ny'z", message: /at line 2: unexpected content after closing quote$/ },
  'a quote that is never closed': { text: "B='2'\nA='1\n2\n", message: /starting at line 2: unclosed single quote$/ },
  'a line that is too long': { text: `A='${'x'.repeat(70_000)}'`, message: /line 1 is longer than 65536 bytes/ },
};

for (const [sentence, { text, message }] of Object.entries(faults)) {
  test(`env file: ${sentence} is refused`, () => assert.throws(() => parseEnvFile(text, 'A'), { message }));
}

let base = '';
const volume = () => join(base, 'volume');
before(() => {
  base = mkdtempSync(join(tmpdir(), 'env-file-'));
  mkdirSync(join(volume(), 'sub/deep'), { recursive: true });
  writeFileSync(join(base, 'secret'), "A='the host's'");
  writeFileSync(join(volume(), 'a.env'), "A='1'");
  writeFileSync(join(volume(), 'sub/b.env'), "A='2'");
  writeFileSync(join(volume(), 'large.env'), 'x'.repeat((1 << 20) + 1));
  const links = { up: '../../secret', 'sub/deep/rooted': '/a.env', 'sub/beside': 'b.env', round: 'round', dir: 'sub' };
  for (const [name, target] of Object.entries(links)) symlinkSync(target, join(volume(), name));
  symlinkSync(join(base, 'secret'), join(volume(), 'host'));
  spawnSync('mkfifo', [join(volume(), 'pipe')]);
});
after(() => rmSync(base, { recursive: true, force: true }));

const found: Record<string, { path: string; expect: string }> = {
  'a file in the volume': { path: 'a.env', expect: "A='1'" },
  'a file in a folder': { path: './sub//b.env', expect: "A='2'" },
  'a link beside it': { path: 'sub/beside', expect: "A='2'" },
  'a link over a folder': { path: 'dir/b.env', expect: "A='2'" },
  'a link from the root, which is the volume': { path: 'sub/deep/rooted', expect: "A='1'" },
  'up from the root is the root': { path: '../../a.env', expect: "A='1'" },
};

for (const [sentence, { path, expect }] of Object.entries(found)) {
  test(`reading ${sentence}`, async () => {
    assert.deepEqual(await readEnvFile(volume(), path), { path: join(volume(), path), text: expect });
  });
}

const unreadable: Record<string, { path: string; message: RegExp }> = {
  'a link that leads out of the volume': { path: 'up', message: /ENOENT/ },
  'a link to a file of the host': { path: 'host', message: /ENOENT/ },
  'a link to itself': { path: 'round', message: /too many links/ },
  'a file that is missing': { path: 'none', message: /ENOENT/ },
  'a folder': { path: 'sub', message: /not a regular file/ },
  'a pipe, without waiting for a writer': { path: 'pipe', message: /not a regular file/ },
  'a file that is too large': { path: 'large.env', message: /larger than 1048576 bytes/ },
};

for (const [sentence, { path, message }] of Object.entries(unreadable)) {
  test(`not reading ${sentence}`, () => assert.rejects(readEnvFile(volume(), path), { message }));
}
