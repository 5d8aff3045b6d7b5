/* The tables of lib/conformance/, row by row, over bare sockets; and docs/conformance.md, which shows them. */
import { randomBytes, randomInt } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { constants, deflateRawSync } from 'node:zlib';
import * as ws from './lib/conformance/rfc6455.mjs';
import * as z from './lib/conformance/rfc7692.mjs';
import { REQUESTS, STRANGERS } from './lib/conformance/rfc9112.mjs';
import { document, inflate, runFrames, runRequest } from './lib/conformance/table.mjs';
import { EventStream, MESSAGES, STREAMS } from './lib/conformance/whatwg_sse.mjs';
import { ROOT, assert, scenario } from './lib/harness.mjs';
import { OP, Raw, frame, upgradeRequest } from './lib/raw.mjs';
import { SECRET } from './lib/tokens.mjs';

const SHORT = 600; // bytes; what is not longer is sent a byte at a time as well
const AT_ONCE = 8;
const OFFER = { 'Sec-WebSocket-Extensions': 'permessage-deflate; client_max_window_bits' };

/* Every row, some at a time; all that are wrong are told, not the first alone. */
async function each(rows, check) {
  const faults = [];
  const left = [...rows].reverse();
  const worker = async () => {
    for (let row = left.pop(); row; row = left.pop()) {
      try {
        await check(row);
      } catch (e) {
        faults.push(`${row[0] ?? ''} ${row[1] ?? row.offer}: ${e.message}`);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  assert.equal(faults.length, 0, `${faults.length} of ${rows.length} rows:\n${faults.join('\n')}`);
}

const ways = (bytes) => (bytes.length <= SHORT ? [0, 1] : [0]);
const same = (got, want, step) => assert.equal(got.join(', '), want.join(', '), step ? 'a byte at a time' : 'whole');

scenario('RFC 6455: handshakes', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  await each(ws.HANDSHAKES, async ([, , { http = 'HTTP/1.1', method = 'GET', ...headers }, status, pattern]) => {
    const r = await ctx.raw(broker);
    r.write(upgradeRequest('/ws?user=c', headers).replace(/^GET (.*) HTTP\/1\.1/, `${method} $1 ${http}`));
    const head = await r.head();
    r.destroy();
    assert.equal(Number(head.split(' ')[1]), status, head);
    if (pattern) assert.match(head, pattern);
    if (status === 426 || status === 101) {
      assert.match(head, /^upgrade: websocket\r$/im);
      assert.match(head, /^connection: upgrade\r$/im);
    }
    if (status === 101) {
      assert.doesNotMatch(head, /^content-length:/im);
      assert.equal(head.match(/^sec-websocket-accept: [A-Za-z0-9+/]{27}=\r$/gim)?.length, 1);
    }
  });
});

scenario('RFC 6455: frames', { core: true, timeout: 120000 }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--echo'] });
  await each(ws.FRAMES, async (row) => {
    for (const step of ways(row[2])) same(await runFrames(broker, row, { step }), row.slice(3), step);
  });
});

scenario('RFC 6455 7.1.7: who breaks the protocol is not waited for', async (ctx) => {
  const broker = await ctx.broker({ args: ['--echo'], shards: 1 });
  const other = await ctx.websocket(broker, '/echo');
  for (const bytes of [frame(3, ''), frame(OP.TEXT, Buffer.from([0xff])), frame(OP.CLOSE, 'x'), frame(OP.TEXT, '', { length: 1 << 24 })]) {
    const r = await ctx.websocket(broker, '/echo');
    r.write(bytes);
    await r.closeFrame();
    /* The thread that failed it has ended it before it answers anybody else; a handful of answers for the kernel. */
    for (let i = 0; i < 50 && !r.ended; i++) {
      other.write(frame(OP.PING, `${i}`));
      assert.equal((await other.nextFrame()).payload.toString(), `${i}`);
    }
    assert.ok(r.ended, 'the TCP connection is closed without an answer to the close frame');
    r.destroy();
  }
});

async function terms(broker, lines) {
  const r = await Raw.open(broker);
  r.write(upgradeRequest('/echo').replace(/\r\n$/, `${lines.map((l) => `Sec-WebSocket-Extensions: ${l}\r\n`).join('')}\r\n`));
  const head = await r.head();
  r.destroy();
  const status = Number(head.split(' ')[1]);
  return status === 101 ? (/^sec-websocket-extensions: (.*)\r$/im.exec(head)?.[1] ?? null) : status;
}

scenario('RFC 7692: offers', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--echo'] });
  await each(z.OFFERS, async ([, , offer, want]) => assert.equal(await terms(broker, offer), want));
});

for (const takeover of [false, true]) {
  scenario(`RFC 7692: every combination of parameters, ${takeover ? 'with' : 'without'} deflate-takeover`, { timeout: 120000 }, async (ctx) => {
    const broker = await ctx.broker({ args: ['--echo', ...(takeover ? ['--deflate-takeover'] : [])] });
    const all = [...z.combinations()];
    assert.equal(all.length, 720);
    await each(all, async (c) => assert.equal(await terms(broker, [c.offer]), z.agreed(c, takeover)));
  });

  scenario(`RFC 7692: every window in both directions, ${takeover ? 'with' : 'without'} deflate-takeover`, { timeout: 120000 }, async (ctx) => {
    const broker = await ctx.broker({ args: ['--echo', '--deflate-min', '1', ...(takeover ? ['--deflate-takeover'] : [])] });
    await each([9, 10, 11, 12, 13, 14, 15].map((bits) => [bits, 'bits']), async ([bits]) => {
      const r = await ctx.websocket(broker, '/echo', { headers: { 'Sec-WebSocket-Extensions': `permessage-deflate; server_no_context_takeover; server_max_window_bits=${bits}; client_max_window_bits=${bits}` } });
      const near = randomBytes(200);
      /* Repetitions at every distance: one that is farther than the window must not be used. */
      for (const gap of [0, 100, (1 << bits) - 500, 1 << bits, (1 << bits) + 500, 60000]) {
        const m = Buffer.concat([near, Buffer.alloc(Math.max(0, Math.min(gap, 60000))), near]);
        r.write(frame(OP.BINARY, z.squeeze(m, { windowBits: bits }), { rsv: 4 }));
        const f = await r.nextFrame();
        assert.equal(f.opcode, OP.BINARY);
        assert.ok((f.rsv ? inflate(f.payload, bits) : f.payload).equals(m), `a distance of ${gap}`);
        if (gap > 1000) assert.equal(f.rsv, 4, 'compressed');
      }
      r.destroy();
    });
  });
}

scenario('RFC 7692: frames', { core: true, timeout: 120000 }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--echo'] });
  await each(z.FRAMES, async (row) => {
    for (const step of ways(row[2])) same(await runFrames(broker, row, { headers: OFFER, step }), row.slice(3), step);
  });
});

scenario("RFC 7692 7.2.3.2: a client's context goes on where takeover was agreed, and is not touched by what is not compressed", async (ctx) => {
  const broker = await ctx.broker({ args: ['--echo', '--deflate-takeover'] });
  const hello = frame(OP.TEXT, Buffer.from('f248cdc9c90700', 'hex'), { rsv: 4 });
  const again = frame(OP.TEXT, Buffer.from('f200110000', 'hex'), { rsv: 4 }); // the same out of the context
  const row = ['7.2.3.2', '', Buffer.concat([hello, frame(OP.TEXT, 'plain'), again, frame(OP.PING, ''), again]), 'text Hello', 'text plain', 'text Hello', 'pong ', 'text Hello'];
  for (const step of [0, 1]) same(await runFrames(broker, row, { headers: OFFER, step }), row.slice(3), step);
});

scenario('RFC 9112: requests', { core: true, timeout: 180000 }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--echo'] });
  await each(REQUESTS, async (row) => {
    for (const step of ways(row[2])) {
      const [got, want] = await runRequest(broker, row, { step });
      same(got, want, step);
    }
  });
});

scenario('RFC 9110: who is a stranger is told how not to be one', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ dev: false, args: ['--jwt-key', `HS256:${SECRET}`, '--api-key', 'the-api-key-of-these-tests-0123'] });
  await each(STRANGERS, async (row) => same(...(await runRequest(broker, row)), 0)); // whole: a body that is not there yet ends the connection
});

scenario('all of these rows over TLS', { timeout: 180000 }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--echo'], tls: true });
  const rows = REQUESTS.filter(([, what]) => what !== 'a TLS hello');
  await each(ws.FRAMES, async (row) => same(await runFrames(broker, row, { useTls: true }), row.slice(3), 0));
  await each(z.FRAMES, async (row) => same(await runFrames(broker, row, { headers: OFFER, useTls: true }), row.slice(3), 0));
  await each(rows, async (row) => same(...(await runRequest(broker, row, { useTls: true })), 0));
});

/* ---- event streams ---- */

/* The bytes of GET /events as they come; the head is left out. */
async function stream(ctx, broker, query) {
  const r = await ctx.raw(broker);
  r.write(`GET /events?${query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n`);
  const head = await r.head();
  assert.match(head, /^HTTP\/1\.1 200 /);
  return [r, head];
}

scenario('server-sent events: the parser', { core: true }, async () => {
  for (const [what, text, events] of STREAMS) {
    const bytes = Buffer.from(text);
    assert.deepEqual(new EventStream().feed(bytes).events, events, what);
    const s = new EventStream();
    for (const b of bytes) s.feed(Buffer.from([b]));
    assert.deepEqual(s.events, events, `${what}, a byte at a time`);
  }
});

scenario('server-sent events: what is published is what the parser finds', { core: true, timeout: 120000 }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--ping-interval', '1s'] });
  const [r, head] = await stream(ctx, broker, 'user=ann&device=d');
  assert.match(head, /^content-type: text\/event-stream(?:; ?charset=utf-8)?\r$/im);
  assert.match(head, /^cache-control: no-cache, no-transform\r$/im);
  assert.doesNotMatch(head, /^content-(?:length|encoding):/im);
  const sent = [];
  for (const [what, data, more = {}] of MESSAGES) {
    const a = await broker.push(`{"user":"ann",${Object.entries(more).map(([k, v]) => `"${k}":${JSON.stringify(v)},`).join('')}"data":${data}}`);
    assert.equal(a.status, 200, `${what}: ${a.text}`);
    sent.push({ what, data, more, ...a.json.results[0] });
  }
  const parsed = () => new EventStream().feed(r.bytes);
  const messages = (s) => s.events.filter((e) => JSON.parse(e.data).type === 'message');
  await r.when(() => messages(parsed()).length >= sent.length, 'all messages');
  await r.when(() => parsed().lines.some((l) => l[0] === ':'), 'a comment');

  const whole = r.bytes;
  assert.doesNotThrow(() => new TextDecoder('utf-8', { fatal: true }).decode(whole));
  assert.notDeepEqual([...whole.subarray(0, 3)], [0xef, 0xbb, 0xbf], 'no byte order mark');
  const s = parsed();
  assert.ok(s.retry >= 1000 && s.retry < 60000, `retry ${s.retry}`);
  const fields = s.lines.filter((l) => l && l[0] !== ':');
  for (const l of fields) assert.match(l, /^(?:data|event|id|retry): /, 'fields of the standard, with a space');
  for (const l of fields.filter((f) => f.startsWith('retry'))) assert.match(l, /^retry: [0-9]+$/);
  for (const l of fields.filter((f) => f.startsWith('id'))) assert.match(l, /^id: [!-~]+$/);
  assert.ok(s.lines.some((l, i) => l[0] === ':' && s.lines[i + 1] === ''), 'comments stand alone');

  let before = '';
  for (const [i, e] of messages(s).entries()) {
    const { what, data, more, seq } = sent[i];
    const m = JSON.parse(e.data);
    assert.deepEqual(m.data, JSON.parse(data), what);
    assert.equal(e.type, more.event ?? 'message', what);
    assert.equal(e.id, seq ? String(seq) : before, what);
    before = e.id;
  }
  for (let round = 0; round < 20; round++) {
    const cut = new EventStream();
    for (let at = 0; at < whole.length; ) {
      const n = 1 + randomInt(round < 10 ? 7 : 4000);
      cut.feed(whole.subarray(at, at + n));
      at += n;
    }
    assert.deepEqual(cut.events, s.events);
  }
});

scenario('docs/conformance.md shows these tables', { core: true }, async () => {
  assert.equal(readFileSync(`${ROOT}/docs/conformance.md`, 'utf8'), document(), 'print it anew: node test/integration/lib/conformance/table.mjs > docs/conformance.md');
});
