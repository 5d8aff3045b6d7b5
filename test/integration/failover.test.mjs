/* Redis under the brokers is another one all at once: a replica that lags, one whose clock is behind, a clock that steps, an empty server. */
import { Clock } from './lib/clock.mjs';
import { DEADLINE, assert, scenario, until } from './lib/harness.mjs';
import { RedisProxy } from './lib/redisproxy.mjs';

const EXPLICIT = { ack: 'explicit' };
const RULES = ['--room-history', 'h.*:1000:1h'];

async function ready(...brokers) {
  for (const b of brokers) await until(async () => (await b.request('GET', '/readyz')).status === 200, '/readyz', DEADLINE * 3);
}

async function push(broker, body) {
  return until(async () => {
    const r = await broker.push(body);
    assert.ok(r.status === 200 || r.status === 503, r.text);
    return r.status === 200 && r.json.results[0];
  }, `${JSON.stringify(body)} is taken`, DEADLINE * 2);
}

/* Takes and acknowledges everything; `log` holds it. */
function read(c, ack = true) {
  const log = [];
  (async () => {
    for (;;) {
      const m = await c.next('message', undefined, DEADLINE * 30).catch(() => undefined);
      if (!m) return;
      log.push({ seq: m.seq, data: m.data });
      if (ack && m.seq && !m.room) c.ack(m.seq);
    }
  })();
  return log;
}

const data = (log) => log.map((m) => m.data);

function inOrder(log, who) {
  for (let i = 1; i < log.length; i++) assert.ok(log[i].seq > log[i - 1].seq, `${who}: ${log[i - 1].seq} before ${log[i].seq}`);
}

/* A master and a replica that has stopped to listen to it; the brokers come by a proxy that is led from one to the other. */
async function pair(ctx, behind) {
  const clock = new Clock();
  const master = await ctx.ownRedis();
  const replica = await ctx.ownRedis({ replicaof: `127.0.0.1 ${master.port}` }, clock.env);
  const to = await ctx.backend(replica);
  const proxy = await RedisProxy.start(master);
  ctx.defer(() => proxy.stop());
  return {
    master,
    replica,
    proxy,
    /* From here on the replica misses what is written. */
    async lag() {
      const from = await ctx.backend(master);
      assert.equal(await from.sendCommand(['WAIT', '1', String(DEADLINE)]), 1);
      const offset = async (c) => /master_repl_offset:(\d+)/.exec(await c.sendCommand(['INFO', 'replication']))[1];
      await until(async () => (await offset(to)) === (await offset(from)), 'the replica has it all');
      await to.sendCommand(['REPLICAOF', 'NO', 'ONE']);
      clock.step(-behind);
    },
    async failover() {
      proxy.port = replica.port;
      await master.kill();
      for (const p of [...proxy.pairs]) p.down.destroy();
    },
  };
}

for (const behind of [0, 30]) {
  scenario(`failover to a lagging replica${behind ? ` whose clock is ${behind} s behind` : ''}: its missing tail is gone, nothing later is swallowed, nothing comes twice`, { core: !behind, timeout: 90000 }, async (ctx) => {
    const redis = await pair(ctx, behind);
    ctx.newPrefix();
    const nodes = [];
    for (const i of [0, 1]) nodes.push(await ctx.broker({ redis: redis.proxy, prefix: ctx.prefix, args: [...RULES, '--node', `f${i}`, '--redis-timeout', '500ms'] }));
    await ready(...nodes);
    const online = await ctx.client(nodes[0], { user: 'online', device: 'd', query: EXPLICIT });
    const member = await ctx.client(nodes[1], { user: 'member', device: 'd' });
    await member.join('h.1');
    const logs = { online: read(online), member: read(member) };
    const say = async (n) => {
      for (const target of [{ user: 'online' }, { room: 'h.1' }, { user: 'absent' }]) await push(nodes[n % 2], { ...target, data: n, id: `id-${n}` });
    };
    for (let n = 0; n < 6; n++) await say(n);
    await until(() => logs.online.length === 6 && logs.member.length === 6, 'all before');
    await redis.lag();
    for (let n = 6; n < 12; n++) await say(n);
    await until(() => logs.online.length === 12 && logs.member.length === 12, 'the tail has been delivered');
    await redis.failover();
    for (const b of nodes) await until(async () => (await b.request('GET', '/readyz')).status === 503, 'it is noticed');
    await ready(...nodes);
    for (let n = 12; n < 18; n++) await say(n);
    for (const who of ['online', 'member']) {
      await until(() => logs[who].some((m) => m.data === 17), `${who} hears what comes after`, DEADLINE * 2);
      inOrder(logs[who], who);
      assert.deepEqual(data(logs[who]), [...Array(18).keys()], who);
    }
    const late = await ctx.client(nodes[1], { user: 'absent', device: 'd', query: EXPLICIT });
    const log = read(late, false);
    await until(() => log.some((m) => m.data === 17), 'the absent one comes');
    inOrder(log, 'absent');
    assert.deepEqual(data(log), [0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17], 'the tail is what is missing');
  });
}

scenario('the clock of Redis steps forth and back: seqs grow, nobody looks dead, bare publishes come once', { timeout: 90000 }, async (ctx) => {
  const clock = new Clock();
  const redis = await ctx.ownRedis({}, clock.env);
  const backend = await ctx.backend(redis);
  ctx.newPrefix();
  const nodes = [];
  for (const i of [0, 1, 2]) nodes.push(await ctx.broker({ redis, prefix: ctx.prefix, args: ['--node', `c${i}`] }));
  await ready(...nodes);
  for (const b of nodes) await until(async () => (await b.metric('crier_nodes')) === 3, 'three nodes');
  const names = (await nodes[0].request('GET', '/api/nodes')).json.nodes.map((n) => n.name);
  const c = await ctx.client(nodes[0], { user: 'u', device: 'd', query: EXPLICIT });
  const log = read(c);
  let n = 0;
  const taken = [];
  const say = async (count) => {
    for (let i = 0; i < count; i++, n++) {
      if (n % 2) assert.ok((await backend.publish(`${ctx.prefix}user:u`, String(n))) > 0);
      else await push(nodes[n % 3], { user: 'u', data: n, id: `id-${n}` });
      taken.push(n);
      if (n % 2 === 0) assert.equal((await push(nodes[(n + 1) % 3], { user: 'u', data: n, id: `id-${n}` })).duplicate, true, 'its id is known');
    }
  };
  await say(10);
  for (const step of [3600, -3600, -7200, 0, 86400, 0]) {
    const before = Number((await backend.sendCommand(['TIME']))[0]);
    clock.step(step);
    assert.ok(Math.abs(Number((await backend.sendCommand(['TIME']))[0]) - before) > 1800, 'it did step');
    await say(10);
    await until(() => log.length >= taken.length, `${taken.length} messages, at ${step} s`, DEADLINE * 2);
  }
  await ready(...nodes);
  assert.deepEqual(data(log).sort((a, b) => a - b), taken);
  inOrder(log, 'u');
  for (const b of nodes) assert.equal(await b.metric('crier_fenced_total'), 0);
  assert.deepEqual((await nodes[1].request('GET', '/api/nodes')).json.nodes.map((x) => x.name), names);
});

scenario('FLUSHALL while clients are behind: they go on, and nobody asks Redis for ever for what is gone', { core: true, timeout: 90000 }, async (ctx) => {
  const redis = await ctx.ownRedis();
  const backend = await ctx.backend(redis);
  const prefix = ctx.newPrefix();
  const broker = await ctx.broker({ redis, prefix, args: ['--window', '4'] });
  await ready(broker);
  const c = await ctx.client(broker, { user: 'u', device: 'd', query: EXPLICIT });
  for (let n = 0; n < 20; n++) await push(broker, { user: 'u', data: n });
  const first = await c.messages(4); // the rest waits in an inbox that is about to be gone
  await backend.sendCommand(['FLUSHALL']);
  const before = await broker.metric('crier_fetches_total');
  c.ack(first.at(-1).seq);
  for (let i = 0; i < 50; i++) await c.settled(); // time enough to ask hundreds of times
  const few = async () => assert.ok((await broker.metric('crier_fetches_total')) - before < 20, 'a few questions and no more');
  await few();
  await push(broker, { user: 'u', data: 'after' });
  assert.equal((await c.next('message', (m) => m.data === 'after')).data, 'after');
  const poll = async () => (await broker.request('GET', '/poll?user=u&device=p&wait=0')).json.messages;
  await until(async () => (await poll()).some((m) => m.data === 'after') || (await poll()).length === 0, 'a poll is answered');
  await few();
});
