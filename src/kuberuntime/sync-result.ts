/** What became of one action of a sync; the status takes its waiting reasons from these. */
export type SyncResult =
  | {
      readonly action: 'start';
      readonly target: string;
      readonly ok: true;
      readonly id: string;
      readonly sandboxId: string;
    }
  | {
      readonly action: SyncAction;
      readonly target: string;
      readonly ok: false;
      readonly reason: string;
      readonly message: string;
    };

export type SyncAction = 'start' | 'wait';
