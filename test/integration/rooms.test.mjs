/* Rooms with history and presence on real brokers: what comes back with `since` after nodes and Redis were killed, one order for everybody, who is there. */
import { DEADLINE, assert, scaled, scenario, until } from './lib/harness.mjs';
import { Events } from './lib/sse.mjs';

const STORES = ['memory', 'redis'];
const RULES = ['--room-history', 'h.*:1000:1h', '--room-history', 'short.*:10:1h', '--room-history', 'brief.*:100:3s', '--presence', 'h.*'];
const range = (n, from = 0) => [...Array(n).keys()].map((i) => i + from);
const data = (list) => list.map((m) => m.data);

async function ready(...brokers) {
  for (const b of brokers) await until(async () => (await b.request('GET', '/readyz')).status === 200, '/readyz', DEADLINE * 3);
}

const start = (ctx, redis, name) => ctx.broker({ redis, prefix: ctx.prefix, args: [...RULES, '--node', name] });

async function cluster(ctx, redis, n) {
  ctx.newPrefix();
  const nodes = await Promise.all(range(n).map((i) => start(ctx, redis, `room${i}`)));
  await ready(...nodes);
  for (const b of nodes) await until(async () => (await b.metric('crier_nodes')) === n, `${b.node} sees ${n} nodes`);
  return nodes;
}

async function say(broker, room, value, more = {}) {
  const r = await broker.push({ room, data: value, ...more });
  assert.equal(r.status, 200, r.text);
  return r.json.results[0].seq;
}

const join = (c, room, more) => c.command('subscribe', { room, ...more });

/* All that the room keeps, page by page from its end. */
async function history(broker, room) {
  const all = [];
  for (let before = ''; ; ) {
    const page = (await broker.request('GET', `/api/rooms/${room}/history?limit=100${before}`)).json;
    all.unshift(...page.messages);
    if (!page.more) return all;
    before = `&before=${page.messages[0].seq}`;
  }
}
const present = async (broker, room) => (await broker.request('GET', `/api/rooms/${room}/presence`)).json.users;

/* Somebody in a room who writes down everything, goes away, and comes back with the last seq. */
class Member {
  constructor(ctx, name, room, codec = 'json') {
    Object.assign(this, { ctx, name, room, codec, log: [], recovered: [] });
  }

  async come(broker) {
    const c = await this.ctx.client(broker, { user: this.name, device: 'd', codec: this.codec });
    const last = this.log.at(-1)?.seq;
    this.client = c;
    const ok = await join(c, this.room, last === undefined ? {} : { since: last });
    if (last !== undefined) this.recovered.push(ok.recovered);
    (async () => {
      for (;;) {
        const m = await c.next('message', undefined, DEADLINE * 30).catch(() => undefined);
        if (!m || this.client !== c) return;
        this.log.push({ seq: Number(m.seq), data: m.data });
      }
    })();
  }

  leave() {
    this.client.terminate();
    this.client = undefined;
  }
}

for (const store of STORES) {
  scenario(`${store}: who comes back with since gets what was missed, or is told that some of it is gone`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: RULES });
    if (store === 'redis') await ready(broker);
    const seqs = [];
    for (const n of range(5)) seqs.push(await say(broker, 'short.1', n));
    for (const codec of ['json', 'msgpack']) {
      const c = await ctx.client(broker, { user: 'alice', device: codec, codec });
      const ok = await join(c, 'short.1', { since: seqs[1] });
      assert.equal(ok.recovered, true);
      assert.equal(Number(ok.seq), seqs[4]);
      assert.deepEqual(data(await c.messages(3)), [2, 3, 4]);
    }
    const none = await ctx.client(broker, { user: 'bob' });
    assert.equal((await join(none, 'short.1', { since: seqs[4] })).recovered, true, 'nothing was missed');
    for (const n of range(9, 5)) seqs.push(await say(broker, 'short.1', n));
    const late = await ctx.client(broker, { user: 'carol' });
    assert.equal((await join(late, 'short.1', { since: seqs[1] })).recovered, false, 'the length has dropped some');
    const just = await ctx.client(broker, { user: 'dave' });
    assert.equal((await join(just, 'short.1', { since: seqs[3] })).recovered, true, 'the first one that is left is the next');
    assert.deepEqual(data(await just.messages(10)), range(10, 4));
    seqs.push(await say(broker, 'short.1', 'now'));
    assert.equal((await late.next('message')).data, 'now', 'who was told so begins at the present');
    const future = await ctx.client(broker, { user: 'eve' });
    assert.equal((await join(future, 'short.1', { since: seqs.at(-1) + 1000 })).recovered, false, 'a place that was never given out');
  });

  scenario(`${store}: a message that came to its own end is not missed, one as old as the room keeps any is`, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: RULES });
    if (store === 'redis') await ready(broker);
    const first = await say(broker, 'h.1', 'first');
    for (const n of range(3)) await say(broker, 'h.1', `typing ${n}`, { ttl: 1 });
    await say(broker, 'h.1', 'last');
    const old = await say(broker, 'brief.1', 'old');
    const older = await say(broker, 'brief.1', 'as old as any');
    await until(async () => (await history(broker, 'h.1')).length === 2, 'the short ones have expired');
    const c = await ctx.client(broker, { user: 'alice' });
    assert.equal((await join(c, 'h.1', { since: first })).recovered, true);
    assert.equal((await c.next('message')).data, 'last');
    await until(async () => (await history(broker, 'brief.1')).length === 0, 'the room keeps nothing for longer');
    assert.equal((await join(c, 'brief.1', { since: old })).recovered, false);
    const d = await ctx.client(broker, { user: 'bob' });
    assert.equal((await join(d, 'brief.1', { since: older })).recovered, true, 'who had that one has missed nothing');
  });

  scenario(`${store}: presence counts users, not connections, and each edge is told once`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: RULES });
    if (store === 'redis') await ready(broker);
    const watcher = await ctx.client(broker, { user: 'watcher' });
    await join(watcher, 'h.1', { presence: true });
    const one = await ctx.client(broker, { user: 'alice', device: 'phone' });
    const two = await ctx.client(broker, { user: 'alice', device: 'desk', codec: 'msgpack' });
    await join(one, 'h.1');
    await join(one, 'h.1');
    await join(two, 'h.1');
    const three = await Events.open(broker, { user: 'alice', device: 'tab', query: { rooms: 'h.1' } });
    await three.next('ok');
    one.terminate();
    await two.close();
    await join(await ctx.client(broker, { user: 'bob' }), 'h.1');
    await watcher.next('presence', (m) => m.user === 'bob'); // what two users do has no order of its own
    three.close();
    await watcher.next('presence', (m) => m.user === 'alice' && m.change === 'leave');
    const rest = watcher.frames.filter((m) => m.type === 'presence').map((m) => `${m.user} ${m.change}`);
    assert.deepEqual(rest, ['alice join', 'bob join', 'alice leave']);
    assert.deepEqual(await present(broker, 'h.1'), ['bob', 'watcher']);
    assert.deepEqual((await watcher.command('presence', { room: 'h.1' })).users, ['bob', 'watcher']);
  });
}

/* Everything that members wrote down is the room's history, whole and in its order. */
async function checkLogs(broker, room, members) {
  const kept = await history(broker, room);
  for (const m of members) {
    await until(() => m.log.at(-1)?.seq === kept.at(-1).seq, `${m.name} has the last one`, DEADLINE * 2);
    assert.deepEqual(m.log, kept.map((x) => ({ seq: x.seq, data: x.data })).filter((x) => x.seq >= m.log[0].seq), m.name);
    assert.ok(m.recovered.every(Boolean), `${m.name} recovered each time: ${m.recovered}`);
  }
  return kept;
}

/* Says numbers into a room over all ways at once until it is told to stop; `accepted` are those that somebody took. */
function talk(ctx, backend, room, ways) {
  const t = { accepted: [], n: 0, stopped: false };
  t.done = Promise.all(
    ways.map(async (way) => {
      while (!t.stopped) {
        const n = t.n++;
        if (await way(n).catch(() => false)) t.accepted.push(n);
        await new Promise((r) => setTimeout(r, 20));
      }
    }),
  );
  t.stop = async () => {
    t.stopped = true;
    await t.done;
  };
  t.some = async (k) => {
    const from = t.accepted.length;
    await until(() => t.accepted.length >= from + k, `${k} more were taken`, DEADLINE * 3);
  };
  return t;
}

scenario('three nodes, one of them killed -9, members that come and go: one order for everybody, nothing missing, nothing twice', { core: true, timeout: 120000 }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 3);
  const room = 'h.talk';
  const members = range(6).map((i) => new Member(ctx, `m${i}`, room, i % 2 ? 'msgpack' : 'json'));
  for (const [i, m] of members.entries()) await m.come(nodes[i % 3]);
  const api = (i) => async (n) => (await nodes[i].push({ room, data: n, id: `api-${n}` })).status === 200;
  const bare = async (n) => (await backend.publish(`${ctx.prefix}room:${room}`, String(n))) > 0;
  const t = talk(ctx, backend, room, [api(0), api(1), bare]);
  await t.some(40);
  members[0].leave();
  members[1].leave();
  await t.some(40);
  await members[0].come(nodes[1]);
  await members[1].come(nodes[2]);
  await t.some(40);
  await nodes[2].crash();
  await t.some(40);
  for (const i of [1, 2, 5]) await members[i].come(nodes[i % 2]);
  nodes[2] = await start(ctx, redis, 'room2');
  await ready(nodes[2]);
  members[3].leave();
  await members[3].come(nodes[2]);
  await t.some(40);
  await t.stop();
  const kept = await until(async () => {
    const list = await history(nodes[0], room);
    return t.accepted.every((n) => list.some((x) => x.data === n)) && list;
  }, 'all that was taken is in the history', DEADLINE * 2);
  assert.equal(new Set(data(kept)).size, kept.length, 'nothing twice');
  await checkLogs(nodes[1], room, members);
});

scenario('Redis killed -9 and restarted under members and speakers: recovered, in order, nothing twice', { timeout: 120000 }, async (ctx) => {
  const redis = await ctx.ownRedis();
  const nodes = await cluster(ctx, redis, 3);
  const backend = await ctx.backend(redis);
  const room = 'h.talk';
  const members = range(6).map((i) => new Member(ctx, `m${i}`, room));
  for (const [i, m] of members.entries()) await m.come(nodes[i % 3]);
  const api = (i) => async (n) => {
    for (;;) {
      const r = await nodes[i].push({ room, data: n, id: `api-${n}` });
      if (r.status === 200) return true;
      assert.equal(r.status, 503, r.text);
      await new Promise((r2) => setTimeout(r2, 50));
    }
  };
  const t = talk(ctx, backend, room, range(3).map(api));
  await t.some(50);
  members[0].leave();
  members[1].leave();
  await t.some(20);
  await redis.kill();
  await redis.up();
  await t.some(50);
  await ready(...nodes);
  await members[0].come(nodes[1]);
  await members[1].come(nodes[2]);
  await t.some(50);
  await t.stop();
  const kept = await checkLogs(nodes[0], room, members);
  assert.deepEqual(data(kept).sort((a, b) => a - b), t.accepted.sort((a, b) => a - b));
});

scenario('who is in a room, on three nodes: joins and leaves once for the cluster; a killed node\'s users leave within 5 s', { core: true, timeout: 90000 }, async (ctx) => {
  const { redis } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 3);
  const room = 'h.who';
  const watchers = await Promise.all(nodes.slice(0, 2).map((b, i) => ctx.client(b, { user: `watcher${i}` })));
  for (const w of watchers) await join(w, room, { presence: true });
  const told = (w) => w.frames.filter((m) => m.type === 'presence' && !m.user.startsWith('watcher')).map((m) => `${m.user} ${m.change}`);
  const both = async (want) => {
    for (const w of watchers) await w.when(() => told(w).length >= want.length, `${want.length} changes`);
    for (const w of watchers) assert.deepEqual(told(w).sort(), [...want].sort());
  };
  const here = await ctx.client(nodes[0], { user: 'alice', device: 'a' });
  const there = await ctx.client(nodes[2], { user: 'alice', device: 'b' });
  await join(here, room);
  await join(there, room);
  for (const i of range(10)) await join(await ctx.client(nodes[2], { user: `u${i}` }), room);
  const came = ['alice join', ...range(10).map((i) => `u${i} join`)];
  await both(came);
  await here.close();
  const back = await ctx.client(nodes[1], { user: 'alice', device: 'a' });
  await join(back, room); // on two nodes again: no edge
  await nodes[2].crash();
  const gone = range(10).map((i) => `u${i} leave`);
  for (const w of watchers) await w.when(() => gone.every((g) => told(w).includes(g)), 'all leaves', scaled(5000));
  await both([...came, ...gone]); // alice is still there
  for (const b of nodes.slice(0, 2)) assert.deepEqual(await present(b, room), ['alice', 'watcher0', 'watcher1']);
  await back.close();
  await both([...came, ...gone, 'alice leave']);
});

scenario('presence over a restart of Redis: who stayed is not told of, who left meanwhile is, once', { timeout: 90000 }, async (ctx) => {
  const redis = await ctx.ownRedis();
  const nodes = await cluster(ctx, redis, 2);
  const room = 'h.who';
  const watcher = await ctx.client(nodes[0], { user: 'watcher' });
  await join(watcher, room, { presence: true });
  const clients = new Map();
  for (const user of ['alice', 'bob', 'carol']) {
    clients.set(user, await ctx.client(nodes[1], { user }));
    await join(clients.get(user), room);
  }
  const told = () => watcher.frames.filter((m) => m.type === 'presence').map((m) => `${m.user} ${m.change}`);
  await watcher.when(() => told().length === 3, 'three have come');
  await redis.kill();
  await until(async () => (await nodes[1].request('GET', '/readyz')).status === 503, 'it is noticed');
  await clients.get('bob').close();
  await redis.up();
  await ready(...nodes);
  await watcher.when(() => told().includes('bob leave'), 'the leave is told');
  await join(await ctx.client(nodes[1], { user: 'dave' }), room);
  await watcher.when(() => told().includes('dave join'), 'and what comes after it');
  assert.deepEqual(told().slice(3).sort(), ['bob leave', 'dave join']);
  assert.deepEqual(await present(nodes[1], room), ['alice', 'carol', 'dave', 'watcher']);
});
