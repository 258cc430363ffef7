import type { Exec } from '../../host/exec.ts';
import type { ModeCheck } from '../backend.ts';

/** Whether the rules that lead to relays can be written on this host. */
export function userspaceUnusable(_exec: Pick<Exec, 'run'>): ModeCheck {
  return async () => undefined;
}
