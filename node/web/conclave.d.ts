/** A refusal or a failure. */
export class ConclaveError extends Error {
  constructor(code: string, message?: string, status?: number);
  /** What programs read: the server's `error`, or `closed`, `unreachable`, `timeout`, `unavailable`, `replaced`. */
  code: string;
  /** The HTTP status, 0 where there was none. */
  status: number;
}

export interface Options {
  /** The nodes; the page's own origin if absent. The first one is tried first. */
  urls?: string | string[];
  /** A bearer token. Sockets are opened with one-time tickets that it buys, so that it stands in no URL. */
  token?: string;
  /** A session to go on with: the `session` of an earlier client. */
  session?: string;
  /** Whether the other nodes are asked for (`GET /api/v1/nodes`) and used when these are away. Default: false. */
  discover?: boolean;
  /** false: never a WebSocket, always HTTP. */
  socket?: boolean;
}

/** Opens a session on whichever node answers first. Without a WebSocket it goes on by HTTP, with signals alone. */
export function connect(options?: Options): Promise<Client>;

export type SignalType = "offer" | "answer" | "ice-candidate" | "ready" | "bye";

export interface Signal {
  from: string;
  type: SignalType;
  payload: unknown;
  /** Absent where it came by HTTP. */
  seq?: number;
}

export type State =
  | { state: "open"; via: "socket" | "http"; recovered: boolean | null }
  | { state: "reconnecting" }
  | { state: "closed"; error: ConclaveError };

export interface Events {
  /** The connection changed. */
  state: State;
  /** A signal for the claimed peer id. It is acknowledged once the handlers' promises are settled. */
  signal: Signal;
  /** A handler threw, or polling failed. */
  error: unknown;
}

export interface TransferState {
  transfer: string;
  total: number;
  received: number;
  done: boolean;
  acknowledged: boolean;
  gone: boolean;
}

export interface ExchangeState {
  session: string;
  offer: boolean;
  answer: boolean;
  gone: boolean;
}

export interface Request {
  headers?: Record<string, string>;
  body?: BodyInit;
  signal?: AbortSignal;
  /** For how long nodes are tried; 60,000 if absent. */
  timeoutMs?: number;
}

/** One session with the cluster. Made by `connect`. */
export class Client {
  constructor(options?: Options);
  /** Calls `handler` with every such event; returns what takes it off again. */
  on<K extends keyof Events>(name: K, handler: (event: Events[K]) => unknown): () => void;
  /** Resolves once the session is open; rejects if it is closed before. */
  readonly opened: Promise<void>;
  /** The session's id, a secret: whoever has it may resume the session. */
  readonly session: string | undefined;
  /** After a reconnection: whether nothing is missing. null before there was one. */
  readonly recovered: boolean | null;
  /** How signals travel now; null while there is no connection. */
  readonly via: "socket" | "http" | null;
  /** The nodes that are known, the one in use first. */
  readonly urls: string[];

  /** Makes this session the one that gets the signals to `peerId`, and lets `inviteCode` lead to it. */
  claim(peerId: string, options?: { inviteCode?: string }): Promise<void>;
  /** The peer that an invite code leads to; throws `peer_not_found`. */
  lookup(inviteCode: string): Promise<string>;
  /**
   * Leaves a signal for a peer. Given at least once: over a socket, one whose answer was lost with the connection, or
   * whose outcome a change of leader left open, is sent again. By HTTP an `Idempotency-Key` makes it exactly once.
   */
  signal(to: string, type: SignalType, payload: unknown): Promise<void>;

  /** Enters a room; the one entered before is left. Needs a WebSocket. */
  join(name: string, handlers?: RoomHandlers): Promise<Room>;

  /**
   * Calls `handler` with how a transfer or an exchange is, now and after every change. Returns what ends it. A
   * socket watches 16 things at most.
   */
  watch(what: { transfer: string }, handler: (state: TransferState) => void): () => void;
  watch(what: { session: string }, handler: (state: ExchangeState) => void): () => void;

  /** One request, to whichever node answers it; follows `Retry-After`. Repeats it, so mind what is repeatable. */
  http(method: string, path: string, request?: Request): Promise<Response>;

  /** Ends the session on this side. */
  close(error?: ConclaveError): void;
}

export interface Message {
  /** What was published; absent if it was bytes. */
  data?: unknown;
  /** Bytes, where a FlatBuffers member sent them. */
  base64?: string;
  /** The member who sent it. */
  from: string;
  /** Milliseconds since the Unix epoch. */
  at: number;
  volatile?: true;
  epoch?: number;
  offset?: number;
}

export interface RoomHandlers {
  onmessage?(message: Message): void;
  onjoin?(member: string): void;
  onleave?(member: string): void;
  /** After a reconnection, with whether everything missed was or will be given to `onmessage`. */
  onresume?(resumed: { recovered: boolean }): void;
}

/** A room this session is in. Each offset is given to `onmessage` once. */
export interface Room {
  readonly name: string;
  /** This session's public name in rooms. */
  readonly member: string;
  readonly epoch: number;
  readonly offset: number;
  readonly recovered: boolean | null;
  /** Sends to all members, in one order for everybody; delivered once, however often it must be tried. */
  publish(data: unknown): Promise<{ epoch: number; offset: number }>;
  /** Sends to whoever is there now, at most once. */
  volatile(data: unknown): Promise<void>;
  members(): Promise<string[]>;
  leave(): Promise<void>;
}

/** The JSON of a success; a refusal is thrown. */
export function answer(request: Response | Promise<Response>): Promise<any>;

/** Waits; ends sooner and with its reason if `signal` is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void>;
