import { stat } from 'node:fs/promises';
import type { Container, Pod } from '../api/core-v1.ts';
import { waitingReason } from '../api/reasons.ts';
import { errnoOf } from '../lib/errors.ts';
import { type NodeSecurity, seccompFile } from './security-context.ts';
import { ContainerError } from './sync-error.ts';

/**
 * Fails with a ContainerError when the container's seccomp profile is a file of this node that is not
 * there. The runtime would fail over it too, but without a word on what to do. Runtimes give privileged
 * containers no profile, and so need no file for them.
 */
export async function requireSeccompFile(pod: Pod, container: Container, security: NodeSecurity): Promise<void> {
  const file = seccompFile(pod, container, security);
  if (file === undefined || container.securityContext?.privileged) return;
  if (file === security.seccompRoot) {
    const message = 'localhostProfile must be set if seccompProfile type is Localhost.';
    throw new ContainerError(waitingReason.createContainerConfigError, message);
  }
  const found = await stat(file).catch((error: unknown) => {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  });
  if (found?.isFile()) return;
  throw new ContainerError(
    waitingReason.createContainerError,
    `cannot load seccomp profile "${file}": ${found ? 'not a file' : 'no such file or directory'} ` +
      `(put the profile there on this node, or change seccompProfile.localhostProfile, a path below ${security.seccompRoot})`,
  );
}
