/*
 * crier.js - the client of Crier for browsers, Node and whatever has a WebSocket or fetch. docs/client.md says how to
 * use it, crier.d.ts what its types are.
 *
 * A Crier outlives its connections: it keeps a device name and the last seq, and each connection, over whichever
 * transport, resumes there. One at a time is #link; a new #epoch makes what an old one still says unheard. A transport
 * (below the class) opens a connection, hands up objects, says that it has gone, writes and closes.
 */

const CONNECT_MS = 10000; // no welcome by then: the attempt failed
const PROBE_MS = 5000; // how long a connection in doubt has to show life
const STABLE_MS = 10000; // after so long the back-off begins anew
const FIRST_MS = 500;
const MAX_MS = 30000;
const MAX_HIDDEN_MS = 300000;
const ACK_MS = 200;
const ACK_COUNT = 64;
const FINAL = [4001, 4003, 4010];
const LATER = ['timeout', 'closed', 'unavailable', 'overloaded', 'draining', 'rate_limited']; // a subscription is tried again
const G = globalThis;

export class CrierError extends Error {
  constructor(code, message = code, more) {
    super(message);
    Object.assign(this, more, { name: 'CrierError', code });
  }
}

export class Crier {
  state = 'closed';
  last = 0; // highest stored seq handed to `message`
  #done = 0; // highest dealt with: kept, and acknowledged
  #acked = 0; // highest acknowledged over this connection
  #unacked = 0; // messages since
  #ackAt = 0;
  #handlers = {};
  #rooms = new Map(); // wanted: name -> {last, since, presence, waiting}
  #kept = new Map(); // room -> seq, where there is history
  #commands = new Map(); // ref -> what has no answer yet
  #ref = 0;
  #epoch = 0;
  #at = 0; // index of the transport
  #refused = 0; // attempts in a row that failed though the server is there
  #attempt = 0;
  #triedAt;
  #openedAt; // undefined: not welcomed
  #notBefore = 0; // the server asked not to come before
  #o;
  #base;
  #key;
  #storage;
  #owner; // whose numbers are kept
  #transports;
  #token;
  #fresh; // the token was made for this attempt
  #link;
  #closing; // what the server said before it closed
  #silence;
  #retryTimer;
  #ackTimer;
  #watchdog;

  constructor(options = {}) {
    const { timeout = 10000, WebSocket = G.WebSocket, fetch = G.fetch?.bind(G) } = options;
    const o = (this.#o = { ...options, timeout, WebSocket, fetch });
    let url = o.url || import.meta.url.match(/^http.*\//)?.[0] || '/';
    if (url[0] === '/') url = G.location?.origin + url;
    if (!/^(http|ws)s?:/.test(url)) throw new CrierError('bad_option', 'url is needed');
    this.#base = url.replace(/^ws/, 'http').replace(/\/?(\/ws)?$/, '/');
    this.#transports = (o.transports || Object.keys(TRANSPORTS)).filter((t) => (t === 'websocket' ? o.WebSocket : o.fetch));
    if (!this.#transports.length) throw new CrierError('bad_option', 'WebSocket or fetch is needed');
    this.#token = o.token;
    this.#load(o);
    for (const room of o.rooms || []) this.#want(room);
    if (o.autoOpen !== false) queueMicrotask(() => this.open());
  }

  get transport() {
    return this.#transports[this.#at];
  }

  on(type, fn) {
    const list = (this.#handlers[type] ??= new Set());
    list.add(fn);
    return () => list.delete(fn);
  }

  open() {
    if (this.state !== 'closed') return;
    this.#listen('add');
    this.#attempt = this.#refused = this.#notBefore = 0;
    this.#connect();
  }

  close() {
    this.#ackNow();
    if (this.state !== 'closed') this.#down(1000, 'closed', 0, true);
  }

  subscribe(room, { since, presence } = {}) {
    const r = this.#want(room);
    r.presence = presence ?? r.presence;
    if (since !== undefined) r.last = r.since = since;
    return new Promise((resolve, reject) => {
      const w = { resolve, reject };
      w.timer = setTimeout(() => {
        r.waiting.delete(w);
        reject(new CrierError('timeout'));
      }, this.#o.timeout);
      r.waiting.add(w);
      if (this.#openedAt) this.#join(room, r);
    });
  }

  unsubscribe(room) {
    if (!this.#forget(room, new CrierError('closed', 'unsubscribed')) || !this.#openedAt) return Promise.resolve({});
    return this.request('unsubscribe', { room });
  }

  send(message) {
    return this.request('send', message);
  }

  request(type, fields) {
    return new Promise((resolve, reject) => {
      const ref = ++this.#ref;
      const c = { object: { ...fields, type, ref }, resolve, reject };
      c.text = JSON.stringify(c.object);
      c.timer = setTimeout(() => this.#settle(ref, new CrierError('timeout')), this.#o.timeout);
      this.#commands.set(ref, c);
      if (this.#openedAt) this.#write(c);
    });
  }

  ack(seq = this.last) {
    this.#done = Math.max(this.#done, Math.min(seq, this.last));
    this.#save();
    this.#ackSoon();
  }

  refresh(token) {
    this.#token = token;
    return this.#openedAt ? this.request('refresh', { token }) : Promise.resolve({});
  }

  /* ---- what is kept ---- */

  #load({ storage = 'session', key, device, user }) {
    let kept;
    this.#key = key || `crier ${this.#base}`;
    try {
      this.#storage = storage?.getItem ? storage : G[`${storage}Storage`];
      kept = JSON.parse(this.#storage.getItem(this.#key));
    } catch {
      /* no storage: memory alone */
    }
    const same = kept && (!device || kept.device === device) && (!user || kept.user === user);
    this.device = device || kept?.device || `js-${[1, 2, 3].map(() => Math.random().toString(36).slice(2, 9)).join('')}`;
    this.user = user;
    this.#own(same ? kept : { user });
  }

  #own({ user, last = 0, rooms }) {
    this.#owner = user;
    this.last = this.#done = last;
    this.#kept = new Map(rooms);
    this.#save();
  }

  #save() {
    try {
      this.#storage.setItem(this.#key, JSON.stringify({ device: this.device, user: this.#owner, last: this.#done, rooms: [...this.#kept] }));
    } catch {
      /* none, or full */
    }
  }

  /* ---- coming and going ---- */

  #listen(how) {
    const each = (target, ...types) => types.forEach((t) => target?.[`${how}EventListener`]?.(t, this.#environment));
    each(G, 'online', 'offline', 'pageshow', 'pagehide');
    each(G.document, 'visibilitychange');
  }

  #environment = ({ type }) => {
    if (type === 'pagehide' || (type === 'visibilitychange' && G.document.hidden)) this.#ackNow();
    else if (this.#openedAt) this.#probe(type);
    else if (type !== 'offline' && this.#retryTimer) {
      this.#attempt = Math.min(this.#attempt, 3);
      if (type === 'online') this.#at = 0;
      this.#retry(Math.max(this.#notBefore, this.#triedAt + 1000) - Date.now());
    }
  };

  /* Is it still there? A stream that only comes down cannot be asked; when the network changed it is made anew. */
  #probe(type) {
    if (this.transport === 'websocket') {
      this.#link.write('{"type":"ack","seq":0,"ref":0}');
      this.#watch(PROBE_MS);
    } else if (type === 'online') {
      this.#down(1006, type);
    }
  }

  #set(state, more) {
    this.state = state;
    this.#emit('state', { state, transport: this.transport, ...more });
  }

  #watch(ms = this.#silence) {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#down(1006, 'silent'), ms);
  }

  #retry(ms) {
    clearTimeout(this.#retryTimer);
    this.#retryTimer = setTimeout(() => this.#connect(), ms);
    this.#set(G.navigator?.onLine === false ? 'offline' : 'waiting', { retryIn: Math.max(0, ms) });
  }

  async #connect() {
    const epoch = ++this.#epoch;
    const heard = (fn) => (...a) => epoch === this.#epoch && fn.apply(this, a);
    const gone = heard(this.#down);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = this.#closing = this.#fresh = undefined;
    this.#triedAt = Date.now();
    this.#watch((this.#silence = CONNECT_MS));
    this.#set('connecting');
    try {
      if (!this.#token && this.#o.getToken) {
        const token = await this.#o.getToken();
        if (epoch !== this.#epoch) return;
        this.#token = this.#fresh = token;
      }
      if (epoch === this.#epoch) this.#link = TRANSPORTS[this.transport](this.#way(), { frame: heard(this.#frame), heard: heard(this.#watch), gone });
    } catch (e) {
      if (gone(1005) !== false) this.#emit('error', e);
    }
  }

  /* What a transport needs: its way to the server. */
  #way() {
    const o = this.#o;
    const url = (path, more) => {
      const q = { device: this.device, ack: 'explicit', user: this.#token ? undefined : o.user, ...more };
      if (this.user !== undefined && this.user === this.#owner && this.#done) q.since ??= this.#done;
      const set = Object.keys(q).filter((k) => q[k] !== undefined);
      return `${this.#base}${path}?${set.map((k) => `${k}=${encodeURIComponent(q[k])}`).join('&')}`;
    };
    return {
      url,
      WebSocket: o.WebSocket,
      token: this.#token,
      rooms: this.#rooms,
      fetch: (path, more, init) =>
        o.fetch(url(path, more), { cache: 'no-store', ...init, headers: this.#token ? { Authorization: `Bearer ${this.#token}` } : {} }),
    };
  }

  #welcome(m) {
    if (m.user !== undefined && m.user !== this.#owner) this.#own(this.#owner === undefined ? { user: m.user, last: this.last, rooms: this.#kept } : { user: m.user });
    this.user = m.user ?? this.user;
    this.device = m.device ?? this.device;
    this.#save();
    this.#openedAt = Date.now();
    this.#acked = this.#unacked = this.#ackAt = this.#refused = 0;
    this.#silence = m.ping * 2500;
    this.#watch();
    this.#set('open');
    this.#emit('open', m);
    for (const [room, r] of this.#rooms) if (this.#openedAt) this.#join(room, r);
    for (const c of this.#commands.values()) if (this.#openedAt && !c.sent) this.#write(c);
  }

  /* The connection, or the attempt at one, is over. A code below 1000 is an HTTP status. */
  #down(code = 1006, reason, retryAfter, stop) {
    const { getToken, fetch } = this.#o;
    const lived = this.#openedAt && Date.now() - this.#openedAt;
    const said = this.#closing;
    const link = this.#link;
    if (said && code === 1006) code = said.code;
    if (code === 401) code = getToken && !this.#fresh ? 4002 : 4001;
    if (code === 403) code = 4003;
    const final = !!stop || FINAL.includes(code) || (code === 4002 && !getToken);
    const epoch = ++this.#epoch;
    this.#link = this.#openedAt = undefined;
    for (const t of [this.#watchdog, this.#ackTimer, this.#retryTimer]) clearTimeout(t);
    this.#ackTimer = this.#retryTimer = undefined;
    link?.close();
    for (const [ref, c] of this.#commands) if (c.sent || final) this.#settle(ref, new CrierError('closed'));
    if (final) {
      this.#listen('remove');
      for (const r of this.#rooms.values()) this.#answer(r, new CrierError('closed'));
      this.#set('closed');
    } else {
      if (code === 4002) this.#token = undefined;
      if (lived > STABLE_MS) this.#attempt = 0;
      if (lived > 60000) this.#at = 0;
      if (lived === undefined && code < 1000) this.#refuse();
      else if (lived === undefined && code === 1006)
        fetch?.(`${this.#base}healthz`, { mode: 'no-cors', cache: 'no-store' }).then(
          (r) => epoch === this.#epoch && r.status < 500 && this.#refuse(),
          () => {},
        );
      this.#backOff(code, retryAfter || said?.retry_after);
    }
    if (lived !== undefined || final) this.#emit('close', { code, reason: said?.reason || reason || '', final });
  }

  /* The server is there and does not take us like this: next time with a new token, then over the next transport. */
  #refuse() {
    if (this.#o.getToken) this.#token = undefined;
    if (++this.#refused < 2) return;
    this.#refused = 0;
    this.#at = (this.#at + 1) % this.#transports.length;
  }

  #backOff(code, retryAfter) {
    const most = G.document?.hidden ? MAX_HIDDEN_MS : MAX_MS;
    const n = G.navigator?.onLine === false ? 9 : this.#attempt;
    const wait = code === 4002 && !n ? 0 : Math.min(most, FIRST_MS * 2 ** n) * (0.5 + Math.random() / 2);
    this.#attempt++;
    this.#notBefore = retryAfter ? Date.now() + retryAfter * 1000 : 0;
    this.#retry(Math.max(wait, this.#notBefore - Date.now()));
  }

  /* ---- what comes ---- */

  #emit(type, m) {
    for (const fn of this.#handlers[type] || []) {
      try {
        fn(m);
      } catch (e) {
        queueMicrotask(() => {
          throw e;
        });
      }
    }
  }

  #frame(m) {
    this.#watch();
    if (m.type === 'welcome') this.#welcome(m);
    else if (m.type === 'message') this.#message(m);
    else if (m.type === 'ok') this.#settle(m.ref, undefined, m);
    else if (m.type === 'ping') this.#link.write('{"type":"pong"}');
    else if (m.type === 'closing') this.#closing = m;
    else if (m.type === 'error') {
      const e = new CrierError(m.code, m.message, { retryAfter: m.retry_after });
      if (!this.#settle(m.ref, e)) this.#emit('error', e);
    } else {
      this.#emit(m.type, m);
      if (m.type === 'expiring' && this.#o.getToken) this.#renew();
    }
  }

  async #renew() {
    try {
      await this.refresh(await this.#o.getToken());
    } catch (e) {
      this.#emit('error', e);
    }
  }

  #message(m) {
    const mine = m.room === undefined;
    const place = m.seq && (mine ? this : this.#rooms.get(m.room));
    const old = place && m.seq <= place.last;
    if (place && !old) place.last = m.seq;
    if (!old) this.#emit('message', m);
    if (place && !mine && !old) this.#kept.set(m.room, (place.since = m.seq));
    if (place === this && this.#o.autoAck !== false) this.#done = this.last;
    if (place && !old) this.#save();
    if (place === this) this.#ackSoon();
  }

  #ackSoon() {
    const wait = this.#ackAt + ACK_MS - Date.now();
    if (++this.#unacked >= ACK_COUNT || wait <= 0) this.#ackNow();
    else this.#ackTimer ??= setTimeout(() => this.#ackNow(), wait);
  }

  #ackNow() {
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
    this.#unacked = 0;
    if (!this.#openedAt || this.#done <= this.#acked) return;
    this.#ackAt = Date.now();
    this.#acked = this.#done;
    this.#link.write(`{"type":"ack","seq":${this.#done}}`, { type: 'ack' });
  }

  /* ---- commands and rooms ---- */

  #write(c) {
    c.sent = true;
    this.#link.write(c.text, c.object);
  }

  #settle(ref, error, value) {
    const c = this.#commands.get(ref);
    if (!c) return ref === 0;
    clearTimeout(c.timer);
    this.#commands.delete(ref);
    if (error) c.reject(error);
    else c.resolve(value);
    return true;
  }

  #want(room) {
    if (!this.#rooms.has(room)) this.#rooms.set(room, { last: 0, since: this.#kept.get(room), waiting: new Set() });
    return this.#rooms.get(room);
  }

  #forget(room, error) {
    const r = this.#rooms.get(room);
    this.#rooms.delete(room);
    this.#kept.delete(room);
    this.#save();
    return r && this.#answer(r, error);
  }

  /* Tells who waits for this subscription. */
  #answer(r, error, value) {
    for (const w of r.waiting) {
      clearTimeout(w.timer);
      if (error) w.reject(error);
      else w.resolve(value);
    }
    r.waiting.clear();
    return true;
  }

  async #join(room, r) {
    const epoch = this.#epoch;
    const since = r.since;
    try {
      const a = await this.request('subscribe', { room, since, presence: r.presence });
      if (this.#rooms.get(room) !== r) return;
      if (a.seq && since && a.recovered === false) this.#emit('gap', { type: 'gap', room, from: since, to: a.seq });
      if (a.seq && !r.since) this.#kept.set(room, (r.since = a.seq));
      this.#answer(r, undefined, a);
    } catch (e) {
      const current = () => epoch === this.#epoch && this.#rooms.get(room) === r;
      if (!current()) return; // the next connection joins it
      if (LATER.includes(e.code)) {
        setTimeout(() => current() && this.#join(room, r), (e.retryAfter || 2) * 1000);
        return;
      }
      if (!r.waiting.size) this.#emit('error', Object.assign(e, { room }));
      this.#forget(room, e);
    }
  }
}

/* ---- transports ---- */

function websocket({ url, WebSocket, token }, { frame, gone }) {
  const ws = new WebSocket(url('ws', { ping: 'message' }).replace('http', 'ws'), ['crier.v1.json', ...(token ? [`bearer.${token}`] : [])]);
  ws.onmessage = (e) => frame(JSON.parse(e.data));
  ws.onclose = (e) => gone(e.code, e.reason);
  ws.onerror = () => {}; // a close follows
  return { write: (text) => ws.readyState === 1 && ws.send(text), close: () => ws.close(1000) };
}

/* Streamed by fetch: an EventSource shows neither a refusal's status nor heartbeats, and has no headers. */
function sse(way, { frame, heard, gone }) {
  const abort = new AbortController();
  const read = async () => {
    const r = await way.fetch('events', {}, { signal: abort.signal });
    if (!r.ok) return gone(r.status, r.statusText, r.headers.get('retry-after'));
    const reader = r.body.getReader();
    const text = new TextDecoder();
    let rest = '';
    let data = '';
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      heard();
      const lines = (rest + text.decode(part.value, { stream: true })).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith('data: ')) data += line.slice(6);
        else if (!line && data) frame(JSON.parse(data)), (data = '');
      }
    }
    return gone();
  };
  read().catch(() => gone());
  return { write: poster(way, frame), close: () => abort.abort() };
}

/* What the program says where messages only come down. */
const poster = (way, frame) => async (body, { type, ref }) => {
  let a;
  try {
    a = await (await way.fetch('send', {}, { method: 'POST', body, keepalive: type === 'ack' })).json();
    if (a.error) a = { ...a.error, type: 'error' };
  } catch (e) {
    a = { type: 'error', code: 'closed', message: e.message };
  }
  if (ref) frame({ ...a, ref });
};

const TRANSPORTS = { websocket, sse };
