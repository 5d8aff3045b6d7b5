/* The ledger: what becomes of tracked messages, who has not got one, and sending again; on both stores, three nodes. */
import { decode } from '@msgpack/msgpack';
import { DEADLINE, assert, scaled, scenario, until } from './lib/harness.mjs';
import { Events } from './lib/sse.mjs';

const EXPLICIT = { ack: 'explicit' };
const STORES = ['memory', 'redis'];

const get = (broker, path, headers) => broker.request('GET', path, { headers });
const message = async (broker, id, query = '') => (await get(broker, `/api/messages/${encodeURIComponent(id)}${query}`)).json;
const retry = (broker, id, query = '') => broker.request('POST', `/api/messages/${encodeURIComponent(id)}/retry${query}`);
const undelivered = async (broker, id, query = '') => (await get(broker, `/api/messages/${encodeURIComponent(id)}/undelivered${query}`)).json;

async function ready(broker) {
  await until(async () => (await get(broker, '/readyz')).status === 200, '/readyz');
}

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

/* The only recipient's line, once `fits` says so. */
async function line(broker, id, fits, what) {
  let last;
  try {
    return await until(async () => {
      const m = await message(broker, id);
      last = m;
      return fits(m.recipients[0]) && m.recipients[0];
    }, what);
  } catch (e) {
    throw new Error(`${e.message}: ${JSON.stringify(last)}`);
  }
}

const near = (ms) => assert.ok(Math.abs(ms - Date.now()) < scaled(60000), `${ms} is not now`);

for (const store of STORES) {
  scenario(`${store}: a tracked message is queued, written and acked, with times, seen from any node`, { core: true }, async (ctx) => {
    const [a, b, c] = await nodes(ctx, store);
    const pushed = (await a.push({ user: 'alice', data: { n: 1 }, id: 'order-7', track: true })).json.results[0];
    const queued = (await message(c, 'order-7')).recipients;
    assert.equal(queued.length, 1);
    assert.equal(queued[0].state, 'queued');
    assert.equal(queued[0].seq, pushed.seq);
    assert.equal(queued[0].attempts, 1);
    assert.equal(queued[0].online, 0);
    assert.equal(queued[0].node, a.node);
    near(queued[0].queued);
    assert.deepEqual((await undelivered(b, 'order-7')).recipients.map((r) => r.user), ['alice']);
    const phone = await ctx.client(b, { user: 'alice', device: 'phone', query: EXPLICIT });
    const m = await phone.next('message');
    assert.equal(m.id, 'order-7');
    const written = await line(c, 'order-7', (r) => r.state === 'written', 'written');
    const dev = written.devices[0];
    assert.equal(dev.device, 'phone');
    assert.equal(dev.state, 'written');
    assert.equal(dev.node, b.node);
    assert.ok(dev.shard === 0 || dev.shard === 1);
    assert.equal(dev.times, 1);
    near(dev.written);
    assert.ok(dev.arrived <= dev.written && dev.arrived >= written.queued - 1000);
    phone.ack(m.seq);
    const acked = await line(c, 'order-7', (r) => r.state === 'acked' && r.devices[0].acked, 'acked');
    near(acked.devices[0].acked);
    assert.ok(acked.devices[0].acked >= dev.written);
    assert.deepEqual((await undelivered(a, 'order-7')).recipients, []);
    const mp = await get(a, '/api/messages/order-7', { accept: 'application/msgpack' });
    assert.deepEqual(decode(mp.body), await message(a, 'order-7'));
  });

  scenario(`${store}: each device has a line of its own, whatever it speaks`, async (ctx) => {
    const [a, b, c] = await nodes(ctx, store);
    const phone = await ctx.client(a, { user: 'u', device: 'phone', query: EXPLICIT });
    const desk = await ctx.client(b, { user: 'u', device: 'desk', codec: 'msgpack', query: EXPLICIT });
    const zip = await ctx.client(c, { user: 'u', device: 'zip', deflate: true, query: EXPLICIT });
    const tab = await Events.open(c, { user: 'u', device: 'tab', query: EXPLICIT });
    ctx.defer(() => tab.close());
    await a.push({ user: 'u', data: 'x'.repeat(1000), id: 'm', track: true });
    const got = await desk.next('message');
    for (const client of [phone, zip, tab]) await client.next('message');
    desk.ack(got.seq);
    const r = await line(b, 'm', (x) => x.devices.length === 4 && x.devices.every((d) => d.written) && x.devices[0].acked, 'four devices');
    assert.equal(r.state, 'acked');
    assert.deepEqual(r.devices.map((d) => [d.device, d.state]), [['desk', 'acked'], ['phone', 'written'], ['tab', 'written'], ['zip', 'written']]);
    const poll = await get(a, '/poll?user=u&device=poll&wait=0&ack=explicit&after=0');
    assert.equal(poll.json.messages[0].id, 'm');
    const polled = await line(b, 'm', (x) => x.devices.some((d) => d.device === 'poll' && d.written), 'the poll');
    assert.equal(polled.devices.find((d) => d.device === 'poll').node, a.node);
  });

  scenario(`${store}: many recipients come in order, page by page, and who has not got it alone`, { core: true }, async (ctx) => {
    const [a, b] = await nodes(ctx, store);
    const users = [...Array(250).keys()].map((i) => `user-${String(i).padStart(3, '0')}`);
    await a.push({ users, data: 1, id: 'to many', track: true });
    const here = await ctx.client(b, { user: 'user-007', device: 'd', query: EXPLICIT });
    here.ack((await here.next('message')).seq);
    await until(async () => (await message(b, 'to many', '?user=user-007')).recipients[0].state === 'acked', 'acked');
    const seen = [];
    let cursor = '';
    for (let page = 0; ; page++) {
      const m = await message(b, 'to many', `?limit=120${cursor && `&after=${encodeURIComponent(cursor)}`}`);
      seen.push(...m.recipients.map((r) => r.user));
      assert.equal(m.recipients.length, page < 2 ? 120 : 10);
      cursor = m.cursor;
      if (!m.more) break;
    }
    assert.deepEqual(seen, users);
    const rest = [];
    cursor = '';
    for (;;) {
      const m = await undelivered(a, 'to many', `?limit=100${cursor && `&after=${encodeURIComponent(cursor)}`}`);
      rest.push(...m.recipients.map((r) => r.user));
      cursor = m.cursor;
      if (!m.more) break;
    }
    assert.deepEqual(rest, users.filter((u) => u !== 'user-007'));
  });

  scenario(`${store}: what nobody tracked, or long ago, is not found`, async (ctx) => {
    const [a, b] = await nodes(ctx, store, { args: ['--ledger-ttl', '1s'] });
    await a.push({ user: 'u', data: 1, id: 'plain' });
    for (const path of ['plain', 'plain?user=u', 'plain/undelivered', 'never']) assert.equal((await get(b, `/api/messages/${path}`)).status, 404, path);
    assert.equal((await retry(b, 'plain')).status, 404);
    assert.equal((await retry(b, 'plain', '?user=u')).status, 404);
    await a.push({ user: 'u', data: 1, id: 'short', track: true });
    assert.equal((await get(b, '/api/messages/short')).status, 200);
    await until(async () => (await get(b, '/api/messages/short')).status === 404, 'forgotten', DEADLINE);
    assert.equal((await get(b, '/api/users/u/inbox')).json.messages.length, 2, 'the messages stay');
    for (const path of ['%0A', `${'x'.repeat(129)}`, 'm?limit=0', 'm?user=%00', 'm?after=zz']) assert.equal((await get(b, `/api/messages/${path}`)).status, 400, path);
  });

  scenario(`${store}: what expired, or was pushed out, is told so; a retry stores it anew`, { core: true }, async (ctx) => {
    const [a, b, c] = await nodes(ctx, store, { args: ['--inbox-cap', '2'] });
    await a.push({ user: 'late', data: 'soon over', id: 'brief', ttl: 1, track: true });
    await a.push({ user: 'full', data: 'the first', id: 'first', track: true });
    for (let i = 0; i < 2; i++) await a.push({ user: 'full', data: i });
    const out = (await message(b, 'first')).recipients[0];
    assert.equal(out.state, 'dropped');
    assert.equal(out.dropped[0].reason, 'evicted');
    const over = await line(b, 'brief', (r) => r.state === 'expired', 'expired');
    assert.ok(over.expired <= Date.now() + 1000);
    assert.deepEqual((await undelivered(c, 'brief')).recipients.map((r) => r.state), ['expired']);
    const again = (await retry(c, 'first')).json.results;
    assert.equal(again[0].user, 'full');
    assert.equal(again[0].result, 'stored');
    assert.ok(again[0].seq > out.seq);
    const after = (await message(b, 'first')).recipients[0];
    assert.equal(after.state, 'queued');
    assert.equal(after.attempts, 2);
    assert.equal(after.seq, again[0].seq);
    assert.equal(after.queued, out.queued);
    assert.ok(after.retried >= out.queued);
    const client = await ctx.client(a, { user: 'full', device: 'd', query: EXPLICIT });
    const list = await client.messages(2);
    assert.deepEqual(list.map((m) => m.data), [1, 'the first']);
    assert.equal(list[1].id, 'first');
    client.ack(list[1].seq);
    await line(b, 'first', (r) => r.state === 'acked', 'acked');
    assert.deepEqual((await retry(c, 'first')).json.results.map((r) => r.result), ['delivered']);
    assert.equal((await message(b, 'first')).recipients[0].attempts, 2, 'who has it is not tried again');
  });

  scenario(`${store}: what was written, lost on the way and pushed out is not had by whoever acknowledges past the gap`, async (ctx) => {
    const [a, b, c] = await nodes(ctx, store, { args: ['--inbox-cap', '2'] });
    const before = await ctx.client(b, { user: 'u', device: 'd', query: EXPLICIT });
    await a.push({ user: 'u', data: 'lost', id: 'm', track: true });
    await before.next('message');
    await line(c, 'm', (r) => r.state === 'written', 'written');
    before.terminate();
    for (let i = 0; i < 3; i++) await a.push({ user: 'u', data: i });
    const client = await ctx.client(c, { user: 'u', device: 'd', query: EXPLICIT });
    assert.equal((await client.next('gap')).to >= (await message(a, 'm')).recipients[0].seq, true);
    const last = (await client.messages(2))[1];
    client.ack(last.seq);
    await until(async () => (await get(b, '/api/users/u/inbox')).json.messages.length === 0, 'the rest is acknowledged');
    const r = (await message(a, 'm')).recipients[0];
    assert.deepEqual([r.state, r.devices[0].state, r.dropped[0].reason], ['dropped', 'dropped', 'evicted']);
    assert.deepEqual((await undelivered(b, 'm')).recipients.map((x) => x.user), ['u']);
    assert.deepEqual((await retry(c, 'm')).json.results.map((x) => x.result), ['stored']);
    assert.equal((await client.next('message')).data, 'lost');
  });

  scenario(`${store}: a retry shows a waiting message again to a client that has not acknowledged it`, { core: true }, async (ctx) => {
    const [a, b, c] = await nodes(ctx, store);
    await a.push({ users: ['here', 'away'], data: 'x', id: 'm', track: true });
    const client = await ctx.client(b, { user: 'here', device: 'd', query: EXPLICIT });
    const first = await client.next('message');
    await a.push({ user: 'here', data: 'y' });
    const second = await client.next('message');
    const r = (await retry(c, 'm')).json.results;
    assert.deepEqual(r.map((x) => [x.user, x.result]), [['away', 'waiting'], ['here', 'sent']]);
    const again = await client.next('message');
    assert.equal(again.id, 'm');
    assert.equal(again.seq, first.seq);
    await until(async () => (await message(a, 'm', '?user=here')).recipients[0].devices[0].times === 2, 'written twice');
    assert.equal((await message(a, 'm', '?user=here')).recipients[0].attempts, 2);
    client.ack(second.seq);
    await until(async () => (await message(a, 'm', '?user=here')).recipients[0].state === 'acked', 'acked');
    assert.deepEqual((await retry(c, 'm', '?user=here')).json.results.map((x) => x.result), ['delivered']);
    await a.push({ user: 'here', data: 'the end' });
    assert.equal((await client.next('message')).data, 'the end', 'nothing came again');
    const late = await ctx.client(b, { user: 'away', device: 'd', query: EXPLICIT });
    assert.equal((await late.next('message')).id, 'm');
    await a.push({ user: 'away', data: 'z' });
    assert.equal((await late.next('message')).data, 'z', 'once');
  });

  scenario(`${store}: live-only messages: offline, written, sent again`, async (ctx) => {
    const [a, b, c] = await nodes(ctx, store);
    await a.push({ user: 'u', data: 'now', id: 'live', ttl: 0, track: true });
    const off = (await message(b, 'live')).recipients[0];
    assert.equal(off.state, 'dropped');
    assert.equal(off.dropped[0].reason, 'offline');
    assert.deepEqual((await undelivered(b, 'live')).recipients.map((r) => r.user), ['u']);
    assert.deepEqual((await retry(b, 'live')).json.results.map((r) => r.result), ['offline']);
    const client = await ctx.client(c, { user: 'u', device: 'd' });
    const r = (await retry(b, 'live')).json.results[0];
    assert.equal(r.result, 'sent');
    assert.equal(r.online, 1);
    const m = await client.next('message');
    assert.equal(m.id, 'live');
    assert.equal(m.seq, undefined);
    const w = await line(a, 'live', (x) => x.state === 'written', 'written');
    assert.equal(w.attempts, 3);
    assert.equal(w.devices[0].node, c.node);
    assert.deepEqual((await undelivered(b, 'live')).recipients, []);
    assert.deepEqual((await retry(b, 'live')).json.results.map((x) => x.result), ['delivered']);
  });

  scenario(`${store}: rooms and all are counted, not named`, { core: true }, async (ctx) => {
    const [a, b, c] = await nodes(ctx, store);
    const clients = [];
    for (const [i, broker] of [a, b, c, c].entries()) {
      const client = await ctx.client(broker, { user: `u${i}`, codec: i % 2 ? 'json' : 'msgpack' });
      await client.join('news');
      clients.push(client);
    }
    await b.push({ room: 'news', data: 1, id: 'r', track: true });
    await b.push({ all: true, data: 2, id: 'a', track: true });
    for (const client of clients) await client.messages(2);
    const room = await line(a, 'r', (r) => r.written === 4, 'four in the room');
    assert.equal(room.room, 'news');
    assert.equal(room.state, 'written');
    assert.equal(room.devices, undefined);
    near(room.last);
    const all = await line(a, 'a', (r) => r.written === 4, 'all four');
    assert.equal(all.all, true);
    assert.deepEqual((await undelivered(a, 'r')).recipients, []);
    assert.deepEqual((await retry(a, 'r')).json.results, []);
    const many = [...Array(40).keys()];
    for (const i of many) await b.push({ room: 'news', data: i, id: `r${i}`, track: true });
    for (const client of clients) await client.messages(40);
    for (const i of many) await line(a, `r${i}`, (r) => r.written === 4, `room message ${i}`);
  });

  scenario(`${store}: a slow reader: what it is not sent is dropped with the reason`, async (ctx) => {
    const [a] = await nodes(ctx, store, { args: ['--outq-soft', '16KiB', '--outq-hard', '4MiB', '--outq-count', '20'] });
    const slow = await ctx.websocket(a, '/ws?user=slow&device=d');
    slow.socket.pause();
    const ids = [...Array(300).keys()].map((i) => `s${i}`);
    const data = 'x'.repeat(60000);
    for (let i = 0; i < ids.length; i += 50) {
      const batch = ids.slice(i, i + 50).map((id) => ({ user: 'slow', data, id, ttl: 0, track: true }));
      assert.equal((await a.request('POST', '/api/push/batch', { headers: { 'content-type': 'application/json' }, body: JSON.stringify(batch) })).status, 200);
    }
    const states = async () => (await Promise.all(ids.map((id) => message(a, id)))).map((m) => m.recipients[0].devices[0]);
    const list = await until(async () => {
      const all = await states();
      return ['dropped', 'written'].every((state) => all.some((d) => d?.state === state)) && all;
    }, 'some went out, some were dropped');
    const dropped = list.filter((d) => d && d.state === 'dropped');
    assert.ok(dropped.every((d) => d.reason === 'slow' && !d.written));
    assert.equal(await a.metric('crier_ledger_dropped_total'), 0);
    slow.destroy();
  });

  scenario(`${store}: untracked messages leave no trace and cost the ledger nothing`, async (ctx) => {
    const [a, b] = await nodes(ctx, store);
    const client = await ctx.client(b, { user: 'u', query: EXPLICIT });
    await client.join('r');
    for (let i = 0; i < 20; i++) {
      await a.push({ user: 'u', data: i, id: `m${i}` });
      await a.push({ room: 'r', data: i, id: `r${i}` });
    }
    const list = await client.messages(40);
    client.ack(Math.max(...list.map((m) => m.seq || 0)));
    await client.settled();
    for (const broker of [a, b]) assert.equal(await broker.metric('crier_ledger_events_total'), 0);
    if (store === 'redis') {
      const { backend } = await ctx.redis();
      const keys = await backend.keys(`${ctx.prefix}*`);
      assert.deepEqual(keys.filter((k) => /\{..\}:[tx]:/.test(k)), []);
    }
  });
}

scenario('redis: what a backend publishes or stores by function call is tracked too', { core: true }, async (ctx) => {
  const { backend } = await ctx.redis();
  const [a, b, c] = await nodes(ctx, 'redis');
  const client = await ctx.client(b, { user: 'u', device: 'd', query: EXPLICIT });
  await client.join('news');
  await backend.sendCommand(['FCALL', 'crier_user', '1', ctx.prefix, 'u', '{"data":1,"track":true,"id":"by call"}']);
  await backend.publish(`${ctx.prefix}user:u`, '{"data":2,"track":true,"id":"bare"}');
  await backend.publish(`${ctx.prefix}user:u`, '{"data":3,"track":true}');
  await backend.publish(`${ctx.prefix}room:news`, '{"data":4,"track":true,"id":"bare room"}');
  const list = await client.messages(4);
  assert.deepEqual(list.map((m) => m.data).sort(), [1, 2, 3, 4]);
  const mine = list.filter((m) => m.seq);
  client.ack(mine[mine.length - 1].seq);
  for (const m of mine) {
    const r = await line(c, m.id, (x) => x.state === 'acked', `${m.id} acked`);
    assert.equal(r.devices[0].node, b.node);
  }
  await line(a, 'bare room', (r) => r.written === 1, 'the room');
  await backend.sendCommand(['FCALL', 'crier_user', '1', ctx.prefix, 'u', '{"data":5,"track":true}', '3600']);
  const named = await client.next('message');
  assert.equal((await message(a, named.id)).recipients[0].node, '-');
  await backend.publish(`${ctx.prefix}user:gone`, '{"data":6,"track":true,"id":"live bare","ttl":0}');
  await line(a, 'live bare', (r) => r.state === 'dropped', 'offline');
});

scenario('redis: rooms with history are counted as well', async (ctx) => {
  const [a, b, c] = await nodes(ctx, 'redis', { args: ['--room-history', 'chat.*:10:1d'] });
  const clients = await Promise.all([a, b, c].map((x, i) => ctx.client(x, { user: `u${i}` })));
  for (const client of clients) await client.join('chat.1');
  await a.push({ room: 'chat.1', data: 1, id: 'h', track: true });
  for (const client of clients) await client.next('message');
  const r = await line(b, 'h', (x) => x.written === 3, 'three');
  assert.equal(r.room, 'chat.1');
});

scenario('redis: the same id to several users, with payloads of their own, is one ledger; a retry sends each its own', async (ctx) => {
  const [a, b] = await nodes(ctx, 'redis', { args: ['--inbox-cap', '1'] });
  for (const user of ['x', 'y', 'z']) {
    await a.push({ user, data: `for ${user === 'z' ? 'x' : user}`, id: 'shared', track: true });
    await a.push({ user, data: 'pushes it out' });
  }
  assert.deepEqual((await message(b, 'shared')).recipients.map((r) => [r.user, r.state]), [['x', 'dropped'], ['y', 'dropped'], ['z', 'dropped']]);
  assert.deepEqual((await retry(b, 'shared')).json.results.map((r) => r.result), ['stored', 'stored', 'stored']);
  for (const user of ['x', 'y', 'z']) {
    const inbox = (await get(a, `/api/users/${user}/inbox`)).json.messages;
    assert.deepEqual(inbox.map((m) => [m.id, m.data]), [['shared', `for ${user === 'z' ? 'x' : user}`]]);
  }
});

scenario('redis: a node that is killed loses at most the last moment of the ledger: the cursor tells the ack', async (ctx) => {
  const [a, b, c] = await nodes(ctx, 'redis');
  await a.push({ user: 'u', data: 1, id: 'm', track: true });
  const client = await ctx.client(b, { user: 'u', device: 'd', query: EXPLICIT });
  const m = await client.next('message');
  await line(a, 'm', (r) => r.state === 'written', 'written');
  await b.crash();
  const again = await ctx.client(c, { user: 'u', device: 'd', query: { ...EXPLICIT, since: m.seq } });
  const r = await line(a, 'm', (x) => x.state === 'acked', 'acked by the cursor it brought');
  assert.equal(r.devices[0].acked, undefined, 'nobody saw when');
  assert.deepEqual((await retry(a, 'm')).json.results.map((x) => x.result), ['delivered']);
  await again.settled();
});

scenario('redis: while Redis is away events wait, and arrive when it is back', async (ctx) => {
  const redis = await ctx.ownRedis();
  const broker = await ctx.broker({ redis, prefix: ctx.newPrefix() });
  await ready(broker);
  const client = await ctx.client(broker, { user: 'u', device: 'd', query: EXPLICIT });
  await broker.push({ user: 'u', data: 1, id: 'm', track: true });
  const m = await client.next('message');
  await line(broker, 'm', (r) => r.state === 'written', 'written');
  await redis.kill();
  client.ack(m.seq);
  assert.equal((await until(async () => { const r = await get(broker, '/api/messages/m'); return r.status === 503 && r; }, '503')).headers['retry-after'], '1');
  assert.equal((await retry(broker, 'm')).status, 503);
  await redis.up();
  await line({ request: (...x) => broker.request(...x) }, 'm', (r) => r.devices[0].acked, 'the ack with its time');
});
