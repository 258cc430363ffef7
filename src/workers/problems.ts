/** What keeps a container from running, as its status will say. */
export interface ContainerProblem {
  readonly reason: string;
  readonly message: string;
  /** When it is tried again, milliseconds since the epoch. */
  readonly until?: number;
}
