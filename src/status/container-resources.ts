import type { Container, ContainerStatus, Quantity, ResourceList, ResourceRequirements } from '../api/core-v1.ts';
import type { LinuxContainerResources } from '../api/cri.ts';
import { formatQuantity, quantityMilliValue, quantityValue } from '../api/quantity.ts';
import { milliCpuToQuota, milliCpuToShares } from '../resources/cpu-units.ts';

/**
 * What a container has, and what the node has granted it: `container` comes with the latter. As long as a
 * resize is under way the two differ, by what the runtime says of the container's cgroup. What the kernel
 * rounds is no difference, and a request for memory is nothing that a cgroup has.
 */
export function containerResourceStatus(
  container: Container,
  actual: LinuxContainerResources | undefined,
): Pick<ContainerStatus, 'resources' | 'allocatedResources'> {
  const { requests, limits } = container.resources ?? {};
  const resources: ResourceRequirements = {
    ...(limits ? { limits: actualLimits(limits, actual ?? {}) } : {}),
    ...(requests ? { requests: actualRequests(requests, actual ?? {}) } : {}),
  };
  return { resources, ...(requests ? { allocatedResources: requests } : {}) };
}

function actualLimits(granted: ResourceList, actual: LinuxContainerResources): ResourceList {
  const { cpuQuota = 0, cpuPeriod = 0, memoryLimitInBytes = 0 } = actual;
  const { cpu, memory } = granted;
  const limits: Record<string, Quantity> = { ...granted };
  const cpuIsGranted = cpu !== undefined && milliCpuToQuota(quantityMilliValue(cpu), cpuPeriod) === cpuQuota;
  if (cpu !== undefined && cpuQuota > 0 && cpuPeriod > 0 && !cpuIsGranted) {
    limits['cpu'] = milliCpu((cpuQuota * 1000) / cpuPeriod);
  }
  const memoryIsGranted = memory !== undefined && quantityValue(memory) === memoryLimitInBytes;
  if (memory !== undefined && memoryLimitInBytes > 0 && !memoryIsGranted) {
    limits['memory'] = formatQuantity({ nano: BigInt(memoryLimitInBytes) * 1_000_000_000n, format: 'BinarySI' });
  }
  return limits;
}

function actualRequests(granted: ResourceList, { cpuShares = 0 }: LinuxContainerResources): ResourceList {
  const { cpu } = granted;
  if (cpu === undefined || cpuShares === 0 || milliCpuToShares(quantityMilliValue(cpu)) === cpuShares) return granted;
  return { ...granted, cpu: milliCpu((cpuShares * 1000) / 1024) };
}

const milliCpu = (milli: number): string =>
  formatQuantity({ nano: BigInt(Math.ceil(milli)) * 1_000_000n, format: 'DecimalSI' });
