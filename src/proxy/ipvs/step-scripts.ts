import type { IpFamily } from '../read-service.ts';
import type { Step } from './diff-state.ts';
import { prefixLength } from './diff-state.ts';
import { deviceAlias, deviceName } from './kernel-state.ts';
import { createSet, setName } from './set-layout.ts';

/**
 * Steps as the input of the four runs that write them, '' where there is nothing to write. The order of the runs is
 * that of the fields: a packet meets a virtual server only once what masquerades or stops it is there, and an address
 * leads to us only once somebody answers there.
 */
export interface StepScripts {
  /** For `ipset -exist restore`, before all else. */
  readonly sets: string;
  /** For `ipvsadm -R`. */
  readonly servers: string;
  /** For `ip -force -batch -`. */
  readonly addresses: string;
  /** For `ipset -exist restore`, after all else. */
  readonly leavingMembers: string;
  /**
   * What may be written although the sets could not: virtual servers that no set knows would be nobody's, and would
   * stay for ever if their Services went next.
   */
  readonly withoutSets: () => Pick<StepScripts, 'servers' | 'addresses'>;
}

export function stepScripts(steps: readonly Step[], family: IpFamily): StepScripts {
  const withoutSets = () => {
    const added = new Set(steps.flatMap((step) => (step.kind === 'add-server' ? [step.key] : [])));
    const rest = steps.filter((step) => step.kind !== 'add-address' && !('key' in step && added.has(step.key)));
    return stepScripts(rest, family);
  };
  const script = (...kinds: readonly Step['kind'][]) =>
    steps
      .filter((step) => kinds.includes(step.kind))
      .map((step) => `${stepLine(step, family)}\n`)
      .join('');
  return {
    sets: script('add-set', 'add-member'),
    servers: script(
      ...(['add-server', 'edit-server', 'delete-server', 'add-endpoint', 'edit-endpoint', 'delete-endpoint'] as const),
    ),
    addresses: script('add-address', 'delete-address'),
    leavingMembers: script('delete-member'),
    withoutSets,
  };
}

/** What makes the device, for `ip -batch -`; the kernel gets it in a way that never shows it unmarked. */
export const deviceLines: readonly string[] = [
  `link add name ${deviceName} type dummy`,
  `link set dev ${deviceName} alias ${deviceAlias}`,
];

/** One step as its program takes it. */
export function stepLine(step: Step, family: IpFamily): string {
  const where = `dev ${deviceName}`;
  switch (step.kind) {
    case 'add-set':
      return createSet(step.set, family);
    case 'add-member':
      return `add ${setName(step.set, family)} ${step.element}${step.extension ? ` ${step.extension}` : ''}`;
    case 'delete-member':
      return `del ${setName(step.set, family)} ${step.element}`;
    case 'add-server':
      return `-A ${step.key} ${step.options}`;
    case 'edit-server':
      return `-E ${step.key} ${step.options}`;
    case 'delete-server':
      return `-D ${step.key}`;
    case 'add-endpoint':
      return `-a ${step.key} -r ${step.endpoint} -m -w ${step.weight}`;
    case 'edit-endpoint':
      return `-e ${step.key} -r ${step.endpoint} -m -w ${step.weight}`;
    case 'delete-endpoint':
      return `-d ${step.key} -r ${step.endpoint}`;
    case 'add-address':
      // Nobody else on a link can have it, so nobody need be asked whether they do.
      return `addr add ${step.ip}/${prefixLength(family)} ${where}${family === 'IPv6' ? ' nodad' : ''}`;
    case 'delete-address':
      return `addr del ${step.ip}/${prefixLength(family)} ${where}`;
    default:
      return step satisfies never;
  }
}
