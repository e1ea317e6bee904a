/** A refusal or a failure. */
export class ConclaveError extends Error {
  constructor(code: string, message?: string, status?: number, cause?: unknown);
  /**
   * What programs read: the server's `error` (`unauthorized` for a token that is over, too), or `closed`, `disconnected`, `invalid_input`, `missing_fields`,
   * `payload_too_large`, `queue_full`, `refused`, `replaced`, `timeout`, `transfer_finished`, `unavailable`, `unreachable`. `message` says it in a sentence.
   */
  code: string;
  /** The HTTP status, 0 where there was none. */
  status: number;
  /** Of `unreachable`: what the runtime says, where it says anything. In Node its `code` is `ECONNREFUSED`, for example. */
  cause?: unknown;
}

export interface Options {
  /** The nodes; the page's own origin if absent. The first one is tried first. */
  urls?: string | string[];
  /** A bearer token. Sockets are opened with one-time tickets that it buys, so that it stands in no URL. */
  token?: string;
  /**
   * Gives a token: asked for one before the first request, unless `token` is there; a minute before the one in use is over
   * (or in the last tenth of its time), which then goes on on the same connection; and once for each request that is
   * refused with 401. What it throws before the end of the token in use is an `error` event.
   */
  getToken?: () => string | Promise<string>;
  /** A session to go on with: the `session` of an earlier client. */
  session?: string;
  /** Whether the other nodes are asked for (`GET /api/v1/nodes`) and used when these are away. Default: false. */
  discover?: boolean;
  /** false: never a WebSocket, always HTTP. */
  socket?: boolean;
  /** The WebSocket to use where the runtime has none, as in Node 20: that of the package `ws`, for example. */
  WebSocket?: new (url: string) => unknown;
  /** `connect` rejects with `unreachable` if no node has answered by then; 30,000 if absent, Infinity: never. */
  timeoutMs?: number;
  /** The longest pause between two tries to reach a node; 4,000 if absent. */
  retryMaxMs?: number;
  /** A connection that was quiet for half of this is asked for a sign of life; 20,000 at most and if absent. */
  pingMs?: number;
}

/**
 * Opens a session on whichever node answers first, and resolves once one has answered. Where no WebSocket gets through it
 * goes on by HTTP, with signals alone.
 */
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
  | { state: "open"; via: "socket" | "http"; recovered: boolean | null; error?: undefined }
  /** The server has not answered a ping yet. Either `open` or `reconnecting` follows. */
  | { state: "waiting"; via?: undefined; recovered?: undefined; error?: undefined }
  | { state: "reconnecting"; via?: undefined; recovered?: undefined; error?: undefined }
  | { state: "closed"; via?: undefined; recovered?: undefined; error: ConclaveError };

export interface Events {
  /** The connection changed. */
  state: State;
  /**
   * A signal for the claimed peer id. It is acknowledged once the handlers' promises are settled. Those that come before
   * anybody listens are kept, 512 of them.
   */
  signal: Signal;
  /**
   * A handler threw, or its promise was rejected; polling failed; a watch was refused; or the claim was lost while the
   * connection was away. What a handler of this event throws is dropped.
   */
  error: unknown;
}

export interface TransferState {
  transfer: string;
  total: number;
  received: number;
  done: boolean;
  /** An acknowledgement outlives its transfer: `total` is 0 then. */
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
  /** Whether a 408, which says that the line is slow, is sent again; true if absent. */
  retry408?: boolean;
  /** Whether a request that was begun goes on though the page or the client is closed; false if absent. */
  keepalive?: boolean;
  /**
   * Called before the request is sent again, after a try that was not answered or whose answer asks for it: what it was
   * for may have been done by then.
   */
  onagain?(): void;
}

/**
 * One session with the cluster. Made by `connect`. What takes a name refuses, before it sends anything, whatever is no string
 * or an empty one (`missing_fields`), and a peer id of more than 256 characters (`invalid_input`).
 */
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
  /** Why there is no connection, in a sentence; null while there is one. */
  readonly trouble: string | null;
  /** How signals travel now; null while there is no connection. */
  readonly via: "socket" | "http" | null;
  /** The nodes that are known, the one in use first. */
  readonly urls: string[];

  /**
   * Makes this session the one that gets the signals to `peerId`, and lets `inviteCode` lead to it. An id that another
   * session holds is tried again for `waitMs` (5,000 if absent), since its lease may be running out; then `peer_in_use`.
   * By HTTP nobody says whether a socket holds it: the claim is made, and the signals go to that socket.
   */
  claim(peerId: string, options?: { inviteCode?: string; waitMs?: number }): Promise<void>;
  /** The peer that an invite code leads to; throws `peer_not_found`. */
  lookup(inviteCode: string): Promise<string>;
  /**
   * Leaves a signal for a peer; its payload has 64 KiB as JSON at most. Given at least once: over a socket, one whose
   * answer was lost with the connection, or whose outcome a change of leader left open, is sent again. By HTTP an
   * `Idempotency-Key` makes it exactly once.
   */
  signal(to: string, type: SignalType, payload: unknown): Promise<void>;

  /** Enters a room; the one entered before is left. Needs a WebSocket. */
  join(name: string, handlers?: RoomHandlers): Promise<Room>;

  /**
   * Calls `handler` with how a transfer or an exchange is, now and after every change, and never before `watch` has
   * returned. Returns what ends it. `gone` is what the server says; a watch that it refuses (16 things a socket:
   * `too_many_watches`; a token without the scope: `forbidden`) is an `error` event, and nothing is told. Throws
   * `missing_fields` at once if the id is no string, or an empty one.
   */
  watch(what: { transfer: string }, handler: (state: TransferState) => void): () => void;
  watch(what: { session: string }, handler: (state: ExchangeState) => void): () => void;

  /**
   * One request, to whichever node answers it; `path` begins with a slash. Follows `Retry-After`. Repeats it, so mind what is repeatable. It ends when
   * nothing comes for 28 s, however long it takes.
   */
  http(method: string, path: string, request?: Request): Promise<Response>;

  /** Ends the session: peer id and invite code are free at once, and the room is left. */
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

/** What one of them throws, or its promise is rejected with, is an `error` event of the client. */
export interface RoomHandlers {
  onmessage?(message: Message): void;
  onjoin?(member: string): void;
  onleave?(member: string): void;
  /**
   * After a reconnection, with whether everything missed was or will be given to `onmessage`, and the other members. Who
   * came or left meanwhile is given to `onjoin` and `onleave` before.
   */
  onresume?(resumed: { recovered: boolean; members: string[] }): void;
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
  /** Sends to whoever is there now, at most once; dropped while there is no connection. */
  volatile(data: unknown): Promise<void>;
  members(): Promise<string[]>;
  /** Nothing is left that was left already: for another room, or for this one, entered again. */
  leave(): Promise<void>;
}

/** The JSON of a success; a refusal is thrown. */
export function answer(request: Response | Promise<Response>): Promise<any>;

/** Waits; ends sooner and with its reason if `signal` is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void>;
