import { ExecError, isProgramMissing } from '../../host/exec.ts';
import { AgentError } from '../../lib/errors.ts';

/**
 * The kernel's IPVS, or a program that tells it, could not be used or refused what it was given. Codes: IpvsMissing,
 * IpvsNoKernel, IpvsNoDummy, IpvsNoSets, IpvsScheduler, IpvsDenied, IpvsForeignDevice, IpvsLocked, IpvsFailed.
 */
export class IpvsError extends AgentError {}

/** What a program's failure means for Services, with the remedy where there is one. */
export function ipvsErrorOf(error: unknown): unknown {
  if (isProgramMissing(error)) {
    return new IpvsError('IpvsMissing', `IPVS cannot be used: the program ${error.file} is not installed`, {
      cause: error,
      ...(error.hint === undefined ? {} : { hint: error.hint }),
    });
  }
  if (!(error instanceof ExecError)) return error;
  return new IpvsError(...refusalOf(error.file, error.stderr), { cause: error, ...hintFor(error.stderr) });
}

/** What ipvsadm, ip or ipset said while it went on with what came after. */
export const ipvsRefusal = (file: string, stderr: string): IpvsError =>
  new IpvsError(...refusalOf(file, stderr), hintFor(stderr));

function refusalOf(file: string, stderr: string): [code: string, message: string] {
  if (isLocked(stderr)) return ['IpvsLocked', `Services wait: ${file} cannot have the lock of iptables`];
  if (lacksSetMatch(stderr)) return ['IpvsNoSets', 'IPVS cannot be used: iptables cannot look into IP sets'];
  if (/Protocol not available|IP Virtual Server is built in/i.test(stderr)) {
    return ['IpvsNoKernel', 'IPVS cannot be used: the kernel has none'];
  }
  if (/Scheduler or persistence engine not found/i.test(stderr)) {
    return ['IpvsScheduler', 'the kernel does not have the IPVS scheduler that is asked for'];
  }
  if (isDenied(stderr)) return ['IpvsDenied', `Services are not programmed: ${file} may not change the kernel`];
  const said = stderr.trim().split('\n')[0] ?? '';
  return ['IpvsFailed', said ? `${file} refused a part: ${said.slice(0, 300)}` : `${file} failed`];
}

function hintFor(stderr: string): { hint?: string; retryable?: boolean } {
  if (isLocked(stderr))
    return { hint: 'end the program that holds /run/xtables.lock (fuser -v shows it)', retryable: true };
  if (lacksSetMatch(stderr))
    return { hint: 'run modprobe xt_set, use a kernel that has it, or set another proxy mode' };
  if (/Protocol not available|IP Virtual Server is built in/i.test(stderr)) {
    return { hint: 'run modprobe ip_vs, use a kernel that has it, or set another proxy mode' };
  }
  if (/Scheduler or persistence engine not found/i.test(stderr)) {
    return { hint: 'set ipvs.scheduler to one that the kernel has (rr always is), or load its module' };
  }
  if (isDenied(stderr)) return { hint: 'run keelson as root, in a container with the capability NET_ADMIN' };
  return { retryable: true };
}

const isLocked = (stderr: string): boolean => /xtables lock/i.test(stderr);
const lacksSetMatch = (stderr: string): boolean => /Couldn't load (match|target) [`'"]?(set|SET)\b/.test(stderr);
const isDenied = (stderr: string): boolean => /Operation not permitted|must be root|Permission denied/i.test(stderr);
