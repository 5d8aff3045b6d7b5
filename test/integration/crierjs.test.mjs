/* crier.js with the real broker: in Node over `ws`, and in Chromium with everything that happens to a page. */
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import WebSocket from 'ws';
import { Chromium, noChromium } from './lib/chromium.mjs';
import { DEADLINE, ROOT, SLOW, assert, scenario, until } from './lib/harness.mjs';
import { Proc, removeDir, tempDir } from './lib/proc.mjs';
import { SECRET, jwt, now, tokenFor } from './lib/tokens.mjs';

const WEB = `${ROOT}/cmd/crier/web`;
const { Crier } = await import(`${WEB}/crier.js`);
const API_KEY = 'the-api-key-of-these-tests-0123456789';
const CLOSED = { dev: false, args: ['--jwt-key', `HS256:${SECRET}`, '--api-key', API_KEY] };
const API = { headers: { authorization: `Bearer ${API_KEY}` } };
const TRANSPORTS = ['websocket', 'sse', 'poll'];

class Store {
  map = new Map();
  getItem = (k) => this.map.get(k) ?? null;
  setItem = (k, v) => void this.map.set(k, v);
}

/* A client that remembers its events: seen(type), and until(condition). */
function client(ctx, broker, options = {}) {
  const c = new Crier({ url: broker.url, WebSocket, storage: new Store(), timeout: DEADLINE, ...options });
  c.events = [];
  for (const type of ['open', 'message', 'presence', 'gap', 'expiring', 'state', 'close', 'error']) c.on(type, (m) => c.events.push([type, m]));
  c.seen = (type) => c.events.filter(([t]) => t === type).map(([, m]) => m);
  c.data = () => c.seen('message').map((m) => m.data);
  c.until = async (cond, what, ms) => {
    try {
      await until(() => cond(c), what, ms);
    } catch (e) {
      throw new Error(`${e.message}; last events: ${JSON.stringify(c.events.slice(-6))}`);
    }
  };
  ctx.defer(() => c.close());
  return c;
}
const open = (c) => c.until(() => c.state === 'open', 'open', DEADLINE * 2);

async function push(broker, body) {
  const r = await broker.push(body, API);
  assert.equal(r.status, 200, r.text);
  return r.json.results[0];
}

/* What reaches the broker through this: `rule(req)` says "pass", another broker that gets it, or a status. */
async function proxy(ctx, broker, rule) {
  const sockets = new Set();
  const agent = new http.Agent();
  const server = http.createServer((req, res) => {
    const what = rule(req);
    if (what === 'pass' || what.port) {
      const up = http.request({ host: '127.0.0.1', port: what.port ?? broker.port, method: req.method, path: req.url, headers: req.headers, agent }, (r) => {
        res.writeHead(r.statusCode, r.headers);
        res.flushHeaders();
        r.pipe(res);
        r.on('error', () => res.destroy());
      });
      up.on('error', () => res.destroy());
      res.on('close', () => up.destroy());
      req.pipe(up);
    } else {
      res.writeHead(what, { 'retry-after': '1' }).end('{}');
    }
  });
  server.on('upgrade', (req, socket, head) => {
    if (rule(req) !== 'pass') {
      socket.end('HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n');
      return;
    }
    const up = net.connect(broker.port, '127.0.0.1');
    const lines = req.rawHeaders.reduce((a, x, i) => a + x + (i % 2 ? '\r\n' : ': '), '');
    up.write(`${req.method} ${req.url} HTTP/1.1\r\n${lines}\r\n`);
    up.write(head);
    up.pipe(socket).pipe(up);
    up.on('error', () => socket.destroy());
    socket.on('error', () => up.destroy());
    socket.on('close', () => up.destroy());
  });
  server.on('connection', (s) => {
    sockets.add(s);
    s.on('close', () => sockets.delete(s));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  ctx.defer(() => {
    agent.destroy();
    for (const s of sockets) s.destroy();
    return new Promise((done) => server.close(done));
  });
  return { url: `http://127.0.0.1:${server.address().port}`, cutAll: () => sockets.forEach((s) => s.destroy()) };
}

/* ---- the file ---- */

scenario('served at /crier.js; what only npm and editors read is not', async (ctx) => {
  const broker = await ctx.broker({ ...CLOSED, listen: '127.0.0.1:0,public' });
  const r = await broker.request('GET', '/crier.js');
  assert.equal(r.status, 200);
  assert.match(r.headers['content-type'], /^text\/javascript/);
  assert.equal(r.text, readFileSync(`${WEB}/crier.js`, 'utf8'));
  assert.equal((await broker.request('GET', '/crier.js', { headers: { 'if-none-match': r.headers.etag } })).status, 304);
  const inside = await ctx.broker();
  for (const path of ['/crier.d.ts', '/package.json', '/console/crier.d.ts', '/console/package.json']) assert.equal((await inside.request('GET', path)).status, 404, path);
});

scenario('as a package: import { Crier } from "crier-client"', async (ctx) => {
  const dir = tempDir();
  ctx.defer(() => removeDir(dir));
  mkdirSync(join(dir, 'node_modules'));
  symlinkSync(WEB, join(dir, 'node_modules', 'crier-client'));
  const { createRequire } = await import('node:module');
  assert.equal(createRequire(join(dir, 'x.js')).resolve('crier-client'), join(WEB, 'crier.js'));
  assert.equal((await import(pathToFileURL(join(WEB, 'crier.js')).href)).Crier, Crier);
});

scenario('the example of docs/client.md for Node runs as it stands', async (ctx) => {
  const page = readFileSync(`${ROOT}/docs/client.md`, 'utf8');
  const [, program] = /## In Node[^]*?```js\n([^]*?)```/.exec(page);
  const broker = await ctx.broker();
  const dir = tempDir();
  ctx.defer(() => removeDir(dir));
  mkdirSync(join(dir, 'node_modules'));
  symlinkSync(WEB, join(dir, 'node_modules', 'crier-client'));
  symlinkSync(join(ROOT, 'test/integration/node_modules/ws'), join(dir, 'node_modules', 'ws'));
  writeFileSync(join(dir, 'worker.mjs'), program);
  const run = () => {
    const p = new Proc(process.execPath, ['worker.mjs'], { name: 'worker', cwd: dir, env: { ...process.env, CRIER_URL: broker.url, CRIER_USER: 'worker' } });
    ctx.defer(() => p.kill());
    return p;
  };
  const first = run();
  await first.expect('stdout', /^open/m);
  await push(broker, { user: 'worker', data: { job: 1 } });
  await first.expect('stdout', /^\{"job":1\}/m);
  first.child.kill('SIGTERM');
  assert.equal((await first.exit).code, 0, first.stderr);
  await push(broker, { user: 'worker', data: { job: 2 } });
  const second = run();
  await second.expect('stdout', /^\{"job":2\}/m);
  assert.doesNotMatch(second.stdout, /"job":1/, 'it remembers');
});

/* ---- every transport ---- */

for (const transport of TRANSPORTS) {
  const transports = [transport];
  const live = transport !== 'poll'; // polling takes no rooms that keep no history

  scenario(`${transport}: messages, rooms, sends, refusals`, async (ctx) => {
    const broker = await ctx.broker(CLOSED);
    const token = tokenFor('alice', { rooms: ['news', 'team-*'], send: ['user:*', 'room:team-*'] });
    const c = client(ctx, broker, { token, user: 'alice', transports, rooms: live ? ['news'] : [] });
    await open(c);
    assert.equal(c.transport, transport);
    assert.equal(c.user, 'alice');
    if (live) await c.subscribe('team-1');
    else await assert.rejects(c.subscribe('team-1'), { code: 'not_available' });
    await push(broker, { user: 'alice', data: { n: 1 }, event: 'hello', from: 'shop' });
    await push(broker, { room: 'news', data: 'two' });
    const sent = await c.send({ user: 'alice', data: 'three', id: 'mine' });
    assert.equal(sent.id, 'mine');
    assert.ok(sent.seq > 0);
    await c.send({ room: 'team-1', data: 'four' });
    await c.until(() => c.seen('message').length === (live ? 4 : 2), 'the messages');
    const by = (data) => c.seen('message').find((m) => JSON.stringify(m.data) === JSON.stringify(data));
    assert.equal(by({ n: 1 }).event, 'hello');
    assert.equal(by({ n: 1 }).from, 'shop');
    assert.equal(by('three').from, 'alice');
    if (live) assert.deepEqual([by('two').room, by('four').room], ['news', 'team-1']);
    assert.equal(c.last, sent.seq);
    await assert.rejects(c.send({ room: 'news', data: 1 }), { name: 'CrierError', code: 'forbidden' });
    await assert.rejects(c.subscribe('secret'), { code: 'forbidden' });
    await assert.rejects(c.send({ data: 1 }), { code: 'bad_request' });
    await c.unsubscribe('news');
    await push(broker, { room: 'news', data: 'unheard' });
    await push(broker, { user: 'alice', data: 'heard' });
    await c.until(() => c.data().includes('heard'), 'a message after');
    assert.ok(!c.data().includes('unheard'));
    if (live) assert.deepEqual([...c.seen('error'), ...c.seen('close')], []);
  });

  scenario(`${transport}: what was dealt with is acknowledged, and does not come to the next client of the device`, async (ctx) => {
    const broker = await ctx.broker();
    const c = client(ctx, broker, { user: 'u', device: 'd', transports });
    await open(c);
    for (let i = 0; i < 5; i++) await push(broker, { user: 'u', data: i });
    await c.until(() => c.data().length === 5, 'five messages');
    await until(async () => (await broker.metric('crier_acks_total')) >= 1, 'an ack written');
    const look = async () => {
      const w = await ctx.client(broker, { user: 'u', device: 'd', query: { ack: 'explicit' } });
      await w.close();
      return w.welcome;
    };
    c.close();
    await until(async () => (await look()).cursor === c.last, 'the cursor at the last message');
    assert.equal((await look()).pending, 0);
  });

  scenario(`${transport}: nothing lost, nothing twice over restarts of the broker`, { timeout: 120000 }, async (ctx) => {
    const { redis, backend } = await ctx.redis();
    const prefix = ctx.newPrefix();
    let broker = await ctx.broker({ redis, prefix });
    const { port } = broker;
    const c = client(ctx, broker, { user: 'u', transports, rooms: live ? ['r'] : [] });
    await open(c);
    let n = 0;
    const some = async () => {
      for (let i = 0; i < 20; i++) await backend.sendCommand(['FCALL', 'crier_user', '1', prefix, 'u', JSON.stringify({ data: n++ }), '3600']);
    };
    for (let round = 0; round < 3; round++) {
      await some();
      await c.until(() => c.data().length > n - 10, 'on the way');
      if (round === 1) await broker.crash();
      else await broker.stop();
      await some();
      broker = await ctx.broker({ redis, prefix, listen: `127.0.0.1:${port}` });
      await some();
      await until(() => c.data().length >= n, () => `all ${n}: ${c.data().length} ${JSON.stringify(c.events.slice(-3))}`, DEADLINE * 4);
    }
    assert.deepEqual(c.data(), [...Array(n).keys()]);
    assert.deepEqual(c.seen('gap'), []);
    if (live) await until(async () => (await push(broker, { room: 'r', data: 'again in the room' })) && c.data().includes('again in the room'), 'the room joined again');
  });

  scenario(`${transport}: a token that ends is renewed before, and after`, { timeout: 120000 }, async (ctx) => {
    const broker = await ctx.broker({ ...CLOSED });
    let n = 0;
    const life = 3 * SLOW;
    const getToken = async () => {
      n += 1;
      return jwt({ sub: 'alice', exp: now() + life });
    };
    const c = client(ctx, broker, { getToken, transports });
    await open(c);
    const some = () => push(broker, { user: 'alice', data: 0 }); // a poll that waits is not cut short
    await until(async () => (live || (await some())) && n >= 3, 'the third token', DEADLINE * 3);
    await push(broker, { user: 'alice', data: 'still here' });
    await c.until(() => c.data().includes('still here'), 'a message');
    assert.notEqual(c.state, 'closed');
  });

  scenario(`${transport}: a token that has ended and no other: closed for good, and said`, { timeout: 120000 }, async (ctx) => {
    const broker = await ctx.broker(CLOSED);
    const c = client(ctx, broker, { token: jwt({ sub: 'alice', exp: now() + 2 * SLOW }), transports });
    await open(c);
    await c.until(async () => (live || (await push(broker, { user: 'alice', data: 0 }))) && c.state === 'closed', 'closed');
    const [last] = c.seen('close').slice(-1);
    assert.deepEqual([last.code, last.final], [4002, true]);
  });
}

scenario('the first token is refused: the next one is asked for', async (ctx) => {
  const broker = await ctx.broker(CLOSED);
  for (const transports of [['websocket'], ['sse'], ['poll']]) {
    let asked = 0;
    const getToken = () => {
      asked += 1;
      return tokenFor('alice');
    };
    const c = client(ctx, broker, { token: 'nonsense', getToken, transports });
    await open(c);
    assert.equal(asked, 1);
  }
  for (const transports of [['sse'], ['poll']]) {
    const c = client(ctx, broker, { token: 'nonsense', transports });
    await c.until(() => c.seen('close').length, 'closed');
    assert.deepEqual(c.seen('close').map((x) => [x.code, x.final]), [[4001, true]]);
  }
});

scenario('one device moves over all transports, one last seq', { timeout: 120000 }, async (ctx) => {
  const broker = await ctx.broker();
  const storage = new Store();
  const got = [];
  let n = 0;
  for (const transport of [...TRANSPORTS, ...TRANSPORTS.toReversed()]) {
    const c = client(ctx, broker, { user: 'u', device: 'd', storage, transports: [transport] });
    await open(c);
    for (let i = 0; i < 3; i++) await push(broker, { user: 'u', data: n++ });
    await c.until(() => c.data().length === n - got.length, `all over ${transport}`);
    got.push(...c.data());
    c.close();
    await push(broker, { user: 'u', data: n++ });
  }
  const c = client(ctx, broker, { user: 'u', device: 'd', storage });
  await c.until(() => c.data().length === 1, 'the last');
  assert.deepEqual([...got, ...c.data()], [...Array(n).keys()]);
});

for (const transport of ['websocket', 'sse']) {
  scenario(`${transport}: a room with history goes on where it was, and tells of a gap; who comes and goes`, { timeout: 120000 }, async (ctx) => {
    const broker = await ctx.broker({ args: ['--room-history', 'h*:10:1h', '--presence', 'h*', '--room-linger', '100ms'] });
    const p = await proxy(ctx, broker, () => 'pass');
    const storage = new Store();
    const options = { user: 'u', device: 'd', storage, transports: [transport] };
    const c = client(ctx, p, options);
    await open(c);
    const first = await c.subscribe('h1', { presence: true });
    assert.equal(typeof first.seq, 'number');
    let n = 0;
    const say = async (count) => {
      for (let i = 0; i < count; i++) await push(broker, { room: 'h1', data: n++ });
    };
    await say(3);
    await c.until(() => c.data().length === 3, 'three');
    const other = client(ctx, broker, { user: 'somebody', rooms: ['h1'] });
    await c.until(() => c.seen('presence').some((x) => x.user === 'somebody' && x.change === 'join'), 'somebody came');
    other.close();
    await c.until(() => c.seen('presence').some((x) => x.user === 'somebody' && x.change === 'leave'), 'somebody left');
    p.cutAll();
    await c.until(() => c.state !== 'open', 'cut');
    await say(3);
    await c.until(() => c.data().length === 6, 'what was said meanwhile');
    assert.deepEqual(c.seen('gap'), []);
    c.close();
    await say(3);
    const d = client(ctx, p, options);
    await d.subscribe('h1');
    await d.until(() => d.data().length === 3, 'what was said between two pages');
    assert.deepEqual([...c.data(), ...d.data()], [...Array(n).keys()]);
    d.close();
    await say(15);
    const e = client(ctx, p, options);
    const back = await e.subscribe('h1');
    assert.equal(back.recovered, false);
    assert.equal(e.seen('gap')[0].room, 'h1');
    await say(1);
    await e.until(() => e.data().includes(n - 1), 'the present');
  });
}

scenario('two nodes without stickiness: a stream on one, what it says on the other', { timeout: 120000 }, async (ctx) => {
  const { redis } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const args = ['--jwt-key', `HS256:${SECRET}`, '--api-key', API_KEY];
  const one = await ctx.broker({ redis, prefix, dev: false, args });
  const two = await ctx.broker({ redis, prefix, dev: false, args });
  const p = await proxy(ctx, one, (req) => (req.url.startsWith('/send') ? two : 'pass'));
  const token = (more) => tokenFor('u', { rooms: ['a', 'b', 'c'], send: ['*'], ...more });
  const c = client(ctx, p, { user: 'u', token: token(), rooms: ['a', 'secret', 'b'], transports: ['sse'] });
  await c.subscribe('c');
  await assert.rejects(c.subscribe('secret'), { code: 'forbidden' });
  for (const room of ['a', 'b', 'c']) await until(async () => (await push(two, { room, data: room })) && c.data().includes(room), `room ${room}`);
  await c.send({ user: 'u', data: 'mine' });
  await c.until(() => c.data().includes('mine'), 'its own');
  await c.unsubscribe('b');
  await open(c);
  await c.refresh(token({ jti: 2 }));
  await open(c);
  await until(async () => (await push(one, { room: 'c', data: 'still' })) && c.data().includes('still'), 'still in c');
  const before = c.data().filter((x) => x === 'b').length;
  await push(one, { room: 'b', data: 'b' });
  await c.send({ room: 'a', data: 'last' });
  await c.until(() => c.data().includes('last'), 'the last');
  assert.equal(c.data().filter((x) => x === 'b').length, before);
  assert.ok(c.seen('close').length <= 4, JSON.stringify(c.seen('close')));
  const poll = client(ctx, p, { user: 'u', token: token(), device: 'p', transports: ['poll'] });
  await open(poll);
  await push(two, { user: 'u', data: 'polled' });
  await poll.until(() => poll.data().includes('polled'), 'the poll');
});

scenario('a newer client of the same device: the older stops, and may take over again', async (ctx) => {
  const broker = await ctx.broker();
  for (const transport of ['websocket', 'sse']) {
    const options = { user: transport, device: 'd', transports: [transport] };
    const a = client(ctx, broker, options);
    await open(a);
    const b = client(ctx, broker, options);
    await open(b);
    await a.until(() => a.state === 'closed', 'the older closed');
    assert.deepEqual(a.seen('close').map((x) => [x.code, x.final]), [[4010, true]]);
    await push(broker, { user: transport, data: 1 });
    await b.until(() => b.data().length === 1, 'the newer has it');
    a.open();
    await b.until(() => b.state === 'closed', 'the newer closed');
  }
});

scenario('polling: rooms with history, joined later and left', async (ctx) => {
  const broker = await ctx.broker({ args: ['--room-history', 'h.*:100:1d'] });
  const c = client(ctx, broker, { user: 'u', rooms: ['h.a'], transports: ['poll'] });
  await open(c);
  await until(async () => (await push(broker, { room: 'h.a', data: 'a' })) && c.data().includes('a'), 'the first room');
  await c.subscribe('h.b');
  await until(async () => (await push(broker, { room: 'h.b', data: 'b' })) && c.data().includes('b'), 'the second');
  await c.unsubscribe('h.b');
  await push(broker, { room: 'h.b', data: 'gone' });
  await push(broker, { room: 'h.a', data: 'last' });
  await c.until(() => c.data().includes('last'), 'the room that is left');
  const seqs = c.seen('message').filter((m) => m.room === 'h.a').map((m) => m.seq);
  assert.ok(seqs.every((s, i) => i === 0 || s > seqs[i - 1]));
  assert.deepEqual(c.seen('error'), []);
});

scenario('WebSocket blocked on the way: event stream; that too: polling; open again: back', { timeout: 120000 }, async (ctx) => {
  const broker = await ctx.broker();
  let blocked = new Set(['/ws']);
  const p = await proxy(ctx, broker, (req) => (blocked.has(req.url.split('?')[0]) ? 502 : 'pass'));
  const c = client(ctx, p, { user: 'u', rooms: ['r'] });
  await until(() => c.state === 'open', 'open', DEADLINE * 2);
  assert.equal(c.transport, 'sse');
  await push(broker, { user: 'u', data: 1 });
  await c.until(() => c.data().includes(1), 'a message over the event stream');
  blocked = new Set(['/ws', '/events']);
  p.cutAll();
  await push(broker, { user: 'u', data: 2 });
  await until(() => c.data().includes(2), 'a message over polling', DEADLINE * 3);
  assert.equal(c.transport, 'poll');
  await c.until(() => c.seen('error').some((e) => e.code === 'not_available' && e.room === 'r'), 'no room over polling, and said');
  blocked = new Set();
  p.cutAll();
  await push(broker, { user: 'u', data: 3 });
  await c.until(() => c.data().includes(3), 'a third');
  assert.deepEqual(c.data(), [1, 2, 3]);
});

scenario('polling, and then the WebSocket: a room that could not be had is had', { timeout: 120000 }, async (ctx) => {
  const broker = await ctx.broker();
  let blocked = true;
  const p = await proxy(ctx, broker, (req) => (blocked && req.url.startsWith('/ws') ? 502 : 'pass'));
  const c = client(ctx, p, { user: 'u', rooms: ['r'], transports: ['websocket', 'poll'] });
  await open(c);
  assert.equal(c.transport, 'poll');
  await c.until(() => c.seen('error').some((e) => e.code === 'not_available' && e.room === 'r'), 'no room over polling');
  blocked = false;
  c.close();
  c.open();
  await open(c);
  assert.equal(c.transport, 'websocket');
  await until(async () => (await push(broker, { room: 'r', data: 'room' })) && c.data().includes('room'), 'the room');
});

scenario('a broker that is away is no reason to change the transport', { timeout: 120000 }, async (ctx) => {
  const { redis } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const broker = await ctx.broker({ redis, prefix });
  const c = client(ctx, broker, { user: 'u' });
  await open(c);
  await broker.crash();
  await until(() => c.seen('state').filter((s) => s.state === 'connecting').length >= 5, 'some attempts', DEADLINE * 3);
  assert.deepEqual([...new Set(c.seen('state').map((s) => s.transport))], ['websocket']);
  await ctx.broker({ redis, prefix, listen: `127.0.0.1:${broker.port}` });
  await until(() => c.state === 'open', 'open again', DEADLINE * 3);
});

scenario('a connection that died without a word is replaced', { timeout: 120000 }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--ping-interval', `${SLOW}s`] });
  let held = [];
  const relay = net.createServer((a) => {
    const b = net.connect(broker.port, '127.0.0.1');
    a.pipe(b).pipe(a);
    a.on('error', () => b.destroy());
    b.on('error', () => a.destroy());
    held.push([a, b]);
  });
  await new Promise((done) => relay.listen(0, '127.0.0.1', done));
  ctx.defer(() => {
    relay.close();
    for (const s of held.flat()) s.destroy();
  });
  const c = client(ctx, { url: `http://127.0.0.1:${relay.address().port}` }, { user: 'u', transports: ['websocket'] });
  await open(c);
  for (const [a, b] of held) {
    a.unpipe(b);
    b.unpipe(a);
    a.resume();
    b.resume();
  }
  await push(broker, { user: 'u', data: 1 });
  await until(() => c.data().includes(1), 'the message over a new connection', DEADLINE * 2);
  assert.deepEqual(c.seen('close').map((x) => x.reason), ['silent']);
});

/* ---- Chromium ---- */

/* In the page: `c`, a client, and `seen`, its events. */
async function inPage(tab, options = {}, module = '/crier.js') {
  await tab.run(`(async () => {
    const { Crier } = await import('${module}');
    globalThis.seen = [];
    globalThis.c = new Crier(${JSON.stringify(options)});
    for (const t of ['open', 'message', 'gap', 'close', 'error', 'state', 'expiring']) c.on(t, (m) => seen.push([t, m]));
    globalThis.data = () => seen.filter(([t]) => t === 'message').map(([, m]) => m.data);
  })()`);
}
const data = (tab) => tab.run('data()');
async function page(ctx, broker, options) {
  const browser = await Chromium.start(ctx);
  const tab = await browser.tab(`${broker.url}/healthz`);
  await inPage(tab, options);
  await tab.until(`c.state === 'open'`, DEADLINE * 2);
  return tab;
}
const browserScenario = (name, fn) => scenario(`Chromium: ${name}`, { skip: noChromium, timeout: 120000 }, fn);

browserScenario('the network is cut and comes back', async (ctx) => {
  const broker = await ctx.broker();
  const tab = await page(ctx, broker, { user: 'u', rooms: ['r'] });
  assert.equal(await tab.run('c.transport'), 'websocket');
  await push(broker, { user: 'u', data: 1 });
  await tab.until('data().length === 1');
  await tab.offline(true);
  await push(broker, { user: 'u', data: 2 });
  await tab.until(`c.state === 'offline'`, DEADLINE * 2);
  const tries = await tab.run(`seen.filter(([t, m]) => t === 'state' && m.state === 'connecting').length`);
  assert.equal(tries, 1, 'nothing is tried while there is no network');
  await push(broker, { user: 'u', data: 3 });
  const began = Date.now();
  await tab.offline(false);
  await tab.until('data().length === 3');
  assert.ok(Date.now() - began < 5000 * SLOW, 'at once');
  assert.deepEqual(await data(tab), [1, 2, 3]);
  await until(async () => (await push(broker, { room: 'r', data: 'room' })) && (await data(tab)).includes('room'), 'the room');
  assert.deepEqual(tab.faults, []);
});

browserScenario('the tab is hidden: acks do not wait, messages come, and in front again the connection is asked', async (ctx) => {
  const broker = await ctx.broker();
  const tab = await page(ctx, broker, { user: 'u' });
  await tab.run(`document.addEventListener('visibilitychange', () => seen.push(['visibility', document.visibilityState]))`);
  const acks = async () => (await broker.metric('crier_acks_total')) > 0;
  const other = await tab.browser.tab(`${broker.url}/readyz`);
  await tab.until('document.hidden');
  await push(broker, { user: 'u', data: 'hidden' });
  await tab.until(`data().includes('hidden')`);
  await until(acks, 'the ack of a hidden tab');
  await tab.toFront();
  await tab.until('!document.hidden');
  await push(broker, { user: 'u', data: 'in front' });
  await tab.until(`data().includes('in front')`);
  assert.equal(await tab.run('c.state'), 'open');
  assert.deepEqual(await tab.run(`seen.filter(([t]) => t === 'close' || t === 'error')`), []);

  /* The broker goes while nobody looks; whoever looks again is connected at once. */
  await other.toFront();
  await tab.until('document.hidden');
  const { port } = broker;
  await broker.stop();
  await tab.until(`seen.filter(([t, m]) => t === 'state' && m.state === 'connecting').length >= 4`, DEADLINE * 3);
  const again = await ctx.broker({ listen: `127.0.0.1:${port}` });
  await tab.toFront();
  await tab.until(`c.state === 'open'`, DEADLINE);
  await push(again, { user: 'u', data: 'again' });
  await tab.until(`data().includes('again')`);
});

browserScenario('the broker is restarted', async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const first = await ctx.broker({ redis, prefix });
  const tab = await page(ctx, first, { user: 'u' });
  const say = (n) => backend.sendCommand(['FCALL', 'crier_user', '1', prefix, 'u', JSON.stringify({ data: n }), '3600']);
  for (let i = 0; i < 10; i++) await say(i);
  await first.stop();
  for (let i = 10; i < 20; i++) await say(i);
  await ctx.broker({ redis, prefix, listen: first.plain });
  for (let i = 20; i < 30; i++) await say(i);
  await tab.until('data().length >= 30', DEADLINE * 3);
  assert.deepEqual(await data(tab), [...Array(30).keys()]);
  const [code, reason] = await tab.run(`seen.filter(([t]) => t === 'close').map(([, m]) => [m.code, m.reason])[0]`);
  assert.equal(code, 1001);
  assert.ok(reason);
});

browserScenario('the token expires: renewed in time; after a night asleep, with a new one', async (ctx) => {
  const broker = await ctx.broker({ ...CLOSED });
  const browser = await Chromium.start(ctx);
  const tab = await browser.tab(`${broker.url}/healthz`);
  const short = () => jwt({ sub: 'alice', exp: now() + 3 * SLOW });
  await tab.run(`(async () => {
    const { Crier } = await import('/crier.js');
    globalThis.seen = [];
    globalThis.asked = 0;
    globalThis.tokens = [];
    const getToken = async () => { asked += 1; while (!tokens.length) await new Promise((r) => setTimeout(r, 20)); return tokens.shift(); };
    globalThis.c = new Crier({ getToken });
    for (const t of ['open', 'message', 'close', 'error', 'expiring']) c.on(t, (m) => seen.push([t, m]));
  })()`);
  const give = (t) => tab.run(`tokens.push(${JSON.stringify(t)})`);
  await give(short());
  await tab.until(`c.state === 'open'`);
  await tab.until('asked === 2'); // expiring
  await give(short());
  await tab.until('asked === 3');
  assert.equal(await tab.run(`seen.filter(([t]) => t === 'open').length`), 1, 'on the same connection');
  await tab.until(`seen.some(([t, m]) => t === 'close' && m.code === 4002 && !m.final)`, DEADLINE * 2); // nobody answered
  await give(tokenFor('alice'));
  await give(tokenFor('alice'));
  await push(broker, { user: 'alice', data: 'after' });
  await tab.until(`seen.some(([t, m]) => t === 'message' && m.data === 'after')`);
  assert.deepEqual(await tab.run(`seen.filter(([t]) => t === 'error').map(([, e]) => e.code)`), []);
});

browserScenario('a reload resumes; another tab is another device', async (ctx) => {
  const broker = await ctx.broker();
  const tab = await page(ctx, broker, { user: 'u' });
  const device = await tab.run('c.device');
  await push(broker, { user: 'u', data: 1 });
  await push(broker, { user: 'u', data: 2 });
  await tab.until('data().length === 2');
  const last = await tab.run('c.last');
  await tab.reload();
  await push(broker, { user: 'u', data: 3 });
  await inPage(tab, { user: 'u' });
  await tab.until('data().length === 1');
  assert.deepEqual([await tab.run('c.device'), await data(tab)], [device, [3]]);
  assert.ok((await tab.run('c.last')) > last);
  const other = await tab.browser.tab(`${broker.url}/healthz`);
  await inPage(other, { user: 'u' });
  await other.until(`c.state === 'open'`);
  assert.notEqual(await other.run('c.device'), device);
  await push(broker, { user: 'u', data: 4 });
  await tab.until('data().includes(4)');
  await other.until('data().includes(4)');
});

browserScenario('a page of another origin that is on the list: module, every transport, tokens', async (ctx) => {
  const site = http.createServer((req, res) => res.setHeader('content-type', 'text/html').end('<!doctype html><title>app</title>'));
  await new Promise((done) => site.listen(0, '127.0.0.1', done));
  ctx.defer(() => site.closeAllConnections() || site.close());
  const origin = `http://127.0.0.1:${site.address().port}`;
  const broker = await ctx.broker({ ...CLOSED, args: [...CLOSED.args, '--origins', origin] });
  const browser = await Chromium.start(ctx);
  const tab = await browser.tab(`${origin}/`);
  for (const transport of TRANSPORTS) {
    const token = tokenFor('alice', { send: ['user:*'], rooms: ['*'] });
    await inPage(tab, { url: broker.url, token, user: 'alice', transports: [transport], device: transport }, `${broker.url}/crier.js`);
    await tab.until(`c.state === 'open'`, DEADLINE * 2);
    if (transport !== 'poll') await tab.run(`c.subscribe('r')`);
    await tab.run(`c.send({ user: 'alice', data: ${JSON.stringify(transport)} })`);
    await tab.until(`data().includes(${JSON.stringify(transport)})`);
    await tab.run('c.close()');
  }
  assert.deepEqual(tab.faults, []);
});

for (const [name, blocked, transport] of [
  ['the event stream', ['/ws'], 'sse'],
  ['polling', ['/ws', '/events'], 'poll'],
]) {
  browserScenario(`${name}, where nothing else gets through; network cut, page left`, async (ctx) => {
    const broker = await ctx.broker();
    const p = await proxy(ctx, broker, (req) => (blocked.includes(req.url.split('?')[0]) ? 502 : 'pass'));
    const tab = await page(ctx, p, { user: 'u', device: 'd', rooms: transport === 'sse' ? ['r'] : [] });
    assert.equal(await tab.run('c.transport'), transport);
    await push(broker, { user: 'u', data: 1 });
    await tab.until('data().length === 1');
    await tab.run(`c.send({ user: 'u', data: 2 }).then((m) => { globalThis.sent = m; })`);
    await tab.until('data().length === 2 && sent.seq === c.last');
    await tab.offline(true); // which stops new requests; what is under way is cut here
    p.cutAll();
    await push(broker, { user: 'u', data: 3 });
    await tab.until(`c.state === 'offline'`, DEADLINE * 3);
    await tab.offline(false);
    await tab.until('data().length === 3', DEADLINE * 2);
    assert.deepEqual(await data(tab), [1, 2, 3]);
    if (transport === 'sse') await until(async () => (await push(broker, { room: 'r', data: 'room' })) && (await data(tab)).includes('room'), 'the room');
    await push(broker, { user: 'u', data: 4 });
    await tab.until('data().includes(4)');
    const last = await tab.run('c.last');
    await tab.goto('about:blank');
    const look = async () => {
      const w = await ctx.client(broker, { user: 'u', device: 'd', query: { ack: 'explicit' } });
      await w.close();
      return w.welcome.cursor;
    };
    await until(async () => (await look()) === last, 'acknowledged when the page was left');
  });
}
