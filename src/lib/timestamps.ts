/** RFC 3339 in whole seconds, as Kubernetes' meta/v1 Time; 0 is the epoch, which upstream reports for "never started". */
export function rfc3339(ms: number): string {
  return new Date(ms).toISOString().replace(/\.\d{3}Z$/, 'Z');
}
