/*
 * crier.js - the client of Crier (docs/client.md). It outlives its connections: each resumes at the last seq. What an
 * old one still says, in another #epoch, is not heard.
 */

const CONNECT_MS = 10000;
const ACK_MS = 200;
const ACK_COUNT = 64;
const LATER = ['timeout', 'closed', 'unavailable', 'overloaded', 'draining', 'rate_limited'];
const G = globalThis;

export class CrierError extends Error {
  constructor(code, message = code, retryAfter) {
    super(message);
    Object.assign(this, { name: 'CrierError', code, retryAfter });
  }
}

export class Crier {
  state = 'closed';
  last = 0;
  #done = 0; // kept, acknowledged
  #acked = 0;
  #ackAt = 0;
  #unacked = 0;
  #handlers = {};
  #rooms = new Map(); // wanted: {last, since, presence, asked}
  #kept = new Map(); // room -> seq
  #named = new Set(); // rooms for the URL, as a POST reaches another node
  #commands = new Map(); // unanswered
  #ref = 0;
  #epoch = 0;
  #at = 0; // in #transports
  #refused = 0; // in a row, though the server is there
  #attempt = 0;
  #notBefore = 0;
  #tokenAt = 0;
  #triedAt;
  #openedAt; // welcomed
  #o;
  #base;
  #key;
  #storage;
  #owner; // whose numbers are kept
  #transports;
  #token;
  #link;
  #closing;
  #silence;
  #retryTimer;
  #ackTimer;
  #watchdog;

  constructor(options = {}) {
    const { url = '/', timeout = 10000, WebSocket = G.WebSocket, fetch = G.fetch?.bind(G), transports = Object.keys(TRANSPORTS) } = options;
    const o = (this.#o = { ...options, timeout, WebSocket, fetch });
    this.#base = ((url[0] === '/' ? G.location?.origin : '') + url).replace(/^ws/, 'http').replace(/\/?(\/ws)?$/, '/');
    this.#transports = transports.filter((t) => (t === 'websocket' ? WebSocket : fetch));
    if (!/^https?:/.test(this.#base) || !this.#transports.length) throw new CrierError('bad_option', 'url, WebSocket, fetch');
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
    this.#attempt = this.#refused = this.#at = 0;
    this.#connect();
  }

  close() {
    this.#ackNow();
    if (this.state !== 'closed') this.#down(1000, 'closed', 0, true);
  }

  async subscribe(room, { since, presence } = {}) {
    const r = this.#want(room);
    r.presence = presence ?? r.presence;
    if (since !== undefined) r.last = r.since = since;
    r.asked++;
    try {
      return await this.#join(room, r, true);
    } finally {
      r.asked--;
    }
  }

  async unsubscribe(room) {
    return this.#forget(room) ? this.#orAnew('unsubscribe', { room }) : {};
  }

  send(message) {
    return this.request('send', message);
  }

  request(type, fields, keep) {
    return new Promise((resolve, reject) => {
      const ref = ++this.#ref;
      const object = { ...fields, type, ref };
      const c = { object, text: JSON.stringify(object), keep, resolve, reject };
      c.timer = setTimeout(() => this.#settle(ref, new CrierError('timeout')), this.#o.timeout);
      this.#commands.set(ref, c);
      this.#write(c);
    });
  }

  ack(seq = this.last) {
    this.#done = Math.max(this.#done, Math.min(seq, this.last));
    this.#save();
    this.#ackSoon();
  }

  refresh(token) {
    this.#token = token;
    return this.#orAnew('refresh', { token });
  }

  #load({ storage = 'session', key, device, user }) {
    let kept;
    this.#key = key || `crier ${this.#base}`;
    try {
      this.#storage = storage?.getItem ? storage : G[`${storage}Storage`];
      kept = JSON.parse(this.#storage.getItem(this.#key));
    } catch {
      // memory alone
    }
    this.user = user;
    this.device = device || kept?.device || `js-${Math.random().toString(36).slice(2)}${Date.now().toString(36)}`;
    this.#own(kept?.device === this.device && kept.user === (user ?? kept.user) ? kept : { user });
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
      // memory alone
    }
  }

  #listen(how) {
    for (const t of ['online', 'offline', 'pageshow', 'pagehide']) G[`${how}EventListener`]?.(t, this.#environment);
    G.document?.[`${how}EventListener`]('visibilitychange', this.#environment);
  }

  #environment = ({ type }) => {
    if (type === 'pagehide' || (type === 'visibilitychange' && G.document.hidden)) this.#ackNow();
    else if (this.#openedAt) {
      if (this.#link.probe) {
        this.#link.probe();
        this.#watch(5000);
      } else if (type === 'online') this.#down(1006, type, -1);
    } else if (type !== 'offline' && this.#retryTimer) {
      this.#attempt = Math.min(this.#attempt, 3);
      this.#retry(Math.max(this.#notBefore, this.#triedAt + 1000, Date.now()) - Date.now());
    }
  };

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
    this.#set(G.navigator?.onLine === false ? 'offline' : 'waiting', { retryIn: ms });
  }

  async #connect() {
    const epoch = ++this.#epoch;
    const now = (fn) => (...a) => epoch === this.#epoch && fn.apply(this, a);
    const gone = now(this.#down);
    clearTimeout(this.#retryTimer);
    this.#retryTimer = this.#closing = undefined;
    this.#triedAt = Date.now();
    this.#watch((this.#silence = CONNECT_MS));
    this.#set('connecting');
    try {
      if (!this.#token && this.#o.getToken) await this.#newToken();
      if (epoch === this.#epoch) this.#link = TRANSPORTS[this.transport](this.#way(), { frame: now(this.#frame), heard: now(this.#watch), gone });
    } catch (e) {
      if (gone(1005) !== false) this.#emit('error', e);
    }
  }

  async #newToken() {
    const epoch = this.#epoch;
    const token = await this.#o.getToken();
    if (epoch !== this.#epoch) return;
    this.#token = token;
    this.#tokenAt = Date.now();
  }

  #way() {
    const { user, fetch, WebSocket } = this.#o;
    const since = (this.user && this.user === this.#owner && this.#done) || undefined;
    const url = (path, more) => {
      const q = { device: this.device, ack: 'explicit', user: this.#token ? undefined : user, ...more };
      const set = Object.entries(q).filter(([, v]) => v !== undefined);
      return `${this.#base}${path}?${set.map((p) => p.map(encodeURIComponent).join('=')).join('&')}`;
    };
    return {
      url,
      since,
      WebSocket,
      token: this.#token,
      rooms: [...this.#named].filter((room) => this.#rooms.has(room)),
      owes: () => this.#done < this.last,
      fetch: (path, more, init) =>
        fetch(url(path, more), { cache: 'no-store', headers: this.#token ? { Authorization: `Bearer ${this.#token}` } : {}, ...init }),
    };
  }

  #welcome(m) {
    this.user = m.user ?? this.user;
    this.device = m.device ?? this.device;
    if (this.user !== this.#owner) this.#own({ user: this.user });
    this.#openedAt = Date.now();
    this.#acked = this.#unacked = this.#ackAt = this.#refused = 0;
    this.#silence = m.ping * 2500;
    this.#watch();
    this.#set('open');
    this.#emit('open', m);
    for (const [room, r] of this.#rooms) if (!r.asked && this.#openedAt) this.#join(room, r);
    for (const c of this.#commands.values()) this.#write(c);
  }

  /* A connection, or an attempt, is over. A code below 1000 is an HTTP status. */
  #down(code = 1006, reason, retryAfter, stop) {
    const { getToken } = this.#o;
    const said = this.#closing;
    const link = this.#link;
    const was = this.#openedAt;
    const lived = Date.now() - was;
    if (said && code === 1006) code = said.code;
    if (code === 401) code = getToken && (was || this.#tokenAt < this.#triedAt) ? 4002 : 4001;
    if (code === 403 && !this.#named.size) code = 4003;
    const final = !!stop || [4001, 4003, 4010].includes(code) || (code === 4002 && !getToken);
    this.#epoch++;
    this.#link = this.#openedAt = undefined;
    for (const t of [this.#watchdog, this.#ackTimer, this.#retryTimer]) clearTimeout(t);
    this.#ackTimer = this.#retryTimer = undefined;
    link?.close();
    for (const [ref, c] of this.#commands) {
      if (final || (c.sent && !c.keep)) this.#settle(ref, new CrierError('closed'));
      c.sent = false;
    }
    if (final) {
      this.#listen('remove');
      this.#set('closed');
    } else {
      if (code === 4002) this.#token = undefined;
      if (code < 1000) this.#named.clear();
      if (lived > 10000) this.#attempt = 0;
      if (lived > 60000) this.#at = 0; // another chance
      if (!was) this.#refuse(code);
      const n = G.navigator?.onLine === false ? 9 : this.#attempt++;
      const wait = retryAfter < 0 || (code === 4002 && !n) ? 0 : Math.min(G.document?.hidden ? 300000 : 30000, 500 * 2 ** n) * (0.5 + Math.random() / 2);
      const asked = (retryAfter || said?.retry_after || 0) * 1000;
      this.#notBefore = Date.now() + asked;
      this.#retry(Math.max(wait, asked));
    }
    if (was || final) this.#emit('close', { code, reason: said?.reason || reason || '', final });
  }

  /* Is the server there, and does not take us? Next with a new token, then over the next transport. */
  async #refuse(code) {
    const epoch = this.#epoch;
    const r = code === 1006 ? await this.#o.fetch?.(`${this.#base}healthz`, { mode: 'no-cors', cache: 'no-store' }).catch(() => {}) : { status: code };
    if (epoch !== this.#epoch || !(r?.status < 500)) return;
    if (this.#o.getToken) this.#token = undefined;
    if (++this.#refused < 2) return;
    this.#refused = 0;
    this.#at = (this.#at + 1) % this.#transports.length;
    if (this.#at) this.#attempt -= 2;
  }

  #emit(type, m) {
    for (const fn of this.#handlers[type] || []) {
      try {
        fn(m);
      } catch (e) {
        (G.reportError ?? console.error)(e);
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
      const e = new CrierError(m.code, m.message, m.retry_after);
      if (!this.#settle(m.ref, e)) this.#emit('error', e);
    } else {
      this.#emit(m.type, m);
      if (m.type === 'expiring' && this.#o.getToken) this.#renew(m.in * 1000);
    }
  }

  async #renew(left) {
    const epoch = this.#epoch;
    if (Date.now() - this.#tokenAt < left) await sleep(left / 2); // or short-lived tokens go round in circles
    try {
      if (epoch === this.#epoch) await this.#newToken();
      if (epoch === this.#epoch) await this.refresh(this.#token);
    } catch (e) {
      this.#emit('error', e);
    }
  }

  #message(m) {
    const mine = m.room === undefined;
    const place = m.seq && (mine ? this : this.#rooms.get(m.room));
    if (!place || m.seq > place.last) {
      if (place) place.last = m.seq;
      this.#emit('message', m);
      if (mine && this.#o.autoAck !== false) this.#done = this.last;
      else if (place && !mine) this.#kept.set(m.room, (place.since = m.seq));
      if (place) this.#save();
    }
    if (place === this) this.#ackSoon(); // an old one came because an ack was lost
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

  #write(c) {
    if (!this.#openedAt || c.sent || (c.keep && !this.#rooms.has(c.object.room))) return;
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
    if (!this.#rooms.has(room)) this.#rooms.set(room, { last: 0, since: this.#kept.get(room), asked: 0 });
    return this.#rooms.get(room);
  }

  #forget(room) {
    this.#kept.delete(room);
    this.#save();
    return this.#rooms.delete(room);
  }

  /* A POST may reach a node without our session: a new connection says it. */
  async #orAnew(type, fields) {
    try {
      return this.#openedAt ? await this.request(type, fields) : {};
    } catch (e) {
      if (e.code !== 'no_session') throw e;
      this.#down(1006, type, -1);
      return {};
    }
  }

  /* `mine`: the program asked, survives the connection, and hears of errors by its promise. */
  async #join(room, r, mine) {
    const { since, presence } = r;
    try {
      const a = await this.request('subscribe', { room, since, presence }, mine);
      if (since !== undefined && a.recovered === false) this.#emit('gap', { type: 'gap', room, from: since, to: a.seq });
      if (a.seq && !a.recovered) this.#kept.set(room, (r.since = a.seq));
      return a;
    } catch (e) {
      const epoch = this.#epoch;
      const still = () => this.#openedAt && epoch === this.#epoch && this.#rooms.get(room) === r;
      if (e.code === 'no_session') {
        this.#named.add(room);
        await sleep(300); // other rooms find out, too
        if (still()) this.#down(1006, 'rooms', -1);
        return mine && this.#join(room, r, mine);
      }
      if (LATER.includes(e.code)) sleep((e.retryAfter || 2) * 1000).then(() => still() && this.#join(room, r));
      else if (e.code !== 'not_available' && this.#rooms.get(room) === r) this.#forget(room);
      if (mine) throw e;
      if (!LATER.includes(e.code)) this.#emit('error', Object.assign(e, { room }));
    }
  }
}

/* Transports: each opens a connection, hands up objects, says that it has gone, writes and closes. */

function websocket({ url, since, WebSocket, token }, { frame, gone }) {
  const ws = new WebSocket(url('ws', { since, ping: 'message' }).replace('http', 'ws'), ['crier.v1.json'].concat(token ? `bearer.${token}` : []));
  const write = (text) => ws.readyState === 1 && ws.send(text);
  ws.onmessage = (e) => frame(JSON.parse(e.data));
  ws.onclose = (e) => gone(e.code, e.reason);
  ws.onerror = () => {}; // a close follows
  return { write, probe: () => write('{"type":"ack","seq":0,"ref":0}'), close: () => ws.close(1000) };
}

/* By fetch: an EventSource shows neither a refusal nor heartbeats, and has no headers. */
const sse = (way, up) =>
  half(way, up, async (signal, rooms) => {
    const r = await way.fetch('events', { since: way.since, rooms: rooms.join() || undefined }, { signal });
    if (!r.ok) return r;
    const reader = r.body.getReader();
    const text = new TextDecoder();
    let rest = '';
    let data = '';
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      up.heard();
      const lines = (rest + text.decode(part.value, { stream: true })).split('\n');
      rest = lines.pop();
      for (const line of lines) {
        if (line.startsWith('data: ')) data += line.slice(6);
        else if (!line && data) up.frame(JSON.parse(data)), (data = '');
      }
    }
  });

const poll = (way, up) =>
  half(way, up, async (signal, rooms, none) => {
    let after;
    for (let wait = 0; !signal.aborted; ) {
      while (way.owes()) await sleep(ACK_MS);
      const began = Date.now();
      const r = await way.fetch('poll', { wait, after, rooms: rooms.join() || undefined }, { signal });
      if (r.status === 400 && rooms.length) none.push(...rooms.splice(0)); // they keep no history
      else if (!r.ok) return r;
      else {
        const a = await r.json();
        up.heard();
        if (!wait) up.frame({ type: 'welcome', ping: 25 });
        if (a.gap) up.frame({ type: 'gap', ...a.gap });
        for (const m of [...(a.gaps || []), ...a.messages]) up.frame(m);
        after = a.cursor;
        if (wait && !a.messages.length && Date.now() - began < 1000) await sleep(1000); // another polls as this device
        wait = 25;
      }
    }
  });

/* What only comes down; what the program says is posted. */
function half(way, { frame, gone }, read) {
  const abort = new AbortController();
  const { rooms } = way;
  const none = [];
  const end = async (r) => {
    const { error } = (await r?.json?.().catch(() => {})) ?? {};
    gone(error && (error.code === 'token_expired' ? 4002 : r.status), error?.message, error && r.headers.get('retry-after'));
  };
  read(abort.signal, rooms, none).then(end, () => gone());
  return {
    async write(body, { type, ref, room }) {
      const has = (list) => type === 'subscribe' && list.includes(room);
      let a = { type: 'ok', room, recovered: false };
      if (has(none)) a.error = { code: 'not_available' };
      else if (!has(rooms))
        a = await way
          .fetch('send', {}, { method: 'POST', body, keepalive: type === 'ack' })
          .then((r) => r.json())
          .catch((e) => ({ error: { code: 'closed', message: e.message } }));
      if (ref) frame({ ...a, ...(a.error && { type: 'error', ...a.error }), ref });
    },
    close: () => abort.abort(),
  };
}

const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const TRANSPORTS = { websocket, sse, poll };
