/* Server-Sent Events: the same messages over GET /events, resumed by Last-Event-ID, on both stores. */
import { once } from 'node:events';
import { EventSource } from 'eventsource';
import { Broker } from './lib/broker.mjs';
import { Chromium, noChromium } from './lib/chromium.mjs';
import { DEADLINE, assert, scenario, until, within } from './lib/harness.mjs';
import { freePort } from './lib/proc.mjs';
import { Raw } from './lib/raw.mjs';
import { Events } from './lib/sse.mjs';
import { SECRET, now, tokenFor } from './lib/tokens.mjs';

const push = async (broker, body) => {
  const r = await broker.push(body);
  assert.equal(r.status, 200, r.text);
  return r.json.results[0];
};
const dataOf = (list) => list.map((m) => m.data);
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

async function open(ctx, broker, options) {
  const e = await Events.open(broker, options);
  ctx.defer(() => e.close());
  return e;
}

/* The npm package, with what it got and a promise of more. */
function source(ctx, url, options) {
  const es = new EventSource(url, options);
  const got = [];
  const take = (e) => got.push({ ...JSON.parse(e.data), lastId: e.lastEventId, on: e.type });
  for (const type of ['message', 'welcome', 'greet']) es.addEventListener(type, take);
  ctx.defer(() => es.close());
  return { es, got, messages: () => got.filter((m) => m.type === 'message') };
}

for (const store of ['memory', 'redis']) {
  scenario(`${store}: messages over SSE are those of a WebSocket, with id, event and data`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const e = await open(ctx, broker, { user: 'alice', device: 'page', query: { rooms: 'news,chat' } });
    const { headers } = e.res;
    assert.match(headers['content-type'], /^text\/event-stream/);
    assert.equal(headers['cache-control'], 'no-cache, no-transform');
    assert.equal(headers['x-accel-buffering'], 'no');
    assert.equal(headers['content-length'], undefined);
    assert.equal(headers['content-encoding'], undefined);
    assert.ok(e.retry >= 1000 && e.retry < 5000, `retry ${e.retry}`);
    assert.equal(e.welcome.user, 'alice');
    assert.equal(e.welcome.device, 'page');
    assert.equal(e.welcome.sse.event, 'welcome');
    assert.deepEqual((await Promise.all([e.next('ok'), e.next('ok')])).map((m) => m.room).sort(), ['chat', 'news']);

    const ws = await ctx.client(broker, { user: 'alice', device: 'phone' });
    await push(broker, { user: 'alice', data: { a: [1, 2] }, event: 'greet', from: 'svc' });
    const m = await e.next('message');
    const same = await ws.next('message');
    assert.equal(m.raw, same.raw);
    assert.deepEqual(m.sse, { event: 'greet', id: String(m.seq) });
    await push(broker, { room: 'news', data: 'r' });
    await push(broker, { room: 'elsewhere', data: 'no' });
    await push(broker, { user: 'alice', data: 'live', ttl: 0 });
    await push(broker, { all: true, data: 'all' });
    const live = await e.messages(3);
    assert.deepEqual(dataOf(live), ['r', 'live', 'all']);
    for (const l of live) assert.deepEqual(l.sse, { event: 'message', id: undefined }, 'live messages have no id');

    /* Line ends inside the data: all kinds of them, still the same value. */
    for (const [text, lines] of [['{"a" :\n1,\n\n "b":2}', 4], ['[1,\r\n2,\r3]', 3]]) {
      await broker.push(`{"user":"alice","data":${text}}`);
      const odd = await e.next('message');
      assert.deepEqual(odd.data, JSON.parse(text));
      assert.equal(odd.raw.split('\n').length, lines);
    }
    assert.equal(await broker.metric('crier_clients', 'transport="sse"'), 1);
    assert.equal(await broker.metric('crier_clients', 'transport="websocket"'), 1);
  });

  scenario(`${store}: Last-Event-ID resumes, by header and by query; without it the cursor counts`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const first = await open(ctx, broker, { user: 'alice', device: 'page' });
    for (const n of range(1, 5)) await push(broker, { user: 'alice', data: n });
    const seen = await first.messages(5);
    first.close();
    await until(async () => (await broker.metric('crier_clients', 'transport="sse"')) === 0, 'the broker saw the end');
    await push(broker, { user: 'alice', data: 6 });

    const nothing = await open(ctx, broker, { user: 'alice', device: 'page' });
    assert.equal(nothing.welcome.pending, 6, 'nothing was acknowledged');
    nothing.close();
    const back = await open(ctx, broker, { user: 'alice', device: 'page', lastEventId: seen[2].sse.id });
    assert.deepEqual(dataOf(await back.messages(3)), [4, 5, 6]);
    back.close();
    /* A page that comes back brings a newer id than its URL. */
    const both = await open(ctx, broker, { user: 'alice', device: 'page', query: { last_event_id: seen[0].sse.id }, lastEventId: seen[3].sse.id });
    assert.deepEqual(dataOf(await both.messages(2)), [5, 6]);
    both.close();
    for (const name of ['last_event_id', 'lastEventId', 'since']) {
      const e = await open(ctx, broker, { user: 'alice', device: 'page', query: { [name]: seen[4].sse.id } });
      assert.deepEqual(dataOf(await e.messages(1)), [6], name);
      e.close();
    }
    /* A header that is not ours is no word of ours. */
    const alien = await open(ctx, broker, { user: 'alice', device: 'page', lastEventId: 'abc-7' });
    assert.equal(alien.welcome.cursor, seen[4].seq);
  });

  scenario(`${store}: one cursor for a device, whatever it comes over`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const ws = await ctx.client(broker, { user: 'alice', device: 'd', query: { ack: 'explicit' } });
    for (const n of range(1, 4)) await push(broker, { user: 'alice', data: n });
    const m = await ws.messages(4);
    ws.ack(m[1].seq);
    await ws.settled();
    const sse = await open(ctx, broker, { user: 'alice', device: 'd' });
    assert.equal((await within(ws.closed, 'the older connection ends')).code, 4010);
    assert.deepEqual(dataOf(await sse.messages(2)), [3, 4]);
    const again = await ctx.client(broker, { user: 'alice', device: 'd', query: { ack: 'explicit', since: m[2].seq } });
    const closing = await sse.next('closing');
    assert.equal(closing.code, 4010);
    await sse.gone();
    assert.deepEqual(dataOf(await again.messages(1)), [4]);
    /* Another device has its own. */
    const other = await open(ctx, broker, { user: 'alice', device: 'other' });
    await push(broker, { user: 'alice', data: 5 });
    assert.equal((await other.next('message', (x) => x.data === 5)).data, 5);
    assert.equal((await again.next('message')).data, 5);
  });

  scenario(`${store}: a reader that stops costs a bounded queue and loses nothing stored`, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--outq-soft', '16KiB', '--outq-hard', '256KiB', '--inbox-cap', '5000'] });
    const slow = await open(ctx, broker, { user: 'alice', device: 'slow' });
    slow.res.pause();
    const big = 'x'.repeat(8000);
    const N = 1200;
    for (let n = 1; n <= N; n += 50) {
      await Promise.all(range(n, n + 49).map((k) => push(broker, { user: 'alice', data: { k, big } })));
    }
    assert.ok((await broker.metric('crier_left_to_inbox_total')) > 0, 'the inbox is the queue');
    assert.ok((await broker.metric('crier_output_queue_bytes')) < 64 * 1024);
    slow.res.resume();
    const list = await slow.messages(N, DEADLINE * 3);
    assert.deepEqual(new Set(list.map((m) => m.data.k)), new Set(range(1, N)));
    assert.ok(list.every((m, i) => i === 0 || m.seq > list[i - 1].seq), 'in order, none twice');
  });

  scenario(`${store}: ack=sent moves the cursor when the kernel has nothing left`, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const e = await open(ctx, broker, { user: 'alice', device: 'd', query: { ack: 'sent' } });
    await push(broker, { user: 'alice', data: 1 });
    const m = await e.next('message');
    await until(async () => (await broker.metric('crier_acks_total')) >= 1, 'the cursor is written');
    e.close();
    const again = await open(ctx, broker, { user: 'alice', device: 'd' });
    assert.equal(again.welcome.cursor, m.seq);
    assert.equal(again.welcome.pending, 0);
  });
}

scenario('an EventSource and a broker that is killed: nothing lost, nothing twice', { core: true }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const port = await freePort();
  const start = () => ctx.broker({ redis, prefix, listen: `127.0.0.1:${port}` });
  let broker = await start();
  const { es, got, messages } = source(ctx, `${broker.url}/events?user=alice&device=tab`);
  await until(() => got.some((m) => m.type === 'welcome'), 'the welcome');
  const say = (n) => backend.sendCommand(['FCALL', 'crier_user', '1', prefix, 'alice', JSON.stringify({ data: n, event: n % 3 ? undefined : 'greet' })]);
  for (const n of range(1, 10)) await say(n);
  await until(() => messages().length >= 10, 'the first ten');
  for (let round = 0; round < 2; round++) {
    await broker.crash();
    for (const n of range(1, 10)) await say(10 * (round + 1) + n);
    broker = await start();
    await until(() => messages().length >= 10 * (round + 2), 'what came meanwhile', DEADLINE * 2);
    assert.equal(es.readyState, EventSource.OPEN);
  }
  await say(31);
  await until(() => messages().length >= 31, 'the last one');
  assert.deepEqual(dataOf(messages()), range(1, 31));
  assert.ok(messages().every((m) => m.lastId === String(m.seq)));
  assert.ok(messages().every((m) => m.on === (m.data % 3 ? 'message' : 'greet')));
});

scenario('an EventSource is told when the broker stops, and comes back', async (ctx) => {
  const port = await freePort();
  let broker = await ctx.broker({ listen: `127.0.0.1:${port}` });
  const { es, got } = source(ctx, `${broker.url}/events?user=alice&device=tab`);
  const closings = [];
  es.addEventListener('closing', (e) => closings.push(JSON.parse(e.data)));
  await until(() => got.length === 1, 'the welcome');
  await broker.stop();
  await until(() => closings.length === 1, 'the goodbye');
  assert.equal(closings[0].code, 1001);
  assert.ok(closings[0].retry_after > 0);
  broker = await ctx.broker({ listen: `127.0.0.1:${port}` });
  await until(() => got.filter((m) => m.type === 'welcome').length === 2, 'a second welcome', DEADLINE * 2);
});

scenario('silence is broken by comments, and only silence', async (ctx) => {
  const broker = await ctx.broker({ args: ['--ping-interval', '400ms', '--idle-timeout', '2s'] });
  const e = await open(ctx, broker, { user: 'alice' });
  await e.when(() => (e.text.match(/^:$/gm) || []).length >= 3, 'three comments');
  await push(broker, { user: 'alice', data: 'still here' });
  assert.equal((await e.next('message')).data, 'still here');
  assert.equal(e.ended, undefined);
});

scenario('who may: tokens, rooms, origins; what is answered otherwise', { core: true }, async (ctx) => {
  const broker = await ctx.broker({
    dev: false,
    args: ['--jwt-key', `HS256:${SECRET}`, '--api-key', 'k'.repeat(32), '--origins', 'https://app.example'],
  });
  const token = tokenFor('alice', { rooms: ['news/*'] });
  const bearer = { authorization: `Bearer ${token}` };
  const refused = async (options) => {
    try {
      (await Events.open(broker, options)).close();
    } catch (e) {
      return e;
    }
    return { status: 200 };
  };
  assert.equal((await refused({ user: 'alice' })).status, 401);
  assert.equal((await refused({ headers: { authorization: 'Bearer x.y.z' } })).status, 401);
  assert.equal((await refused({ headers: bearer, query: { rooms: 'news/a,secret' } })).status, 403);
  assert.equal((await refused({ headers: bearer, query: { rooms: 'news/\u0007' } })).status, 400);
  assert.equal((await refused({ headers: bearer, query: { rooms: range(1, 129).map((n) => `news/${n}`).join(',') } })).status, 400);
  assert.equal((await refused({ headers: bearer, query: { ack: 'maybe' } })).status, 400);
  assert.equal((await refused({ headers: bearer, query: { last_event_id: 'x' } })).status, 400);
  const evil = await refused({ headers: { ...bearer, origin: 'https://evil.example' } });
  assert.equal(evil.status, 403);
  assert.equal(evil.headers['access-control-allow-origin'], undefined);

  for (const options of [{ headers: bearer }, { query: { token } }, { headers: { cookie: `crier_token=${token}` } }]) {
    const e = await open(ctx, broker, { device: 'd', ...options });
    assert.equal(e.welcome.user, 'alice');
    assert.equal(e.res.headers['access-control-allow-origin'], undefined, 'no origin, no answer to it');
    e.close();
  }
  const page = await open(ctx, broker, { headers: { ...bearer, origin: 'https://app.example' }, query: { rooms: 'news/a,,news/b,news/a' } });
  assert.equal(page.res.headers['access-control-allow-origin'], 'https://app.example');
  assert.match(page.res.headers.vary, /Origin/i);
  const oks = [await page.next('ok'), await page.next('ok'), await page.next('ok')];
  assert.deepEqual(oks.map((m) => m.room).sort(), ['news/a', 'news/a', 'news/b']);

  const preflight = (origin) =>
    broker.request('OPTIONS', '/events', { headers: { origin, 'access-control-request-method': 'GET', 'access-control-request-headers': 'authorization' } });
  const yes = await preflight('https://app.example');
  assert.equal(yes.status, 204);
  assert.equal(yes.headers['access-control-allow-origin'], 'https://app.example');
  assert.match(yes.headers['access-control-allow-headers'], /authorization/i);
  assert.match(yes.headers['access-control-allow-methods'], /GET/);
  assert.equal((await preflight('https://evil.example')).status, 403);
  const post = await broker.request('POST', '/events', { body: '{}' });
  assert.ok(post.status === 405 || post.status === 413, String(post.status));
  assert.equal((await broker.request('HEAD', '/events')).status, 405);
});

scenario('a token that ends ends the stream, with a warning before', async (ctx) => {
  const broker = await ctx.broker({ dev: false, args: ['--jwt-key', `HS256:${SECRET}`, '--api-key', 'k'.repeat(32)] });
  const e = await open(ctx, broker, { query: { token: tokenFor('alice', { exp: now() + 3 }) } });
  assert.ok((await e.next('expiring')).in <= 3);
  assert.equal((await e.next('closing')).code, 4002);
  await e.gone();
});

scenario('the stream on the wire: HTTP/1.0, a second request behind, a peer that goes', async (ctx) => {
  const broker = await ctx.broker();
  const old = await ctx.raw(broker);
  old.write('GET /events?user=old HTTP/1.0\r\n\r\n');
  const head = await old.head();
  assert.match(head, /^HTTP\/1\.1 200 /);
  assert.match(head, /^connection: close\r$/im);
  assert.doesNotMatch(head, /transfer-encoding|content-length/i);
  await old.when(() => old.bytes.includes('"type":"welcome"'), 'the welcome');

  const eager = await ctx.raw(broker);
  eager.write('GET /events?user=eager HTTP/1.1\r\nHost: x\r\n\r\n');
  await eager.head();
  eager.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
  await eager.gone();
  assert.ok(!eager.bytes.includes('HTTP/1.1'), 'no second answer in the stream');

  const clients = () => broker.metric('crier_clients', 'transport="sse"');
  await until(async () => (await clients()) === 1, 'the eager one is forgotten');
  old.destroy();
  await until(async () => (await clients()) === 0, 'the one that left is forgotten');

  /* Head, retry and welcome in one piece. */
  const whole = await Raw.open(broker);
  ctx.defer(() => whole.destroy());
  const first = once(whole.socket, 'data');
  whole.write('GET /events?user=alice HTTP/1.1\r\nHost: x\r\n\r\n');
  const [bytes] = await within(first, 'the first bytes');
  assert.match(bytes.toString(), /^HTTP\/1\.1 200 [^]*retry: \d+\n\nevent: welcome\ndata: \{[^]*\}\n\n$/);
});

for (const store of ['memory', 'redis']) {
  scenario(`${store}: rooms with history are resumed by the same id, each from its own place`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--room-history', 'h.*:100:1d'] });
    const query = { rooms: 'h.a,live,h.b' };
    const first = await open(ctx, broker, { user: 'alice', device: 'page', query });
    for (let n = 0; n < 3; n++) await first.next('ok');
    await push(broker, { room: 'h.a', data: 'a1' });
    await push(broker, { user: 'alice', data: 'u1' });
    await push(broker, { room: 'h.b', data: 'b1' });
    await push(broker, { room: 'live', data: 'l1' });
    await push(broker, { room: 'h.a', data: 'a2' });
    const seen = await first.messages(5);
    assert.deepEqual(dataOf(seen).sort(), ['a1', 'a2', 'b1', 'l1', 'u1']);
    for (const m of seen) assert.equal(m.sse.id === undefined, m.room === 'live', JSON.stringify(m.sse));
    first.close();
    await until(async () => (await broker.metric('crier_clients', 'transport="sse"')) === 0, 'the broker saw the end');
    for (const [target, data] of [[{ room: 'h.a' }, 'a3'], [{ room: 'h.b' }, 'b2'], [{ room: 'live' }, 'l2'], [{ user: 'alice' }, 'u2'], [{ room: 'h.b' }, 'b3']]) await push(broker, { ...target, data });
    /* After any event: exactly what came behind it, per room and inbox. */
    for (const at of [0, 2, seen.length - 1]) {
      const id = seen[at].sse.id ?? seen[at - 1].sse.id;
      const upto = seen.findIndex((m) => m.sse.id === id);
      const want = [...dataOf(seen.slice(upto + 1)).filter((d) => d !== 'l1'), 'a3', 'b2', 'b3', 'u2'];
      const back = await open(ctx, broker, { user: 'alice', device: `page-${at}`, query, lastEventId: id });
      const oks = [await back.next('ok'), await back.next('ok'), await back.next('ok')];
      const recovered = Object.fromEntries(oks.map((m) => [m.room, m.recovered]));
      assert.deepEqual([recovered['h.a'], recovered['h.b']], [true, true], id);
      assert.deepEqual(dataOf(await back.messages(want.length)).sort(), want.sort(), `after ${id}`);
      await push(broker, { room: 'live', data: 'end' });
      await back.next('message', (m) => m.data === 'end');
      assert.equal(back.take('message'), undefined, 'and nothing else');
      back.close();
    }
  });
}

scenario('an EventSource in rooms with history and a broker that is killed: nothing lost, nothing twice', { core: true }, async (ctx) => {
  const { redis } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const port = await freePort();
  const args = ['--room-history', 'h.*:1000:1d'];
  const other = await ctx.broker({ redis, prefix, args });
  let broker = await ctx.broker({ redis, prefix, args, listen: `127.0.0.1:${port}` });
  const { es, got, messages } = source(ctx, `http://127.0.0.1:${port}/events?user=alice&device=tab&rooms=h.x,h.y`);
  let joined = 0;
  es.addEventListener('ok', () => {
    joined += 1;
  });
  await until(() => joined === 2 && got.length, 'both rooms');
  const targets = [{ user: 'alice' }, { room: 'h.x' }, { room: 'h.y' }];
  let n = 0;
  const say = async (count) => {
    for (let i = 0; i < count; i++, n++) await push(other, { ...targets[n % 3], data: n });
  };
  await say(12);
  await until(() => messages().length >= 12, 'the first ones');
  for (let round = 0; round < 2; round++) {
    await broker.crash();
    await say(12);
    broker = await ctx.broker({ redis, prefix, args, listen: `127.0.0.1:${port}` });
    await say(3);
    await until(() => messages().length >= n, 'what came meanwhile', DEADLINE * 2);
  }
  assert.deepEqual(dataOf(messages()).sort((a, b) => a - b), range(0, n - 1));
  for (const t of ['undefined', 'h.x', 'h.y']) {
    const list = messages().filter((m) => String(m.room) === t);
    assert.ok(list.every((m, i) => i === 0 || m.seq > list[i - 1].seq), `${t} in order`);
  }
});

/* What a page's own EventSource makes of it: no wrapper, no library. */
scenario("Chromium's EventSource over restarts of the broker, gentle and not: nothing lost, nothing twice", { core: true, skip: noChromium, timeout: 120000 }, async (ctx) => {
  const { redis } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const port = await freePort();
  const args = ['--room-history', 'h.*:1000:1d'];
  const other = await ctx.broker({ redis, prefix, args });
  const start = () => ctx.broker({ redis, prefix, args, listen: `127.0.0.1:${port}` });
  let broker = await start();
  const browser = await Chromium.start(ctx);
  const tab = await browser.tab(`http://127.0.0.1:${port}/console/`);
  await tab.run(`(() => {
    globalThis.got = [];
    globalThis.opened = 0;
    const keep = (e) => got.push({ ...JSON.parse(e.data), at: e.lastEventId, on: e.type });
    globalThis.es = new EventSource('/events?user=alice&device=tab&rooms=h.x,h.y');
    es.onopen = () => { opened += 1; };
    for (const type of ['message', 'paid', 'ok', 'welcome', 'gap']) es.addEventListener(type, keep);
  })()`);
  await tab.until(`got.filter((e) => e.on === 'ok').length === 2`);
  const targets = [{ user: 'alice' }, { room: 'h.x' }, { room: 'h.y', event: 'paid' }];
  let n = 0;
  const say = async (count) => {
    for (let i = 0; i < count; i++, n++) await push(other, { ...targets[n % 3], data: n });
  };
  const all = () => tab.until(`got.filter((e) => 'data' in e).length >= ${n}`, DEADLINE * 3);
  await say(12);
  await all();
  for (const end of ['crash', 'stop', 'crash']) {
    await broker[end]();
    await say(12);
    broker = await start();
    await say(3);
    await all();
  }
  const got = JSON.parse(await tab.run('JSON.stringify(got)'));
  const messages = got.filter((e) => 'data' in e);
  assert.deepEqual(dataOf(messages).sort((a, b) => a - b), range(0, n - 1));
  for (const room of [undefined, 'h.x', 'h.y']) assert.deepEqual(dataOf(messages.filter((m) => m.room === room)), range(0, n - 1).filter((k) => targets[k % 3].room === room), `${room} in order`);
  assert.ok(messages.every((m) => m.at !== '' && m.on === (m.room === 'h.y' ? 'paid' : 'message')));
  assert.deepEqual(got.filter((e) => e.on === 'gap'), []);
  assert.ok(got.filter((e) => e.recovered === false).length === 0, 'each room was taken up where it was left');
  assert.equal(await tab.run('opened'), 4);
  assert.deepEqual(tab.faults, []);
});
