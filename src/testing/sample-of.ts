/** The value of one sample in a metrics text, e.g. of 'kubelet_running_pods' or 'a_total{code="200"}'; undefined where there is none. */
export function sampleOf(text: string, series: string): number | undefined {
  const line = text.split('\n').find((l) => l.startsWith(`${series} `));
  return line === undefined ? undefined : Number(line.slice(series.length + 1).replace('Inf', 'Infinity'));
}
