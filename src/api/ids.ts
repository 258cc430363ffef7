/** Branded identifiers: strings that the compiler keeps apart. */
declare const brand: unique symbol;
type Branded<B extends string> = string & { readonly [brand]: B };

/** The UID under which a pod runs here: of the API object, or of a static pod its own. */
export type PodUid = Branded<'PodUid'>;
/** The UID of the API object that mirrors a static pod. */
export type MirrorPodUid = Branded<'MirrorPodUid'>;
export type ContainerId = Branded<'ContainerId'>;
export type SandboxId = Branded<'SandboxId'>;

export const podUid = (value: string): PodUid => value as PodUid;
export const mirrorPodUid = (value: string): MirrorPodUid => value as MirrorPodUid;
export const containerId = (value: string): ContainerId => value as ContainerId;
export const sandboxId = (value: string): SandboxId => value as SandboxId;
