/*
 * crier.js against sockets, streams, a clock and a page that are made here: everything that takes minutes or luck with a
 * real broker. crierjs.test.mjs has the real one.
 */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { afterEach, beforeEach, mock, test as nodeTest } from 'node:test';
import { gzipSync } from 'node:zlib';
import { CORE_ONLY, ROOT } from './lib/env.mjs';

const FILE = `${ROOT}/cmd/crier/web/crier.js`;
const { Crier, CrierError } = await import(FILE);
const test = CORE_ONLY ? () => {} : nodeTest; // no broker in it, so nothing for its sanitizers

const NOW = 1_700_000_000_000;
const turn = () => new Promise(setImmediate);
const pass = async (ms) => {
  await turn();
  mock.timers.tick(ms);
  await turn();
};

class Socket {
  static all = [];
  constructor(url, protocols) {
    Object.assign(this, { url, protocols, readyState: 0, said: [] });
    Socket.all.push(this);
  }
  get query() {
    return Object.fromEntries(new URL(this.url).searchParams);
  }
  send(text) {
    assert.equal(this.readyState, 1, 'nothing is sent on a socket that is not open');
    this.said.push(JSON.parse(text));
  }
  close(code) {
    this.readyState = 3;
    this.closedWith = code;
  }
  say(object) {
    this.onmessage({ data: JSON.stringify(object) });
  }
  welcome(more = {}) {
    this.readyState = 1;
    this.say({ type: 'welcome', user: 'alice', device: this.query.device, ping: 20, cursor: 0, pending: 0, ...more });
    return this;
  }
  message(seq, more = {}) {
    this.say({ type: 'message', id: `m${seq}`, seq, data: seq, ts: 1, ...more });
  }
  end(code = 1006, reason = '') {
    this.readyState = 3;
    this.onclose({ code, reason });
  }
  of(type) {
    return this.said.filter((m) => m.type === type);
  }
}
const socket = () => Socket.all.at(-1);

/* A page: what crier.js looks for in a browser's global object. */
const listeners = new Map();
const page = {
  fire(type) {
    for (const fn of [...(listeners.get(type) ?? [])]) fn({ type });
  },
  hide(hidden) {
    globalThis.document.hidden = hidden;
    page.fire('visibilitychange');
  },
  network(onLine) {
    globalThis.navigator.onLine = onLine;
    page.fire(onLine ? 'online' : 'offline');
  },
  get listening() {
    return [...listeners.values()].reduce((n, s) => n + s.size, 0);
  },
};
const target = {
  addEventListener: (type, fn) => listeners.set(type, (listeners.get(type) ?? new Set()).add(fn)),
  removeEventListener: (type, fn) => listeners.get(type)?.delete(fn),
};
const globals = { ...target, document: { hidden: false, ...target }, navigator: { onLine: true } };
const before = {};

class Store {
  map = new Map();
  getItem = (k) => this.map.get(k) ?? null;
  setItem = (k, v) => void this.map.set(k, v);
}

let clients = [];
let store;
let requests; // what went over fetch
let answerFetch; // (url, init) -> Response; default: nobody is there

const fakeFetch = async (url, init = {}) => {
  requests.push({ url, path: new URL(url).pathname, query: Object.fromEntries(new URL(url).searchParams), ...init });
  return answerFetch(url, init);
};
const away = () => {
  throw new TypeError('fetch failed');
};
const json = (body, status = 200, headers = {}) => new Response(JSON.stringify(body), { status, headers });

function make(options = {}) {
  const c = new Crier({ url: 'https://push.example.org', WebSocket: Socket, fetch: fakeFetch, storage: store, ...options });
  c.log = [];
  for (const type of ['open', 'message', 'presence', 'gap', 'expiring', 'close', 'error']) c.on(type, (m) => c.log.push([type, m]));
  c.states = [];
  c.on('state', (s) => c.states.push(s));
  c.got = (type) => c.log.filter(([t]) => t === type).map(([, m]) => m);
  clients.push(c);
  return c;
}
async function opened(options, welcome) {
  const c = make(options);
  await turn();
  socket().welcome(welcome);
  return c;
}
const waiting = (c) => c.states.at(-1).retryIn;
const rejects = (promise, code) => assert.rejects(promise, (e) => e instanceof CrierError && e.code === code);

beforeEach(() => {
  mock.timers.enable({ apis: ['setTimeout', 'Date'], now: NOW });
  mock.method(Math, 'random', () => 0.5);
  for (const [name, value] of Object.entries(globals)) {
    before[name] = Object.getOwnPropertyDescriptor(globalThis, name);
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true });
  }
  Object.assign(globalThis.document, { hidden: false });
  Object.assign(globalThis.navigator, { onLine: true });
  Socket.all = [];
  listeners.clear();
  clients = [];
  store = new Store();
  requests = [];
  answerFetch = away;
});
afterEach(() => {
  for (const c of clients) c.close();
  mock.timers.reset();
  mock.restoreAll();
  for (const name of Object.keys(globals)) {
    if (before[name]) Object.defineProperty(globalThis, name, before[name]);
    else delete globalThis[name];
  }
});

/* ---- the file ---- */

test('at most 6 KiB gzipped, no imports, and the types name what is there', () => {
  const text = readFileSync(FILE, 'utf8');
  const size = gzipSync(text, { level: 9 }).length;
  assert.ok(size <= 6144, `${size} bytes`);
  assert.doesNotMatch(text, /^\s*import\b/m);
  assert.doesNotMatch(text, /import\(/);
  const types = readFileSync(FILE.replace(/js$/, 'd.ts'), 'utf8');
  const declared = types.slice(types.indexOf('export class Crier {'));
  const c = make({ autoOpen: false });
  const names = [...Object.keys(c).filter((n) => !['log', 'states', 'got'].includes(n)), ...Object.getOwnPropertyNames(Crier.prototype)];
  for (const name of names) assert.match(declared, new RegExp(`\\b${name}\\b`), `${name} is declared`);
  for (const [, name] of declared.matchAll(/^ {2}(?:readonly )?(\w+)/gm)) assert.ok(names.includes(name), `${name} is there`);
  const manifest = JSON.parse(readFileSync(FILE.replace('crier.js', 'package.json'), 'utf8'));
  assert.equal(manifest.name, 'crier-client');
  for (const f of manifest.files) readFileSync(FILE.replace('crier.js', f));
  assert.equal(manifest.exports['.'].default, './crier.js');
});

/* ---- connecting ---- */

test('a connection says device, acks and pings; a user without a token, a token as a subprotocol', async () => {
  const c = await opened({ user: 'alice', device: 'phone' });
  assert.equal(socket().url.split('?')[0], 'wss://push.example.org/ws');
  assert.deepEqual(socket().query, { device: 'phone', ack: 'explicit', user: 'alice', ping: 'message' });
  assert.deepEqual(socket().protocols, ['crier.v1.json']);
  assert.equal(c.state, 'open');
  assert.equal(c.transport, 'websocket');
  assert.equal(c.got('open')[0].ping, 20);
  assert.deepEqual(c.states.map((s) => s.state), ['connecting', 'open']);
  await opened({ user: 'alice', token: 't.o.k', key: 'other' });
  assert.equal(socket().query.user, undefined);
  assert.deepEqual(socket().protocols, ['crier.v1.json', 'bearer.t.o.k']);
});

test('every way to write the url', async () => {
  for (const [url, expected] of Object.entries({
    'https://h': 'wss://h/ws',
    'https://h/': 'wss://h/ws',
    'http://h:81': 'ws://h:81/ws',
    'wss://h/ws': 'wss://h/ws',
    'ws://h/push': 'ws://h/push/ws',
    'wss://h/push/ws': 'wss://h/push/ws',
    'https://h/push/': 'wss://h/push/ws',
    'https://h/news': 'wss://h/news/ws',
  })) {
    make({ url, key: url });
    await turn();
    assert.equal(socket().url.split('?')[0], expected, url);
  }
  globalThis.location = { origin: 'https://app.example' };
  make({ url: '/push' });
  await turn();
  assert.equal(socket().url.split('?')[0], 'wss://app.example/push/ws');
  make({ url: undefined }); // this module came from a file, so the page's host it is
  await turn();
  assert.equal(socket().url.split('?')[0], 'wss://app.example/ws');
  delete globalThis.location;
  for (const url of ['push.example', '/push', undefined]) assert.throws(() => make({ url }), { code: 'bad_option' }, `${url}`);
  assert.throws(() => make({ WebSocket: null, transports: ['websocket'] }), { code: 'bad_option' });
});

test('autoOpen: false waits for open(); close() and open() again', async () => {
  const c = make({ autoOpen: false });
  await pass(60000);
  assert.equal(Socket.all.length, 0);
  c.open();
  await turn();
  socket().welcome();
  assert.ok(page.listening > 0);
  c.close();
  assert.equal(socket().closedWith, 1000);
  assert.deepEqual(c.got('close'), [{ code: 1000, reason: 'closed', final: true }]);
  assert.equal(page.listening, 0, 'nothing of it stays behind');
  c.close();
  await pass(600000);
  assert.equal(Socket.all.length, 1);
  c.open();
  await turn();
  socket().welcome();
  assert.equal(c.state, 'open');
});

/* ---- messages and acks ---- */

test('each seq once, whatever the server repeats; rooms and all have no say in it', async () => {
  const c = await opened();
  for (const seq of [5, 7, 7, 6, 5, 9]) socket().message(seq);
  socket().message(undefined, { room: 'r' });
  socket().message(undefined, { all: true });
  socket().message(3, { room: 'by-the-server' });
  assert.deepEqual(c.got('message').map((m) => m.seq), [5, 7, 9, undefined, undefined, 3]);
  assert.equal(c.last, 9);
});

test('acks: the first at once, then one in 200 ms or 64 messages', async () => {
  await opened();
  const s = socket();
  const acks = () => s.of('ack').map((m) => m.seq);
  s.message(1);
  assert.deepEqual(acks(), [1]);
  for (let i = 2; i <= 10; i++) s.message(i);
  assert.deepEqual(acks(), [1]);
  await pass(199);
  assert.deepEqual(acks(), [1]);
  await pass(1);
  assert.deepEqual(acks(), [1, 10]);
  for (let i = 11; i <= 74; i++) s.message(i);
  assert.deepEqual(acks(), [1, 10, 74], '64 messages do not wait');
  await pass(10000);
  assert.deepEqual(acks(), [1, 10, 74], 'nothing to say, nothing said');
  s.message(75);
  assert.deepEqual(acks().at(-1), 75, 'after a pause at once again');
});

test('acks do not wait for a timer when the page goes away, is hidden, or close() is called', async () => {
  const c = await opened();
  const s = socket();
  s.message(1);
  s.message(2);
  page.fire('pagehide');
  assert.equal(s.of('ack').at(-1).seq, 2);
  s.message(3);
  page.hide(true);
  assert.equal(s.of('ack').at(-1).seq, 3);
  s.message(4);
  c.close();
  assert.equal(s.of('ack').at(-1).seq, 4);
});

test('what comes again after a reconnect is acknowledged again, or it would come for ever', async () => {
  const c = await opened();
  socket().message(5);
  socket().end();
  await pass(1000);
  assert.equal(socket().query.since, '5');
  socket().welcome();
  socket().message(4);
  assert.deepEqual(socket().of('ack').map((m) => m.seq), [5]);
  assert.equal(c.got('message').length, 1);
});

test('autoAck: false: only ack() moves what is kept and acknowledged', async () => {
  const c = await opened({ autoAck: false });
  const s = socket();
  for (const seq of [1, 2, 3]) s.message(seq);
  await pass(1000);
  assert.equal(s.of('ack').length, 0);
  c.ack(2);
  assert.equal(s.of('ack').at(-1).seq, 2);
  assert.equal(JSON.parse([...store.map.values()][0]).last, 2);
  c.ack(1);
  c.ack(99);
  await pass(200);
  assert.equal(s.of('ack').at(-1).seq, 3, 'never more than was seen');
  s.message(4);
  s.end();
  await pass(1000);
  assert.equal(socket().query.since, '3');
  socket().welcome();
  socket().message(4);
  assert.deepEqual(c.got('message').map((m) => m.seq), [1, 2, 3, 4], 'not twice in one life');
  c.ack();
  await pass(200);
  assert.equal(socket().of('ack').at(-1).seq, 4);
});

test('handlers: taken off again, several, and one that throws hurts nobody', async () => {
  const c = await opened();
  const seen = [];
  const off = c.on('message', () => seen.push('a'));
  c.on('message', () => seen.push('b'));
  socket().message(1);
  off();
  off();
  socket().message(2);
  assert.deepEqual(seen, ['a', 'b', 'b']);
  globalThis.reportError = mock.fn();
  c.on('message', () => {
    throw new Error('mine');
  });
  c.on('message', () => seen.push('after'));
  socket().message(3);
  assert.equal(seen.at(-1), 'after');
  assert.equal(globalThis.reportError.mock.calls[0].arguments[0].message, 'mine', 'the program hears of it');
  delete globalThis.reportError;
  assert.equal(c.last, 3);
});

test('close() and open() from inside handlers', async () => {
  const c = await opened({ rooms: ['r'] });
  c.on('message', () => c.close());
  socket().message(1);
  assert.equal(c.state, 'closed');
  assert.equal(c.last, 1);
  c.on('open', () => c.close());
  c.open();
  await turn();
  const n = Socket.all.length;
  socket().welcome();
  assert.equal(c.state, 'closed');
  assert.deepEqual(socket().of('subscribe'), []);
  await pass(60000);
  assert.equal(Socket.all.length, n);
});

/* ---- what is kept ---- */

test('device and last seq are kept; another user of the same tab begins anew', async () => {
  Math.random.mock.restore();
  const first = await opened({ user: 'alice' });
  const { device } = first;
  assert.match(device, /^js-\w{10,40}$/);
  socket().message(42);
  first.close();

  const second = await opened({ user: 'alice' });
  assert.deepEqual([second.device, second.last, socket().query.device, socket().query.since], [device, 42, device, '42']);
  socket().message(42);
  assert.deepEqual(second.got('message'), []);
  second.close();

  const bob = await opened({ user: 'bob' }, { user: 'bob' });
  assert.deepEqual([bob.device, bob.last, socket().query.since], [device, 0, undefined]);
  socket().message(7);
  assert.equal(bob.got('message').length, 1, 'his inbox has its own numbers');
  bob.close();
});

test('with a token alone the user is known at the welcome: the past is used only if it is the same', async () => {
  const first = await opened({ token: 't' });
  socket().message(42);
  first.close();
  const same = make({ token: 't' });
  await turn();
  assert.equal(socket().query.since, undefined, 'it might be somebody else');
  socket().welcome();
  socket().message(42);
  assert.deepEqual(same.got('message'), []);
  socket().end();
  await pass(1000);
  assert.equal(socket().query.since, '42', 'now it is known');
  same.close();
  const other = await opened({ token: 'u' }, { user: 'bob' });
  socket().message(41);
  assert.equal(other.got('message').length, 1);
  assert.equal(JSON.parse([...store.map.values()][0]).user, 'bob');
});

test('a storage that throws, holds nonsense or is not there: memory', async () => {
  const bad = {
    getItem() {
      throw new Error('SecurityError');
    },
    setItem() {
      throw new Error('QuotaExceededError');
    },
  };
  const odd = { getItem: () => '{nonsense', setItem() {} };
  const nothing = { getItem: () => 'null', setItem() {} };
  for (const storage of [bad, odd, nothing, null, 'session', 'local']) {
    const c = await opened({ storage, user: 'alice' });
    socket().message(3);
    socket().end();
    await pass(1000);
    assert.equal(socket().query.since, '3');
    socket().welcome();
    socket().message(3);
    assert.equal(c.got('message').length, 1);
    c.close();
  }
});

test('sessionStorage by default, localStorage by option, a device name of its own', async () => {
  globalThis.sessionStorage = new Store();
  globalThis.localStorage = new Store();
  make({ storage: undefined });
  make({ storage: 'session', key: 'k' });
  make({ storage: 'local', device: 'mine' });
  assert.deepEqual([...globalThis.sessionStorage.map.keys()], ['crier https://push.example.org/', 'k']);
  assert.equal(JSON.parse([...globalThis.localStorage.map.values()][0]).device, 'mine');
  delete globalThis.sessionStorage;
  delete globalThis.localStorage;
});

/* ---- commands ---- */

test('send resolves with its ok, rejects with the code, in any order', async () => {
  const c = await opened();
  const a = c.send({ user: 'bob', data: { n: 1 }, ttl: 5 });
  const b = c.send({ all: true, data: null });
  const s = socket();
  const [x, y] = s.of('send');
  assert.deepEqual(x, { user: 'bob', data: { n: 1 }, ttl: 5, type: 'send', ref: x.ref });
  assert.notEqual(x.ref, y.ref);
  s.say({ type: 'error', ref: y.ref, code: 'forbidden', message: 'no', retry_after: 3 });
  s.say({ type: 'ok', ref: x.ref, id: 'i', seq: 8, online: 1 });
  assert.equal((await a).id, 'i');
  await assert.rejects(b, { name: 'CrierError', code: 'forbidden', message: 'no', retryAfter: 3 });
  s.say({ type: 'error', code: 'bad_json', message: 'hm' });
  assert.deepEqual(c.got('error').map((e) => e.code), ['bad_json'], 'complaints without a ref are events');
  s.say({ type: 'ok', ref: 'never asked' });
});

test('a command without an answer ends with timeout; cut off in the middle with closed', async () => {
  const c = await opened();
  const late = rejects(c.send({ user: 'b', data: 1 }), 'timeout');
  await pass(9999);
  const cut = rejects(c.send({ user: 'b', data: 2 }), 'closed');
  await pass(1);
  await late;
  socket().end();
  await cut;
  const loop = {};
  loop.loop = loop;
  await assert.rejects(c.send({ user: 'b', data: loop }), TypeError);
});

test('a command before the connection waits for it, and no longer than its timeout', async () => {
  const c = make({ timeout: 3000 });
  const early = c.send({ user: 'b', data: 1 });
  await turn();
  socket().welcome();
  const [m] = socket().of('send');
  socket().say({ type: 'ok', ref: m.ref, id: 'x' });
  assert.equal((await early).id, 'x');
  socket().end();
  const never = rejects(c.send({ user: 'b', data: 2 }), 'timeout');
  await pass(3000);
  await never;
  socket().welcome();
  assert.deepEqual(socket().of('send'), [], 'given up is not sent later');
  const last = rejects(c.request('history', { room: 'r', limit: 3 }), 'closed');
  assert.deepEqual(socket().of('history')[0].limit, 3);
  c.close();
  await last;
});

/* ---- rooms ---- */

const answerJoin = (more = {}) => {
  const m = socket().of('subscribe').at(-1);
  socket().say({ type: 'ok', ref: m.ref, room: m.room, ...more });
};

test('rooms are joined again with every connection, until unsubscribe', async () => {
  const c = await opened({ rooms: ['a'] });
  const b = c.subscribe('b', { presence: true });
  assert.deepEqual(socket().of('subscribe').map((m) => [m.room, m.presence]), [['a', undefined], ['b', true]]);
  answerJoin();
  assert.equal((await b).room, 'b');
  socket().say({ type: 'presence', room: 'b', user: 'x', change: 'join' });
  assert.equal(c.got('presence')[0].user, 'x');
  socket().end();
  await pass(1000);
  socket().welcome();
  assert.deepEqual(socket().of('subscribe').map((m) => [m.room, m.presence]), [['a', undefined], ['b', true]]);
  const gone = c.unsubscribe('a');
  const [u] = socket().of('unsubscribe');
  assert.equal(u.room, 'a');
  socket().say({ type: 'ok', ref: u.ref });
  await gone;
  await c.unsubscribe('never joined');
  socket().end();
  await c.unsubscribe('b');
  await pass(1000);
  socket().welcome();
  assert.deepEqual(socket().of('subscribe'), []);
});

test('a subscription survives the connection it was made on', async () => {
  const c = await opened();
  const joined = c.subscribe('r');
  socket().end();
  await pass(1000);
  socket().welcome();
  answerJoin();
  assert.equal((await joined).room, 'r');
  const late = rejects(c.subscribe('slow'), 'timeout');
  await pass(10000);
  await late;
  await pass(2000);
  assert.equal(socket().of('subscribe').filter((m) => m.room === 'slow').length, 2, 'it stays wanted');
  socket().end();
  const left = rejects(c.subscribe('left'), 'timeout');
  await c.unsubscribe('left');
  await pass(5000);
  socket().welcome();
  assert.deepEqual(socket().of('subscribe').map((m) => m.room), ['r', 'slow'], 'not after a change of mind');
  await pass(5000);
  await left;
});

test('a refused room is given up; one that cannot be had now is asked for again', async () => {
  const c = await opened({ rooms: ['secret'] });
  const s = socket();
  const refuse = (code, more) => s.say({ type: 'error', ref: s.of('subscribe').at(-1).ref, code, message: code, ...more });
  refuse('forbidden');
  await turn();
  assert.deepEqual(c.got('error').map((e) => [e.code, e.room]), [['forbidden', 'secret']]);
  const no = rejects(c.subscribe('other'), 'forbidden');
  refuse('forbidden');
  await no;
  assert.equal(c.got('error').length, 1, 'the promise has said it');
  const later = rejects(c.subscribe('busy'), 'overloaded');
  refuse('overloaded', { retry_after: 3 });
  await later;
  await pass(2999);
  assert.equal(s.of('subscribe').length, 3);
  await pass(1);
  assert.equal(s.of('subscribe').length, 4);
  answerJoin();
  assert.equal(c.got('error').length, 1);
  s.end();
  await pass(1000);
  socket().welcome();
  assert.deepEqual(socket().of('subscribe').map((m) => m.room), ['busy']);
});

test('rooms with history: resumed where they were, repeated messages dropped, a gap is told', async () => {
  const c = await opened({ user: 'alice', rooms: ['h'] });
  answerJoin({ seq: 100 });
  await turn();
  assert.deepEqual(c.got('gap'), [], 'nothing was asked for');
  for (const seq of [101, 102, 102]) socket().message(seq, { room: 'h' });
  socket().message(5);
  assert.deepEqual(c.got('message').map((m) => m.seq), [101, 102, 5]);
  socket().end();
  await pass(1000);
  socket().welcome();
  assert.equal(socket().of('subscribe')[0].since, 102);
  socket().message(102, { room: 'h' });
  socket().message(103, { room: 'h' });
  answerJoin({ seq: 103, recovered: true });
  assert.deepEqual(c.got('message').map((m) => m.seq), [101, 102, 5, 103]);
  c.close();

  const again = await opened({ user: 'alice' });
  again.subscribe('h').catch(() => {});
  assert.equal(socket().of('subscribe')[0].since, 103, 'kept over a reload');
  answerJoin({ seq: 300, recovered: false });
  await turn();
  assert.deepEqual(again.got('gap'), [{ type: 'gap', room: 'h', from: 103, to: 300 }]);
  again.subscribe('h', { since: 0 }).catch(() => {});
  assert.equal(socket().of('subscribe').at(-1).since, 0);
  socket().message(101, { room: 'h' });
  assert.equal(again.got('message').length, 1, 'asked for the past, given the past');
});

/* ---- losing and finding the connection ---- */

test('back-off doubles from half a second to half a minute, with jitter, and begins anew after ten good seconds', async () => {
  const c = make();
  await turn();
  const waits = [];
  for (let i = 0; i < 9; i++) {
    socket().end();
    waits.push(waiting(c));
    await pass(waits.at(-1));
  }
  assert.deepEqual(waits, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000].map((x) => x * 0.75));
  Math.random.mock.mockImplementation(() => 0);
  socket().end();
  assert.equal(waiting(c), 15000);
  await pass(15000);
  Math.random.mock.mockImplementation(() => 0.999999);
  socket().end();
  assert.ok(Math.abs(waiting(c) - 30000) < 1);
  await pass(30000);
  socket().welcome();
  await pass(9000);
  socket().end();
  assert.ok(waiting(c) > 29000, 'a connection that does not last is no success');
  await pass(30000);
  socket().welcome();
  await pass(10001);
  socket().end(1001);
  assert.ok(waiting(c) <= 500);
  assert.equal(c.got('close').length, 2, 'attempts that failed are states, not closes');
});

test('the server says when to come back', async () => {
  const c = await opened();
  socket().say({ type: 'closing', code: 1001, reason: 'going away', retry_after: 7.5 });
  socket().end(1001, '');
  assert.deepEqual(c.got('close'), [{ code: 1001, reason: 'going away', final: false }]);
  assert.equal(waiting(c), 7500);
  page.network(true);
  assert.equal(waiting(c), 7500, 'not sooner for the network');
  page.hide(false);
  await pass(7499);
  assert.equal(Socket.all.length, 1);
  await pass(1);
  assert.equal(Socket.all.length, 2);
});

test('nothing heard for two and a half pings: a new connection; pings are answered', async () => {
  const c = await opened();
  const s = socket();
  await pass(49999);
  s.say({ type: 'ping' });
  assert.deepEqual(s.said, [{ type: 'pong' }]);
  await pass(49999);
  assert.equal(c.state, 'open');
  await pass(1);
  assert.deepEqual(c.got('close'), [{ code: 1006, reason: 'silent', final: false }]);
  assert.ok(s.closedWith, 'the old one is not left behind');
  await pass(1000);
  assert.equal(Socket.all.length, 2);
  s.end(4010);
  s.onmessage({ data: '{"type":"message","id":"x","seq":9,"data":1}' });
  assert.equal(c.state, 'connecting', 'what the old one says is not heard');
  assert.deepEqual(c.got('message'), []);
});

test('an attempt without a welcome ends', async () => {
  const c = make();
  await turn();
  socket().readyState = 1; // open, and silent
  await pass(10000);
  assert.equal(c.state, 'waiting');
});

test('back online or visible: at once, but not more than once a second', async () => {
  const c = make();
  await turn();
  for (let i = 0; i < 7; i++) {
    socket().end();
    await pass(waiting(c));
  }
  socket().end();
  assert.ok(waiting(c) > 20000);
  const n = Socket.all.length;
  await pass(1000);
  page.hide(true);
  assert.ok(waiting(c) > 20000, 'hiding is no reason');
  page.hide(false);
  await pass(0);
  assert.equal(Socket.all.length, n + 1);
  socket().end();
  for (let i = 0; i < 20; i++) {
    page.hide(true);
    page.hide(false);
    await pass(0);
  }
  assert.equal(Socket.all.length, n + 1);
  await pass(1000);
  assert.equal(Socket.all.length, n + 2);
  socket().end();
  page.network(false);
  const before2 = Socket.all.length;
  await pass(1000);
  page.network(true);
  await pass(0);
  assert.equal(Socket.all.length, before2 + 1);
});

test('hidden, the waits grow to five minutes; offline, nothing is tried quickly', async () => {
  const c = make();
  await turn();
  globalThis.document.hidden = true;
  for (let i = 0; i < 12; i++) {
    socket().end();
    await pass(waiting(c));
  }
  socket().end();
  assert.equal(waiting(c), 300000 * 0.75);
  c.close();
  globalThis.document.hidden = false;
  const d = await opened();
  globalThis.navigator.onLine = false;
  socket().end();
  assert.equal(d.state, 'offline');
  assert.ok(waiting(d) >= 15000);
});

test('a connection in doubt is asked: alive it stays, else it is replaced in five seconds', async () => {
  const c = await opened();
  const s = socket();
  for (const happens of [() => page.network(true), () => page.hide(false), () => page.fire('pageshow'), () => page.network(false)]) {
    happens();
    assert.deepEqual(s.said.pop(), { type: 'ack', seq: 0, ref: 0 });
    await pass(4999);
    s.say({ type: 'ok', ref: 0 });
    await pass(5001);
    assert.equal(c.state, 'open');
  }
  globalThis.navigator.onLine = true;
  page.hide(false);
  await pass(5000);
  assert.equal(c.state, 'waiting');
  assert.deepEqual(c.got('error'), []);
});

test('final codes end it; open() begins again', async () => {
  for (const code of [4001, 4003, 4010]) {
    const c = await opened();
    const cut = rejects(c.subscribe('r'), 'closed');
    const n = Socket.all.length;
    socket().end(code, 'because');
    await cut;
    assert.deepEqual(c.got('close'), [{ code, reason: 'because', final: true }]);
    page.network(true);
    page.hide(false);
    await pass(3600000);
    assert.equal(Socket.all.length, n);
    c.open();
    await turn();
    socket().welcome();
    assert.deepEqual(socket().of('subscribe').map((m) => m.room), ['r'], 'wanted is wanted');
    c.close();
  }
  for (const code of [1001, 1006, 1008, 1011, 1012, 1013, 4008, 4009, 4029]) {
    const c = await opened();
    socket().end(code);
    assert.equal(c.got('close')[0].final, false, `${code}`);
    c.close();
  }
});

/* ---- tokens ---- */

test('a token that is about to end is renewed on the connection', async () => {
  let n = 0;
  const c = await opened({ getToken: async () => `token-${++n}` });
  assert.deepEqual(socket().protocols[1], 'bearer.token-1');
  await pass(25000);
  socket().say({ type: 'expiring', in: 20 });
  await turn();
  assert.deepEqual(c.got('expiring'), [{ type: 'expiring', in: 20 }]);
  const [r] = socket().of('refresh');
  assert.equal(r.token, 'token-2');
  socket().say({ type: 'ok', ref: r.ref });
  socket().end();
  await pass(1000);
  assert.equal(socket().protocols[1], 'bearer.token-2', 'kept for the next');
  socket().welcome();
  socket().say({ type: 'expiring', in: 20 });
  await pass(9999);
  assert.equal(n, 2, 'the token is two seconds old: not yet again');
  await pass(1);
  socket().say({ type: 'error', ref: socket().of('refresh')[0].ref, code: 'unauthorized', message: 'no' });
  await turn();
  assert.equal(c.got('error')[0].code, 'unauthorized');
  assert.equal(n, 3);
});

test('4002 asks for a new token and comes back at once; without getToken it is final', async () => {
  let n = 0;
  const c = await opened({ token: 'old', getToken: () => `new-${++n}` });
  assert.equal(n, 0);
  socket().end(4002);
  assert.equal(c.got('close')[0].final, false);
  assert.equal(waiting(c), 0);
  await pass(0);
  assert.equal(socket().protocols[1], 'bearer.new-1');
  socket().end(4002);
  assert.ok(waiting(c) > 0, 'a source of ended tokens is not asked in a circle');
  c.close();
  const d = await opened({ token: 'old' });
  socket().end(4002);
  assert.equal(d.got('close')[0].final, true);
  const e = await opened({ token: 'old', key: 'e' });
  const p = e.refresh('by-hand');
  const [r] = socket().of('refresh');
  socket().say({ type: 'ok', ref: r.ref });
  await p;
});

test('getToken that fails is an error and another attempt; one that answers too late is not used', async () => {
  let release;
  const answers = [() => Promise.reject(new Error('no session')), () => new Promise((r) => (release = r)), () => 'fine'];
  const c = make({ getToken: () => answers.shift()() });
  await turn();
  assert.deepEqual(c.got('error').map((e) => e.message), ['no session']);
  assert.equal(c.state, 'waiting');
  await pass(waiting(c));
  assert.equal(c.state, 'connecting');
  await pass(10000);
  assert.equal(c.state, 'waiting', 'it does not answer');
  release('late');
  await pass(waiting(c));
  assert.equal(Socket.all.length, 1);
  assert.equal(socket().protocols[1], 'bearer.fine');
});

/* ---- the other transports, and the way to them ---- */

/* An answer that does not end: say() adds to it, end() ends it. */
function stream(init) {
  const s = {};
  const bytes = new TextEncoder();
  const body = new ReadableStream({
    start(controller) {
      s.say = (text) => controller.enqueue(bytes.encode(text));
      s.raw = (b) => controller.enqueue(b);
      s.end = () => controller.close();
      s.fail = () => controller.error(new TypeError('network error'));
    },
  });
  init?.signal?.addEventListener('abort', () => {
    s.aborted = true;
    s.fail();
  });
  s.response = new Response(body, { status: 200, headers: { 'content-type': 'text/event-stream' } });
  s.event = (object, more = '') => s.say(`${more}data: ${JSON.stringify(object)}\n\n`);
  s.welcome = () => s.event({ type: 'welcome', user: 'alice', ping: 20 }, 'event: welcome\n');
  return s;
}
/* A server of event streams: `streams` as they are asked for, `posted` with answers of `reply`. */
function events(reply = (m) => ({ type: 'ok', ref: m.ref, room: m.room })) {
  const server = { streams: [], posted: [], reply, refuse: undefined };
  answerFetch = (url, init) => {
    const path = new URL(url).pathname;
    if (path === '/healthz') return new Response('ok');
    if (path === '/send') {
      const m = JSON.parse(init.body);
      server.posted.push(m);
      return json(server.reply(m));
    }
    if (path !== '/events') return json({ error: { code: 'not_found', message: 'no' } }, 404);
    if (server.refuse) return server.refuse();
    server.streams.push(stream(init));
    return server.streams.at(-1).response;
  };
  server.last = () => server.streams.at(-1);
  server.of = (type) => server.posted.filter((m) => m.type === type);
  return server;
}
const SSE = { transports: ['sse'], user: 'alice' };
const asked = (path) => requests.filter((r) => r.path === path);

test('fall-back: after two refusals by a server that is there, WebSocket to event stream to polling and round', async () => {
  answerFetch = (url) => (url.includes('/healthz') ? new Response('ok') : new Response('<html>no', { status: 502 }));
  const c = make({ user: 'alice' });
  await turn();
  const seen = () => c.states.filter((s) => s.state === 'connecting').map((s) => s.transport);
  const waits = [];
  for (let i = 0; i < 13; i++) {
    if (c.transport === 'websocket') socket().end();
    await turn();
    await turn();
    waits.push(waiting(c));
    await pass(waits.at(-1));
  }
  const round = ['websocket', 'websocket', 'sse', 'sse', 'poll', 'poll'];
  assert.deepEqual(seen(), [...round, ...round, 'websocket', 'websocket']);
  const steps = [500, 1000, 500, 1000, 500, 1000];
  assert.deepEqual(waits.slice(0, 6), steps.map((x) => x * 0.75));
  assert.deepEqual(waits.slice(6, 12), steps.map((x) => x * 4 * 0.75), 'each round is slower');
});

test('no fall-back while nobody answers, nor for a proxy without a server behind it, nor to what is not wanted', async () => {
  for (const [answer, options] of [
    [away, {}],
    [() => new Response('', { status: 503 }), {}],
    [() => new Response('ok'), { transports: ['websocket'] }],
    [away, { fetch: null, transports: undefined }],
  ]) {
    answerFetch = answer;
    const c = make({ ...options, key: `${Math.random()}` });
    await turn();
    for (let i = 0; i < 6; i++) {
      socket().end();
      await turn();
      await pass(waiting(c));
    }
    assert.deepEqual([...new Set(c.states.map((s) => s.transport))], ['websocket']);
    c.close();
  }
});

test('a refusal by a server that is there asks for another token', async () => {
  answerFetch = () => new Response('ok');
  let n = 0;
  const c = make({ getToken: () => `t${++n}`, transports: ['websocket'] });
  await turn();
  socket().end();
  await turn();
  await pass(waiting(c));
  assert.equal(socket().protocols[1], 'bearer.t2');
  socket().welcome();
  socket().end();
  await pass(waiting(c));
  assert.equal(socket().protocols[1], 'bearer.t2', 'not when a connection was lost');
});

test('back to the first transport when the other one had lasted a minute', async () => {
  const server = events();
  const c = make({ user: 'alice' });
  await turn();
  for (let i = 0; i < 2; i++) {
    socket().end();
    await turn();
    await pass(waiting(c));
  }
  server.last().welcome();
  await turn();
  assert.deepEqual([c.state, c.transport], ['open', 'sse']);
  await pass(30000);
  server.last().end();
  await turn();
  assert.equal(c.transport, 'sse');
  await pass(waiting(c));
  server.last().welcome();
  await turn();
  for (let i = 0; i < 7; i++) {
    server.last().say(':\n\n');
    await pass(10000);
  }
  server.last().end();
  await turn();
  assert.equal(c.transport, 'websocket');
});

test('an event stream, cut at every byte', async () => {
  const server = events();
  const text =
    'retry: 3120\n\nevent: welcome\ndata: {"type":"welcome","user":"alice","ping":20}\n\n:\n\n' +
    'id: 5\nevent: paid\ndata: {"type":"message","id":"a","seq":5,\ndata: "data":"ü–𝄞"}\n\n' +
    'data: {"type":"message","id":"b","room":"r","ts":1,"data":{"x":"data: not a line"}}\n\n';
  const bytes = new TextEncoder().encode(text);
  const c = make({ ...SSE, storage: null });
  await turn();
  for (const b of bytes) server.last().raw(Uint8Array.of(b));
  await turn();
  await turn();
  assert.deepEqual(c.got('message').map((m) => m.data), ['ü–𝄞', { x: 'data: not a line' }]);
  assert.equal(c.last, 5);
});

test('an event stream: query, header, posts, acks, resume, and its end', async () => {
  const server = events();
  const c = make({ transports: ['sse'], token: 't', user: 'alice', device: 'd', rooms: ['r'] });
  await turn();
  assert.deepEqual(asked('/events')[0].query, { device: 'd', ack: 'explicit' });
  assert.equal(asked('/events')[0].headers.Authorization, 'Bearer t');
  server.last().welcome();
  await turn();
  assert.deepEqual(server.of('subscribe').map((m) => m.room), ['r']);
  server.reply = (m) => ({ type: 'ok', ref: m.ref, id: 'x', seq: 9 });
  assert.equal((await c.send({ user: 'bob', data: 1 })).seq, 9);
  assert.equal(asked('/send').at(-1).headers.Authorization, 'Bearer t');
  assert.equal(asked('/send').at(-1).keepalive, false);
  server.reply = (m) => ({ type: 'error', ref: m.ref, code: 'forbidden', message: 'no' });
  await rejects(c.send({ user: 'bob', data: 1 }), 'forbidden');
  server.reply = () => ({ error: { code: 'too_big', message: 'no' } });
  await rejects(c.send({ user: 'bob', data: 1 }), 'too_big');
  server.reply = away;
  await rejects(c.send({ user: 'bob', data: 1 }), 'closed');
  assert.equal(c.state, 'open');
  server.reply = () => ({ type: 'ok' });
  server.last().event({ type: 'message', id: 'm', seq: 7, data: 0 });
  await turn();
  assert.equal(server.of('ack')[0].seq, 7);
  assert.equal(asked('/send').at(-1).keepalive, true, 'an ack outlives its page');
  server.last().event({ type: 'closing', code: 1001, reason: 'going away', retry_after: 4 });
  server.last().end();
  await turn();
  assert.deepEqual(c.got('close'), [{ code: 1001, reason: 'going away', final: false }]);
  assert.equal(waiting(c), 4000);
  await pass(4000);
  assert.equal(asked('/events')[1].query.since, '7');
  server.last().welcome();
  await turn();
  server.last().event({ type: 'closing', code: 4010, reason: 'replaced' });
  server.last().end();
  await turn();
  assert.equal(c.got('close')[1].final, true);
});

test('an event stream that falls silent is made anew; comments are life', async () => {
  const server = events();
  const c = make(SSE);
  await turn();
  server.last().welcome();
  for (let i = 0; i < 8; i++) {
    await pass(20000);
    server.last().say(':\n\n');
  }
  await turn();
  assert.equal(c.state, 'open');
  await pass(50000);
  assert.deepEqual(c.got('close').map((x) => x.reason), ['silent']);
  assert.ok(server.last().aborted);
  await pass(waiting(c));
  server.last().welcome();
  await turn();
  page.network(true);
  assert.equal(waiting(c), 0, 'another network: at once');
  c.close();
});

test('what the answers to a stream or a poll mean', async () => {
  const say = (status, code, headers) => () => json({ error: { code, message: 'm' } }, status, headers);
  for (const transport of ['sse', 'poll']) {
    for (const [answer, options, expected] of [
      [say(401, 'bad_token'), { token: 't' }, { final: 4001 }],
      [say(401, 'token_expired'), { token: 't' }, { final: 4002 }],
      [say(403, 'forbidden_origin'), {}, { final: 4003 }],
      [say(401, 'bad_token'), { token: 't', getToken: () => 'n' }, { wait: 0 }],
      [say(401, 'token_expired'), { getToken: () => 'n' }, { wait: 0 }],
      [say(401, 'bad_token'), { getToken: () => 'n' }, { final: 4001 }],
      [say(503, 'overloaded', { 'retry-after': '9' }), {}, { wait: 9000 }],
      [() => new Response('<html>', { status: 403 }), {}, { wait: 375 }],
      [() => new Response('<html>', { status: 200 }), {}, { wait: 375 }],
    ]) {
      answerFetch = (url, init) => (new URL(url).pathname === '/healthz' ? away() : answer(url, init));
      const c = make({ transports: [transport], user: 'alice', ...options });
      await turn();
      await turn();
      await turn();
      const what = `${transport} ${answer} ${JSON.stringify(expected)}`;
      if (expected.final) assert.deepEqual(c.got('close').map((x) => [x.code, x.final]), [[expected.final, true]], what);
      else assert.equal(waiting(c), expected.wait, what);
      c.close();
    }
  }
});

test('where a POST reaches another node, a stream names its rooms; forbidden ones are told apart before', async () => {
  const server = events((m) =>
    m.room === 'secret' ? { type: 'error', ref: m.ref, code: 'forbidden', message: 'no' } : { type: 'error', ref: m.ref, code: 'no_session', message: 'not here' },
  );
  const c = make({ ...SSE, rooms: ['a', 'secret', 'b'] });
  await turn();
  server.last().welcome();
  await turn();
  await turn();
  const mine = c.subscribe('mine');
  await pass(300);
  assert.ok(server.streams[0].aborted);
  await pass(0);
  assert.equal(asked('/events')[1].query.rooms, 'a,b,mine');
  server.last().welcome();
  await turn();
  assert.equal((await mine).room, 'mine');
  assert.deepEqual(c.got('error').map((e) => [e.code, e.room]), [['forbidden', 'secret']]);
  assert.equal(server.of('subscribe').length, 4, 'and none more');
  await c.unsubscribe('a');
  await pass(0);
  assert.equal(asked('/events')[2].query.rooms, 'b,mine');
  server.last().welcome();
  await turn();
  await c.refresh('new');
  await pass(0);
  assert.equal(asked('/events')[3].headers.Authorization, 'Bearer new', 'no session to refresh: a new one');
  server.refuse = () => json({ error: { code: 'forbidden', message: 'one of these rooms' } }, 403);
  server.last().end();
  await turn();
  await pass(waiting(c));
  assert.equal(c.state, 'waiting', 'one of the rooms, not this client');
  server.refuse = undefined;
  await pass(waiting(c));
  assert.equal(asked('/events').at(-1).query.rooms, undefined);
});

/* A server of polls: each waits in `waiting` until answer(). */
function polls() {
  const server = { polls: [], posted: [] };
  answerFetch = (url, init) => {
    const { pathname, searchParams } = new URL(url);
    if (pathname === '/healthz') return new Response('ok');
    if (pathname === '/send') {
      const m = JSON.parse(init.body);
      server.posted.push(m);
      return json(m.type === 'subscribe' ? { type: 'error', ref: m.ref, code: 'no_session', message: 'polls have none' } : { type: 'ok', ref: m.ref });
    }
    return new Promise((resolve, reject) => {
      const p = { query: Object.fromEntries(searchParams), resolve: (body, status) => resolve(json(body, status)), reject };
      init.signal.addEventListener('abort', () => reject(new Error('aborted')));
      server.polls.push(p);
    });
  };
  server.last = () => server.polls.at(-1);
  server.answer = async (seqs, more = {}) => {
    server.last().resolve({ messages: seqs.map((seq) => ({ type: 'message', id: `m${seq}`, seq, data: seq })), cursor: `c${seqs.at(-1) ?? ''}`, more: false, ...more });
    await turn();
    await turn();
  };
  return server;
}
const POLL = { transports: ['poll'], user: 'alice', device: 'd' };

test('polling: a short one first, then long ones; the cursor acknowledges; gaps; cut off, and on', async () => {
  const server = polls();
  const c = make(POLL);
  await turn();
  assert.deepEqual(server.last().query, { device: 'd', ack: 'explicit', user: 'alice', wait: '0' });
  await server.answer([1, 2]);
  assert.equal(c.state, 'open');
  assert.deepEqual(server.last().query, { device: 'd', ack: 'explicit', user: 'alice', wait: '25', after: 'c2' });
  const room = { type: 'gap', room: 'r', from: 7, to: 8 };
  await server.answer([5], { gap: { from: 3, to: 4 }, gaps: [room] });
  assert.deepEqual(c.got('gap'), [{ type: 'gap', from: 3, to: 4 }, room]);
  assert.deepEqual(c.got('message').map((m) => m.data), [1, 2, 5]);
  await pass(25000);
  await server.answer([]);
  assert.equal(server.polls.length, 4);
  server.last().reject(new TypeError('network'));
  await turn();
  await turn();
  assert.equal(c.state, 'waiting');
  await pass(waiting(c));
  await server.answer([5, 6]);
  assert.deepEqual(c.got('message').map((m) => m.data), [1, 2, 5, 6]);
  page.fire('pagehide');
  assert.equal(server.posted.filter((m) => m.type === 'ack').at(-1).seq, 6, 'no further poll may come to say it');
  c.close();
  await turn();
  const n = server.polls.length;
  await pass(60000);
  assert.equal(server.polls.length, n);
});

test('polling: no answer at all is silence; empty answers at once do not make it race', async () => {
  const server = polls();
  const c = make(POLL);
  await turn();
  await server.answer([]);
  for (let i = 0; i < 5; i++) {
    const n = server.polls.length;
    await server.answer([]);
    await pass(999);
    assert.equal(server.polls.length, n);
    await pass(1);
    assert.equal(server.polls.length, n + 1);
  }
  for (let i = 0; i < 10; i++) {
    await pass(25000);
    await server.answer([]);
  }
  assert.deepEqual(c.got('close'), [], 'nothing new is an answer, too');
  await pass(62500);
  assert.deepEqual(c.got('close').map((x) => x.reason), ['silent']);
});

test('polling with autoAck: false asks for more when what came has been acknowledged', async () => {
  const server = polls();
  const c = make({ ...POLL, autoAck: false });
  await turn();
  await server.answer([1, 2]);
  await pass(5000);
  assert.equal(server.polls.length, 1);
  c.ack(1);
  await pass(1000);
  assert.equal(server.polls.length, 1);
  c.ack(2);
  await pass(200);
  assert.equal(server.last().query.after, 'c2');
});

test('polling: a room is tried; one without history is not to be had, and stays wanted', async () => {
  const server = polls();
  const c = make({ ...POLL, rooms: ['r'] });
  await turn();
  await server.answer([]);
  await pass(300);
  await pass(0);
  assert.equal(server.last().query.rooms, 'r');
  server.last().resolve({ error: { code: 'bad_request', message: 'no history' } }, 400);
  await turn();
  await turn();
  assert.deepEqual([server.last().query.rooms, server.last().query.wait], [undefined, '0']);
  await server.answer([]);
  assert.equal(c.state, 'open');
  assert.deepEqual(c.got('error').map((e) => [e.code, e.room]), [['not_available', 'r']]);
  await c.send({ room: 'r', data: 1 });
  c.close();
  c.open();
  await turn();
  assert.equal(server.last().query.rooms, 'r', 'asked again');
  await server.answer([]);
  assert.equal(c.got('error').length, 1);
});

test('polling does not know whose token it is: nothing of the past is used without a user', async () => {
  const first = await opened({ token: 't', device: 'd' });
  socket().message(42);
  first.close();
  const server = polls();
  const c = make({ token: 'u', device: 'd', transports: ['poll'] });
  await turn();
  await server.answer([7]);
  assert.deepEqual(c.got('message').map((m) => m.data), [7]);
  c.close();
  const d = make({ token: 't', device: 'd', user: 'alice', transports: ['poll'] });
  await turn();
  await server.answer([7]);
  assert.equal(d.got('message').length, 1, 'what is kept is nobody’s now');
});
