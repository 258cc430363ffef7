import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Container, Pod, SecurityContext } from '../api/core-v1.ts';
import { requireSeccompFile } from './seccomp-file.ts';

const seccompRoot = mkdtempSync(join(tmpdir(), 'seccomp-'));
mkdirSync(join(seccompRoot, 'folder'));
writeFileSync(join(seccompRoot, 'folder/ok.json'), '{}');
after(() => rmSync(seccompRoot, { recursive: true }));

const local = (localhostProfile: string): SecurityContext => ({
  seccompProfile: { type: 'Localhost', localhostProfile },
});

const cases: Record<string, { own: SecurityContext; code?: string; message?: RegExp }> = {
  'no profile needs no file': { own: {} },
  'nor does that of the runtime': { own: { seccompProfile: { type: 'RuntimeDefault' } } },
  'a file that is there': { own: local('folder/ok.json') },
  'a file that is not there': {
    own: local('folder/no.json'),
    code: 'CreateContainerError',
    message: /^cannot load seccomp profile ".*folder\/no\.json": no such file or directory \(put the profile there/,
  },
  'a path through a file': { own: local('folder/ok.json/x'), code: 'CreateContainerError', message: /no such file/ },
  'a folder': { own: local('folder'), code: 'CreateContainerError', message: /not a file/ },
  'no name': { own: local(''), code: 'CreateContainerConfigError', message: /localhostProfile must be set/ },
  'a privileged container runs without': { own: { ...local('folder/no.json'), privileged: true } },
};

for (const [sentence, { own, code, message }] of Object.entries(cases)) {
  test(`seccomp: ${sentence}`, async () => {
    const container: Container = { name: 'c', image: 'i', securityContext: own };
    const pod: Pod = { metadata: { name: 'p' }, spec: { containers: [container] } };
    const check = requireSeccompFile(pod, container, { seccompRoot });
    if (code) await assert.rejects(check, { code, message });
    else await check;
  });
}
