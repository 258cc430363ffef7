const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/**
 * A duration in milliseconds as kubectl prints ages: two units while it is short, one when nobody cares for the
 * second any more. Less than nothing is `0s`: clocks differ.
 */
export function humanDuration(ms: number): string {
  const whole = Math.max(0, ms);
  if (whole < 2 * minute) return `${Math.floor(whole / second)}s`;
  if (whole < 10 * minute) return pair(whole, minute, 'm', second, 's');
  if (whole < 3 * hour) return `${Math.floor(whole / minute)}m`;
  if (whole < 8 * hour) return pair(whole, hour, 'h', minute, 'm');
  if (whole < 2 * day) return `${Math.floor(whole / hour)}h`;
  if (whole < 8 * day) return pair(whole, day, 'd', hour, 'h');
  return `${Math.floor(whole / day)}d`;
}

function pair(ms: number, large: number, largeName: string, small: number, smallName: string): string {
  const rest = Math.floor((ms % large) / small);
  return `${Math.floor(ms / large)}${largeName}${rest > 0 ? `${rest}${smallName}` : ''}`;
}
