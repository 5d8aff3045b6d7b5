/* The server API on users: who they are, what waits for them, ending their connections and putting them into rooms, on
 * whichever node; batches of pushes; the Idempotency-Key header; web pages of other origins. */
import { decode, encode } from '@msgpack/msgpack';
import { assert, scenario, until } from './lib/harness.mjs';
import { Events } from './lib/sse.mjs';

const EXPLICIT = { ack: 'explicit' };
const STORES = ['memory', 'redis'];
const JSON_TYPE = { 'content-type': 'application/json' };

const get = (broker, path, headers) => broker.request('GET', path, { headers });
const post = (broker, path, body) => broker.request('POST', path, { headers: JSON_TYPE, body: body === undefined ? undefined : JSON.stringify(body) });

async function ready(broker) {
  await until(async () => (await get(broker, '/readyz')).status === 200, '/readyz');
}

/* Three nodes on one Redis, or one node of its own three times. */
async function nodes(ctx, store, options = {}) {
  if (store === 'memory') {
    const b = await ctx.broker(options);
    return [b, b, b];
  }
  const { redis } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const list = await Promise.all([0, 1, 2].map((i) => ctx.broker({ redis, prefix, ...options, args: ['--node', `n${i}`, ...(options.args || [])] })));
  for (const b of list) await ready(b);
  return list;
}

for (const store of STORES) {
  scenario(`${store}: a user is shown with devices, cursors and what is pending`, { core: true }, async (ctx) => {
    const [a, b, c] = await nodes(ctx, store);
    const unknown = await get(a, '/api/users/nobody');
    assert.equal(unknown.status, 404);
    assert.equal(unknown.json.error.code, 'not_found');
    for (let i = 0; i < 3; i++) await c.push({ user: 'alice smith', data: { i }, id: `m${i}`, event: 'e' });
    const phone = await ctx.client(a, { user: 'alice smith', device: 'phone', query: EXPLICIT });
    const list = await phone.messages(3);
    phone.ack(list[1].seq);
    await until(async () => (await get(b, '/api/users/alice%20smith')).json.devices[0].cursor === list[1].seq, 'the cursor');
    const u = (await get(b, '/api/users/alice%20smith')).json;
    assert.equal(u.user, 'alice smith');
    assert.equal(u.online, true);
    assert.equal(u.nodes.length, 1);
    assert.equal(u.nodes[0], a.node);
    assert.equal(u.seq, list[2].seq);
    assert.equal(u.acked, list[1].seq);
    assert.equal(u.pending, 1);
    assert.deepEqual({ ...u.devices[0], seen: 0 }, { device: 'phone', named: true, attached: true, cursor: list[1].seq, pending: 1, seen: 0 });
    assert.ok(Math.abs(u.devices[0].seen - Date.now()) < 60000);
    await phone.close();
    await until(async () => (await get(c, '/api/users/alice%20smith')).json.online === false, 'gone');
    const gone = (await get(c, '/api/users/alice%20smith')).json;
    assert.deepEqual(gone.nodes, []);
    assert.equal(gone.devices[0].attached, false);
    const mp = await get(c, '/api/users/alice%20smith', { accept: 'application/msgpack' });
    assert.match(mp.headers['content-type'], /msgpack/);
    assert.deepEqual(decode(mp.body), gone);
  });

  scenario(`${store}: an inbox is read page by page and emptied`, async (ctx) => {
    const [a, b] = await nodes(ctx, store);
    for (let i = 0; i < 5; i++) await a.push({ user: 'u', data: { i, text: '1.0' }, id: `m${i}`, from: 'shop', priority: 'high' });
    await a.request('POST', '/api/push', { headers: { 'content-type': 'application/msgpack' }, body: Buffer.from(encode({ user: 'u', data: { bytes: new Uint8Array([1, 2]) } })) });
    const first = (await get(b, '/api/users/u/inbox?limit=4')).json;
    assert.deepEqual(first.messages.map((m) => m.id), ['m0', 'm1', 'm2', 'm3']);
    assert.deepEqual({ ...first.messages[0], seq: 0, ts: 0, expires: 0 }, { id: 'm0', seq: 0, ts: 0, expires: 0, from: 'shop', priority: 'high', data: { i: 0, text: '1.0' } });
    assert.ok(first.messages[0].expires > Date.now() + 6 * 86400 * 1000);
    assert.equal(first.more, true);
    const second = (await get(b, `/api/users/u/inbox?limit=4&after=${first.cursor}`)).json;
    assert.deepEqual(second.messages.map((m) => m.data), [{ i: 4, text: '1.0' }, { bytes: 'AQI=' }]);
    assert.equal(second.more, false);
    assert.equal(second.seq, second.messages[1].seq);
    const last = (await get(b, `/api/users/u/inbox?after=${second.cursor}`)).json;
    assert.deepEqual(last.messages, []);
    assert.equal(last.cursor, second.cursor);
    const cleared = await b.request('DELETE', '/api/users/u/inbox');
    assert.deepEqual(cleared.json, { user: 'u', removed: 6 });
    assert.deepEqual((await b.request('DELETE', '/api/users/u/inbox')).json, { user: 'u', removed: 0 });
    assert.deepEqual((await get(a, '/api/users/u/inbox')).json.messages, []);
    await a.push({ user: 'u', data: 'later' });
    const client = await ctx.client(a, { user: 'u', device: 'd', query: EXPLICIT });
    assert.equal((await client.next('gap')).to, second.seq, 'who had not read what was removed is told');
    assert.equal((await client.next('message')).data, 'later');
    assert.equal((await get(a, '/api/users/nobody/inbox')).json.messages.length, 0);
    assert.equal((await b.request('DELETE', '/api/users/nobody/inbox')).json.removed, 0);
  });

  scenario(`${store}: disconnect ends the connections of a user, or of one device, on whichever node`, { core: true }, async (ctx) => {
    const [a, b, c] = await nodes(ctx, store);
    const phone = await ctx.client(a, { user: 'u', device: 'phone' });
    const desk = await ctx.client(b, { user: 'u', device: 'desk', codec: 'msgpack' });
    const other = await ctx.client(b, { user: 'v' });
    const sse = await Events.open(b, { user: 'u', device: 'tab' });
    ctx.defer(() => sse.close());
    const one = await post(c, '/api/users/u/disconnect', { device: 'phone', reason: 'lost phone' });
    assert.equal(one.status, 200);
    assert.deepEqual(one.json, { user: 'u', nodes: store === 'redis' ? 2 : 1 });
    assert.deepEqual(await phone.closed, { code: 4009, reason: 'lost phone' });
    await desk.settled();
    assert.equal((await post(c, '/api/users/u/disconnect')).status, 200);
    assert.equal((await desk.closed).code, 4009);
    assert.equal((await sse.next('closing')).code, 4009);
    await sse.gone();
    await other.settled();
    await until(async () => (await get(c, '/api/users/u')).json.online === false, 'nobody is there');
    assert.deepEqual((await post(c, '/api/users/u/disconnect')).json, { user: 'u', nodes: 0 });
    assert.deepEqual((await post(c, '/api/users/nobody/disconnect')).json, { user: 'nobody', nodes: 0 });
    assert.equal(await a.metric('crier_closes_total', 'reason="server"') >= 1, true);
  });

  scenario(`${store}: the server puts a user's connections into a room and takes them out`, { core: true }, async (ctx) => {
    const [a, b, c] = await nodes(ctx, store);
    const phone = await ctx.client(a, { user: 'u', device: 'phone' });
    const desk = await ctx.client(b, { user: 'u', device: 'desk' });
    const other = await ctx.client(b, { user: 'v' });
    await other.join('news');
    const r = await post(c, '/api/rooms/news/subscribe', { user: 'u' });
    assert.equal(r.status, 200, r.text);
    assert.equal(r.json.user, 'u');
    for (const client of [phone, desk]) {
      const told = await client.next('ok');
      assert.equal(told.room, 'news');
      assert.equal(told.ref, undefined);
    }
    await c.push({ room: 'news', data: 1 });
    for (const client of [phone, desk, other]) assert.equal((await client.next('message')).room, 'news');
    await post(a, '/api/rooms/news/unsubscribe', { user: 'u', device: 'phone' });
    assert.equal((await phone.next('unsubscribed')).room, 'news');
    await c.push({ room: 'news', data: 2 });
    assert.equal((await desk.next('message')).data, 2);
    assert.equal((await other.next('message')).data, 2);
    await c.push({ user: 'u', data: 'a mark' });
    assert.equal((await phone.next('message')).data, 'a mark', 'nothing of the room came between');
  });

  scenario(`${store}: a batch gives each message a result of its own`, { core: true }, async (ctx) => {
    const [a, b] = await nodes(ctx, store);
    const client = await ctx.client(b, { user: 'u', device: 'd', query: EXPLICIT });
    const items = [{ user: 'u', data: 0, id: 'x' }, { user: 'u' }, { user: 'u', data: 1, id: 'x' }, { users: ['u', 'v'], data: 2 }, { data: 3 }, { room: 'r', data: 4 }, { user: 'u', data: 'y'.repeat(70000) }, { user: 'u', data: 5 }];
    const r = await post(a, '/api/push/batch', items);
    assert.equal(r.status, 200, r.text);
    const res = r.json.results;
    assert.equal(res.length, items.length);
    assert.equal(res[0].results[0].id, 'x');
    assert.match(res[1].error.message, /data is missing/);
    assert.equal(res[2].results[0].duplicate, true);
    assert.equal(res[2].results[0].seq, res[0].results[0].seq);
    assert.deepEqual(res[3].results.map((t) => t.user), ['u', 'v']);
    assert.equal(res[4].error.code, 'bad_request');
    assert.equal(res[5].results[0].room, 'r');
    assert.equal(res[6].error.code, 'too_big');
    assert.deepEqual((await client.messages(3)).map((m) => m.data), [0, 2, 5], 'in order, without what was refused');
    const many = [...Array(1000).keys()].map((i) => ({ user: `u${i % 7}`, data: i }));
    const all = await post(a, '/api/push/batch', many);
    assert.equal(all.json.results.length, 1000);
    assert.ok(all.json.results.every((x) => x.results[0].seq > 0));
    const page = (await get(b, '/api/users/u3/inbox?limit=1000')).json;
    assert.deepEqual(page.messages.map((m) => m.data), many.filter((m) => m.user === 'u3').map((m) => m.data));
    const mp = await a.request('POST', '/api/push/batch', { headers: { 'content-type': 'application/msgpack' }, body: Buffer.from(encode([{ user: 'w', data: 1 }, { user: 'w', data: 1, ttl: 'x' }])) });
    const parts = decode(mp.body).results;
    assert.ok(parts[0].results[0].seq > 0);
    assert.match(parts[1].error.message, /ttl/);
  });
}

scenario('what is no batch is refused whole, and nothing of it is kept', async (ctx) => {
  const broker = await ctx.broker();
  const good = { user: 'u', data: 1 };
  const wrong = ['', '{}', '[]', JSON.stringify(good), `[${JSON.stringify(good)}`, `[${JSON.stringify(good)},]`, `[${JSON.stringify(good)}] []`, JSON.stringify(Array(1001).fill(good))];
  for (const body of wrong) {
    const r = await broker.request('POST', '/api/push/batch', { headers: JSON_TYPE, body });
    assert.equal(r.status, 400, `${body.slice(0, 60)}: ${r.text}`);
  }
  const keyed = await broker.request('POST', '/api/push/batch', { headers: { ...JSON_TYPE, 'idempotency-key': 'k' }, body: JSON.stringify([good]) });
  assert.equal(keyed.status, 400);
  const mixed = await broker.request('POST', '/api/push/batch', { headers: JSON_TYPE, body: '[1,"x",null,[],{}]' });
  assert.deepEqual(mixed.json.results.map((x) => typeof x.error.message), Array(5).fill('string'));
  const mp = await broker.request('POST', '/api/push/batch', { headers: { 'content-type': 'application/msgpack' }, body: Buffer.from([0xdd, 0xff, 0xff, 0xff, 0xff]) });
  assert.equal(mp.status, 400);
  assert.equal((await get(broker, '/api/users/u')).status, 404);
});

scenario('Idempotency-Key stands for the id', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const push = (body, key) => broker.request('POST', '/api/push', { headers: { ...JSON_TYPE, 'idempotency-key': key }, body: JSON.stringify(body) });
  const first = (await push({ user: 'u', data: 1 }, 'order-7')).json.results[0];
  assert.equal(first.id, 'order-7');
  const again = (await push({ user: 'u', data: 1 }, '"order-7"')).json.results[0];
  assert.equal(again.duplicate, true);
  assert.equal(again.seq, first.seq);
  assert.equal((await push({ user: 'u', data: 1, id: 'order-7' }, 'order-7')).json.results[0].duplicate, true);
  const clash = await push({ user: 'u', data: 1, id: 'order-8' }, 'order-7');
  assert.equal(clash.status, 400);
  assert.match(clash.json.error.message, /Idempotency-Key/);
  for (const key of ['x'.repeat(129), '""', '']) assert.equal((await push({ user: 'u', data: 1 }, key)).status, 400, key);
});

scenario('names in paths are decoded and held against their rules', async (ctx) => {
  const broker = await ctx.broker();
  await broker.push({ user: 'a/b é', data: 1 });
  assert.equal((await get(broker, '/api/users/a%2Fb%20%C3%A9')).json.user, 'a/b é');
  for (const path of ['/api/users/%00', '/api/users/a%0Ab', '/api/users/%zz', '/api/users/%ff', `/api/users/${'x'.repeat(129)}`, '/api/users/u/inbox?limit=0', '/api/users/u/inbox?limit=1001', '/api/users/u/inbox?limit=x', '/api/users/u/inbox?after=-1', '/api/users/u/inbox?after=9007199254740992']) {
    const r = await get(broker, path);
    assert.equal(r.status, 400, `${path}: ${r.status} ${r.text}`);
  }
  for (const [path, body] of [['/api/rooms/r/subscribe', '{}'], ['/api/rooms/r/subscribe', ''], ['/api/rooms/r/subscribe', '{"user":1}'], ['/api/rooms/r/subscribe', '{"user":"u","x":1}'], ['/api/rooms/r/subscribe', '{"user":"u","user":"v"}'], ['/api/rooms/r/subscribe', '[]'], ['/api/rooms/%01/subscribe', '{"user":"u"}'], ['/api/users/u/disconnect', '{"device":""}'], ['/api/users/u/disconnect', 'x']]) {
    const r = await broker.request('POST', path, { headers: JSON_TYPE, body });
    assert.equal(r.status, 400, `${path} ${body}: ${r.status} ${r.text}`);
  }
  for (const [method, path] of [['POST', '/api/users/u'], ['DELETE', '/api/users/u'], ['PUT', '/api/users/u/inbox'], ['GET', '/api/push/batch'], ['GET', '/api/users/u/disconnect']]) {
    const r = await broker.request(method, path);
    assert.equal(r.status, 405, `${method} ${path}`);
    assert.match(r.headers.allow, /OPTIONS$/);
  }
  assert.equal((await get(broker, '/api/users//inbox')).status, 404);
});

scenario('the server API wants the key, and answers pages of listed origins alone', async (ctx) => {
  const key = 'a-key-of-the-server-api-0123456789';
  const broker = await ctx.broker({ dev: false, args: ['--api-key', key, '--origins', 'https://app.example'] });
  const auth = { authorization: `Bearer ${key}` };
  for (const path of ['/api/users/u', '/api/users/u/inbox']) assert.equal((await get(broker, path)).status, 401);
  assert.equal((await get(broker, '/api/users/u', auth)).status, 404);
  const cors = await get(broker, '/api/users/u', { ...auth, origin: 'https://app.example' });
  assert.equal(cors.headers['access-control-allow-origin'], 'https://app.example');
  const options = await broker.request('OPTIONS', '/api/users/u/inbox', { headers: { origin: 'https://app.example', 'access-control-request-method': 'DELETE' } });
  assert.equal(options.status, 204);
  assert.equal(options.headers['access-control-allow-origin'], 'https://app.example');
  assert.match(options.headers['access-control-allow-methods'], /GET.*DELETE/);
  assert.match(options.headers['access-control-allow-headers'], /Authorization.*Idempotency-Key/);
  const stranger = await broker.request('OPTIONS', '/api/push', { headers: { origin: 'https://evil.example' } });
  assert.equal(stranger.headers['access-control-allow-origin'], undefined);
  assert.equal((await get(broker, '/api/users/u', { ...auth, origin: 'https://evil.example' })).status, 403);
});

scenario('redis: without Redis the calls are answered 503, and afterwards work again', async (ctx) => {
  const redis = await ctx.ownRedis();
  const broker = await ctx.broker({ redis, prefix: ctx.newPrefix() });
  await ready(broker);
  await broker.push({ user: 'u', data: 1 });
  await redis.kill();

  await until(async () => (await get(broker, '/api/users/u')).status === 503, '503');
  const r = await post(broker, '/api/push/batch', [{ user: 'u', data: 1 }]);
  assert.equal(r.status, 503);
  assert.ok(Number(r.headers['retry-after']) > 0);
  await redis.up();
  await until(async () => (await get(broker, '/api/users/u/inbox')).status === 200, '200');
});
