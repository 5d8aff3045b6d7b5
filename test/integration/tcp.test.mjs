/* The bare TCP listener: JSON lines and msgpack frames, plain and TLS, the same session as everywhere. */
import { DEADLINE, assert, scenario, until, within } from './lib/harness.mjs';
import { Tcp } from './lib/tcp.mjs';
import { SECRET, now, tokenFor } from './lib/tokens.mjs';
import { certificate } from './lib/tls.mjs';

const LISTEN = ['--tcp-listen', '127.0.0.1:0'];

const push = async (broker, body) => {
  const r = await broker.push(body);
  assert.equal(r.status, 200, r.text);
  return r.json.results[0];
};
const dataOf = (list) => list.map((m) => m.data);
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

async function open(ctx, broker, options) {
  const c = await Tcp.open(broker, options);
  ctx.defer(() => c.destroy());
  return c;
}

for (const store of ['memory', 'redis']) {
  scenario(`${store}: both framings carry messages, commands and answers`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: LISTEN });
    const lines = await open(ctx, broker, { hello: { user: 'alice', device: 'lines' } });
    const packed = await open(ctx, broker, { codec: 'msgpack', hello: { user: 'alice', device: 'packed' } });
    const ws = await ctx.client(broker, { user: 'alice', device: 'page' });
    assert.deepEqual([lines.welcome.user, lines.welcome.device], ['alice', 'lines']);
    assert.deepEqual([packed.welcome.user, packed.welcome.device], ['alice', 'packed']);
    await broker.push('{"user":"alice","event":"greet","data":{"a" :\n [1.0,\r\n"\\n"]}}');
    const [l, p, w] = [await lines.next('message'), await packed.next('message'), await ws.next('message')];
    assert.equal(l.raw, w.raw.replaceAll('\n', ' ').replaceAll('\r', ' '), 'one line, the same otherwise');
    assert.deepEqual(l.data, { a: [1, '\n'] });
    assert.deepEqual(p.data, l.data);
    assert.deepEqual([p.seq, p.id, p.event], [l.seq, l.id, 'greet']);

    for (const c of [lines, packed]) {
      assert.equal((await c.command('subscribe', { room: 'r' })).room, 'r');
      const sent = await c.command('send', { room: 'r', data: c.codec });
      assert.equal(sent.type, 'ok');
      assert.equal((await c.next('message', (m) => m.data === c.codec)).from, 'alice');
      assert.equal((await c.command('nonsense')).code, 'unknown_type');
    }
    assert.equal(await broker.metric('crier_clients', 'transport="tcp"'), 2);
    assert.equal(await broker.metric('crier_clients', 'transport="websocket"'), 1);
  });

  scenario(`${store}: one cursor with the other transports; a newer connection of the device wins`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: LISTEN });
    const tcp = await open(ctx, broker, { hello: { user: 'alice', device: 'd', ack: 'explicit' } });
    for (const n of range(1, 5)) await push(broker, { user: 'alice', data: n });
    const m = await tcp.messages(5);
    assert.equal((await tcp.command('ack', { seq: m[1].seq })).type, 'ok');
    const ws = await ctx.client(broker, { user: 'alice', device: 'd', query: { ack: 'explicit' } });
    assert.equal((await tcp.next('closing')).code, 4010);
    await tcp.gone();
    assert.deepEqual(dataOf(await ws.messages(3)), [3, 4, 5]);
    const again = await open(ctx, broker, { codec: 'msgpack', hello: { user: 'alice', device: 'd', ack: 'explicit', since: m[3].seq } });
    assert.equal((await within(ws.closed, 'the WebSocket ends')).code, 4010);
    assert.deepEqual(dataOf(await again.messages(1)), [5]);
  });

  scenario(`${store}: auto acks on the pong to a ping, sent acks by the kernel`, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: LISTEN });
    const modes = { auto: await open(ctx, broker, { hello: { user: 'a', device: 'd' } }), sent: await open(ctx, broker, { hello: { user: 's', device: 'd', ack: 'sent' } }) };
    const mute = await open(ctx, broker, { hello: { user: 'm', device: 'd' }, autoPong: false });
    for (const user of ['a', 's', 'm']) await push(broker, { user, data: 1 });
    await until(async () => (await broker.metric('crier_acks_total')) >= 2, 'two cursors are written');
    for (const c of Object.values(modes)) await c.next('message');
    await mute.next('ping');
    for (const [user, cursor] of [['a', true], ['s', true], ['m', false]]) {
      const c = await open(ctx, broker, { hello: { user, device: 'd' } });
      assert.equal(c.welcome.pending, cursor ? 0 : 1, user);
    }
    assert.equal(modes.sent.pings, 0, 'nobody asks for evidence there');
  });
}

scenario('a broker that is killed: resumed with since, nothing lost, nothing twice', { core: true }, async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const say = (n) => backend.sendCommand(['FCALL', 'crier_user', '1', prefix, 'alice', JSON.stringify({ data: n })]);
  let broker = await ctx.broker({ redis, prefix, args: LISTEN });
  const got = [];
  for (let round = 0; round < 3; round++) {
    const c = await open(ctx, broker, { codec: round % 2 ? 'msgpack' : 'json', hello: { user: 'alice', device: 'd', ...(got.length ? { since: got.at(-1).seq } : {}) } });
    for (const n of range(1, 10)) await say(20 * round + n);
    await c.when(() => c.frames.filter((m) => m.type === 'message').length >= (round ? 20 : 10), 'this round');
    got.push(...c.frames.filter((m) => m.type === 'message'));
    await broker.crash();
    for (const n of range(11, 20)) await say(20 * round + n);
    broker = await ctx.broker({ redis, prefix, args: LISTEN });
  }
  assert.deepEqual(dataOf(got), range(1, 50));
});

scenario('heartbeats are messages; who does not answer is cut', async (ctx) => {
  const broker = await ctx.broker({ args: [...LISTEN, '--ping-interval', '300ms', '--idle-timeout', '1s'] });
  const good = await open(ctx, broker, { hello: { user: 'a' } });
  const dead = await open(ctx, broker, { hello: { user: 'b' }, autoPong: false });
  await dead.gone();
  assert.ok(dead.pings >= 1);
  await good.when(() => good.pings >= 5, 'five pings');
  assert.equal(good.ended, undefined);
  assert.equal(await broker.metric('crier_closes_total', 'reason="idle"'), 1);
});

scenario('hello: who may, what it holds, what is answered otherwise', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ dev: false, args: [...LISTEN, '--jwt-key', `HS256:${SECRET}`, '--api-key', 'k'.repeat(32), '--handshake-timeout', '1s'] });
  const refused = async (first, code, codec = 'json') => {
    const c = await open(ctx, broker, { codec, hello: null });
    c.write(first);
    const e = await c.next('error');
    assert.equal(e.code, code, JSON.stringify(e));
    assert.ok(e.message.length > 0);
    await c.gone();
    return e;
  };
  for (const codec of ['json', 'msgpack']) {
    assert.equal((await refused({ type: 'hello', ref: 'r', user: 'alice' }, 'unauthorized', codec)).ref, 'r');
    await refused({ type: 'hello', token: 'x.y.z' }, 'bad_token', codec);
    await refused({ type: 'hello', token: tokenFor('alice', { exp: now() - 1000 }) }, 'token_expired', codec);
    await refused({ type: 'subscribe', room: 'r' }, 'bad_request', codec);
    await refused({ token: tokenFor('alice') }, 'bad_request', codec);
    await refused({ type: 'hello', token: tokenFor('alice'), ack: 'maybe' }, 'bad_request', codec);
    await refused({ type: 'hello', token: tokenFor('alice'), since: -1 }, 'bad_request', codec);
    await refused({ type: 'hello', token: tokenFor('alice'), device: 'x'.repeat(65) }, 'bad_request', codec);
  }
  const c = await open(ctx, broker, { hello: { token: tokenFor('alice', { rooms: ['a'] }), user: 'mallory', device: 'd', unknown: 1 } });
  assert.equal(c.welcome.user, 'alice');
  assert.equal((await c.command('subscribe', { room: 'b' })).code, 'forbidden');
  assert.equal((await c.command('subscribe', { room: 'a' })).type, 'ok');
  const silent = await open(ctx, broker, { hello: null });
  await silent.gone();
  const http = await open(ctx, broker, { codec: 'msgpack', hello: null });
  http.socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  assert.equal((await http.next('error')).code, 'too_big');
  await http.gone();
  const short = await open(ctx, broker, { hello: { token: tokenFor('alice', { exp: now() + 3 }) } });
  await short.next('expiring');
  assert.equal((await short.next('closing')).code, 4002);
  await short.gone();
});

scenario('frames in odd pieces; too long, empty and broken ones', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: [...LISTEN, '--max-message', '2KiB', '--max-errors', '3'] });
  const c = await open(ctx, broker, { hello: null });
  const text = '{"type":"hello","user":"alice"}\r\n\r\n\n{"type":"subscribe","ref":1,"room":"r"}\n';
  for (const byte of text) {
    c.socket.write(byte);
    await new Promise((r) => setImmediate(r));
  }
  await c.next('welcome');
  assert.equal((await c.next('ok')).ref, 1);
  /* All at once: hello and what follows it arrive together and move together. */
  for (const codec of ['json', 'msgpack']) {
    const eager = await open(ctx, broker, { codec, hello: null });
    eager.socket.cork();
    eager.write({ type: 'hello', user: `eager-${codec}` });
    for (const n of range(1, 30)) eager.write({ type: 'subscribe', ref: n, room: `r${n}` });
    eager.socket.uncork();
    await eager.when(() => eager.frames.filter((m) => m.type === 'ok').length === 30, 'thirty answers');
  }
  for (const junk of ['nonsense', '[1]', '{"type":"send"}']) c.socket.write(`${junk}\n`);
  for (let n = 0; n < 3; n++) await c.next('error');
  assert.equal((await c.next('closing')).code, 4004);
  await c.gone();

  const fits = await open(ctx, broker, { hello: { user: 'a' } });
  fits.socket.write(`${JSON.stringify({ type: 'pong' }).padEnd(2048)}\r\n`);
  assert.equal((await fits.command('subscribe', { room: 'x' })).type, 'ok');
  fits.socket.write('x'.repeat(2050)); // no line end will make this right
  assert.equal((await fits.next('closing')).code, 1009);
  await fits.gone();
  const packed = await open(ctx, broker, { codec: 'msgpack', hello: { user: 'a' } });
  packed.socket.write(Buffer.from([0, 0, 8, 1]));
  assert.equal((await packed.next('closing')).code, 1009);
  const empty = await open(ctx, broker, { codec: 'msgpack', hello: { user: 'a' } });
  empty.socket.write(Buffer.from([0, 0, 0, 0]));
  assert.equal((await empty.next('closing')).code, 4004);
  await empty.gone();
});

scenario('over TLS, and a stop says goodbye', async (ctx) => {
  const cert = certificate();
  const broker = await ctx.broker({ args: [...LISTEN, '--tcp-tls-listen', '127.0.0.1:0', '--tls-cert', cert.cert, '--tls-key', cert.key] });
  const clients = [];
  for (const codec of ['json', 'msgpack']) clients.push(await open(ctx, broker, { tls: true, codec, hello: { user: `u-${codec}`, device: 'd' } }));
  for (const c of clients) {
    for (const n of range(1, 20)) await push(broker, { user: c.welcome.user, data: { n, fill: 'x'.repeat(3000) } });
    assert.deepEqual((await c.messages(20)).map((m) => m.data.n), range(1, 20));
  }
  await broker.stop();
  for (const c of clients) {
    const bye = await c.next('closing');
    assert.equal(bye.code, 1001);
    assert.ok(bye.retry_after > 0);
    await c.gone();
  }
});

scenario('a reader that stops costs a bounded queue and loses nothing stored', async (ctx) => {
  const broker = await ctx.broker({ args: [...LISTEN, '--outq-soft', '16KiB', '--outq-hard', '256KiB', '--inbox-cap', '5000'] });
  const slow = await open(ctx, broker, { codec: 'msgpack', hello: { user: 'alice', device: 'slow' } });
  slow.socket.pause();
  const big = 'x'.repeat(8000);
  for (let n = 1; n <= 1200; n += 50) await Promise.all(range(n, n + 49).map((k) => push(broker, { user: 'alice', data: { k, big } })));
  assert.ok((await broker.metric('crier_left_to_inbox_total')) > 0, 'the inbox is the queue');
  assert.ok((await broker.metric('crier_output_queue_bytes')) < 64 * 1024);
  slow.socket.resume();
  const list = await slow.messages(1200, DEADLINE * 3);
  assert.deepEqual(new Set(list.map((m) => m.data.k)), new Set(range(1, 1200)));
  assert.ok(list.every((m, i) => i === 0 || m.seq > list[i - 1].seq), 'in order, none twice');
});
