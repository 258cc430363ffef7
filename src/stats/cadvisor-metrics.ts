import type { MachineFacts } from '../host/machine.ts';
import {
  deviceMetrics,
  deviceUsage,
  filesystemMetrics,
  networkMetrics,
  operationMetrics,
  type PartMetric,
  type PlainMetric,
  plainMetrics,
} from './cadvisor-families.ts';
import type { DeviceIo } from './cgroup-stats.ts';
import type { HostDisks, HostFilesystem } from './filesystems.ts';
import { MetricFamily } from './metric-family.ts';
import type { CpuTopology, InterfaceStats } from './parse-proc.ts';
import type { CgroupSample, Snapshot } from './snapshot.ts';
import { escapeLabel, formatLabels, prepared, type TextWriter } from './text-writer.ts';

export interface CadvisorInput {
  readonly snapshot: Snapshot;
  readonly disks: HostDisks;
  readonly facts: MachineFacts;
  readonly topology: CpuTopology;
}

/** A cgroup with its labels ready to be written. */
interface Entry {
  /** Without the closing brace: a metric's own labels follow. */
  readonly labels: Uint8Array;
  readonly sample: CgroupSample;
  readonly interfaces: readonly InterfaceStats[];
  readonly filesystems: readonly HostFilesystem[];
}

const closing = prepared('}');
const mostEndings = 1_000;
const endings = new Map<string, Uint8Array>();

/** What ends a metric's labels: a few texts, prepared once. Bounded, because names of interfaces come and go. */
function ending(labels: string): Uint8Array {
  if (!labels) return closing;
  let bytes = endings.get(labels);
  if (!bytes) {
    bytes = prepared(`${labels}}`);
    if (endings.size >= mostEndings) endings.clear();
    endings.set(labels, bytes);
  }
  return bytes;
}

/** Writes `/metrics/cadvisor`. Keeps the labels of containers from one scrape to the next: they are most of the text. */
export class CadvisorMetrics {
  readonly #labels = new Map<string, Uint8Array>();

  async write(writer: TextWriter, input: CadvisorInput): Promise<void> {
    const entries = this.#entries(input);
    writeVersion(writer, input.facts);
    for (const metric of plainMetrics) await writePlain(writer, metric, entries);
    for (const metric of networkMetrics) {
      await writeParts(
        writer,
        metric,
        entries,
        (e) => e.interfaces,
        (i) => `,interface="${escapeLabel(i.name)}"`,
      );
    }
    for (const metric of filesystemMetrics) {
      await writeParts(
        writer,
        metric,
        entries,
        (e) => e.filesystems,
        (fs) => formatDevice(fs.device),
      );
    }
    await this.#writeDevices(writer, entries, input);
    writeMachine(writer, input);
    writeScrapeErrors(writer, 0);
  }

  async #writeDevices(
    writer: TextWriter,
    entries: readonly Entry[],
    { disks: { deviceName } }: CadvisorInput,
  ): Promise<void> {
    const named = (io: DeviceIo) => formatDevice(deviceName(io.device));
    for (const metric of deviceMetrics) await writeParts(writer, metric, entries, (e) => e.sample.stats.io, named);
    const operations = [
      {
        family: operationMetrics.reads,
        ofIo: (io: DeviceIo) => io.reads,
        ofDisk: (fs: HostFilesystem) => fs.disk?.reads,
      },
      {
        family: operationMetrics.writes,
        ofIo: (io: DeviceIo) => io.writes,
        ofDisk: (fs: HostFilesystem) => fs.disk?.writes,
      },
    ];
    for (const { family, ofIo, ofDisk } of operations) {
      family.head(writer);
      for (const { labels, sample, filesystems } of entries) {
        const devices = new Set<string>();
        for (const io of sample.stats.io) {
          devices.add(deviceName(io.device));
          writeLine(writer, family, labels, named(io), ofIo(io), sample.stats.at);
          if (writer.isFull) await writer.flush();
        }
        for (const fs of filesystems) {
          // The cgroup's own count of a device comes first: two lines of the same name would be an error.
          if (devices.has(fs.device)) continue;
          writeLine(writer, family, labels, formatDevice(fs.device), ofDisk(fs) ?? 0, sample.stats.at);
          if (writer.isFull) await writer.flush();
        }
      }
    }
    if (!entries.some((e) => e.sample.stats.io.length > 0)) return;
    deviceUsage.head(writer);
    for (const { labels, sample } of entries) {
      for (const io of sample.stats.io) {
        const [major = '', minor = ''] = io.device.split(':');
        const device = `${named(io)},major="${major}",minor="${minor}"`;
        writeLine(writer, deviceUsage, labels, `${device},operation="Read"`, io.readBytes, sample.stats.at);
        writeLine(writer, deviceUsage, labels, `${device},operation="Write"`, io.writeBytes, sample.stats.at);
        if (writer.isFull) await writer.flush();
      }
    }
  }

  #entries({ snapshot, disks: { filesystems } }: CadvisorInput): readonly Entry[] {
    const { node, groups, pods } = snapshot;
    const seen = new Set<string>();
    const entries: Entry[] = [];
    const add = (sample: CgroupSample, who: Who, more: Partial<Entry> = {}) => {
      // keelson's own cgroup may be one of the others.
      if (seen.has(sample.path)) return;
      seen.add(sample.path);
      entries.push({ labels: this.#labelsOf(sample.path, who), sample, interfaces: [], filesystems: [], ...more });
    };
    add(node, {}, { interfaces: node.interfaces, filesystems });
    for (const group of groups) add(group, {});
    for (const { observed, cgroup, sandbox, containers } of pods) {
      const { name: pod, namespace } = observed;
      if (cgroup) add(cgroup, { pod, namespace });
      if (sandbox) {
        const who = { pod, namespace, name: sandbox.observed.id, image: sandbox.image };
        add(sandbox.cgroup, who, { interfaces: sandbox.interfaces });
      }
      for (const { observed: own, cgroup: sample } of containers) {
        add(sample, { pod, namespace, container: own.name, name: own.id, image: own.image });
      }
    }
    for (const path of this.#labels.keys()) if (!seen.has(path)) this.#labels.delete(path);
    return entries;
  }

  #labelsOf(path: string, who: Who): Uint8Array {
    let bytes = this.#labels.get(path);
    if (!bytes) {
      const { container = '', image = '', name = '', namespace = '', pod = '' } = who;
      bytes = prepared(`{${formatLabels({ container, id: path, image, name, namespace, pod })}`);
      this.#labels.set(path, bytes);
    }
    return bytes;
  }
}

interface Who {
  readonly container?: string;
  readonly image?: string;
  readonly name?: string;
  readonly namespace?: string;
  readonly pod?: string;
}

const formatDevice = (device: string): string => `,${formatLabels({ device })}`;

// These two write all but a few of some twenty thousand lines. They count instead of iterating: the objects that iteration
// goes by were half of a scrape's garbage.

async function writePlain(writer: TextWriter, metric: PlainMetric, entries: readonly Entry[]): Promise<void> {
  const { family, lines, decimals, isStamped } = metric;
  let begun = false;
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i];
    if (!entry) continue;
    for (let l = 0; l < lines.length; l++) {
      const line = lines[l];
      const value = line?.value(entry.sample);
      if (!line || value === undefined) continue;
      if (!begun) family.head(writer);
      begun = true;
      family.start(writer, entry.labels);
      writer.bytes(ending(line.labels));
      writer.value(value, decimals, isStamped ? entry.sample.stats.at : undefined);
    }
    if (writer.isFull) await writer.flush();
  }
}

async function writeParts<Part>(
  writer: TextWriter,
  { family, value, decimals }: PartMetric<Part>,
  entries: readonly Entry[],
  partsOf: (entry: Entry) => readonly Part[],
  labelsOf: (part: Part) => string,
): Promise<void> {
  let begun = false;
  for (let i = 0; i < entries.length; i++) {
    const entry = entries[i];
    const parts = entry ? partsOf(entry) : [];
    for (let p = 0; p < parts.length; p++) {
      const part = parts[p];
      if (!entry || part === undefined) continue;
      if (!begun) family.head(writer);
      begun = true;
      family.start(writer, entry.labels);
      writer.bytes(ending(labelsOf(part)));
      writer.value(value(part), decimals, entry.sample.stats.at);
      // A node has as many interfaces as pods, with some networks.
      if (writer.isFull) await writer.flush();
    }
  }
}

function writeLine(
  writer: TextWriter,
  family: MetricFamily,
  labels: Uint8Array,
  own: string,
  value: number,
  at: number | undefined,
): void {
  family.start(writer, labels);
  writer.text(`${own}}`);
  writer.value(value, 0, at);
}

const versionInfo = new MetricFamily('cadvisor_version_info', 'gauge', 'Always 1: what the host runs.');
const cores = new MetricFamily('machine_cpu_cores', 'gauge', 'Logical processors.');
const physicalCores = new MetricFamily('machine_cpu_physical_cores', 'gauge', 'Physical cores.');
const sockets = new MetricFamily('machine_cpu_sockets', 'gauge', 'Processor sockets.');
const memoryBytes = new MetricFamily('machine_memory_bytes', 'gauge', 'Memory of the machine.');
const swapBytes = new MetricFamily('machine_swap_bytes', 'gauge', 'Swap of the machine.');
const containerErrors = new MetricFamily('container_scrape_error', 'gauge', '1 if the cgroups could not be read.');
const machineErrors = new MetricFamily('machine_scrape_error', 'gauge', '1 if the machine could not be looked at.');

/** keelson has no cAdvisor in it, and the runtime is named in the Node: those labels are empty. */
function writeVersion(writer: TextWriter, { kernelVersion, osImage }: MachineFacts): void {
  const none = { cadvisorRevision: '', cadvisorVersion: '', dockerVersion: '' };
  versionInfo.head(writer);
  versionInfo.start(writer, prepared(`{${formatLabels({ ...none, kernelVersion, osVersion: osImage })}}`));
  writer.value(1, 0, undefined);
}

function writeMachine(writer: TextWriter, { facts, topology }: CadvisorInput): void {
  const { bootId, machineId, systemUuid } = facts;
  const labels = prepared(`{${formatLabels({ boot_id: bootId, machine_id: machineId, system_uuid: systemUuid })}}`);
  const figures: readonly (readonly [MetricFamily, number])[] = [
    [cores, facts.cpuCount],
    [physicalCores, topology.cores],
    [sockets, topology.sockets],
    [memoryBytes, facts.memoryBytes],
    [swapBytes, facts.swapBytes],
  ];
  for (const [family, value] of figures) {
    family.head(writer);
    family.start(writer, labels);
    writer.value(value, 0, undefined);
  }
}

const noLabels = new Uint8Array();

/** The last lines; alone, with 1, when there was nothing else to write. */
export function writeScrapeErrors(writer: TextWriter, value: 0 | 1): void {
  for (const family of [containerErrors, machineErrors]) {
    family.head(writer);
    family.start(writer, noLabels);
    writer.value(value, 0, undefined);
  }
}
