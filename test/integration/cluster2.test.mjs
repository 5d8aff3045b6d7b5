/* Bare publishes, membership and audits of several nodes while they are killed, frozen, restarted, or made deaf. */
import { execFile } from 'node:child_process';
import { connect, createServer } from 'node:net';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { BIN, DEADLINE, SLOW, assert, freeze, scaled, scenario, until } from './lib/harness.mjs';

const EXPLICIT = { ack: 'explicit' };
const run = promisify(execFile);

async function ready(broker) {
  await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz', DEADLINE * 2);
}

async function start(ctx, redis, i, options = {}) {
  /* As quickly as these tests publish, an inbox of the usual length would be full before its node is back. */
  const b = await ctx.broker({ redis, prefix: ctx.prefix, ...options, args: ['--node', `n${i}`, '--inbox-cap', '100000'] });
  await ready(b);
  return b;
}

async function cluster(ctx, redis, n, options = {}) {
  ctx.newPrefix();
  const nodes = [];
  for (let i = 0; i < n; i++) nodes.push(await start(ctx, redis, i, options));
  for (const b of nodes) await until(async () => (await b.metric('crier_nodes')) === n, `${b.node} sees ${n} nodes`);
  return nodes;
}

async function members(b) {
  const r = await b.request('GET', '/api/nodes');
  assert.equal(r.status, 200, r.text);
  return JSON.parse(r.text);
}

/* Users who write down what they get, wherever they are connected. */
class Readers {
  constructor(ctx, n) {
    this.ctx = ctx;
    this.logs = new Map([...Array(n).keys()].map((i) => [`u${i}`, []]));
    this.clients = new Map();
  }

  async connect(user, broker) {
    const c = await this.ctx.client(broker, { user, device: 'd', query: EXPLICIT });
    this.clients.set(user, c);
    (async () => {
      for (;;) {
        const m = await c.next('message', undefined, DEADLINE * 30).catch(() => undefined);
        if (!m) return;
        this.logs.get(user).push(m);
        c.ack(m.seq);
      }
    })();
    return c;
  }

  has(user, n) {
    return this.logs.get(user).some((m) => m.data === n);
  }

  /* Each number that somebody took in is there, once, and each user's seqs grow. */
  async check(published) {
    for (const [n, p] of published.entries()) {
      if (p.receivers > 0) await until(() => this.has(p.user, n), `message ${n} to ${p.user}`, DEADLINE * 2);
    }
    for (const [user, log] of this.logs) {
      const numbers = log.map((m) => m.data);
      assert.equal(new Set(numbers).size, numbers.length, `${user} got something twice: ${numbers.filter((n, i) => numbers.indexOf(n) !== i)}`);
      const seqs = log.map((m) => m.seq);
      assert.deepEqual([...seqs].sort((a, b) => a - b), seqs, `${user}: in order`);
    }
  }
}

/* Publishes numbers, one after the other, until told to stop. */
class Publisher {
  constructor(ctx, backend, users) {
    this.list = [];
    this.stopped = false;
    this.done = (async () => {
      for (let n = 0; !this.stopped; n++) {
        if (this.first) await this.first();
        const user = `u${n % users}`;
        const p = { user, receivers: 0 };
        this.list.push(p);
        p.receivers = await backend.publish(`${ctx.prefix}user:${user}`, String(n)).catch(() => 0);
        if (n % 8 === 7) await new Promise((r) => setTimeout(r, 2));
      }
    })();
  }

  /* Does something between two messages, when all before it have left Redis. */
  between(what) {
    return new Promise((resolve, reject) => {
      this.first = () => {
        this.first = undefined;
        return what().then(resolve, reject);
      };
    });
  }

  async some(n) {
    const from = this.list.length;
    await until(() => this.list.length >= from + n, `${n} more published`, DEADLINE * 3);
  }

  async stop() {
    this.stopped = true;
    await this.done;
    return this.list;
  }
}

scenario('a node that stores bare publishes is killed -9 under load: nothing lost, nothing twice', { core: true, timeout: 120000 }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 4);
  const readers = new Readers(ctx, 8);
  for (let i = 0; i < 8; i++) await readers.connect(`u${i}`, nodes[2 + (i % 2)]);
  const p = new Publisher(ctx, backend, 8);
  await p.some(300);
  await nodes[0].crash();
  await p.some(300);
  await until(async () => (await nodes[3].metric('crier_ingest_reader')) === 1, 'the fourth node has taken its place', DEADLINE * 2);
  await nodes[1].crash();
  await p.some(300);
  await until(async () => (await nodes[2].metric('crier_nodes')) === 2, 'both are known to be dead', DEADLINE * 2);
  await p.some(100);
  await readers.check(await p.stop());
  const replays = async () => (await nodes[2].metric('crier_ingest_replays_total')) + (await nodes[3].metric('crier_ingest_replays_total'));
  assert.ok((await replays()) > 0, 'something was stored in the stead of the dead');
});

scenario('a node frozen for 5 s is fenced, goes on under a new name, and nothing comes twice', { core: true, timeout: 120000 }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 3);
  const readers = new Readers(ctx, 6);
  for (let i = 0; i < 6; i++) await readers.connect(`u${i}`, nodes[i % 3]);
  const old = readers.clients.get('u0').welcome.node;
  const p = new Publisher(ctx, backend, 6);
  await p.some(200);
  await freeze(nodes[0].proc.child);
  await until(async () => (await nodes[1].metric('crier_nodes')) === 2, 'it is taken for dead', DEADLINE * 2);
  await p.some(200);
  nodes[0].proc.child.kill('SIGCONT');
  await until(async () => (await nodes[0].metric('crier_fenced_total')) === 1, 'it is fenced', DEADLINE * 2);
  await ready(nodes[0]);
  await p.some(200);
  await until(async () => (await nodes[1].metric('crier_nodes')) === 3, 'it is back', DEADLINE * 2);
  await readers.check(await p.stop());
  const late = await ctx.client(nodes[0], { user: 'late' });
  assert.notEqual(late.welcome.node, old);
  assert.ok(late.welcome.node.startsWith(old), late.welcome.node);
  const names = (await members(nodes[1])).nodes.map((n) => n.name);
  assert.ok(names.includes(late.welcome.node) && !names.includes(old), names.join(' '));
});

scenario('all subscriptions of all nodes cut, again and again, under load', { timeout: 120000 }, async (ctx) => {
  const redis = await ctx.ownRedis();
  const backend = await ctx.backend(redis);
  const nodes = await cluster(ctx, redis, 3);
  const readers = new Readers(ctx, 6);
  for (let i = 0; i < 6; i++) await readers.connect(`u${i}`, nodes[i % 3]);
  const p = new Publisher(ctx, backend, 6);
  for (let round = 0; round < 5; round++) {
    await p.some(100);
    /* What Redis has not written yet goes with the connection: a call in between has it written. */
    await p.between(async () => {
      await backend.ping();
      await backend.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub']);
    });
    for (const b of nodes) await ready(b);
  }
  await p.some(100);
  await readers.check(await p.stop());
});

scenario('a rolling restart under load loses nothing', { timeout: 180000 }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 3);
  const readers = new Readers(ctx, 6);
  const home = await start(ctx, redis, 3);
  for (let i = 0; i < 6; i++) await readers.connect(`u${i}`, home);
  const p = new Publisher(ctx, backend, 6);
  for (let i = 0; i < 3; i++) {
    await p.some(100);
    await nodes[i].stop();
    nodes[i] = await start(ctx, redis, i);
    await p.some(100);
  }
  await readers.check(await p.stop());
  assert.equal(await home.metric('crier_ingest_lost_total'), 0);
});

scenario('what a killed node had registered is taken back by the others', { core: true, timeout: 90000 }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 3);
  for (let i = 0; i < 20; i++) await ctx.client(nodes[0], { user: `u${i}`, device: 'd' });
  await ctx.client(nodes[1], { user: 'u0', device: 'e' });
  const online = async (user) => JSON.parse((await nodes[2].push({ user, data: 1, ttl: 0 })).text).results[0].online;
  assert.equal(await online('u0'), 2);
  assert.equal(await online('u5'), 1);
  const name = nodes[0].node;
  await nodes[0].crash();
  const began = Date.now();
  const key = async () => (await backend.sendCommand(['KEYS', `${ctx.prefix}{*}:o:${name}`])).length;
  await until(async () => (await key()) === 0, 'no registration is left', DEADLINE * 2);
  assert.ok(Date.now() - began < scaled(7000), 'within a few seconds');
  const presence = await backend.sendCommand(['KEYS', `${ctx.prefix}{*}:m:u*`]);
  for (const k of presence) assert.ok(!(await backend.hGet(k, 'n'))?.includes(name), k);
  assert.equal(await online('u0'), 1);
  assert.equal(await online('u5'), 0);
  await until(async () => (await backend.hGet(`${ctx.prefix}{c}:dead`, name))?.split(' ')[1] === '1', 'it is marked as swept');
});

scenario('every node shows the same members; crierctl nodes prints them', { core: true }, async (ctx) => {
  const { redis } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 4);
  await ctx.client(nodes[3], { user: 'u' });
  await until(async () => (await members(nodes[0])).nodes.filter((n) => n.ingest).length === 3, 'three of them read');
  const lists = await until(async () => {
    const all = await Promise.all(nodes.map(async (b) => JSON.stringify((await members(b)).nodes)));
    return new Set(all).size === 1 && all;
  }, 'one view');
  const list = JSON.parse(lists[0]);
  assert.deepEqual(list.map((n) => n.name), nodes.map((b) => b.node), 'in order of seniority');
  for (const [i, n] of list.entries()) {
    assert.equal(n.address, nodes[i].plain);
    assert.ok(Math.abs(n.since - Date.now()) < scaled(120000), `since ${n.since}`);
  }
  for (const b of nodes) assert.equal((await members(b)).node, b.node);
  const stats = await until(async () => {
    const s = JSON.parse((await nodes[1].request('GET', '/api/stats')).text);
    return s.clients === 1 && s;
  }, 'the client is counted');
  assert.equal(stats.nodes.find((n) => n.name === nodes[3].node).clients, 1);
  const { stdout } = await run(join(dirname(BIN), 'crierctl'), ['nodes', '--url', nodes[2].url]);
  const lines = stdout.trimEnd().split('\n');
  assert.equal(lines.length, 5, stdout);
  for (const [i, b] of nodes.entries()) {
    assert.ok(lines[i + 1].includes(b.node) && lines[i + 1].includes(b.plain), lines[i + 1]);
  }
  const json = await run(join(dirname(BIN), 'crierctl'), ['nodes', '--json', '--url', nodes[2].url]);
  assert.equal(JSON.parse(json.stdout).nodes.length, 4);
});

/* Between a broker and Redis; can fall silent on subscriptions without closing anything. */
class Wire {
  static async open(ctx, port) {
    const w = new Wire();
    w.pairs = new Set();
    w.server = createServer((client) => {
      const upstream = connect(port, '127.0.0.1');
      const pair = { client, upstream, subscribed: false, mute: false };
      w.pairs.add(pair);
      const end = () => {
        w.pairs.delete(pair);
        client.destroy();
        upstream.destroy();
      };
      for (const s of [client, upstream]) s.on('error', end).on('close', end);
      client.on('data', (d) => {
        if (d.includes('SUBSCRIBE')) pair.subscribed = true;
        upstream.write(d);
      });
      upstream.on('data', (d) => {
        if (!pair.mute) client.write(d);
      });
    });
    await new Promise((r) => {
      w.server.listen(0, '127.0.0.1', r);
    });
    ctx.defer(() => w.close());
    w.url = `redis://127.0.0.1:${w.server.address().port}`;
    return w;
  }

  mute() {
    let n = 0;
    for (const p of this.pairs) {
      if (!p.subscribed) continue;
      p.mute = true;
      n += 1;
    }
    return n;
  }

  close() {
    for (const p of this.pairs) p.client.destroy();
    this.server.close();
  }
}

scenario('a subscription that falls silent is cut and made anew within 5 s, and the others fill the hole', { timeout: 90000 }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  ctx.newPrefix();
  const wire = await Wire.open(ctx, redis.port);
  const deaf = await start(ctx, { url: wire.url }, 0);
  const nodes = [await start(ctx, redis, 1), await start(ctx, redis, 2)];
  await until(async () => (await nodes[1].metric('crier_nodes')) === 3, 'three nodes');
  const readers = new Readers(ctx, 6);
  for (let i = 0; i < 6; i++) await readers.connect(`u${i}`, i % 3 === 2 ? deaf : nodes[i % 3]);
  const p = new Publisher(ctx, backend, 6);
  await p.some(100);
  const began = Date.now();
  assert.equal(wire.mute(), 1);
  await until(async () => (await deaf.metric('crier_redis_deaf_total')) === 1, 'it is found', DEADLINE * 2);
  await ready(deaf);
  assert.ok(Date.now() - began < 5500 + 2000 * (SLOW - 1), `${Date.now() - began} ms`);
  await p.some(100);
  await readers.check(await p.stop());
  assert.ok((await nodes[0].metric('crier_holes_total')) > 0, 'it said so');
});

scenario('an audit runs by itself after every join and finds nothing to mend', async (ctx) => {
  const redis = await ctx.ownRedis();
  const backend = await ctx.backend(redis);
  const [b] = await cluster(ctx, redis, 1);
  for (let i = 0; i < 30; i++) await ctx.client(b, { user: `u${i}` });
  await until(async () => (await b.metric('crier_audits_total')) === 1, 'the first one');
  await backend.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub']);
  await until(async () => (await b.metric('crier_audits_total')) === 2, 'one more');
  assert.equal(await b.metric('crier_audit_mended_total'), 0);
  assert.equal((await b.push({ user: 'u3', data: 1 })).status, 200);
  /* A registration that nobody knows of goes with the next one. */
  await backend.sendCommand(['EVAL', "redis.call('SADD', KEYS[1], 'ghost')", '1', (await backend.sendCommand(['KEYS', `${ctx.prefix}{*}:o:*`]))[0]]);
  await backend.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub']);
  await until(async () => (await b.metric('crier_audit_mended_total')) === 1, 'it is taken back');
});
