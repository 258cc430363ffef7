import type { SourcePath } from '../lib/yaml-source.ts';

/** One thing that is wrong with an object. */
export interface Fault {
  readonly path: SourcePath;
  /** In the API's form: 'Required value', 'Invalid value: "X": why'. */
  readonly message: string;
}

/** Collects what is wrong while the checking goes on. */
export class Faults {
  readonly all: Fault[] = [];

  add(path: SourcePath, message: string): void {
    this.all.push({ path, message });
  }
}

export const required = 'Required value';
export const invalid = (value: unknown, why: string) => `Invalid value: ${JSON.stringify(value ?? null)}: ${why}`;
export const duplicate = (value: string) => `Duplicate value: ${JSON.stringify(value)}`;

/** RFC 1123: at most 63 lower-case letters, digits and dashes. */
export const isDnsLabel = (name: string) => name.length <= 63 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?$/.test(name);

/** RFC 1123: labels joined by dots, at most 253 characters. */
export const isDnsSubdomain = (name: string) =>
  name.length <= 253 && /^[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*$/.test(name);
