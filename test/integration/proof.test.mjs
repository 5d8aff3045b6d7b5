/*
 * Nothing that was acknowledged is lost: absence, restarts, connect races, several devices, repeated ids, and a Redis
 * that answers badly. CRIER_PROOF=N makes the counts N times as large (10: 100,000 messages, thousands of connects).
 */
import { createHash, randomInt } from 'node:crypto';
import { Clock } from './lib/clock.mjs';
import { DEADLINE, SLOW, assert, scenario, until } from './lib/harness.mjs';
import { RedisProxy } from './lib/redisproxy.mjs';
import { Events } from './lib/sse.mjs';

const TIMES = Number(process.env.CRIER_PROOF) || 1;
const EXPLICIT = { ack: 'explicit' };
const range = (n) => [...Array(n).keys()];
const part = (user) => createHash('sha1').update(user).digest('hex').slice(0, 2);
const sleep = (ms) => new Promise((r) => setTimeout(r, ms));

async function ready(...brokers) {
  for (const b of brokers) await until(async () => (await b.request('GET', '/readyz')).status === 200, '/readyz', DEADLINE * 2);
}

async function inboxes(backend, prefix) {
  const keys = [];
  let at = '0';
  do {
    const [next, some] = await backend.sendCommand(['SCAN', at, 'MATCH', `${prefix}{??}:q:*`, 'COUNT', '1000']);
    at = String(next);
    keys.push(...some);
  } while (at !== '0');
  return keys;
}

const waiting = (backend, prefix, user) => backend.sendCommand(['LLEN', `${prefix}{${part(user)}}:q:${user}`]);

async function inWaves(list, n, fn) {
  for (let i = 0; i < list.length; i += n) await Promise.all(list.slice(i, i + n).map(fn));
}

/* The n next messages of a client, which may be slow to come under load. */
const take = async (c, n) => (await c.messages(n, DEADLINE * 3)).map((m) => ({ seq: m.seq, data: m.data }));

scenario('thousands of messages to absent users outlive broker and Redis, and come in order, once, on another node', { timeout: 120000 * TIMES }, async (ctx) => {
  const users = range(200 * Math.ceil(TIMES / 2)).map((i) => `u${i}`);
  const total = 10000 * TIMES;
  const redis = await ctx.ownRedis();
  const prefix = ctx.newPrefix();
  const cluster = (base) => Promise.all(range(2).map((i) => ctx.broker({ redis, prefix, args: ['--node', `${base}${i}`] })));
  const before = await cluster('old');
  await ready(...before);
  await inWaves(users, 50, async (user) => {
    const c = await ctx.client(before[0], { user, device: 'd', query: EXPLICIT });
    await c.close();
  });
  const sent = new Map(users.map((u) => [u, []]));
  const backend = await ctx.backend(redis);
  await inWaves(range(total), 500, async (i) => {
    const user = users[i % users.length];
    sent.get(user).push(i);
    const r = await backend.sendCommand(['FCALL', 'crier_user', '1', prefix, user, `{"data":${i}}`]);
    assert.equal(r[2], 0, 'stored');
  });
  await Promise.all(before.map((b) => b.crash()));
  await redis.kill();
  await redis.up();
  const after = await cluster('new');
  await ready(...after);
  const again = await ctx.backend(redis);
  await inWaves(users, 50, async (user) => {
    const node = after[1];
    const kind = Number(user.slice(1)) % 3;
    let got;
    if (kind === 2) {
      const e = await Events.open(node, { user, device: 'd' });
      got = await take(e, sent.get(user).length);
      e.close();
    } else {
      const c = await ctx.client(node, { user, device: 'd', codec: kind ? 'msgpack' : 'json', query: EXPLICIT });
      assert.equal(Number(c.welcome.pending), sent.get(user).length);
      got = [];
      while (got.length < sent.get(user).length) {
        got.push(...(await take(c, Math.min(50, sent.get(user).length - got.length))));
        c.ack(got.at(-1).seq);
      }
      await c.settled();
      assert.equal(c.take('message'), undefined, 'nothing came twice');
      await c.close();
    }
    assert.deepEqual(got.map((m) => m.data), sent.get(user));
    if (kind === 2) await (await ctx.client(after[0], { user, device: 'd', query: { since: String(got.at(-1).seq) } })).close();
  });
  await until(async () => (await inboxes(again, prefix)).length === 0, 'all lists are gone after the acks');
});

scenario('a list that nobody acknowledges ends with its last message', async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const prefix = ctx.newPrefix();
  await ready(await ctx.broker({ redis, prefix }));
  for (const ttl of ['100', '1000', '10']) await backend.sendCommand(['FCALL', 'crier_user', '1', prefix, 'u', '1', ttl]);
  const [key] = await inboxes(backend, prefix);
  const left = await backend.sendCommand(['TTL', key]);
  assert.ok(left > 1000 - 60 && left <= 1000 + 300, `the list goes in ${left} s, its last message lives 1000 s`);
});

scenario('lists and all that is known of them go when their time has come, by the clock of Redis', async (ctx) => {
  const DAY = 86400;
  const clock = new Clock();
  const redis = await ctx.ownRedis({}, clock.env);
  const prefix = ctx.newPrefix();
  const broker = await ctx.broker({ redis, prefix });
  await ready(broker);
  const backend = await ctx.backend(redis);
  const send = (user, ttl) => backend.sendCommand(['FCALL', 'crier_user', '1', prefix, user, '1', String(ttl)]);
  for (let i = 0; i < 50; i++) await send(`week${i}`, 7 * DAY);
  await send('quarter', 90 * DAY);
  const known = async () => (await backend.sendCommand(['KEYS', `${prefix}{??}:m:*`])).length;
  assert.equal((await inboxes(backend, prefix)).length, 51);
  clock.step(7 * DAY - 60);
  assert.equal((await inboxes(backend, prefix)).length, 51, 'not before');
  clock.step(7 * DAY + 600);
  assert.deepEqual((await inboxes(backend, prefix)).map((k) => k.split(':q:')[1]), ['quarter']);
  clock.step(60 * DAY);
  assert.equal(await known(), 1, 'what is known of the inbox lives as long as its messages');
  await ready(broker);
  const c = await ctx.client(broker, { user: 'quarter', device: 'd', query: EXPLICIT });
  assert.equal((await c.next('message')).data, 1);
  c.ack(Number(c.frames.at(-1).seq));
  await until(async () => (await inboxes(backend, prefix)).length === 0, 'the last list is gone');
});

scenario('connects race with messages in flight: none is lost, none comes twice', { core: true, timeout: 90000 * TIMES }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const nodes = await Promise.all(range(2).map((i) => ctx.broker({ redis, prefix, args: ['--node', `race${i}`] })));
  await ready(...nodes);
  const n = Math.ceil((300 * TIMES) / SLOW);
  const each = 12;
  await inWaves(range(n), 30, async (k) => {
    const user = `u${k}`;
    const sending = (async () => {
      for (let i = 0; i < each; i++) {
        if (k % 3 === 0) await backend.publish(`${prefix}user:${user}`, String(i));
        else if (k % 3 === 1) await backend.sendCommand(['FCALL', 'crier_user', '1', prefix, user, String(i)]);
        else assert.equal((await nodes[0].push({ user, data: i })).status, 200);
      }
    })();
    sending.catch(() => {});
    for (let i = randomInt(6); i > 0; i--) await sleep(0); // somewhere among them
    const c = await ctx.client(nodes[k % 2], { user, device: 'd', codec: k % 4 < 2 ? 'json' : 'msgpack', query: EXPLICIT });
    const got = await take(c, each);
    await sending;
    await c.settled();
    assert.equal(c.take('message'), undefined, 'nothing came twice');
    assert.deepEqual(got.map((m) => m.data), range(each));
    for (let i = 1; i < each; i++) assert.ok(got[i].seq > got[i - 1].seq);
    await c.close();
  });
});

for (const store of ['memory', 'redis']) {
  scenario(`${store}: a device that is never there holds the others' messages for its session and no longer`, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--session', '2s'] });
    if (store === 'redis') await ready(broker);
    const slow = await ctx.client(broker, { user: 'u', device: 'slow', query: EXPLICIT });
    await slow.close();
    const quick = await ctx.client(broker, { user: 'u', device: 'quick', query: EXPLICIT });
    for (const i of range(50)) assert.equal((await broker.push({ user: 'u', data: i })).status, 200);
    quick.ack((await take(quick, 50)).at(-1).seq);
    await quick.settled();
    const back = await ctx.client(broker, { user: 'u', device: 'slow', query: EXPLICIT });
    assert.deepEqual((await take(back, 50)).map((m) => m.data), range(50), 'the slow one does not lose what the quick one acknowledged');
    await back.close();

    await sleep(4100); // its session ends: nothing tells but the clock
    assert.equal((await broker.push({ user: 'u', data: 'last' })).status, 200);
    quick.ack((await quick.next('message')).seq);
    await quick.settled();
    await quick.close();
    const late = await ctx.client(broker, { user: 'u', device: 'slow', query: EXPLICIT });
    assert.equal(Number(late.welcome.pending), 0, 'the trim went past a device that was not seen for its session');
    if (store === 'redis') assert.deepEqual(await inboxes((await ctx.redis()).backend, ctx.prefix), []);
  });
}

scenario('POST /api/push repeated with its id after the broker was killed at any point of the call stores once', { timeout: 120000 * TIMES }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const stable = await ctx.broker({ redis, prefix, args: ['--node', 'stable', '--inbox-cap', '100000'] });
  await ready(stable);
  let answered = 0;
  let kept = 0;
  const rounds = 15 * TIMES;
  for (let r = 0; r < rounds; r++) {
    const victim = await ctx.broker({ redis, prefix, args: ['--node', 'victim', '--inbox-cap', '100000'] });
    await ready(victim);
    const bodies = range(8).map((k) => ({ user: 'u', data: `${r}-${k}`, id: `id-${r}-${k}` }));
    const first = bodies.map((b) => victim.push(b).then((a) => a.status, () => 0));
    await sleep(randomInt(7));
    await victim.crash();
    answered += (await Promise.all(first)).filter((s) => s === 200).length;
    for (const b of bodies) {
      const a = await stable.push(b);
      assert.equal(a.status, 200, a.text);
      kept += a.json.results[0].duplicate ? 1 : 0;
    }
  }
  assert.ok(kept >= answered, 'what was answered 200 is known as a repetition');
  assert.equal(await waiting(backend, prefix, 'u'), rounds * 8);
  const c = await ctx.client(stable, { user: 'u', device: 'd', query: EXPLICIT });
  const got = [];
  while (got.length < rounds * 8) {
    got.push(...(await take(c, 8)));
    c.ack(got.at(-1).seq);
  }
  assert.equal(new Set(got.map((m) => m.data)).size, rounds * 8);
  console.log(`# ${answered} of ${rounds * 8} were answered before the kill, ${kept} were kept`);
});

/* Each fault lies on the command connection for a while; then it is lifted. */
const BAD_REDIS = {
  'says LOADING': () => ({ instead: '-LOADING Redis is loading the dataset in memory\r\n' }),
  'says READONLY': (w) => (w[0] === 'FCALL' ? { instead: "-READONLY You can't write against a read only replica.\r\n" } : undefined),
  'is out of memory': (w) => (w[1] === 'crier_send' ? { instead: "-OOM command not allowed when used memory > 'maxmemory'.\r\n" } : undefined),
  'has lost its functions': (w) => (w[0] === 'FCALL' && w[1] !== 'crier_version' ? { instead: '-ERR Function not found\r\n' } : undefined),
  'answers garbage': (w) => (w[0] === 'FCALL' ? { instead: '!?{"this is":"not RESP"}\r\n\r\n\0' } : undefined),
  'answers what was not asked': (w) => (w[0] === 'FCALL' ? { instead: '+PONG\r\n' } : undefined),
  'answers nothing': () => ({ after: 'nothing' }),
  'does what it is told and hangs up': (w) => (w[1] === 'crier_send' ? { after: 'cut' } : undefined),
};

for (const [what, rule] of Object.entries(BAD_REDIS)) {
  scenario(`Redis ${what}: callers get 503, nothing acknowledged is lost, all heals by itself`, { core: what.includes('garbage'), timeout: 90000 }, async (ctx) => {
    const { redis } = await ctx.redis();
    const proxy = await RedisProxy.start(redis);
    ctx.defer(() => proxy.stop());
    const prefix = ctx.newPrefix();
    const broker = await ctx.broker({ redis: proxy, prefix, args: ['--redis-timeout', '500ms'] });
    await ready(broker);
    const c = await ctx.client(broker, { user: 'u', device: 'd', query: EXPLICIT });
    const accepted = [];
    const open = [];
    const push = async (data) => {
      const r = await broker.push({ user: 'u', data, id: `id-${data}` });
      if (r.status === 200) accepted.push(data);
      else {
        assert.equal(r.status, 503, r.text);
        assert.ok(r.headers['retry-after'], 'says when to come back');
        open.push(data);
      }
    };
    await push('before');
    proxy.hits = 0;
    proxy.rule = rule;
    for (let i = 0; i < 4; i++) await push(`during-${i}`);
    assert.ok(proxy.hits > 0, 'the fault came to pass');
    assert.ok(open.length > 0, 'callers were told');
    proxy.rule = undefined;
    await ready(broker);
    for (const data of open.splice(0)) {
      await until(async () => {
        const r = await broker.push({ user: 'u', data, id: `id-${data}` });
        return r.status === 200 && accepted.push(data);
      }, `${data} is taken at last`);
    }
    await push('after');
    assert.deepEqual(open, []);
    const got = await take(c, accepted.length);
    await c.settled();
    assert.equal(c.take('message'), undefined, 'nothing came twice');
    assert.deepEqual(got.map((m) => m.data).sort(), accepted.sort());
    for (let i = 1; i < got.length; i++) assert.ok(got[i].seq > got[i - 1].seq);
  });
}

scenario('a Redis that is really full: pushes get 503, acks go on, room makes all well again', { timeout: 90000 }, async (ctx) => {
  const redis = await ctx.ownRedis();
  const prefix = ctx.newPrefix();
  const broker = await ctx.broker({ redis, prefix });
  await ready(broker);
  const backend = await ctx.backend(redis);
  const c = await ctx.client(broker, { user: 'u', device: 'd', query: EXPLICIT });
  for (const i of range(3)) assert.equal((await broker.push({ user: 'u', data: i })).status, 200);
  const list = await take(c, 3);
  await backend.sendCommand(['CONFIG', 'SET', 'maxmemory-policy', 'noeviction', 'maxmemory', '1']);
  const r = await broker.push({ user: 'u', data: 'too much' });
  assert.equal(r.status, 503, r.text);
  await assert.rejects(backend.sendCommand(['FCALL', 'crier_user', '1', prefix, 'u', '1']), /OOM/);
  c.ack(list.at(-1).seq);
  await until(async () => (await waiting(backend, prefix, 'u')) === 0, 'the ack frees what waited');
  assert.equal((await broker.request('GET', '/readyz')).status, 200, 'the node is alive');
  await backend.sendCommand(['CONFIG', 'SET', 'maxmemory', '0']);
  assert.equal((await broker.push({ user: 'u', data: 'room again' })).status, 200);
  assert.equal((await c.next('message')).data, 'room again');
});

scenario('FUNCTION FLUSH and FLUSHALL: the broker loads its functions again and later messages are not swallowed', { timeout: 90000 }, async (ctx) => {
  const redis = await ctx.ownRedis();
  const prefix = ctx.newPrefix();
  const broker = await ctx.broker({ redis, prefix });
  await ready(broker);
  const backend = await ctx.backend(redis);
  const c = await ctx.client(broker, { user: 'u', device: 'd', query: EXPLICIT });
  const push = (data) => until(async () => (await broker.push({ user: 'u', data, id: `id-${data}` })).status === 200, `${data} is taken`);
  await push('one');
  await backend.sendCommand(['FUNCTION', 'FLUSH']);
  await push('two');
  assert.deepEqual((await take(c, 2)).map((m) => m.data), ['one', 'two']);
  await backend.sendCommand(['FLUSHALL']);
  await backend.sendCommand(['FUNCTION', 'FLUSH']);
  await push('three');
  assert.equal((await c.next('message', undefined, DEADLINE * 2)).data, 'three');
});
