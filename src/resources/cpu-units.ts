/** Conversions between Kubernetes' thousandths of a CPU and the kernel's units. */

const minShares = 2;
const maxShares = 262_144;
const sharesPerCpu = 1024;
/** The kernel takes no quota below a millisecond. */
const minQuotaUs = 1000;

/** cpu.shares for a request; none is the minimum. */
export function milliCpuToShares(milliCpu: number): number {
  if (milliCpu <= 0) return minShares;
  return Math.min(Math.max(Math.floor((milliCpu * sharesPerCpu) / 1000), minShares), maxShares);
}

/** cpu.cfs_quota_us for a limit within `periodUs`; 0 when there is no limit. */
export function milliCpuToQuota(milliCpu: number, periodUs: number): number {
  if (milliCpu <= 0) return 0;
  return Math.max(Math.floor((milliCpu * periodUs) / 1000), minQuotaUs);
}

/** A page size as the kernel's cgroup files spell it: '2MB', '1GB'. */
export function pageSizeName(bytes: number): string {
  const units = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];
  let size = bytes;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size = Math.floor(size / 1024);
    unit++;
  }
  return `${size}${units[unit]}`;
}
