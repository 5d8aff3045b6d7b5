/*
 * deflate.test.mjs - permessage-deflate (RFC 7692) with npm ws in every combination of its options, and with frames made
 * by hand: terms, sizes, fragments, broadcasts to mixed clients, bombs, garbage.
 */
import { randomBytes } from 'node:crypto';
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import { assert, scenario, until } from './lib/harness.mjs';
import { frame, OP, upgradeRequest } from './lib/raw.mjs';

const TAIL = Buffer.from([0, 0, 0xff, 0xff]);
const RSV1 = 4;
const MAX_MESSAGE = 65536;
const OFFER = { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' };

/* As RFC 7692 section 7.2.1 wants it. */
function squeeze(data) {
  const z = deflateRawSync(data, { finishFlush: constants.Z_SYNC_FLUSH });
  assert.deepEqual(z.subarray(-4), TAIL);
  return z.subarray(0, -4);
}

function unsqueeze(payload) {
  return inflateRawSync(Buffer.concat([payload, TAIL]), { finishFlush: constants.Z_SYNC_FLUSH });
}

/* n letters that compress well, characters of two to four bytes among them. */
function words(n) {
  return Array.from('wörds, 中文, 🙂 and the same again; '.repeat(Math.ceil(n / 30))).slice(0, n).join('');
}

function combinations() {
  const all = [];
  for (const serverNoContextTakeover of [undefined, true]) { // false would refuse an answer that says so
    for (const clientNoContextTakeover of [undefined, true]) {
      for (const serverMaxWindowBits of [undefined, 9, 12, 15]) {
        for (const clientMaxWindowBits of [undefined, 8, 11, 15]) {
          const o = { serverNoContextTakeover, clientNoContextTakeover, threshold: 0 };
          if (serverMaxWindowBits) o.serverMaxWindowBits = serverMaxWindowBits;
          if (clientMaxWindowBits) o.clientMaxWindowBits = clientMaxWindowBits;
          all.push(o);
        }
      }
    }
  }
  return all;
}

async function echoes(t, broker, deflate) {
  const c = await t.client(broker, { path: '/echo', raw: true, deflate, protocols: [] });
  assert.equal(c.socket.extensions, 'permessage-deflate');
  for (const n of [0, 1, 255, 256, 1000, 20000]) {
    for (const m of [words(n), randomBytes(n), Buffer.alloc(n)]) {
      c.writeRaw(m);
      const f = await c.next('frame');
      assert.equal(f.binary, typeof m !== 'string');
      assert.ok(f.bytes.equals(Buffer.from(m)), `${n} bytes with ${JSON.stringify(deflate)}`);
    }
  }
  await c.close();
}

for (const takeover of [false, true]) {
  scenario(`every combination of ws' options, ${takeover ? 'with' : 'without'} takeover`, { timeout: 120000 }, async (t) => {
    const broker = await t.broker({ args: ['--echo', ...(takeover ? ['--deflate-takeover'] : [])] });
    for (const o of combinations()) await echoes(t, broker, o);
    assert.ok((await broker.metric('crier_inflated_total')) > 500);
    assert.equal(await broker.metric('crier_inflate_failures_total'), 0);
  });

  for (const codec of ['json', 'msgpack']) {
    scenario(`sends and messages in ${codec}, ${takeover ? 'with' : 'without'} takeover`, { core: codec === 'json' }, async (t) => {
      const broker = await t.broker({ args: takeover ? ['--deflate-takeover'] : [] });
      const c = await t.client(broker, { user: 'ann', codec, deflate: { threshold: 0 } });
      for (const n of [3, 200, 300, 5000, 20000]) {
        const data = { text: words(n), list: [1, 2.5, null] };
        await c.command('send', { user: 'ann', data });
        const m = await c.next('message');
        assert.deepEqual(m.data, data);
        c.ack(m.seq);
      }
      assert.ok((await broker.metric('crier_deflated_total')) >= 3);
      assert.ok((await broker.metric('crier_deflate_saved_bytes_total')) > 20000);
    });
  }
}

scenario('a message is compressed once for all who share its form', { core: true }, async (t) => {
  const broker = await t.broker({ shards: 1 });
  const kinds = [
    { deflate: false },
    { deflate: true },
    { deflate: { serverMaxWindowBits: 9 } },
    { deflate: false, codec: 'msgpack' },
    { deflate: true, codec: 'msgpack' },
  ];
  const clients = [];
  for (let i = 0; i < 40; i++) clients.push(await t.client(broker, { user: `u${i}`, ...kinds[i % kinds.length] }));
  const data = { text: words(3000) };
  for (const target of [{ all: true }, { users: clients.map((_, i) => `u${i}`) }]) {
    const before = await broker.metric('crier_deflated_total');
    await broker.push({ ...target, data });
    for (const c of clients) assert.deepEqual((await c.next('message')).data, data);
    const made = (await broker.metric('crier_deflated_total')) - before;
    assert.equal(made, target.all ? 3 : 24); // three forms; a message to a user is his alone
  }
});

scenario('mixed clients of a room, messages of all sizes, two shards', async (t) => {
  const broker = await t.broker({ shards: 2 });
  const clients = [];
  for (let i = 0; i < 12; i++) {
    const deflate = [false, true, { serverMaxWindowBits: 10 }][i % 3];
    clients.push(await t.client(broker, { user: `u${i}`, codec: i % 2 ? 'msgpack' : 'json', deflate }));
  }
  for (const c of clients) await c.join('news');
  const sizes = Array.from({ length: 60 }, (_, i) => i * i);
  await Promise.all(sizes.map((n, i) => broker.push({ room: 'news', data: { i, text: words(n) } })));
  for (const c of clients) {
    const seen = await c.messages(sizes.length);
    assert.deepEqual(seen.map((m) => m.data.i).sort((a, b) => a - b), sizes.map((_, i) => i));
    for (const m of seen) assert.equal(m.data.text, words(sizes[m.data.i]));
  }
});

scenario('a stored message comes compressed to a client that was away', async (t) => {
  const broker = await t.broker();
  const data = words(4000);
  await broker.push({ user: 'ann', data });
  const c = await t.client(broker, { user: 'ann', deflate: true });
  assert.equal((await c.next('message')).data, data);
  assert.ok((await broker.metric('crier_deflated_total')) >= 1);
});

scenario('fragments, with pings in between', async (t) => {
  const broker = await t.broker({ args: ['--echo'] });
  const c = await t.client(broker, { path: '/echo', raw: true, deflate: { threshold: 0 }, protocols: [] });
  const text = Buffer.from(words(9000));
  for (let at = 0; at < text.length; at += 999) { // characters are cut, too
    c.writeRaw(text.subarray(at, at + 999), { fin: at + 999 >= text.length, binary: false, compress: true });
    c.socket.ping(`p${at}`);
  }
  assert.ok((await c.next('frame')).bytes.equals(text));

  const r = await t.websocket(broker, '/echo', { headers: OFFER });
  const z = squeeze(words(500));
  for (let i = 0; i < z.length; i++) { // one byte a frame
    r.write(frame(i ? OP.CONT : OP.TEXT, z.subarray(i, i + 1), { fin: false, rsv: i ? 0 : RSV1 }));
    if (i % 50 === 0) r.write(frame(OP.PING, 'x'));
  }
  r.write(frame(OP.CONT, '', { fin: true }));
  let f;
  do f = await r.nextFrame();
  while (f.opcode === OP.PONG && f.rsv === 0);
  assert.equal(f.rsv, RSV1);
  assert.equal(unsqueeze(f.payload).toString(), words(500));
});

/* Forms of deflate data that zlib does not make with a sync flush. */
scenario('final blocks, stored blocks, several blocks', async (t) => {
  const broker = await t.broker({ args: ['--echo'] });
  const r = await t.websocket(broker, '/echo', { headers: OFFER });
  const final = deflateRawSync('Hello');
  const forms = [
    [Buffer.from('f248cdc9c90700', 'hex'), 'Hello'],
    [Buffer.from('000500faff48656c6c6f00', 'hex'), 'Hello'],
    [Buffer.from('f348cdc9c9070000', 'hex'), 'Hello'],
    [Buffer.from('f248050000' + '00ffff' + 'cac9c90700', 'hex'), 'Hello'],
    [Buffer.concat([final, Buffer.from([0])]), 'Hello'],
    [Buffer.concat([final, final, final, Buffer.from([0])]), 'HelloHelloHello'],
    [Buffer.concat([final, squeeze(' world')]), 'Hello world'],
    [deflateRawSync('x'.repeat(3000), { level: 0, finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4), 'x'.repeat(3000)],
    [Buffer.from([0]), ''],
  ];
  for (const [z, want] of forms) {
    r.write(frame(OP.TEXT, z, { rsv: RSV1 }));
    const f = await r.nextFrame();
    assert.equal((f.rsv ? unsqueeze(f.payload) : f.payload).toString(), want);
  }
  r.write(frame(OP.TEXT, 'plain is fine as well'));
  assert.equal((await r.nextFrame()).payload.toString(), 'plain is fine as well');
});

let evil = 0;

async function closedWith(t, broker, code, ...frames) {
  const r = await t.websocket(broker, `/ws?user=eve${++evil}`, { headers: OFFER });
  await r.message('welcome');
  for (const f of frames) r.write(f);
  const end = await r.closeFrame();
  assert.equal(end.code, code, end.reason);
  r.destroy();
}

scenario('what is no deflate data, too big, or not text ends the connection', { core: true }, async (t) => {
  const broker = await t.broker();
  const bad = (z) => frame(OP.TEXT, z, { rsv: RSV1 });
  await closedWith(t, broker, 1007, bad(Buffer.from([0xff, 0xff, 0xff])));
  await closedWith(t, broker, 1007, bad(Buffer.from('{"type":"pong"}')));
  await closedWith(t, broker, 1007, bad(squeeze('{"type":"pong"}').subarray(0, 5)));
  await closedWith(t, broker, 1007, bad(''));
  await closedWith(t, broker, 1007, bad(squeeze(Buffer.from([0x22, 0xc3, 0x28, 0x22]))));
  await closedWith(t, broker, 1007, bad(squeeze(Buffer.from([0x22, 0xe2, 0x82]))));
  await closedWith(t, broker, 1007, bad(randomBytes(3000)));
  assert.equal(await broker.metric('crier_inflate_failures_total', 'bad_data'), 7);

  const bomb = squeeze(Buffer.alloc(50 * 1024 * 1024, 0x20));
  assert.ok(bomb.length < MAX_MESSAGE);
  await closedWith(t, broker, 1009, bad(bomb));
  await closedWith(t, broker, 1009, bad(squeeze(words(MAX_MESSAGE + 1))));
  await closedWith(t, broker, 1009, ...[0, 1, 2, 3, 4].map((i) => frame(i ? OP.CONT : OP.TEXT, randomBytes(30000), { fin: false, rsv: i ? 0 : RSV1 })));
  assert.equal(await broker.metric('crier_inflate_failures_total', 'too_big'), 2);

  const c = await t.client(broker, { user: 'ann', deflate: { threshold: 0 } }); // the broker is well
  await c.settled();
});

scenario('many bombs at once cost their limit, not their size', async (t) => {
  const broker = await t.broker();
  const bomb = frame(OP.TEXT, squeeze(Buffer.alloc(60 * 1024 * 1024)), { rsv: RSV1 });
  const all = Array.from({ length: 30 }, () => closedWith(t, broker, 1009, bomb));
  await Promise.all(all);
  assert.equal(await broker.metric('crier_inflate_failures_total', 'too_big'), 30);
});

scenario('a message of the greatest length may be compressed, whatever it holds', async (t) => {
  const broker = await t.broker({ args: ['--echo'] });
  const r = await t.websocket(broker, '/echo', { headers: OFFER });
  for (const m of [randomBytes(MAX_MESSAGE), Buffer.alloc(MAX_MESSAGE)]) {
    r.write(frame(OP.BINARY, squeeze(m), { rsv: RSV1 }));
    const f = await r.nextFrame();
    assert.ok((f.rsv ? unsqueeze(f.payload) : f.payload).equals(m));
    assert.equal(f.rsv, m[0] === 0 && m[1] === 0 ? RSV1 : 0); // noise goes back as it is
  }
  r.write(frame(OP.BINARY, squeeze(randomBytes(MAX_MESSAGE + 1)), { rsv: RSV1 }));
  assert.equal((await r.closeFrame()).code, 1009);
});

scenario('reserved bits where they do not belong', { core: true }, async (t) => {
  const broker = await t.broker();
  const z = squeeze('{"type":"pong"}');
  await closedWith(t, broker, 1002, frame(OP.PING, z, { rsv: RSV1 }));
  await closedWith(t, broker, 1002, frame(OP.CLOSE, Buffer.from([3, 232]), { rsv: RSV1 }));
  await closedWith(t, broker, 1002, frame(OP.TEXT, z.subarray(0, 3), { rsv: RSV1, fin: false }), frame(OP.CONT, z.subarray(3), { rsv: RSV1 }));
  await closedWith(t, broker, 1002, frame(OP.TEXT, '{"ty', { fin: false }), frame(OP.CONT, z, { rsv: RSV1 }));
  for (const rsv of [1, 2, 3, 5, 6, 7]) await closedWith(t, broker, 1002, frame(OP.TEXT, z, { rsv }));

  const r = await t.websocket(broker, '/ws?user=eve'); // nothing negotiated
  await r.message('welcome');
  r.write(frame(OP.TEXT, z, { rsv: RSV1 }));
  assert.equal((await r.closeFrame()).code, 1002);
});

async function terms(t, broker, offer) {
  const r = await t.raw(broker);
  const lines = [].concat(offer).map((o) => `Sec-WebSocket-Extensions: ${o}\r\n`).join('');
  r.write(upgradeRequest('/ws?user=eve').replace(/\r\n$/, `${lines}\r\n`));
  const head = await r.head();
  r.destroy();
  const answer = /^sec-websocket-extensions: (.*)\r$/im.exec(head)?.[1];
  return { status: Number(head.split(' ')[1]), answer };
}

const BOTH = 'permessage-deflate; server_no_context_takeover; client_no_context_takeover';

scenario('the terms in the answer', { core: true }, async (t) => {
  const broker = await t.broker();
  const cases = [
    ['permessage-deflate', BOTH],
    ['permessage-deflate; client_max_window_bits', BOTH],
    ['permessage-deflate; server_max_window_bits="10"; client_max_window_bits=9', `${BOTH}; server_max_window_bits=10; client_max_window_bits=9`],
    ['permessage-deflate; server_max_window_bits=8', undefined],
    ['permessage-deflate; server_max_window_bits=8, permessage-deflate; client_max_window_bits', BOTH],
    [['foo; bar', 'permessage-deflate; nonsense', 'permessage-deflate; server_max_window_bits=9'], `${BOTH}; server_max_window_bits=9`],
    ['permessage-deflate; server_no_context_takeover; server_no_context_takeover', undefined],
    ['x-webkit-deflate-frame', undefined],
  ];
  for (const [offer, want] of cases) {
    const got = await terms(t, broker, offer);
    assert.equal(got.status, 101);
    assert.equal(got.answer, want, String(offer));
  }
  for (const offer of ['permessage-deflate;', '', 'permessage-deflate; server_max_window_bits="10', 'a b', ['permessage-deflate', '=']]) {
    assert.equal((await terms(t, broker, offer)).status, 400, String(offer));
  }
});

scenario('options: off, the shortest message, contexts', async (t) => {
  const off = await t.broker({ args: ['--no-deflate'] });
  assert.equal((await terms(t, off, 'permessage-deflate')).answer, undefined);
  assert.equal((await terms(t, off, 'permessage-deflate;')).status, 400);
  const c = await t.client(off, { user: 'ann', deflate: true });
  assert.equal(c.socket.extensions, '');
  await c.settled();

  const broker = await t.broker({ args: ['--deflate-min', '2KiB', '--deflate-level', '9', '--deflate-takeover'] });
  assert.equal((await terms(t, broker, 'permessage-deflate; client_no_context_takeover')).answer, 'permessage-deflate; client_no_context_takeover');
  const r = await t.websocket(broker, '/ws?user=ann', { headers: OFFER });
  await r.message('welcome');
  const sizes = [];
  for (const data of [words(500), words(3000), words(3000)]) {
    await broker.push({ user: 'ann', data });
    const f = await r.nextFrame();
    assert.equal(f.rsv, data.length < 2048 ? 0 : RSV1);
    sizes.push(f.payload.length);
  }
  assert.ok(sizes[2] < sizes[1], `a repetition in the same context takes less: ${sizes}`);
});

scenario('closing, draining and dying connections with contexts', async (t) => {
  const broker = await t.broker({ args: ['--deflate-takeover'] });
  const clients = [];
  for (let i = 0; i < 30; i++) clients.push(await t.client(broker, { user: `u${i % 7}`, deflate: { threshold: 0 } }));
  for (const c of clients) c.write({ type: 'send', all: true, data: words(2000) });
  await until(async () => (await broker.metric('crier_deflated_total')) > 100, 'messages in contexts');
  for (const [i, c] of clients.entries()) if (i % 3 === 0) c.terminate();
  for (const [i, c] of clients.entries()) if (i % 3 === 1) await c.close();
  await broker.stop();
});
