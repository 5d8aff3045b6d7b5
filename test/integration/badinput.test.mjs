/* Everything a client can get wrong, and the answer it gets; and that nobody else notices. */
import { assert, scenario, until } from './lib/harness.mjs';
import { OP, closePayload, frame, upgradeRequest } from './lib/raw.mjs';

const big = (n) => 'x'.repeat(n);

/* ---- WebSocket frames: what is sent after the welcome, and the close code it earns ---- */
const BAD_FRAMES = [
  ['an unmasked frame', frame(OP.TEXT, '{"type":"pong"}', { mask: false }), 1002],
  ['opcode 3', frame(3, 'x'), 1002],
  ['opcode 7', frame(7, ''), 1002],
  ['opcode 11', frame(11, ''), 1002],
  ['RSV1 without deflate', frame(OP.TEXT, 'x', { rsv: 4 }), 1002],
  ['RSV2', frame(OP.TEXT, 'x', { rsv: 2 }), 1002],
  ['RSV3', frame(OP.TEXT, 'x', { rsv: 1 }), 1002],
  ['a fragmented ping', frame(OP.PING, 'x', { fin: false }), 1002],
  ['a ping of 126 bytes', frame(OP.PING, big(126)), 1002],
  ['a close of one byte', frame(OP.CLOSE, 'x'), 1002],
  ['close code 1005', frame(OP.CLOSE, closePayload(1005)), 1002],
  ['close code 1006', frame(OP.CLOSE, closePayload(1006)), 1002],
  ['close code 999', frame(OP.CLOSE, closePayload(999)), 1002],
  ['close code 2999', frame(OP.CLOSE, closePayload(2999)), 1002],
  ['close code 65535', frame(OP.CLOSE, closePayload(65535)), 1002],
  ['a close reason that is no UTF-8', frame(OP.CLOSE, Buffer.concat([closePayload(1000), Buffer.from([0xff])])), [1002, 1007]],
  ['a continuation of nothing', frame(OP.CONT, 'x'), 1002],
  ['a second start inside a message', Buffer.concat([frame(OP.TEXT, 'x', { fin: false }), frame(OP.TEXT, 'y')]), 1002],
  ['text that is no UTF-8', frame(OP.TEXT, Buffer.from([0x22, 0xc3, 0x28, 0x22])), 1007],
  ['UTF-8 broken over fragments', Buffer.concat([frame(OP.TEXT, Buffer.from([0xc3]), { fin: false }), frame(OP.CONT, Buffer.from([0x28]))]), 1007],
  ['a surrogate in UTF-8', frame(OP.TEXT, Buffer.from([0xed, 0xa0, 0x80])), 1007],
  ['text cut inside a character', frame(OP.TEXT, Buffer.from([0xe2, 0x82])), 1007],
  ['a bad first byte of a message that never ends', frame(OP.TEXT, Buffer.from([0xff]), { fin: false }), 1007],
  ['a length not in its shortest form', frame(OP.TEXT, 'x', { wide: true }), 1002],
  ['a length with its top bit set', Buffer.from([0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4]), 1002],
  ['a frame longer than the limit, announced only', frame(OP.TEXT, '', { length: 10 * 1024 * 1024 }), 1009],
  ['fragments longer than the limit together', Buffer.concat([frame(OP.TEXT, big(50000), { fin: false }), frame(OP.CONT, big(50000))]), 1009],
];

scenario('WebSocket frames that are wrong are closed with the right code', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const neighbour = await ctx.client(broker, { user: 'n' });
  for (const [name, bytes, code] of BAD_FRAMES) {
    const r = await ctx.websocket(broker, '/ws?user=bad');
    await r.message('welcome');
    r.write(bytes);
    const close = await r.closeFrame().catch((e) => assert.fail(`${name}: ${e.message}`));
    assert.ok([code].flat().includes(close.code), `${name}: ${close.code} ${close.reason}`);
    assert.ok(close.reason.length > 0, `${name}: a reason`);
    r.destroy();
  }
  await broker.push({ user: 'n', data: 'undisturbed' });
  assert.equal((await neighbour.next('message')).data, 'undisturbed');
  await until(async () => (await broker.metric('crier_closes_total', 'reason="protocol"')) >= 20, 'protocol errors counted');
  assert.ok((await broker.metric('crier_closes_total', 'reason="too_big"')) >= 2);
});

const GOOD_CLOSES = [[], [1000], [1001], [1002], [1003], [1007], [1008], [1009], [1010], [1011], [1012], [1013], [1014], [3000], [3999], [4000], [4999]];

scenario('the close handshake: the code comes back, then the end', async (ctx) => {
  const broker = await ctx.broker();
  for (const [code] of GOOD_CLOSES) {
    const r = await ctx.websocket(broker, '/ws?user=c');
    await r.message('welcome');
    r.write(frame(OP.CLOSE, code ? closePayload(code, 'bye') : ''));
    const back = (await r.closeFrame()).code;
    if (code) assert.equal(back, code);
    else assert.ok([1000, 1005].includes(back), `${back}`);
    await r.gone();
  }
});

scenario('good frames that are rare: fragments with pings between, empty ones, longest ping', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const r = await ctx.websocket(broker, '/ws?user=f');
  await r.message('welcome');
  const text = Buffer.from(JSON.stringify({ type: 'send', user: 'f', data: '€é😀', ref: 'r' }));
  for (let i = 0; i < text.length; i++) {
    r.write(frame(i ? OP.CONT : OP.TEXT, text.subarray(i, i + 1), { fin: i === text.length - 1 }));
    if (i < text.length - 1) r.write(frame(OP.CONT, '', { fin: false }));
    if (i === 5) r.write(frame(OP.PING, 'between'));
  }
  const pong = await r.nextFrame();
  assert.equal(pong.opcode, OP.PONG);
  assert.equal(pong.payload.toString(), 'between');
  assert.equal((await r.message('message')).data, '€é😀');
  r.write(frame(OP.PING, big(125)));
  for (;;) {
    const f = await r.nextFrame();
    if (f.opcode !== OP.PONG) continue;
    assert.equal(f.payload.length, 125);
    break;
  }
  r.write(frame(OP.PONG, 'unasked'));
  r.write(frame(OP.PING, ''));
  assert.equal((await r.nextFrame()).opcode, OP.PONG);
});

/* ---- upgrades; a user or device that cannot be one is as good as no credentials ---- */
const BAD_UPGRADES = [
  ['no key', { 'Sec-WebSocket-Key': undefined }, 400],
  ['a short key', { 'Sec-WebSocket-Key': 'YWJj' }, 400],
  ['a key that is no base64', { 'Sec-WebSocket-Key': '!!!!!!!!!!!!!!!!!!!!!!==' }, 400],
  ['version 8', { 'Sec-WebSocket-Version': '8' }, 426],
  ['no version', { 'Sec-WebSocket-Version': undefined }, [400, 426]],
  ['no upgrade', { Upgrade: undefined, Connection: 'keep-alive' }, [400, 426]],
  ['another upgrade', { Upgrade: 'h2c' }, [400, 426]],
  ['an unknown subprotocol only', { 'Sec-WebSocket-Protocol': 'soap' }, 400],
  ['a user name with a control character', {}, [400, 401], '/ws?user=a%0Ab'],
  ['a user name too long', {}, [400, 401], `/ws?user=${big(129)}`],
  ['a user name that is no UTF-8', {}, [400, 401], '/ws?user=%ff'],
  ['a device name too long', {}, [400, 401], `/ws?user=a&device=${big(65)}`],
  ['broken percent-encoding', {}, [400, 401], '/ws?user=%zz'],
  ['an unknown ack mode', {}, 400, '/ws?user=a&ack=maybe'],
  ['since that is no number', {}, 400, '/ws?user=a&since=yesterday'],
];

scenario('upgrades that are wrong get an HTTP answer that says why', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  for (const [name, headers, status, path] of BAD_UPGRADES) {
    const r = await ctx.raw(broker);
    r.write(upgradeRequest(path || '/ws?user=a', headers));
    const a = await r.answer().catch((e) => assert.fail(`${name}: ${e.message}`));
    assert.ok([status].flat().includes(a.status), `${name}: ${a.status} ${a.body}`);
    const { error } = JSON.parse(a.body);
    assert.ok(error.code && error.message, `${name}: ${a.body}`);
    if (a.status === 426) assert.match(a.head, /^sec-websocket-version: 13\r$/im, name);
    r.destroy();
  }
  const post = await broker.request('POST', '/ws', { body: '' });
  assert.equal(post.status, 405);
});

/* ---- HTTP ---- */
const HOST = 'Host: x\r\n';
const BAD_HTTP = [
  ['no request line at all', 'hello\r\n\r\n', 400],
  ['a lower-case method is unknown', `get / HTTP/1.1\r\n${HOST}\r\n`, [400, 404, 405, 501]],
  ['two spaces', `GET  / HTTP/1.1\r\n${HOST}\r\n`, 400],
  ['no version', `GET /\r\n${HOST}\r\n`, 400],
  ['HTTP/2.0', `GET / HTTP/2.0\r\n${HOST}\r\n`, 505],
  ['HTTP/0.9', 'GET / HTTP/0.9\r\n\r\n', [400, 505]],
  ['no Host', 'GET /healthz HTTP/1.1\r\n\r\n', 400],
  ['two Hosts', `GET /healthz HTTP/1.1\r\n${HOST}${HOST}\r\n`, 400],
  ['a bare LF', 'GET /healthz HTTP/1.1\nHost: x\n\n', 400],
  ['folded header', `GET /healthz HTTP/1.1\r\n${HOST}A: b\r\n c\r\n\r\n`, 400],
  ['a space before the colon', `GET /healthz HTTP/1.1\r\n${HOST}A : b\r\n\r\n`, 400],
  ['a header without a colon', `GET /healthz HTTP/1.1\r\n${HOST}nonsense\r\n\r\n`, 400],
  ['an empty header name', `GET /healthz HTTP/1.1\r\n${HOST}: x\r\n\r\n`, 400],
  ['NUL in a header', `GET /healthz HTTP/1.1\r\n${HOST}A: b\0c\r\n\r\n`, 400],
  ['NUL in the path', `GET /hea\0lthz HTTP/1.1\r\n${HOST}\r\n`, 400],
  ['a huge request line', `GET /${big(9000)} HTTP/1.1\r\n${HOST}\r\n`, 414],
  ['a huge head', `GET /healthz HTTP/1.1\r\n${HOST}A: ${big(9000)}\r\n\r\n`, 431],
  ['too many headers', `GET /healthz HTTP/1.1\r\n${HOST}${'A: b\r\n'.repeat(200)}\r\n`, 431],
  ['both lengths (smuggling)', `POST /api/push HTTP/1.1\r\n${HOST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400],
  ['two lengths (smuggling)', `POST /api/push HTTP/1.1\r\n${HOST}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde`, 400],
  ['a list of lengths (smuggling)', `POST /api/push HTTP/1.1\r\n${HOST}Content-Length: 4, 5\r\n\r\nabcde`, 400],
  ['a negative length', `POST /api/push HTTP/1.1\r\n${HOST}Content-Length: -1\r\n\r\n`, 400],
  ['a length with a plus', `POST /api/push HTTP/1.1\r\n${HOST}Content-Length: +4\r\n\r\nabcd`, 400],
  ['a length beyond 64 bits', `POST /api/push HTTP/1.1\r\n${HOST}Content-Length: 99999999999999999999999\r\n\r\n`, [400, 413]],
  ['an obscured coding (smuggling)', `POST /api/push HTTP/1.1\r\n${HOST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`, [400, 501]],
  ['chunked not last', `POST /api/push HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n`, [400, 501]],
  ['chunked twice', `POST /api/push HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, [400, 501]],
  ['a chunk size that is none', `POST /api/push HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, 400],
  ['a chunk size beyond all bounds', `POST /api/push HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n`, [400, 413]],
  ['a chunk without its CRLF', `POST /api/push HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n`, 400],
  ['a body announced beyond the limit', `POST /api/push HTTP/1.1\r\n${HOST}Content-Length: 500000000\r\n\r\n`, 413],
  ['an unknown path', `GET /nowhere HTTP/1.1\r\n${HOST}\r\n`, 404],
  ['a path up and away', `GET /console/../../etc/passwd HTTP/1.1\r\n${HOST}\r\n`, [400, 404]],
  ['the wrong method', `DELETE /healthz HTTP/1.1\r\n${HOST}\r\n`, 405],
  ['an unknown method', `BREW /healthz HTTP/1.1\r\n${HOST}\r\n`, [405, 501]],
  ['a TLS hello on the plain port', Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3, 0x0d, 0x0a, 0x0d, 0x0a]), 400],
];

scenario('HTTP that is wrong gets a status and a JSON body that names the fault', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  for (const [name, bytes, status] of BAD_HTTP) {
    const r = await ctx.raw(broker);
    r.write(bytes);
    const a = await r.answer().catch((e) => assert.fail(`${name}: ${e.message}`));
    assert.ok([status].flat().includes(a.status), `${name}: ${a.status} ${a.body}`);
    const { error } = JSON.parse(a.body);
    assert.ok(error.code && error.message, `${name}: ${a.body}`);
    if (a.status === 405) assert.match(a.head, /^allow: /im, name);
    r.destroy();
  }
  assert.ok((await broker.metric('crier_http_errors_total', 'class="4xx"')) >= 30);
  assert.equal((await broker.request('GET', '/healthz')).status, 200);
});

scenario('a refused request is not followed by whatever was behind it', async (ctx) => {
  const broker = await ctx.broker();
  const c = await ctx.client(broker, { user: 'victim' });
  const body = '{"user":"victim","data":"smuggled"}';
  const inner = `POST /api/push HTTP/1.1\r\n${HOST}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
  const r = await ctx.raw(broker);
  r.write(`POST /api/push HTTP/1.1\r\n${HOST}Content-Length: ${inner.length}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${inner}`);
  assert.equal((await r.answer()).status, 400);
  await r.gone();
  await broker.push({ user: 'victim', data: 'honest' });
  assert.equal((await c.next('message')).data, 'honest');
});

scenario('keep-alive: many requests on one connection, pipelined, in order; HEAD has no body', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const c = await ctx.client(broker, { user: 'p', query: { ack: 'explicit' } });
  const r = await ctx.raw(broker);
  let all = '';
  for (let i = 0; i < 20; i++) {
    const body = `{"user":"p","data":${i}}`;
    all += `POST /api/push HTTP/1.1\r\n${HOST}Content-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}GET /nowhere${i} HTTP/1.1\r\n${HOST}\r\n`;
  }
  r.write(all);
  for (let i = 0; i < 20; i++) {
    assert.equal((await r.answer()).status, 200);
    assert.equal((await r.answer()).status, 404);
  }
  assert.deepEqual((await c.messages(20)).map((m) => m.data), [...Array(20).keys()]);
  const body = '{"user":"p","data":"chunked"}';
  r.write(`POST /api/push HTTP/1.1\r\n${HOST}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5;ext=1\r\n${body.slice(0, 5)}\r\n${(body.length - 5).toString(16)}\r\n${body.slice(5)}\r\n0\r\nTrailer: x\r\n\r\n`);
  assert.equal((await r.answer()).status, 200);
  assert.equal((await c.next('message')).data, 'chunked');
  r.write(`HEAD /healthz HTTP/1.1\r\n${HOST}Connection: close\r\n\r\n`);
  assert.match(await r.head(), /^HTTP\/1\.1 200 /);
  await r.gone();
  assert.equal(r.bytes.length, 0);
});

scenario('Expect: 100-continue is answered before the body', async (ctx) => {
  const broker = await ctx.broker();
  const r = await ctx.raw(broker);
  const body = '{"user":"x","data":1}';
  r.write(`POST /api/push HTTP/1.1\r\n${HOST}Content-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: ${body.length}\r\n\r\n`);
  assert.match(await r.head(), /^HTTP\/1\.1 100 /);
  r.write(body);
  assert.equal((await r.answer()).status, 200);
});

/* ---- client commands ---- */
const BAD_COMMANDS = [
  ['no JSON', 'hello', 'bad_json'],
  ['JSON that stops', '{"type":"ack"', 'bad_json'],
  ['two values', '{"type":"pong"}{}', 'bad_json'],
  ['a trailing comma', '{"type":"ack","seq":1,}', 'bad_json'],
  ['an array', '[]', ['bad_json', 'bad_request']],
  ['a number', '7', ['bad_json', 'bad_request']],
  ['nothing', '', 'bad_json'],
  ['no type', '{"ref":1}', ['bad_request', 'unknown_type']],
  ['type that is no string', '{"type":7,"ref":1}', ['bad_request', 'unknown_type']],
  ['an unknown type', '{"type":"dance","ref":"r"}', 'unknown_type', 'r'],
  ['ack without seq', '{"type":"ack","ref":2}', 'bad_request', 2, /seq/],
  ['ack with a string', '{"type":"ack","ref":2,"seq":"1"}', 'bad_request', 2, /seq/],
  ['ack with a negative number', '{"type":"ack","ref":2,"seq":-1}', 'bad_request', 2, /seq/],
  ['ack with a fraction', '{"type":"ack","ref":2,"seq":1.5}', 'bad_request', 2, /seq/],
  ['subscribe without a room', '{"type":"subscribe","ref":3}', 'bad_request', 3, /room/],
  ['subscribe to an empty room', '{"type":"subscribe","ref":3,"room":""}', 'bad_request', 3, /room/],
  ['subscribe to a long name', `{"type":"subscribe","ref":3,"room":"${big(129)}"}`, 'bad_request', 3, /room/],
  ['subscribe to a name with a control character', '{"type":"subscribe","ref":3,"room":"a\\u0001"}', 'bad_request', 3, /room/],
  ['send to nobody', '{"type":"send","ref":4,"data":1}', 'bad_request', 4],
  ['send to two targets', '{"type":"send","ref":4,"user":"a","room":"b","data":1}', 'bad_request', 4],
  ['send without data', '{"type":"send","ref":4,"user":"a"}', 'bad_request', 4, /data/],
  ['send with a ttl of the wrong kind', '{"type":"send","ref":4,"user":"a","data":1,"ttl":"x"}', 'bad_request', 4, /ttl/],
  ['send with an unknown priority', '{"type":"send","ref":4,"user":"a","data":1,"priority":"top"}', 'bad_request', 4, /priority/],
  ['echo of the wrong kind', '{"type":"send","ref":4,"room":"a","data":1,"echo":"no"}', 'bad_request', 4, /echo/],
  ['a member twice', '{"type":"ack","ref":5,"seq":1,"seq":2}', 'bad_request', 5, /seq/],
  ['refresh without a token', '{"type":"refresh","ref":6}', 'bad_request', 6, /token/],
  ['too deep', `{"type":"send","ref":7,"user":"a","data":${'['.repeat(2000)}${']'.repeat(2000)}}`, ['too_deep', 'bad_json']],
  ['a ref that is an object', '{"type":"pong","ref":{}}', 'bad_request', undefined, /ref/],
];

scenario('commands that are wrong are answered with a code, the ref, and a sentence', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--max-errors', '1000'] });
  const c = await ctx.client(broker, { user: 'u', query: { ack: 'explicit' } });
  for (const [name, text, code, ref, words] of BAD_COMMANDS) {
    c.writeRaw(text);
    const e = await c.next('error').catch((x) => assert.fail(`${name}: ${x.message}`));
    assert.ok([code].flat().includes(e.code), `${name}: ${JSON.stringify(e)}`);
    assert.ok(e.message.length > 5, name);
    if (ref !== undefined) assert.equal(e.ref, ref, `${name}: ${JSON.stringify(e)}`);
    if (words) assert.match(e.message, words, name);
  }
  assert.equal(await broker.metric('crier_bad_messages_total', 'source="client"'), BAD_COMMANDS.length);
  await c.command('send', { user: 'u', data: 'still well' });
  assert.equal((await c.next('message')).data, 'still well');
});

scenario('msgpack that is wrong is answered the same way; text frames are not msgpack', async (ctx) => {
  const broker = await ctx.broker({ args: ['--max-errors', '1000'] });
  const c = await ctx.client(broker, { user: 'u', codec: 'msgpack' });
  const bad = [[0xc1], [0x81], [0x93, 1, 2], [0xdf, 0xff, 0xff, 0xff, 0xff], [0xdb, 0xff, 0xff, 0xff, 0xff], [0x80, 0x80], [0x81, 0xa4, 0x74, 0x79, 0x70, 0x65, 0xa5, 0x64, 0x61, 0x6e, 0x63, 0x65], Array(3000).fill(0x91)];
  for (const bytes of bad) {
    c.writeRaw(Buffer.from(bytes));
    const e = await c.next('error');
    assert.ok(e.code && e.message, JSON.stringify(e));
  }
  await c.command('send', { user: 'u', data: 1 });
  await c.next('message');
  c.writeRaw('{"type":"pong"}');
  assert.equal((await c.closed).code, 1003);
});

scenario('binary frames are not JSON', async (ctx) => {
  const broker = await ctx.broker();
  const c = await ctx.client(broker, { user: 'u' });
  c.writeRaw(Buffer.from('{"type":"pong"}'), { binary: true });
  assert.equal((await c.closed).code, 1003);
});

scenario('after a few errors the connection is closed 4004', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--max-errors', '3'] });
  const c = await ctx.client(broker, { user: 'u' });
  for (let i = 0; i < 10; i++) c.writeRaw('nonsense');
  assert.equal((await c.closed).code, 4004);
  const errors = c.frames.filter((m) => m.type === 'error').length;
  assert.ok(errors >= 2 && errors <= 4, `${errors} errors were answered`);
});

scenario('a message over the limit is closed 1009 before it is read', async (ctx) => {
  const broker = await ctx.broker({ args: ['--max-message', '2KiB'] });
  const c = await ctx.client(broker, { user: 'u' });
  c.writeRaw(JSON.stringify({ type: 'send', user: 'u', data: big(4000) }));
  assert.equal((await c.closed).code, 1009);
});

scenario('hundreds of bad connections at once leave a good one alone and nothing behind', { timeout: 90000 }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--handshake-timeout', '500ms', '--keepalive-timeout', '500ms'] });
  const good = await ctx.client(broker, { user: 'good', query: { ack: 'explicit' } });
  const waves = [...Array(150).keys()].map(async (i) => {
    const [, bytes] = BAD_HTTP[i % BAD_HTTP.length];
    const r = await ctx.raw(broker);
    if (i % 3) r.write(bytes);
    if (i % 5 === 0) r.destroy();
    else await r.gone().catch(() => {});
    r.destroy();
  });
  for (let i = 0; i < 20; i++) await broker.push({ user: 'good', data: i });
  await Promise.all(waves);
  assert.deepEqual((await good.messages(20)).map((m) => m.data), [...Array(20).keys()]);
  await until(async () => (await broker.metric('crier_connections')) <= 2, 'all gone but the good one and the question itself');
});
