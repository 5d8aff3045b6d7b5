/* Connections that fall silent, never answer, never read, or dribble. */
import { DEADLINE, SLOW, assert, scaled, scenario, until } from './lib/harness.mjs';
import { OP, frame, upgradeRequest } from './lib/raw.mjs';

/* On a sanitizer build the machine itself may fall silent for a while. */
const FAST = ['--ping-interval', `${200 * SLOW}ms`, '--idle-timeout', `${700 * SLOW}ms`];

scenario('a silent client is pinged; one that answers stays', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: [...FAST.slice(0, 3), `${2000 * SLOW}ms`] }); // else a busy machine ends it
  const c = await ctx.client(broker, { user: 'u' });
  await c.when(() => c.pings >= 14, 'fourteen pings, well past the idle timeout');
  await broker.push({ user: 'u', data: 1 });
  assert.equal((await c.next('message')).data, 1);
});

scenario('a client that never answers pings is closed', async (ctx) => {
  const broker = await ctx.broker({ args: FAST });
  const c = await ctx.client(broker, { user: 'u', autoPong: false });
  await c.closed;
  assert.ok(c.pings >= 1);
  await until(async () => (await broker.metric('crier_closes_total', 'reason="idle"')) === 1, 'the close is counted');
});

scenario('a socket that goes silent after the upgrade is gone, with everything it held', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: [...FAST, '--room-linger', '100ms'] });
  const r = await ctx.websocket(broker, '/ws?user=ghost');
  await r.message('welcome');
  r.write(frame(OP.TEXT, '{"type":"subscribe","room":"haunted","ref":1}'));
  await r.message('ok');
  r.socket.pause(); // nothing is read, nothing is sent, no FIN
  assert.equal(await broker.metric('crier_users'), 1);
  assert.equal(await broker.metric('crier_rooms'), 1);
  assert.equal(await broker.metric('crier_clients'), 1);
  for (const name of ['crier_clients', 'crier_users', 'crier_rooms']) await until(async () => (await broker.metric(name)) === 0, `${name} back to 0`);
  assert.equal(await broker.metric('crier_closes_total', 'reason="idle"'), 1);
});

scenario('?ping=message: the ping is a message, the pong too', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: FAST });
  for (const codec of ['json', 'msgpack']) {
    const c = await ctx.client(broker, { user: 'u', codec, query: { ping: 'message' }, autoPong: false });
    for (let i = 0; i < 6; i++) {
      await c.next('ping');
      c.write({ type: 'pong' });
    }
    assert.equal(c.closeCode, undefined);
    await c.closed; // and without pongs it ends
  }
});

scenario('a pong to a message ping is evidence for automatic acks', async (ctx) => {
  const broker = await ctx.broker({ args: FAST });
  const c = await ctx.client(broker, { user: 'u', device: 'd', query: { ping: 'message' }, autoPong: false });
  await broker.push({ user: 'u', data: 1 });
  const m = await c.next('message');
  await c.next('ping');
  c.write({ type: 'pong' });
  await until(async () => (await broker.metric('crier_acks_total')) >= 1, 'the cursor written');
  await c.close();
  const again = await ctx.client(broker, { user: 'u', device: 'd' });
  assert.equal(again.welcome.cursor, m.seq);
});

scenario('a client that sends nothing at all is closed at the handshake deadline', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ tls: true, args: ['--handshake-timeout', '300ms'] });
  const plain = await ctx.raw(broker);
  const half = await ctx.raw(broker);
  half.write('GET /ws HTTP/1.1\r\nHost: x\r\n');
  const { default: net } = await import('node:net');
  const silentTls = net.connect({ host: '127.0.0.1', port: broker.tlsPort });
  ctx.defer(() => silentTls.destroy());
  const tlsGone = new Promise((done) => {
    silentTls.on('close', done).on('error', () => {}).resume();
  });
  await plain.gone();
  await half.gone();
  await tlsGone;
  await until(async () => (await broker.metric('crier_closes_total', 'reason="handshake_timeout"')) === 3, 'three timeouts counted');
});

scenario('a request head dribbled forever is cut at the deadline all the same', async (ctx) => {
  const broker = await ctx.broker({ args: ['--handshake-timeout', '500ms'] });
  const r = await ctx.raw(broker);
  const head = 'GET /healthz HTTP/1.1\r\nHost: x\r\n';
  let sent = 0;
  r.write(head);
  await until(
    () => {
      if (r.ended || r.isClosed) return true;
      r.write(`X-${sent++}: y\r\n`.slice(0, 3));
      return false;
    },
    'closed while still sending',
    DEADLINE,
  );
});

scenario('byte by byte: the handshake and frames of every size class', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--max-message', '200KiB', '--max-payload', '200KiB'] });
  const r = await ctx.raw(broker);
  const oneByOne = async (bytes, step = 1) => {
    for (let i = 0; i < bytes.length; i += step) {
      const piece = bytes.subarray(i, i + step);
      await new Promise((done) => {
        r.socket.write(piece, done);
      });
    }
  };
  await oneByOne(Buffer.from(upgradeRequest('/ws?user=slow')));
  assert.match(await r.head(), /^HTTP\/1\.1 101 /);
  await r.message('welcome');
  for (const [size, step] of [
    [20, 1],
    [300, 1],
    [70000, 997],
  ]) {
    await oneByOne(frame(OP.TEXT, JSON.stringify({ type: 'send', user: 'slow', ref: size, data: 'é'.repeat(size / 2) })), step);
    const f = await r.message('message');
    assert.equal(f.data.length, size / 2);
    assert.equal((await r.message('ok')).ref, size);
  }
});

scenario('a request and frames in one packet with the upgrade', async (ctx) => {
  const broker = await ctx.broker();
  const r = await ctx.raw(broker);
  r.write(Buffer.concat([Buffer.from(upgradeRequest('/ws?user=eager')), frame(OP.TEXT, '{"type":"subscribe","room":"a","ref":1}'), frame(OP.PING, 'hi')]));
  assert.match(await r.head(), /^HTTP\/1\.1 101 /);
  const seen = [];
  while (seen.length < 3) {
    const f = await r.nextFrame();
    seen.push(f.opcode === OP.PONG ? `pong ${f.payload}` : JSON.parse(f.payload.toString()).type);
  }
  assert.deepEqual(seen.sort(), ['ok', 'pong hi', 'welcome']);
});

/* What a reader that stopped does to itself, and not to its neighbours. */
async function flood(ctx, broker, priority, total) {
  const good = await ctx.client(broker, { user: 'good' });
  await good.join('flood');
  const stuck = await ctx.websocket(broker, '/ws?user=stuck');
  await stuck.message('welcome');
  stuck.write(frame(OP.TEXT, '{"type":"subscribe","room":"flood","ref":1}'));
  await stuck.message('ok');
  stuck.socket.pause();
  const data = 'x'.repeat(16 * 1024);
  /* The neighbour keeps pace, so whatever it misses it was denied. */
  for (let i = 0; i < total; i++) {
    const r = await broker.push({ room: 'flood', data, priority, id: `m${i}` });
    assert.equal(r.status, 200, r.text);
    assert.equal((await good.next('message')).id, `m${i}`);
  }
  return { good, stuck };
}

scenario('a reader that stops loses live messages, counted, and its neighbours none', { core: true, timeout: 90000 }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--outq-soft', '64KiB', '--outq-hard', '4MiB'] });
  const { stuck } = await flood(ctx, broker, 'normal', 1000);
  await until(async () => (await broker.metric('crier_drops_total', 'reason="normal"')) > 0, 'drops are counted');
  assert.ok((await broker.metric('crier_output_queue_bytes')) <= 4 * 1024 * 1024);
  /* It reads again and goes on with what is there, and lives. */
  stuck.socket.resume();
  const lastOne = (async () => {
    for (;;) if ((await stuck.message('message')).data === 'after') return;
  })();
  await until(async () => {
    await broker.push({ room: 'flood', data: 'after' });
    return (await broker.metric('crier_output_queue_bytes')) === 0;
  }, 'the queue has drained');
  await lastOne;
});

scenario('a reader that stops while messages must not be dropped is closed 4008', { core: true, timeout: 90000 }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--outq-soft', '64KiB', '--outq-hard', '256KiB', '--write-timeout', '60s'] });
  const { stuck } = await flood(ctx, broker, 'high', 800);
  await until(async () => (await broker.metric('crier_closes_total', 'reason="slow_consumer"')) === 1, 'closed as a slow consumer');
  stuck.socket.resume();
  await stuck.gone();
});

scenario('a write without progress ends at its deadline', { timeout: 90000 }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--outq-soft', '512KiB', '--outq-hard', '64MiB', '--write-timeout', `${scaled(500)}ms`, '--idle-timeout', '10m'] });
  await flood(ctx, broker, 'normal', 600);
  await until(async () => (await broker.metric('crier_closes_total', 'reason="write_timeout"')) === 1, 'closed for its write');
});

scenario('stored messages to a reader that stops stay in the inbox', { timeout: 90000 }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--outq-soft', '64KiB', '--outq-hard', '512KiB', '--window', '1000'] });
  const stuck = await ctx.websocket(broker, '/ws?user=stuck&device=d&ack=explicit');
  await stuck.message('welcome');
  stuck.socket.pause();
  const data = 'x'.repeat(32 * 1024);
  const total = 300;
  for (let i = 0; i < total; i++) assert.equal((await broker.push({ user: 'stuck', data: i % 10 ? data : i })).status, 200);
  await until(async () => (await broker.metric('crier_left_to_inbox_total')) > 0, 'some are left to the inbox');
  assert.equal(await broker.metric('crier_drops_total', 'reason="normal"'), 0);
  assert.equal(stuck.isClosed, undefined);
  stuck.socket.resume();
  const got = [];
  while (got.length < total) {
    const m = await stuck.message('message');
    got.push(m.data);
    stuck.write(frame(OP.TEXT, JSON.stringify({ type: 'ack', seq: m.seq })));
  }
  for (let i = 0; i < total; i += 10) assert.equal(got[i], i);
});
