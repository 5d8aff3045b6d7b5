/* Types of crier.js. docs/client.md explains, docs/protocol.md is the wire. */

export type TransportName = 'websocket' | 'sse' | 'poll';
export type State = 'connecting' | 'open' | 'waiting' | 'offline' | 'closed';

export interface Options {
  /** Where the broker is: `https://push.example.org`, `wss://…/ws`, or a path of the page's own host. Default: where this module came from, else the page's host. */
  url?: string;
  /** With a token: whose inbox is meant, so that what was kept for somebody else is not used. With a `--dev` broker and no token: who this is. */
  user?: string;
  /** A JSON Web Token. */
  token?: string;
  /** Asked for a token when there is none or it is about to end, has ended, or was not taken. */
  getToken?: () => string | Promise<string>;
  /** This device's name. Default: made once and kept in `storage`. */
  device?: string;
  /** Rooms to be in from the beginning. */
  rooms?: Iterable<string>;
  /** In the order they are tried. Default: all three. */
  transports?: TransportName[];
  /** Where device and last seq are kept. Default `session`: one device a tab. `null`: memory. */
  storage?: 'session' | 'local' | KeyValueStore | null;
  /** The key in `storage`; needed when one page has two clients of one broker. */
  key?: string;
  /** Milliseconds a command waits for its answer, and for a connection. Default 10000. */
  timeout?: number;
  /** false: only `ack()` acknowledges. Default true: a message is acknowledged when its handlers have returned. */
  autoAck?: boolean;
  /** false: nothing happens before `open()`. Default true. */
  autoOpen?: boolean;
  /** A constructor like the browser's. Default: the global one. */
  WebSocket?: new (url: string, protocols: string[]) => SocketLike;
  /** Default: the global one. */
  fetch?: typeof globalThis.fetch;
}

export interface KeyValueStore {
  getItem(key: string): string | null | undefined;
  setItem(key: string, value: string): unknown;
}

/** What crier.js uses of a WebSocket. */
export interface SocketLike {
  readonly readyState: number;
  onmessage: ((event: any) => void) | null;
  onclose: ((event: any) => void) | null;
  onerror: ((event: any) => void) | null;
  send(text: string): void;
  close(code?: number): void;
}

export interface Welcome {
  type: 'welcome';
  conn?: string;
  user?: string;
  device?: string;
  node?: string;
  cursor?: number;
  pending?: number;
  ping: number;
  limits?: { message: number; payload: number; rooms: number; window: number };
}

export interface Message<T = any> {
  type: 'message';
  id: string;
  data: T;
  /** Milliseconds since 1970. */
  ts: number;
  /** Stored messages. */
  seq?: number;
  room?: string;
  all?: true;
  event?: string;
  from?: string;
}

export interface Presence {
  type: 'presence';
  room: string;
  user: string;
  change: 'join' | 'leave';
}

/** Stored messages in this range are gone. With `room`: what that room said after `from` is not there any more, or not to be had over this transport (then without `to`). */
export interface Gap {
  type: 'gap';
  from: number;
  to?: number;
  room?: string;
}

export interface StateChange {
  state: State;
  transport: TransportName;
  /** Milliseconds to the next attempt, in `waiting` and `offline`. */
  retryIn?: number;
}

export interface Closed {
  /** A close code of docs/protocol.md. */
  code: number;
  reason: string;
  /** true: it stays closed until `open()`. */
  final: boolean;
}

export interface Events {
  /** Connected; after each reconnect again. */
  open: Welcome;
  message: Message;
  presence: Presence;
  gap: Gap;
  /** The token ends in `in` seconds. With `getToken` it is renewed without further ado. */
  expiring: { type: 'expiring'; in: number };
  state: StateChange;
  /** An open connection has ended, or no further attempt is made. */
  close: Closed;
  /** What no promise reports: `getToken` failed, a room was refused on a reconnect (`room`), the server complained. */
  error: Error & { code?: string; room?: string };
}

export interface SendBody {
  /** Exactly one of user, room, all. */
  user?: string;
  room?: string;
  all?: true;
  data: unknown;
  /** To a user: makes a repetition harmless for ten minutes. */
  id?: string;
  event?: string;
  /** Seconds; 0: only who is connected now. */
  ttl?: number;
  priority?: 'low' | 'normal' | 'high';
  /** false: a room's message does not come back to its sender. */
  echo?: boolean;
}

export interface Sent {
  type: 'ok';
  id: string;
  seq?: number;
  online?: number;
  duplicate?: true;
}

export interface Subscribed {
  type: 'ok';
  room: string;
  recovered?: boolean;
  seq?: number;
}

/** `code`: one of the error codes of docs/protocol.md, or `timeout`, `closed`, `bad_option`. */
export class CrierError extends Error {
  constructor(code: string, message?: string, retryAfter?: number);
  readonly code: string;
  /** Seconds. */
  readonly retryAfter?: number;
  readonly room?: string;
}

export class Crier {
  constructor(options?: Options);
  readonly state: State;
  readonly transport: TransportName;
  readonly user?: string;
  readonly device?: string;
  /** The highest seq of a stored message to the user that was handed out. */
  readonly last: number;
  /** Returns the function that takes `fn` off again. */
  on<K extends keyof Events>(type: K, fn: (event: Events[K]) => void): () => void;
  /** Begins, or begins again after `close()` or a final close. */
  open(): void;
  /** Acknowledges what is due and closes for good. */
  close(): void;
  /** Resolves when the subscription stands. After `timeout` and `closed` the room stays wanted and is joined with the next connection; any other error means it was refused. */
  subscribe(room: string, options?: { since?: number; presence?: boolean }): Promise<Subscribed>;
  unsubscribe(room: string): Promise<object>;
  /** Rejects with `closed` when the connection broke before the answer: then nobody knows whether it was sent. */
  send(message: SendBody): Promise<Sent>;
  /** Any command of docs/protocol.md. */
  request(type: string, fields?: object): Promise<any>;
  /** With `autoAck: false`: everything up to `seq` (default: all that was handed out) has been dealt with. */
  ack(seq?: number): void;
  /** A new token of the same user, for this connection and those to come. */
  refresh(token: string): Promise<object>;
}
