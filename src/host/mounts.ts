/** PORT: the mount table. */
export interface Mounts {
  /** Mount points of this mount namespace, as /proc/self/mountinfo has them (unescaped), in mount order. */
  list(): Promise<readonly MountPoint[]>;
  mount(source: string, target: string, type: string, options: readonly string[], signal: AbortSignal): Promise<void>;
  /** A target that is no mount point is a success. */
  unmount(target: string, signal: AbortSignal): Promise<void>;
}

export interface MountPoint {
  readonly source: string;
  readonly target: string;
  readonly type: string;
  readonly options: readonly string[];
  /** Options of the file system itself, where they are known. */
  readonly superOptions?: readonly string[];
  readonly device: string;
}
