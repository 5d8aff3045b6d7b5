/* Several nodes on one Redis, haproxy in front, and Redis going away under load. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DEADLINE, assert, scenario, until } from './lib/harness.mjs';
import { Proc, freePort, removeDir, tempDir } from './lib/proc.mjs';
import { certificate } from './lib/tls.mjs';

const EXPLICIT = { ack: 'explicit' };

async function ready(broker) {
  await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz');
}

async function cluster(ctx, redis, n, options = {}) {
  const prefix = ctx.newPrefix();
  const nodes = await Promise.all([...Array(n).keys()].map((i) => ctx.broker({ redis, prefix, ...options, args: ['--node', `n${i}`, ...(options.args || [])] })));
  for (const b of nodes) await ready(b);
  for (const b of nodes) await until(async () => (await b.metric('crier_nodes')) === n, `${b.node} sees ${n} nodes`);
  return nodes;
}

/* What a client got up to (not with) the marker that everybody gets last. */
async function upTo(client, marker) {
  const list = [];
  for (;;) {
    const m = await client.next('message');
    if (m.data === marker) return list;
    list.push(m.data);
  }
}

scenario('three nodes: a PUBLISH to a user, a room or everyone reaches each connection once', { core: true }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 3);
  const clients = [];
  for (const [i, b] of nodes.entries()) {
    clients.push(await ctx.client(b, { user: 'alice', device: `json-${i}` }));
    clients.push(await ctx.client(b, { user: 'alice', device: `mp-${i}`, codec: 'msgpack' }));
  }
  for (const c of clients) await c.join('news');
  const bob = await ctx.client(nodes[2], { user: 'bob' });
  const n = 30;
  for (let i = 0; i < n; i++) {
    await backend.publish(`${ctx.prefix}user:alice`, `{"data":"u${i}"}`);
    await backend.publish(`${ctx.prefix}room:news`, `{"data":"r${i}"}`);
    await backend.publish(`${ctx.prefix}all`, `{"data":"a${i}"}`);
  }
  const expected = (k) => [...Array(n).keys()].map((i) => `${k}${i}`);
  for (const c of clients) {
    const got = (await c.messages(3 * n)).map((m) => m.data);
    for (const k of ['u', 'r', 'a']) assert.deepEqual(got.filter((d) => d[0] === k), expected(k));
  }
  assert.deepEqual((await bob.messages(n)).map((m) => m.data), expected('a'));
  await backend.publish(`${ctx.prefix}all`, 'end');
  for (const c of [...clients, bob]) assert.deepEqual(await upTo(c, 'end'), [], 'nothing came twice');
});

scenario('three nodes: an API push at one node and a client of another reach users wherever they are', { core: true }, async (ctx) => {
  const { redis } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 3);
  const alice = await ctx.client(nodes[0], { user: 'alice', device: 'a', query: EXPLICIT });
  const bob = await ctx.client(nodes[2], { user: 'bob', query: EXPLICIT });
  assert.equal((await nodes[1].push({ user: 'alice', data: 'from the api' })).status, 200);
  assert.equal((await alice.next('message')).data, 'from the api');
  await alice.join('room');
  await bob.join('room');
  await bob.command('send', { user: 'alice', data: 'private' });
  assert.equal((await alice.next('message')).from, 'bob');
  await bob.command('send', { room: 'room', data: 'in the room', echo: false });
  assert.equal((await alice.next('message')).room, 'room');
  await alice.command('send', { all: true, data: 'to all' });
  assert.equal((await bob.next('message')).data, 'to all');
});

scenario('a user who moves to another node finds what was not acknowledged', async (ctx) => {
  const { redis } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 2);
  const first = await ctx.client(nodes[0], { user: 'u', device: 'd', query: EXPLICIT });
  for (let i = 0; i < 4; i++) await nodes[1].push({ user: 'u', data: i });
  const list = await first.messages(4);
  first.ack(list[1].seq);
  await first.settled();
  await first.close();
  const second = await ctx.client(nodes[1], { user: 'u', device: 'd', query: EXPLICIT });
  assert.deepEqual((await second.messages(2)).map((m) => m.data), [2, 3]);
});

scenario('a node killed -9 loses nothing that was stored; its users come back elsewhere', async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 2);
  const c = await ctx.client(nodes[0], { user: 'u', device: 'd', query: EXPLICIT });
  await nodes[1].push({ user: 'u', data: 1 });
  await c.next('message');
  await nodes[0].crash();
  await nodes[1].push({ user: 'u', data: 2 });
  const again = await ctx.client(nodes[1], { user: 'u', device: 'd', query: EXPLICIT });
  assert.deepEqual((await again.messages(2)).map((m) => m.data), [1, 2]);
  await until(async () => (await nodes[1].metric('crier_nodes')) === 1, 'the dead node is forgotten');
  await backend.publish(`${ctx.prefix}user:u`, '{"data":3}');
  assert.equal((await again.next('message')).data, 3);
});

async function haproxy(ctx, nodes) {
  const dir = tempDir('crier-haproxy-');
  ctx.defer(() => removeDir(dir));
  for (let attempt = 0; ; attempt++) {
    const port = await freePort();
    const servers = nodes.map((b, i) => `  server n${i} 127.0.0.1:${b.port} check inter 200ms`).join('\n');
    writeFileSync(
      join(dir, 'haproxy.cfg'),
      `global
  maxconn 500
  log stderr format raw local0
defaults
  mode http
  balance roundrobin
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  timeout tunnel 1h
  option httpchk GET /readyz
frontend in
  bind 127.0.0.1:${port} ssl crt ${certificate().pem} alpn http/1.1
  default_backend nodes
backend nodes
${servers}
`,
    );
    const proc = new Proc('haproxy', ['-W', '-db', '-f', join(dir, 'haproxy.cfg')], { name: 'haproxy', env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } });
    ctx.defer(() => proc.kill('SIGTERM'));
    try {
      const probe = { port: 0, tlsPort: port };
      const { request } = await import('./lib/http.mjs');
      await until(
        async () => {
          if (proc.exited) return true;
          return (await request(probe, 'GET', '/healthz', { tls: true })).status === 200;
        },
        'haproxy answers',
        DEADLINE,
      );
      if (proc.exited) throw new Error(`haproxy ended: ${proc.stderr}`);
      return probe;
    } catch (e) {
      if (attempt === 3) throw e;
    }
  }
}

scenario('behind haproxy with TLS and no stickiness', async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const nodes = await cluster(ctx, redis, 3, { args: ['--origins', 'same'] });
  const front = await haproxy(ctx, nodes);
  const clients = [];
  for (let i = 0; i < 9; i++) clients.push(await ctx.client(front, { tls: true, user: `u${i % 3}`, device: `d${i}`, codec: i % 2 ? 'msgpack' : 'json' }));
  const seen = new Set(clients.map((c) => c.welcome.node));
  assert.ok(seen.size >= 2, `all on one node: ${[...seen]}`);
  for (const c of clients) await c.join('r');
  await backend.publish(`${ctx.prefix}room:r`, 'room');
  for (const c of clients) assert.equal((await c.next('message')).data, 'room');
  await backend.publish(`${ctx.prefix}user:u1`, 'direct');
  for (const c of [clients[1], clients[4], clients[7]]) assert.equal((await c.next('message')).data, 'direct');
  await clients[0].command('send', { user: 'u2', data: 'hello' });
  for (const c of [clients[2], clients[5], clients[8]]) assert.equal((await c.next('message')).from, 'u0');
  /* A browser's own origin is that of the proxy. */
  const page = await ctx.client(front, { tls: true, user: 'b', origin: `https://127.0.0.1:${front.tlsPort}` });
  assert.equal(page.welcome.user, 'b');
  /* A node that leaves takes its clients with it and nobody else. */
  await nodes[0].stop();
  for (const c of clients) {
    if (c.welcome.node === nodes[0].node) assert.equal((await c.closed).code, 1001);
  }
  const after = await ctx.client(front, { tls: true, user: 'u9' });
  assert.notEqual(after.welcome.node, nodes[0].node);
});

scenario('Redis killed -9 and restarted under load: connections stay, pushes say so, what was accepted is there', { core: true, timeout: 90000 }, async (ctx) => {
  const redis = await ctx.ownRedis();
  const prefix = ctx.newPrefix();
  const broker = await ctx.broker({ redis, prefix });
  await ready(broker);
  const online = await ctx.client(broker, { user: 'online', device: 'd', query: EXPLICIT });
  const room = await ctx.client(broker, { user: 'member' });
  await room.join('r');

  const accepted = { online: [], away: [] };
  let refused = 0;
  let stop = false;
  const load = async (user) => {
    for (let i = 0; !stop; i++) {
      const r = await broker.push({ user, data: i });
      if (r.status === 200) accepted[user].push(i);
      else {
        assert.equal(r.status, 503, r.text);
        assert.ok(Number(r.headers['retry-after']) >= 1, 'Retry-After');
        refused += 1;
      }
    }
  };
  const reader = (async () => {
    for (;;) {
      const m = await online.next('message', undefined, DEADLINE * 6).catch(() => undefined);
      if (!m) return;
      online.ack(m.seq);
      if (m.data === 'end') return;
    }
  })();
  const loads = [load('online'), load('away')];
  const failed = Promise.all(loads);
  failed.catch(() => {});
  await until(() => accepted.online.length > 20 && accepted.away.length > 20, 'some load');
  await redis.kill();
  await until(() => refused >= 3, 'pushes are refused while Redis is away', DEADLINE * 2);
  await until(async () => (await broker.request('GET', '/readyz')).status === 503, '/readyz is red');
  assert.equal((await broker.request('GET', '/healthz')).status, 200);
  assert.equal(online.closeCode, undefined);
  assert.equal(room.closeCode, undefined);
  /* Somebody new waits until the store is back. */
  const late = ctx.attempt(broker, { user: 'late', device: 'l', query: EXPLICIT });
  await late.opened;
  assert.equal(late.take('welcome'), undefined);

  const had = accepted.away.length;
  await redis.up();
  await until(() => accepted.away.length > had + 20, 'pushes are accepted again', DEADLINE * 3);
  stop = true;
  await failed;
  await ready(broker);
  await late.next('welcome');
  assert.equal((await broker.push({ user: 'online', data: 'end' })).status, 200);
  await reader;
  const got = online.frames.filter((m) => m.type === 'message').map((m) => m.data);
  assert.equal(got.at(-1), 'end');
  const numbers = got.slice(0, -1);
  assert.deepEqual([...numbers].sort((a, b) => a - b), numbers, 'in order');
  assert.equal(new Set(numbers).size, numbers.length, 'once');
  for (const n of accepted.online) assert.ok(numbers.includes(n), `${n} was accepted and is lost`);

  const away = await ctx.client(broker, { user: 'away', device: 'd', query: EXPLICIT });
  const kept = [];
  while (kept.length < away.welcome.pending) {
    const m = await away.next('message');
    kept.push(m.data);
    away.ack(m.seq);
  }
  for (const n of accepted.away.slice(-900)) assert.ok(kept.includes(n), `${n} was accepted and is not in the inbox`);

  /* Rooms and bare publishing work again without anybody joining anew. */
  const backend = await ctx.backend(redis);
  await until(async () => (await backend.publish(`${prefix}room:r`, 'back')) > 0, 'the room is subscribed again');
  assert.equal((await room.next('message')).data, 'back');
  await backend.publish(`${prefix}user:member`, 'direct');
  assert.equal((await room.next('message')).data, 'direct');
});

scenario('started without Redis: not ready, clients wait, and all is well once it comes', async (ctx) => {
  const redis = await ctx.ownRedis();
  await redis.kill();
  const broker = await ctx.broker({ redis, prefix: ctx.newPrefix() });
  assert.equal((await broker.request('GET', '/readyz')).status, 503);
  const c = ctx.attempt(broker, { user: 'u' });
  await c.opened;
  const r = await broker.push({ user: 'u', data: 1 });
  assert.equal(r.status, 503);
  await redis.up();
  await c.next('welcome');
  await ready(broker);
  await broker.push({ user: 'u', data: 2 });
  assert.equal((await c.next('message')).data, 2);
});

scenario('a subscription cut silently is found and mended', async (ctx) => {
  const redis = await ctx.ownRedis();
  const prefix = ctx.newPrefix();
  const broker = await ctx.broker({ redis, prefix });
  await ready(broker);
  const c = await ctx.client(broker, { user: 'u' });
  await c.join('r');
  const backend = await ctx.backend(redis);
  await backend.sendCommand(['CLIENT', 'KILL', 'TYPE', 'pubsub']);
  await until(async () => (await backend.publish(`${prefix}room:r`, 'x')) > 0, 'subscribed again');
  assert.equal((await c.next('message')).data, 'x');
  await broker.push({ user: 'u', data: 'y' });
  assert.equal((await c.next('message')).data, 'y');
});
