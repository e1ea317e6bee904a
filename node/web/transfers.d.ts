import type { Client } from "./conclave.js";

/** Bytes of one chunk at most. */
export const CHUNK_BYTES: 49152;
/** Chunks of one transfer at most. */
export const CHUNKS_MAX: 2048;

export interface Progress {
  /** Chunks. */
  done: number;
  total: number;
}

interface Common {
  /** Chunks under way at once, at most; 6 if absent. It begins with one and adapts to the line. */
  concurrency?: number;
  onprogress?(progress: Progress): void;
  signal?: AbortSignal;
}

/** Words that both sides know; together they are the right to the transfer. */
export interface Words {
  pin: string;
  passwordHash: string;
}

export type Upload = Words &
  Common &
  ({ data: BlobPart } | { total: number; chunk(index: number): BufferSource | Promise<BufferSource> });

export type Download = Common & {
  /** Gets the chunks in their order, each once its promise for the last one is settled. Without it, a Blob is made. */
  sink?(bytes: Uint8Array, index: number): unknown;
  /** Called with the bytes of chunks as they come. */
  onbytes?(count: number): void;
  /**
   * Whether the transfer is acknowledged, and so freed, at the end. Default: true. That it was gone by then is no failure of the
   * download; whoever wants to know takes false and calls `acknowledge`.
   */
  ack?: boolean;
} & ({ id: string } | (Words & { total: number }));

export interface State {
  transfer: string;
  /** 0 where the transfer is gone and only its acknowledgement is remembered. */
  total: number;
  /** How many are there. */
  received: number;
  /** Which, as inclusive ranges. */
  ranges: [number, number][];
  done: boolean;
  delivered: number;
  acknowledged: boolean;
  expiresAt: number;
}

/** The transfers that one client takes part in. */
export class Transfers {
  constructor(client: Client);
  /** Makes a transfer, or finds the one that lives under these words; returns its id. */
  open(options: Words & { total: number; signal?: AbortSignal }): Promise<string>;
  state(id: string, options?: { signal?: AbortSignal }): Promise<State>;
  /**
   * Uploads what is not there yet. Called again after a failure, it goes on where it was, with the same bytes: one chunk
   * that is there already is put again, and others than before are refused with `chunk_conflict`. Returns the id, also
   * where the receiver acknowledged everything while the answer to a chunk was lost. Throws `transfer_finished` if the
   * receiver has acknowledged it before.
   */
  upload(options: Upload): Promise<string>;
  /**
   * Fetches chunks as they come, checks each against its digest. Throws `transfer_finished` if the transfer was acknowledged
   * before, and `not_found` if it is gone, unless everything is in the sink by then.
   */
  download(options: Download): Promise<Blob>;
  /** Everything arrived: frees the chunks. Throws `not_found` if the transfer is gone. */
  acknowledge(id: string, options?: { signal?: AbortSignal }): Promise<void>;
  /**
   * Waits until the other side has acknowledged: true, or false if the transfer is gone before. It counts what was pushed as
   * well as what is answered, so a transfer that ends right after its acknowledgement gives true.
   */
  acknowledged(id: string, options?: { signal?: AbortSignal }): Promise<boolean>;
}
