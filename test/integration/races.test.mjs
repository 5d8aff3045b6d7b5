/* Things that happen at the same time: moving and reading ahead, joining and publishing, connecting and pushing, stopping and pushing. */
import { DEADLINE, assert, scenario, until } from './lib/harness.mjs';
import { OP, frame, upgradeRequest } from './lib/raw.mjs';

const EXPLICIT = { ack: 'explicit' };
const range = (n) => [...Array(n).keys()];

async function ready(broker) {
  await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz');
}

for (const useTls of [false, true]) {
  scenario(`frames that came with the upgrade survive the move to the owning shard${useTls ? ', inside TLS' : ''}`, { core: true }, async (ctx) => {
    const broker = await ctx.broker({ shards: 4, tls: true });
    await Promise.all(
      range(24).map(async (i) => {
        const r = await ctx.raw(broker, { useTls });
        const join = frame(OP.TEXT, `{"type":"subscribe","room":"r${i}","ref":"j"}`);
        const send = frame(OP.TEXT, `{"type":"send","room":"r${i}","data":"${'x'.repeat(3000)}","ref":"s"}`);
        /* A request before it on the same connection, then everything in one write, cut inside the last frame. */
        const all = Buffer.concat([Buffer.from('GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'), Buffer.from(upgradeRequest(`/ws?user=mover-${i}`)), join, frame(OP.PING, 'p'), send]);
        r.write(all.subarray(0, all.length - 1000));
        assert.equal((await r.answer()).status, 200);
        assert.match(await r.head(), /^HTTP\/1\.1 101 /);
        assert.equal((await r.message('welcome')).user, `mover-${i}`);
        r.write(all.subarray(all.length - 1000));
        const seen = new Set();
        while (seen.size < 3) {
          const m = await r.nextFrame();
          if (m.opcode !== OP.TEXT) continue;
          const { type, ref, data } = JSON.parse(m.payload.toString());
          if (type === 'message') assert.equal(data.length, 3000);
          seen.add(ref ?? type);
        }
        assert.deepEqual([...seen].sort(), ['j', 'message', 's']);
      }),
    );
    if (broker.shards > 1) assert.ok((await broker.metric('crier_moved_total')) > 0, 'some moved');
  });
}

scenario('after ok to a subscribe no PUBLISH is missed, joining and leaving over and over', { core: true }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const broker = await ctx.broker({ redis, prefix, args: ['--room-linger', '0'] });
  await ready(broker);
  const clients = await Promise.all(range(4).map((i) => ctx.client(broker, { user: `u${i}` })));
  for (let i = 0; i < 40; i++) {
    const room = `r${i % 3}`;
    await Promise.all(
      clients.map(async (c, k) => {
        await c.join(room);
        await backend.publish(`${prefix}room:${room}`, `"${i}-${k}"`);
        await c.next('message', (m) => m.data === `${i}-${k}` && m.room === room);
        await c.command('unsubscribe', { room });
      }),
    );
  }
  await until(async () => (await broker.metric('crier_rooms')) === 0, 'no room is left over');
});

for (const store of ['memory', 'redis']) {
  scenario(`${store}: a client that keeps breaking off gets every message once and in order`, { core: true, timeout: 90000 }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { shards: 3, args: ['--window', '20'] });
    const total = 300;
    const publisher = (async () => {
      for (let i = 0; i < total; i++) assert.equal((await broker.push({ user: 'u', data: i })).status, 200);
    })();
    publisher.catch(() => {});
    const got = [];
    let last = 0;
    for (let round = 0; got.length < total; round++) {
      const c = await ctx.client(broker, { user: 'u', device: 'd', codec: round % 2 ? 'msgpack' : 'json', query: last ? { ...EXPLICIT, since: String(last) } : EXPLICIT });
      for (let i = 0; i < 15 && got.length < total; i++) {
        const m = await c.next('message');
        assert.ok(m.seq > last, `${m.seq} after ${last}: twice or out of order`);
        last = m.seq;
        got.push(m.data);
        if (i % 3 === 0) c.ack(m.seq);
      }
      if (round % 3) c.terminate();
      else await c.close();
    }
    await publisher;
    assert.deepEqual(got, range(total));
  });
}

scenario('what was answered 200 while the broker stops is kept', { timeout: 90000 }, async (ctx) => {
  const { redis } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const broker = await ctx.broker({ redis, prefix });
  await ready(broker);
  const accepted = [];
  const loads = range(4).map(async (k) => {
    for (let i = 0; ; i++) {
      const r = await broker.push({ user: 'u', data: `${k}-${i}` }).catch(() => undefined);
      if (!r || r.status !== 200) return;
      accepted.push(`${k}-${i}`);
    }
  });
  await until(() => accepted.length > 50, 'some load');
  assert.equal((await broker.stop()).code, 0);
  await Promise.all(loads);
  const next = await ctx.broker({ redis, prefix });
  const c = await ctx.client(next, { user: 'u', device: 'd', query: EXPLICIT });
  const got = new Set();
  for (let i = 0; i < c.welcome.pending; i++) {
    const m = await c.next('message');
    got.add(m.data);
    c.ack(m.seq);
  }
  for (const d of accepted.slice(-900)) assert.ok(got.has(d), `${d} was accepted and is lost`);
});

scenario('hundreds of clients come at once, hear one room, and leave nothing behind', { timeout: 90000 }, async (ctx) => {
  const broker = await ctx.broker({ shards: 4 });
  const n = 300;
  const clients = await Promise.all(range(n).map((i) => ctx.client(broker, { user: `u${i % 100}`, device: `d${i}`, codec: i % 2 ? 'msgpack' : 'json' })));
  await Promise.all(clients.map((c) => c.join('stadium')));
  assert.equal(await broker.metric('crier_clients'), n);
  for (let i = 0; i < 10; i++) assert.equal((await broker.push({ room: 'stadium', data: i })).status, 200);
  await Promise.all(clients.map(async (c) => assert.deepEqual((await c.messages(10)).map((m) => m.data), range(10))));
  assert.ok((await broker.metric('crier_encodings_total')) <= 20 + 8, 'each message is encoded once a codec, not once a receiver');
  await Promise.all(clients.map((c, i) => (i % 2 ? c.close() : c.terminate())));
  for (const name of ['crier_clients', 'crier_users', 'crier_output_queue_bytes']) await until(async () => (await broker.metric(name)) === 0, `${name} back to 0`, DEADLINE * 2);
});

scenario('payloads as large as the options allow, over every way', { timeout: 90000 }, async (ctx) => {
  const broker = await ctx.broker({ tls: true, args: ['--max-payload', '3MiB', '--max-message', '4MiB', '--outq-soft', '32MiB', '--outq-hard', '64MiB'] });
  const json = await ctx.client(broker, { user: 'big', device: 'a', tls: true, query: EXPLICIT });
  const mp = await ctx.client(broker, { user: 'big', device: 'b', codec: 'msgpack', query: EXPLICIT });
  const data = 'é"\\x'.repeat(400000);
  const r = await broker.push({ user: 'big', data });
  assert.equal(r.status, 200, r.text);
  for (const c of [json, mp]) assert.ok((await c.next('message', undefined, DEADLINE * 2)).data === data);
  await mp.command('send', { user: 'big', data });
  for (const c of [json, mp]) assert.ok((await c.next('message', undefined, DEADLINE * 2)).data === data);
  await json.command('send', { user: 'big', data });
  for (const c of [json, mp]) assert.ok((await c.next('message', undefined, DEADLINE * 2)).data === data);
  const over = await broker.push({ user: 'big', data: 'x'.repeat(3 * 1024 * 1024) });
  assert.equal(over.status, 413);
});
