/* Polling, short and long: the same messages by asking, on both stores, through any node. */
import http from 'node:http';
import { DEADLINE, assert, scaled, scenario, until, within } from './lib/harness.mjs';
import { Events } from './lib/sse.mjs';
import { SECRET, tokenFor } from './lib/tokens.mjs';

const push = async (broker, body) => {
  const r = await broker.push(body);
  assert.equal(r.status, 200, r.text);
  return r.json.results[0];
};
const dataOf = (answer) => answer.messages.map((m) => m.data);
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/* One poll; its answer must be a good one. */
async function poll(broker, query = {}, options = {}) {
  const path = `/poll?${new URLSearchParams({ user: 'alice', ...query })}`;
  const r = await broker.request('GET', path, options);
  assert.equal(r.status, 200, r.text);
  assert.equal(r.headers['cache-control'], 'no-store');
  assert.equal(r.headers.etag, undefined);
  assert.equal(typeof r.json.cursor, 'string');
  return r.json;
}

/* Something is there, if its announcement has not overtaken the answer to who pushed it: so it may wait. */
const read = (broker, query = {}, options = {}) => poll(broker, { wait: 20, ...query }, options);

/* A poll that can be cut: {answer, cut()}. */
function held(ctx, broker, query = {}) {
  const path = `/poll?${new URLSearchParams({ user: 'alice', ...query })}`;
  let req;
  const answer = new Promise((resolve, reject) => {
    req = http.get({ host: '127.0.0.1', port: broker.port, path, agent: false }, (res) => {
      let text = '';
      res.on('data', (d) => {
        text += d;
      });
      res.on('end', () => resolve({ status: res.statusCode, ...JSON.parse(text) }));
    });
    req.on('error', reject);
  });
  ctx.defer(() => req.destroy());
  const soon = within(answer, 'a held poll', DEADLINE * 2);
  soon.catch(() => {});
  return { answer: soon, cut: () => req.destroy() };
}

const waiting = (broker, n = 1) => until(async () => (await broker.metric('crier_polls_held')) === n, `${n} polls wait`);

for (const store of ['memory', 'redis']) {
  scenario(`${store}: the tutorials' loop: each message once, in order, and no more`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const got = [];
    let stop = false;
    const loop = (async () => {
      while (!stop) {
        const r = await fetch(`${broker.url}/poll?user_id=alice`);
        got.push(...(await r.json()).messages);
        await new Promise((done) => setTimeout(done, 5));
      }
    })();
    for (const n of range(1, 60)) await push(broker, { user: 'alice', data: n, event: 'tick' });
    await until(() => got.length >= 60, 'sixty messages');
    stop = true;
    await loop;
    assert.deepEqual(got.map((m) => m.data), range(1, 60));
    assert.ok(got.every((m) => m.type === 'message' && m.event === 'tick' && m.seq > 0));
    assert.deepEqual((await poll(broker)).messages, []);
  });

  scenario(`${store}: a long poll is answered at once, or empty when its time is over`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const begun = Date.now();
    const nothing = await poll(broker, { wait: 1 });
    assert.deepEqual(nothing.messages, []);
    assert.equal(nothing.more, false);
    assert.ok(Date.now() - begun >= 990, 'it waited');

    for (const [body, data] of [[{ user: 'alice', data: 's' }, 's'], [{ user: 'alice', data: 'l', ttl: 0 }, 'l'], [{ all: true, data: 'a' }, 'a']]) {
      const h = held(ctx, broker, { wait: 60 });
      await waiting(broker);
      const from = Date.now();
      await push(broker, body);
      assert.deepEqual(dataOf(await h.answer), [data]);
      assert.ok(Date.now() - from < scaled(3000), 'at once');
    }
    await push(broker, { user: 'alice', data: 'nobody waits', ttl: 0 });
    assert.deepEqual((await poll(broker)).messages, []);
  });

  scenario(`${store}: explicit: the next call's after acknowledges, a lost answer is given again`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const ask = (more = {}) => poll(broker, { device: 'd', ack: 'explicit', ...more });
    await ask();
    for (const n of range(1, 5)) await push(broker, { user: 'alice', data: n });
    const first = await ask({ limit: 3, wait: 20 });
    assert.deepEqual(dataOf(first), [1, 2, 3]);
    assert.equal(first.more, true);
    assert.equal(first.cursor, String(first.messages[2].seq));
    assert.deepEqual(dataOf(await ask({ limit: 3 })), [1, 2, 3], 'nothing was acknowledged');
    assert.deepEqual(dataOf(await ask({ after: first.cursor })), [4, 5]);
    const second = await ask({ after: first.cursor });
    assert.deepEqual(dataOf(second), [4, 5], 'that answer was lost');
    const third = await ask({ after: second.cursor });
    assert.deepEqual(third.messages, []);
    const wait = held(ctx, broker, { device: 'd', ack: 'explicit', after: third.cursor, wait: 60 });
    await push(broker, { user: 'alice', data: 6 });
    assert.deepEqual(dataOf(await wait.answer), [6]);
    /* A cursor that was never given out is one that was. */
    const beyond = await ask({ after: '9007199254740000' });
    assert.deepEqual(beyond.messages, []);
    await push(broker, { user: 'alice', data: 7 });
    assert.deepEqual(dataOf(await ask({ after: beyond.cursor, wait: 20 })), [7]);
  });

  scenario(`${store}: pages follow each other; what the inbox let go is told`, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--inbox-cap', '200'] });
    await poll(broker);
    for (let n = 1; n <= 250; n += 50) await Promise.all(range(n, n + 49).map((k) => push(broker, { user: 'alice', data: k })));
    const first = await read(broker);
    assert.equal(first.messages.length, 100);
    assert.equal(first.more, true);
    assert.ok(first.gap.to >= first.gap.from && first.gap.to < first.messages[0].seq, JSON.stringify(first.gap));
    const second = await read(broker);
    assert.equal(second.messages.length, 100);
    assert.equal(second.gap, undefined);
    const seqs = [...first.messages, ...second.messages].map((m) => m.seq);
    assert.ok(seqs.every((s, i) => i === 0 || s > seqs[i - 1]));
    assert.deepEqual((await poll(broker)).messages, []);
  });

  scenario(`${store}: one cursor with the device's other transports; each takes the other's place`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const ws = await ctx.client(broker, { user: 'alice', device: 'd', query: { ack: 'explicit' } });
    for (const n of range(1, 3)) await push(broker, { user: 'alice', data: n });
    const m = await ws.messages(3);
    ws.ack(m[0].seq);
    await ws.settled();
    assert.deepEqual(dataOf(await read(broker, { device: 'd', limit: 1 })), [2]);
    assert.equal((await within(ws.closed, 'the WebSocket ends')).code, 4010);
    const h = held(ctx, broker, { device: 'd', wait: 60, ack: 'explicit', after: m[2].seq });
    await waiting(broker);
    const sse = await Events.open(broker, { user: 'alice', device: 'd' });
    ctx.defer(() => sse.close());
    assert.deepEqual((await h.answer).messages, [], 'the held poll is let go');
    await push(broker, { user: 'alice', data: 4 });
    assert.equal((await sse.next('message', (x) => x.data === 4)).data, 4);
    assert.equal(await broker.metric('crier_clients', 'transport="poll"'), 0);
  });

  scenario(`${store}: the newest of a device's polls wins; one that was cut takes nothing with it`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const first = held(ctx, broker, { wait: 60 });
    await waiting(broker);
    const other = held(ctx, broker, { wait: 60, device: 'another' });
    await waiting(broker, 2);
    const second = held(ctx, broker, { wait: 60 });
    assert.deepEqual((await first.answer).messages, []);
    second.cut();
    await waiting(broker, 1);
    await push(broker, { user: 'alice', data: 'kept' });
    assert.deepEqual(dataOf(await other.answer), ['kept'], 'another device has its own poll');
    assert.deepEqual(dataOf(await read(broker)), ['kept']);
    assert.deepEqual((await poll(broker)).messages, []);
  });
}

const HISTORY = ['--room-history', 'h.*:100:1d'];

for (const store of ['memory', 'redis']) {
  scenario(`${store}: rooms with history: what came since the cursor, each room from its own place`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: HISTORY });
    await push(broker, { room: 'h.a', data: 'before' });
    const rooms = 'h.a,h.b,h.a';
    const begin = await poll(broker, { rooms });
    assert.deepEqual(begin.messages, [], 'who brings no cursor begins at the end');
    for (const n of range(1, 3)) {
      await push(broker, { room: 'h.a', data: `a${n}` });
      await push(broker, { room: 'h.b', data: `b${n}` });
    }
    await push(broker, { user: 'alice', data: 'u' });
    const all = ['a1', 'a2', 'a3', 'b1', 'b2', 'b3', 'u'];
    /* One by one, and by pages: every cursor leads on, and a repeated question gets the same rooms again. */
    for (const limit of [1, 3, 100]) {
      const got = [];
      let after = begin.cursor;
      while (got.length < all.length) {
        const a = await read(broker, { rooms, after, limit, ack: 'explicit', device: `pages-${limit}` });
        assert.ok(a.messages.length >= 1 && a.messages.length <= limit, `${a.messages.length} of ${limit}`);
        assert.equal(a.gaps, undefined);
        assert.equal(a.more || got.length + a.messages.length === all.length || limit === 100, true, 'more');
        got.push(...a.messages);
        after = a.cursor;
      }
      const of = (room) => got.filter((m) => m.room === room).map((m) => m.data);
      assert.deepEqual([of('h.a'), of('h.b'), of(undefined)], [['a1', 'a2', 'a3'], ['b1', 'b2', 'b3'], ['u']]);
      const again = await poll(broker, { rooms, after, ack: 'explicit', device: `pages-${limit}` });
      assert.deepEqual(again.messages, []);
    }
    /* Without a cursor a node goes on where it left off for this device; taken once. */
    assert.deepEqual(dataOf(await read(broker, { rooms })).sort(), all);
    assert.deepEqual((await poll(broker, { rooms })).messages, []);
    /* A room that is no longer named is not followed; its place is in the cursor that named it. */
    await poll(broker);
    await push(broker, { room: 'h.a', data: 'a4' });
    assert.deepEqual((await poll(broker, { rooms: 'h.b' })).messages, []);
    const late = await read(broker, { rooms, after: begin.cursor, device: 'late' });
    assert.ok(late.gap && late.more, 'of the inbox, it is told, and there is more');
    assert.deepEqual(dataOf(await read(broker, { rooms, after: late.cursor, device: 'late' })), ['a1', 'a2', 'a3', 'a4', 'b1', 'b2', 'b3']);
  });

  scenario(`${store}: rooms with history: a poll that waits is answered at once, live-only messages too`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: HISTORY });
    let { cursor } = await poll(broker, { rooms: 'h.a,h.b' });
    for (const [body, data] of [[{ room: 'h.a', data: 1 }, 1], [{ room: 'h.b', data: 2 }, 2], [{ room: 'h.b', data: 'live', ttl: 0 }, 'live'], [{ user: 'alice', data: 3 }, 3], [{ room: 'h.a', data: 4 }, 4]]) {
      const h = held(ctx, broker, { rooms: 'h.a,h.b', after: cursor, wait: 60 });
      const second = held(ctx, broker, { rooms: 'h.b', device: 'another', wait: 60 });
      await waiting(broker, 2);
      await push(broker, body);
      const a = await h.answer;
      assert.deepEqual(dataOf(a), [data]);
      assert.deepEqual(Object.keys(a.messages[0]).includes('seq'), data !== 'live');
      cursor = a.cursor;
      if (body.room === 'h.a') second.cut();
      else assert.deepEqual(dataOf(await second.answer), [data]); // cut off, it would come again to the next poll
      await waiting(broker, 0);
    }
    await push(broker, { room: 'h.b', data: 'nobody waits', ttl: 0 });
    assert.deepEqual((await poll(broker, { rooms: 'h.a,h.b', after: cursor })).messages, []);
  });

  scenario(`${store}: rooms with history: what is lost to a cursor is told`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--room-history', 'h.*:5:1d'] });
    const { cursor } = await poll(broker, { rooms: 'h.a' });
    const seqs = [];
    for (const n of range(1, 12)) seqs.push((await push(broker, { room: 'h.a', data: n })).seq);
    await until(async () => (await poll(broker, { rooms: 'h.a', after: cursor })).messages.at(-1)?.data === 12, 'the last one');
    const a = await poll(broker, { rooms: 'h.a', after: cursor });
    assert.deepEqual(dataOf(a), range(8, 12));
    assert.equal(a.gaps.length, 1);
    assert.equal(a.gaps[0].room, 'h.a');
    assert.ok(a.gaps[0].from <= seqs[0] && a.gaps[0].to >= seqs[6] && a.gaps[0].to < seqs[7], JSON.stringify(a.gaps));
    assert.equal((await poll(broker, { rooms: 'h.a', after: a.cursor })).gaps, undefined);
  });
}

scenario('rooms polled through three nodes in turn, by the cursor: nothing lost, nothing twice, a node killed meanwhile', { core: true }, async (ctx) => {
  const { redis } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const args = HISTORY;
  const nodes = [];
  for (let n = 0; n < 3; n++) nodes.push(await ctx.broker({ redis, prefix, args }));
  const rooms = 'h.x,h.y';
  let { cursor } = await poll(nodes[0], { rooms });
  const got = [];
  let sent = 0;
  const writer = (async () => {
    while (sent < 200) await push(nodes[0], { ...[{ room: 'h.x' }, { room: 'h.y' }, { user: 'alice' }][sent % 3], data: ++sent });
  })();
  for (let n = 0; got.length < 200 && n < 5000; n++) {
    if (n === 20) await nodes.pop().crash();
    const a = await poll(nodes[n % nodes.length], { rooms, after: cursor, ...(n % 3 ? {} : { wait: 1, limit: 7 }) });
    assert.equal(a.gap ?? a.gaps, undefined);
    got.push(...a.messages);
    ({ cursor } = a);
  }
  await writer;
  assert.deepEqual(dataOf({ messages: got }).sort((a, b) => a - b), range(1, 200));
  for (const room of ['h.x', 'h.y', undefined]) {
    const seqs = got.filter((m) => m.room === room).map((m) => m.seq);
    assert.ok(seqs.every((s, i) => i === 0 || s > seqs[i - 1]), `${room} in order`);
  }
});

scenario('rooms of a poll while Redis is away: no cursor forgets a room', async (ctx) => {
  const redis = await ctx.ownRedis();
  const broker = await ctx.broker({ redis, args: HISTORY });
  const { cursor } = await poll(broker, { rooms: 'h.a' });
  await push(broker, { room: 'h.a', data: 1 });
  await until(async () => (await poll(broker, { rooms: 'h.a', after: cursor })).messages.length, 'it is there');
  await redis.kill();
  await until(async () => (await broker.metric('crier_redis_up')) === 0, 'the broker sees it');
  const away = await broker.request('GET', `/poll?${new URLSearchParams({ user: 'alice', rooms: 'h.new', after: cursor })}`);
  assert.equal(away.status, 503, away.text);
  assert.ok(Number(away.headers['retry-after']) >= 1);
  const behind = await broker.request('GET', `/poll?${new URLSearchParams({ user: 'alice', rooms: 'h.a', after: cursor })}`);
  assert.equal(behind.status, 503, behind.text);
  await redis.up();
  await until(async () => (await broker.metric('crier_redis_up')) === 1, 'Redis is back', DEADLINE * 2);
  await until(async () => (await broker.push({ room: 'h.a', data: 2 })).status === 200, 'a push is taken');
  let after = cursor;
  const got = [];
  await until(async () => {
    const r = await broker.request('GET', `/poll?${new URLSearchParams({ user: 'alice', rooms: 'h.a', after, wait: 1 })}`);
    if (r.status !== 200) return false;
    got.push(...r.json.messages);
    after = r.json.cursor;
    return got.length >= 2;
  }, 'both', DEADLINE * 2);
  assert.deepEqual(dataOf({ messages: got }), [1, 2]);
});

for (const [what, query] of [['', {}], [', with rooms', { rooms: 'h.a,h.b' }]]) {
  scenario(`an empty short poll asks Redis nothing${what}`, { core: true }, (ctx) => costsNothing(ctx, query));
}

async function costsNothing(ctx, query) {
  const broker = await ctx.brokerOn('redis', { args: HISTORY });
  await push(broker, { user: 'alice', data: 1 });
  assert.deepEqual(dataOf(await read(broker)), [1]);
  await poll(broker, query);
  const agent = new http.Agent({ keepAlive: true });
  ctx.defer(() => agent.destroy());
  // The node's own calls go on beside it, and an audit (hundreds of them, now and then) may fall into one round, not in all.
  let cost, seconds;
  for (let round = 0; round < 3 && !(cost < 20 + 10 * seconds); round++) {
    const before = await broker.metric('crier_redis_commands_total');
    const begun = Date.now();
    for (let n = 0; n < 300; n++) assert.deepEqual((await poll(broker, query, { agent })).messages, []);
    seconds = (Date.now() - begun) / 1000;
    cost = (await broker.metric('crier_redis_commands_total')) - before;
  }
  assert.ok(cost < 20 + 10 * seconds, `${cost} commands in ${seconds} s`);
}

scenario('polled through two nodes in turn: nothing lost, nothing twice', { core: true }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const nodes = [await ctx.broker({ redis, prefix }), await ctx.broker({ redis, prefix })];
  const got = [];
  let sent = 0;
  let stop = false;
  const writer = (async () => {
    while (!stop) {
      await backend.sendCommand(['FCALL', 'crier_user', '1', prefix, 'alice', JSON.stringify({ data: ++sent })]);
      if (sent === 300) stop = true;
    }
  })();
  for (let n = 0; got.length < 300 && n < 3000; n++) {
    const a = await poll(nodes[n % 2], n % 3 ? {} : { wait: 1, limit: 7 });
    got.push(...a.messages);
  }
  await writer;
  assert.deepEqual(got.map((m) => m.data), range(1, 300));
});

scenario('a long poll outlasts a Redis that goes and comes back; a short one is told', async (ctx) => {
  const redis = await ctx.ownRedis();
  const broker = await ctx.broker({ redis });
  assert.deepEqual((await poll(broker)).messages, []);
  await redis.kill();
  await until(async () => (await broker.metric('crier_redis_up')) === 0, 'the broker sees it');
  assert.deepEqual((await poll(broker)).messages, [], 'this node knows the user and nothing new');
  const unknown = await broker.request('GET', '/poll?user=bob');
  assert.equal(unknown.status, 503);
  assert.ok(Number(unknown.headers['retry-after']) >= 1);
  assert.equal(unknown.json.code, 'unavailable');
  const h = held(ctx, broker, { wait: 60, user: 'carol' });
  await waiting(broker);
  await redis.up();
  await until(async () => (await broker.metric('crier_redis_up')) === 1, 'Redis is back', DEADLINE * 2);
  await until(async () => (await broker.push({ user: 'carol', data: 'hello' })).status === 200, 'a push is taken');
  assert.deepEqual(dataOf(await h.answer), ['hello']);
});

scenario('of too many waiting polls of a user the newest stay', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--max-user-conns', '3'] });
  const polls = [];
  for (const n of range(1, 5)) {
    polls.push(held(ctx, broker, { device: `d${n}`, wait: 60 }));
    await waiting(broker, Math.min(n, 3));
  }
  const other = held(ctx, broker, { user: 'bob', wait: 60 });
  await waiting(broker, 4);
  for (const old of polls.slice(0, 2)) assert.deepEqual((await old.answer).messages, []);
  for (const user of ['alice', 'bob']) await push(broker, { user, data: `to ${user}` });
  for (const newer of polls.slice(2)) assert.deepEqual(dataOf(await newer.answer), ['to alice']);
  assert.deepEqual(dataOf(await other.answer), ['to bob'], "another user's polls are their own");
});

scenario('polls held when the broker stops are answered', async (ctx) => {
  const broker = await ctx.broker();
  const h = held(ctx, broker, { wait: 60 });
  await waiting(broker);
  const stopped = broker.stop();
  assert.equal((await h.answer).status, 200);
  await stopped;
});

scenario('a request behind a held poll waits its turn on the same connection', async (ctx) => {
  const broker = await ctx.broker();
  const raw = await ctx.raw(broker);
  const get = (path) => `GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`;
  raw.write(get('/poll?user=alice&wait=60') + get('/healthz') + get('/poll?user=alice'));
  await waiting(broker);
  await push(broker, { user: 'alice', data: 1 });
  assert.deepEqual(dataOf(JSON.parse((await raw.answer()).body)), [1]);
  assert.equal((await raw.answer()).status, 200);
  assert.deepEqual(JSON.parse((await raw.answer()).body).messages, []);
});

scenario('what a poll may not ask; who may', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const bad = ['wait=61', 'wait=-1', 'wait=1.5', 'wait=', 'limit=0', 'limit=101', 'ack=sent', 'after=x', 'rooms=news', 'device='];
  for (const q of bad) {
    const r = await broker.request('GET', `/poll?user=alice&${q}`);
    assert.ok(r.status === 400 || r.status === 401, `${q}: ${r.status} ${r.text}`);
    assert.ok(r.json.error.message.length > 0);
  }
  assert.match((await broker.request('GET', '/poll?user=alice&rooms=news')).json.error.message, /history/);
  assert.equal((await broker.request('GET', '/poll')).status, 400, 'nobody');
  assert.equal((await broker.request('HEAD', '/poll?user=alice')).status, 405, 'a HEAD would read');
  assert.equal((await broker.request('POST', '/poll?user=alice', { body: '' })).status, 405);

  const strict = await ctx.broker({ dev: false, args: [...HISTORY, '--jwt-key', `HS256:${SECRET}`, '--api-key', 'k'.repeat(32), '--origins', 'https://app.example'] });
  const ask = (headers) => strict.request('GET', '/poll', { headers });
  assert.equal((await ask({})).status, 401);
  const bearer = { authorization: `Bearer ${tokenFor('alice')}` };
  assert.equal((await ask(bearer)).status, 200);
  assert.equal((await ask({ ...bearer, origin: 'https://evil.example' })).status, 403);
  const rooms = { authorization: `Bearer ${tokenFor('alice', { rooms: ['h.mine'] })}` };
  assert.equal((await strict.request('GET', '/poll?rooms=h.mine', { headers: rooms })).status, 200);
  const others = await strict.request('GET', '/poll?rooms=h.mine,h.other', { headers: rooms });
  assert.equal(others.status, 403);
  assert.equal(others.json.error.code, 'forbidden');
  const page = await ask({ ...bearer, origin: 'https://app.example' });
  assert.equal(page.headers['access-control-allow-origin'], 'https://app.example');
});
