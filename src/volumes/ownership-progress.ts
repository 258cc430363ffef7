import type { Clock } from '../lib/clock.ts';

/** A volume with many files keeps a pod waiting: when that is told first, and how often then. Milliseconds. */
const firstMs = 30_000;
const againMs = 60_000;
const advice =
  'is taking longer than expected, consider using OnRootMismatch - https://kubernetes.io/docs/tasks/configure-pod-container/security-context/#configure-volume-permission-and-ownership-change-policy-for-pods';

export interface OwnershipProgress extends Disposable {
  /** One more file is done. */
  readonly count: () => void;
}

/** Tells, in upstream's words, how far the change of a volume's owner has come, should it take long; until disposed. */
export function ownershipProgress(volume: string, clock: Clock, tell: (message: string) => void): OwnershipProgress {
  const what = `Setting volume ownership for ${volume}`;
  let files = 0;
  const tellAgain = (): Disposable =>
    clock.after(againMs, () => {
      tell(`${what}, processed ${files} files.`);
      timer = tellAgain();
    });
  let timer = clock.after(firstMs, () => {
    tell(`${what} ${advice}`);
    timer = tellAgain();
  });
  return {
    count: () => {
      files++;
    },
    [Symbol.dispose]: () => timer[Symbol.dispose](),
  };
}
