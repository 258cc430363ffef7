/** The Summary of kubelet's stats API, v1alpha1, as it is written. Nanoseconds and bytes; times as RFC 3339. */
export interface Summary {
  readonly node: SummaryNode;
  readonly pods: readonly SummaryPod[];
}

export interface SummaryNode {
  readonly nodeName: string;
  readonly systemContainers?: readonly SummaryContainer[];
  readonly startTime: string;
  readonly cpu: SummaryCpu;
  readonly memory: SummaryMemory;
  readonly io?: SummaryIo;
  readonly network?: SummaryNetwork;
  readonly fs?: SummaryFs;
  readonly runtime?: { readonly imageFs?: SummaryFs; readonly containerFs?: SummaryFs };
  readonly rlimit?: { readonly time: string; readonly maxpid: number; readonly curproc: number };
  readonly swap?: SummarySwap;
}

export interface SummaryPod {
  readonly podRef: { readonly name: string; readonly namespace: string; readonly uid: string };
  readonly startTime: string;
  readonly containers: readonly SummaryContainer[];
  readonly cpu?: SummaryCpu;
  readonly memory?: SummaryMemory;
  readonly io?: SummaryIo;
  readonly network?: SummaryNetwork;
  readonly volume?: readonly SummaryVolume[];
  readonly 'ephemeral-storage'?: SummaryFs;
  readonly process_stats?: { readonly process_count: number };
  readonly swap?: SummarySwap;
}

export interface SummaryContainer {
  readonly name: string;
  readonly startTime: string;
  readonly cpu: SummaryCpu;
  readonly memory: SummaryMemory;
  readonly io?: SummaryIo;
  readonly rootfs?: SummaryFs;
  readonly logs?: SummaryFs;
  readonly swap?: SummarySwap;
}

export interface SummaryCpu {
  readonly time: string;
  readonly usageNanoCores: number;
  readonly usageCoreNanoSeconds: number;
  readonly psi?: SummaryPsi;
}

export interface SummaryMemory {
  readonly time: string;
  /** Absent without a limit. */
  readonly availableBytes?: number;
  readonly usageBytes: number;
  readonly workingSetBytes: number;
  readonly rssBytes: number;
  readonly pageFaults: number;
  readonly majorPageFaults: number;
  readonly psi?: SummaryPsi;
}

export interface SummaryIo {
  readonly time: string;
  readonly psi?: SummaryPsi;
}

export interface SummaryPsi {
  readonly full: SummaryPsiLine;
  readonly some: SummaryPsiLine;
}

export interface SummaryPsiLine {
  readonly total: number;
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
}

export interface SummarySwap {
  readonly time: string;
  readonly swapAvailableBytes?: number;
  readonly swapUsageBytes: number;
}

export interface SummaryNetwork extends SummaryInterface {
  readonly time: string;
  readonly interfaces: readonly SummaryInterface[];
}

export interface SummaryInterface {
  readonly name: string;
  readonly rxBytes?: number;
  readonly rxErrors?: number;
  readonly txBytes?: number;
  readonly txErrors?: number;
}

export interface SummaryFs {
  readonly time: string;
  readonly availableBytes: number;
  readonly capacityBytes: number;
  readonly usedBytes: number;
  readonly inodesFree: number;
  readonly inodes: number;
  readonly inodesUsed: number;
}

export interface SummaryVolume extends SummaryFs {
  readonly name: string;
  readonly pvcRef?: { readonly name: string; readonly namespace: string };
}
