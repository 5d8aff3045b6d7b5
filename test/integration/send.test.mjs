/* POST /send: every client command without a socket, with the answers and the rights of one. */
import { decode, encode } from '@msgpack/msgpack';
import { assert, freeze, scenario, until } from './lib/harness.mjs';
import { Events } from './lib/sse.mjs';
import { SECRET, now, tokenFor } from './lib/tokens.mjs';

const STRICT = { dev: false, args: ['--jwt-key', `HS256:${SECRET}`, '--api-key', 'k'.repeat(32), '--origins', 'https://app.example'] };

const post = (broker, command, { query = {}, headers = {} } = {}) =>
  broker.request('POST', `/send?${new URLSearchParams(query)}`, { body: typeof command === 'string' ? command : JSON.stringify(command), headers });

async function ok(broker, command, options) {
  const r = await post(broker, command, options);
  assert.equal(r.status, 200, r.text);
  assert.equal(r.json.type, 'ok');
  return r.json;
}

async function refused(broker, command, options, status, code) {
  const r = await post(broker, command, options);
  assert.equal(r.status, status, r.text);
  assert.equal(r.json.type, 'error');
  assert.equal(r.json.code, code);
  assert.ok(r.json.message.length > 0);
  return r;
}

async function events(ctx, broker, options) {
  const e = await Events.open(broker, options);
  ctx.defer(() => e.close());
  return e;
}

for (const store of ['memory', 'redis']) {
  scenario(`${store}: sends to a user, a room and all, in both codecs; the same ids are sent once`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const bob = await ctx.client(broker, { user: 'bob' });
    await bob.join('r');
    const as = { query: { user: 'alice' } };
    const one = await ok(broker, { type: 'send', ref: 'x', user: 'bob', data: { n: 1.0 }, event: 'chat', from: 'mallory' }, as);
    const m = await bob.next('message');
    assert.equal(one.ref, 'x');
    assert.equal(one.id, m.id);
    assert.equal(one.seq, m.seq);
    assert.ok(one.online >= 1);
    assert.equal(m.from, 'alice');
    assert.equal(m.event, 'chat');
    await ok(broker, { type: 'send', room: 'r', data: 2 }, as);
    assert.equal((await bob.next('message')).room, 'r');
    await ok(broker, { type: 'send', all: true, data: 3 }, as);
    assert.equal((await bob.next('message')).all, true);
    const first = await ok(broker, { type: 'send', user: 'bob', data: 4, id: 'same' }, as);
    const again = await ok(broker, { type: 'send', user: 'bob', data: 4, id: 'same' }, as);
    assert.equal(again.duplicate, true);
    assert.equal(again.seq, first.seq);
    assert.equal((await bob.next('message')).id, 'same');

    const packed = await broker.request('POST', '/send?user=alice', {
      body: Buffer.from(encode({ type: 'send', ref: 9, user: 'bob', data: new Uint8Array([1, 2]) })),
      headers: { 'content-type': 'application/msgpack' },
    });
    assert.equal(packed.status, 200);
    assert.match(packed.headers['content-type'], /msgpack/);
    const answer = decode(packed.body);
    assert.deepEqual([answer.type, answer.ref], ['ok', 9]);
    const bytes = await bob.next('message');
    assert.equal(bytes.data, 'AQI=');
    assert.equal(bob.take('message'), undefined);
  });

  scenario(`${store}: a posted ack moves the cursor, whether the device is here or away`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const me = { query: { user: 'alice', device: 'page' } };
    const sse = await events(ctx, broker, { user: 'alice', device: 'page', query: { ack: 'explicit' } });
    for (const n of [1, 2, 3]) assert.equal((await broker.push({ user: 'alice', data: n })).status, 200);
    const m = await sse.messages(3);
    assert.equal((await ok(broker, { type: 'ack', seq: m[0].seq, ref: 1 }, me)).ref, 1);
    sse.close();
    await until(async () => (await broker.metric('crier_clients', 'transport="sse"')) === 0, 'it is away');
    const back = await events(ctx, broker, { user: 'alice', device: 'page', query: { ack: 'explicit' } });
    assert.equal(back.welcome.cursor, m[0].seq);
    assert.deepEqual((await back.messages(2)).map((x) => x.data), [2, 3]);
    back.close();
    await until(async () => (await broker.metric('crier_clients', 'transport="sse"')) === 0, 'it is away again');
    await ok(broker, { type: 'ack', seq: m[1].seq }, me);
    const last = await events(ctx, broker, { user: 'alice', device: 'page', query: { ack: 'explicit' } });
    assert.equal(last.welcome.cursor, m[1].seq);
    assert.deepEqual((await last.messages(1)).map((x) => x.data), [3]);
    /* Never past what was given out. */
    await ok(broker, { type: 'ack', seq: 9007199254740000 }, me);
    last.close();
    await until(async () => (await broker.metric('crier_clients', 'transport="sse"')) === 0, 'away');
    const r = await broker.request('GET', '/poll?user=alice&device=page');
    assert.deepEqual(r.json.messages, []);
    assert.equal((await broker.push({ user: 'alice', data: 4 })).status, 200);
    const seen = await broker.request('GET', '/poll?user=alice&device=page&wait=20');
    assert.deepEqual(seen.json.messages.map((x) => x.data), [4]);
  });

  scenario(`${store}: rooms of an event stream change by posts; one's own messages need not come back`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const me = { query: { user: 'alice', device: 'page' } };
    const sse = await events(ctx, broker, { user: 'alice', device: 'page' });
    const desk = await ctx.client(broker, { user: 'alice', device: 'desk' });
    await desk.join('news');
    const joined = await ok(broker, { type: 'subscribe', room: 'news', ref: 5 }, me);
    assert.deepEqual([joined.ref, joined.room], [5, 'news']);
    assert.equal((await ok(broker, { type: 'subscribe', room: 'news' }, me)).room, 'news', 'twice is fine');
    await ok(broker, { type: 'send', room: 'news', data: 'mine', echo: false }, me);
    await ok(broker, { type: 'send', room: 'news', data: 'echoed' }, me);
    assert.equal((await sse.next('message')).data, 'echoed');
    assert.deepEqual((await desk.messages(2)).map((m) => m.data), ['mine', 'echoed']);
    await ok(broker, { type: 'unsubscribe', room: 'news' }, me);
    await refused(broker, { type: 'unsubscribe', room: 'news' }, me, 409, 'not_subscribed');
    await ok(broker, { type: 'send', room: 'news', data: 'not there' }, me);
    await ok(broker, { type: 'send', all: true, data: 'end' }, me);
    assert.equal((await sse.next('message')).data, 'end');
    assert.equal(sse.take('ok'), undefined, 'answers go to who asked');
    /* A stream that ends while its subscription is confirmed. */
    const posts = Array.from({ length: 20 }, (_, n) => post(broker, { type: 'subscribe', room: `r${n}` }, me));
    sse.close();
    for (const p of posts) assert.ok([200, 409].includes((await p).status));
  });
}

for (const store of ['memory', 'redis']) {
  scenario(`${store}: history and presence of a room are asked by posts as over a socket`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--room-history', 'h.*:100:1d', '--presence', 'p.*'] });
    const me = { query: { user: 'alice' } };
    const ws = await ctx.client(broker, { user: 'bob', device: 'desk' });
    await ws.join('p.a');
    for (const n of [1, 2, 3]) assert.equal((await broker.push({ room: 'h.a', data: n })).status, 200);
    const same = async (command) => {
      const posted = await ok(broker, { ref: 'q', ...command }, me);
      const { ref, ...socket } = await ws.command(command.type, command);
      const { ref: mine, ...rest } = posted;
      assert.equal(mine, 'q');
      assert.deepEqual(rest, socket);
      return rest;
    };
    assert.deepEqual((await same({ type: 'history', room: 'h.a', limit: 2 })).messages.map((m) => m.data), [2, 3]);
    const first = await same({ type: 'history', room: 'h.a' });
    assert.deepEqual((await same({ type: 'history', room: 'h.a', since: first.messages[1].seq })).messages.map((m) => m.data), [3]);
    await until(async () => (await same({ type: 'presence', room: 'p.a' })).users.length === 1, 'bob is there');
    await refused(broker, { type: 'history', room: 'p.a', ref: 1 }, me, 501, 'not_available');
    await refused(broker, { type: 'presence', room: 'h.a' }, me, 501, 'not_available');
    await refused(broker, { type: 'history', room: 'h.a', limit: 'x' }, me, 400, 'bad_request');
    const packed = await broker.request('POST', '/send?user=alice', { body: Buffer.from(encode({ type: 'history', room: 'h.a', ref: 7 })), headers: { 'content-type': 'application/msgpack' } });
    assert.equal(packed.status, 200);
    const o = decode(packed.body);
    assert.deepEqual([o.type, o.ref, o.messages.map((m) => m.data)], ['ok', 7, [1, 2, 3]]);
  });
}

scenario('what is wrong is said with the fitting status', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--max-payload', '1KiB', '--max-message', '2KiB', '--max-rooms', '2'] });
  const me = { query: { user: 'alice', device: 'page' } };
  await refused(broker, '{"type":', me, 400, 'bad_json');
  await refused(broker, { type: 'nonsense', ref: 3 }, me, 400, 'unknown_type').then((r) => assert.equal(r.json.ref, 3));
  await refused(broker, { type: 'send', data: 1 }, me, 400, 'bad_request');
  await refused(broker, { type: 'pong' }, me, 400, 'bad_request');
  await refused(broker, { type: 'send', user: 'bob', data: 'x'.repeat(1500) }, me, 413, 'too_big');
  await refused(broker, { type: 'history', room: 'a' }, me, 501, 'not_available');
  await refused(broker, { type: 'subscribe', room: 'a' }, me, 409, 'no_session');
  await refused(broker, { type: 'refresh', token: 'x' }, me, 409, 'no_session');
  await refused(broker, { type: 'subscribe', room: 'a' }, { query: { user: 'alice' } }, 400, 'bad_request');
  await refused(broker, { type: 'ack', seq: 1 }, {}, 400, 'bad_request');
  const long = await post(broker, { type: 'send', user: 'bob', data: 'x'.repeat(3000) }, me);
  assert.equal(long.status, 413);
  assert.equal((await broker.request('GET', '/send?user=alice')).status, 405);
  await events(ctx, broker, { user: 'alice', device: 'page', query: { rooms: 'a,b' } });
  await refused(broker, { type: 'subscribe', room: 'c' }, me, 409, 'too_many_rooms');
});

scenario('a post may what its token allows', { core: true }, async (ctx) => {
  const broker = await ctx.broker(STRICT);
  const auth = (claims, headers = {}) => ({ query: { device: 'd' }, headers: { authorization: `Bearer ${tokenFor('alice', claims)}`, ...headers } });
  assert.equal((await post(broker, { type: 'ack', seq: 1 })).status, 401);
  await refused(broker, { type: 'send', user: 'bob', data: 1 }, auth({}), 403, 'forbidden');
  await refused(broker, { type: 'send', room: 'r', data: 1 }, auth({ send: ['user:*'] }), 403, 'forbidden');
  await ok(broker, { type: 'send', user: 'bob', data: 1 }, auth({ send: ['user:bob'] }));
  await refused(broker, { type: 'subscribe', room: 'r' }, auth({}), 403, 'forbidden');
  for (const type of ['history', 'presence']) await refused(broker, { type, room: 'r' }, auth({ rooms: ['s'] }), 403, 'forbidden');

  const stream = await events(ctx, broker, { device: 'd', headers: auth({ rooms: ['r'] }).headers });
  await ok(broker, { type: 'subscribe', room: 'r' }, auth({ rooms: ['*'] }));
  await refused(broker, { type: 'subscribe', room: 's' }, auth({ rooms: ['*'] }), 403, 'forbidden'); // the stream's own token
  assert.equal(stream.take('error'), undefined);

  const origin = 'https://app.example';
  const page = await post(broker, { type: 'ack', seq: 1 }, auth({}, { origin }));
  assert.equal(page.headers['access-control-allow-origin'], origin);
  assert.equal((await post(broker, { type: 'ack', seq: 1 }, auth({}, { origin: 'https://evil.example' }))).status, 403);
  const preflight = await broker.request('OPTIONS', '/send', { headers: { origin, 'access-control-request-method': 'POST' } });
  assert.equal(preflight.status, 204);
  assert.match(preflight.headers['access-control-allow-methods'], /POST/);
  assert.match(preflight.headers['access-control-allow-headers'], /content-type/i);
});

scenario('a stream whose token is refreshed by a post lives on', async (ctx) => {
  const broker = await ctx.broker(STRICT);
  const short = tokenFor('alice', { exp: now() + 4 });
  const headers = { authorization: `Bearer ${short}` };
  const stream = await events(ctx, broker, { device: 'd', headers });
  await stream.next('expiring');
  const me = { query: { device: 'd' }, headers };
  await refused(broker, { type: 'refresh', token: tokenFor('bob') }, me, 401, 'unauthorized');
  await refused(broker, { type: 'refresh', token: 'x.y.z' }, me, 401, 'unauthorized');
  await ok(broker, { type: 'refresh', token: tokenFor('alice') }, me);
  await until(() => now() > JSON.parse(Buffer.from(short.split('.')[1], 'base64url')).exp + 1, 'the old token has ended');
  assert.equal((await broker.push({ user: 'alice', data: 1 }, { headers: { authorization: `Bearer ${'k'.repeat(32)}` } })).status, 200);
  assert.equal((await stream.next('message')).data, 1);
  assert.equal(stream.ended, undefined);
});

scenario('posts while Redis is away are told to come back', async (ctx) => {
  const redis = await ctx.ownRedis();
  const broker = await ctx.broker({ redis });
  await redis.kill();
  await until(async () => (await broker.metric('crier_redis_up')) === 0, 'the broker sees it');
  const me = { query: { user: 'alice', device: 'page' } };
  for (const command of [{ type: 'send', user: 'bob', data: 1 }, { type: 'ack', seq: 1 }]) {
    const r = await refused(broker, command, me, 503, 'unavailable');
    assert.ok(Number(r.headers['retry-after']) >= 1);
  }
});

scenario('posts reach the session whichever node is asked: rooms, echo, refresh, and who is nowhere', { core: true }, async (ctx) => {
  const { redis } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const options = { ...STRICT, redis, prefix, args: [...STRICT.args, '--room-history', 'h.*:100:1d'] };
  const nodes = [];
  for (let n = 0; n < 3; n++) nodes.push(await ctx.broker(options));
  const token = (more) => tokenFor('alice', { rooms: ['*'], send: ['*'], ...more });
  const me = { query: { device: 'page' }, headers: { authorization: `Bearer ${token()}` } };
  const streams = [];
  for (const [n, device] of [[0, 'page'], [1, 'desk']]) streams.push(await events(ctx, nodes[n], { device, headers: me.headers }));
  const [page, desk] = streams;

  /* Each node, the one with the session too. */
  for (const [n, b] of nodes.entries()) {
    const room = n === 1 ? 'h.1' : `r${n}`;
    const joined = await ok(b, { type: 'subscribe', room, ref: n }, me);
    assert.deepEqual([joined.ref, joined.room], [n, room]);
    await ok(nodes[2], { type: 'send', room, data: `to ${room}` }, me);
    assert.equal((await page.next('message')).data, `to ${room}`);
    await ok(b, { type: 'send', room, data: 'silent', echo: false }, me);
    await ok(nodes[0], { type: 'send', room, data: 'heard' }, me);
    assert.equal((await page.next('message')).data, 'heard');
  }
  const packed = await nodes[2].request('POST', '/send?device=page', { body: Buffer.from(encode({ type: 'unsubscribe', room: 'h.1', ref: 9 })), headers: { ...me.headers, 'content-type': 'application/msgpack' } });
  assert.equal(packed.status, 200);
  assert.deepEqual(decode(packed.body), { type: 'ok', ref: 9 });
  await refused(nodes[2], { type: 'unsubscribe', room: 'h.1', ref: 'again' }, me, 409, 'not_subscribed').then((r) => assert.equal(r.json.ref, 'again'));
  /* What was missed, through a node that has nothing of it. */
  const { seq } = (await ok(nodes[1], { type: 'history', room: 'h.1' }, me)).messages[0];
  const back = await ok(nodes[2], { type: 'subscribe', room: 'h.1', since: seq }, me);
  assert.equal(back.recovered, true);
  for (const data of ['silent', 'heard']) assert.equal((await page.next('message')).data, data);
  assert.equal(desk.take('message'), undefined, 'another device is another session');
  assert.equal(page.take('ok'), undefined, 'answers go to who asked');

  await refused(nodes[2], { type: 'refresh', token: tokenFor('bob') }, me, 401, 'unauthorized');
  await ok(nodes[2], { type: 'refresh', token: token({ rooms: ['r*'] }) }, me);
  await refused(nodes[2], { type: 'subscribe', room: 's' }, me, 403, 'forbidden'); // the session's new token
  await refused(nodes[2], { type: 'subscribe', room: 'r' }, { ...me, query: { device: 'phone' } }, 409, 'no_session');
  await refused(nodes[2], { type: 'subscribe', room: 'r' }, { query: { device: 'd' }, headers: { authorization: `Bearer ${tokenFor('nobody', { rooms: ['*'] })}` } }, 409, 'no_session');

  /* Many at once, and a node that does not answer, and then is gone. */
  const many = await Promise.all(Array.from({ length: 60 }, (_, n) => ok(nodes[1 + (n % 2)], { type: 'subscribe', room: `r${n}`, ref: n }, me)));
  assert.ok(many.every((a, n) => a.ref === n && a.room === `r${n}`));
  await freeze(nodes[0].proc.child);
  const stuck = post(nodes[1], { type: 'subscribe', room: 'r', ref: 's' }, me);
  const r = await stuck;
  nodes[0].proc.child.kill('SIGCONT');
  assert.equal(r.status, 503, r.text);
  assert.deepEqual([r.json.code, r.json.ref], ['unavailable', 's']);
  assert.ok(Number(r.headers['retry-after']) >= 1);
  await nodes[0].crash();
  await until(async () => (await post(nodes[1], { type: 'subscribe', room: 'r' }, me)).status === 409, 'nobody has it any more');
});

scenario('whatever comes on the channel between nodes, a broker lives on', async (ctx) => {
  const { redis, backend } = await ctx.redis();
  const broker = await ctx.broker({ redis, prefix: ctx.newPrefix() });
  const stream = await events(ctx, broker, { user: 'alice', device: 'page' });
  const bytes = (...parts) => Buffer.concat(parts.map((p) => (typeof p === 'string' ? Buffer.from(p) : Buffer.from([].concat(p)))));
  const command = JSON.stringify({ type: 'subscribe', room: 'r' });
  const head = (node, id) => [0, 0, 0, 0, 0, 0, 0, 1, 0, node, id];
  const frames = [
    bytes('XC'),
    bytes('XC', [4, 0, 5]),
    bytes('XC', [0, 0, 5], 'alice'),
    bytes('XC', [4, 255, 255], 'pagealice'),
    bytes('XC', [4, 0, 5], 'pagealice', [0, 0, 0]),
    bytes('XC', [4, 0, 5], 'pagealice', head(200, 0), 'n'),
    bytes('XC', [4, 0, 5], 'pagealice', head(0, 0)),
    bytes('XC', [4, 0, 5], 'pagealice', head(1, 0), 'n', '{"type":'),
    bytes('XC', [4, 0, 5], 'pagealice', head(1, 200), 'n', command),
    bytes('XC', [4, 0, 5], 'pagealice', [0, 0, 0, 0, 0, 0, 0, 1, 77, 1, 0], 'n', command),
    bytes('Y'),
    bytes('Y', [0, 0, 0]),
    bytes('Y', [0, 0, 0, 0, 0, 0, 0, 9, 0, 200, 0, 0], '{}'),
    bytes('X'),
    bytes('X?'),
  ];
  const before = await broker.metric('crier_bad_messages_total', 'redis');
  for (const f of frames) await backend.sendCommand(['PUBLISH', `${ctx.prefix}n:${broker.node}`, f]);
  await until(async () => (await broker.metric('crier_bad_messages_total', 'redis')) - before >= 13, 'the malformed ones are counted');
  for (let cut = 0; cut < 40; cut++) await backend.sendCommand(['PUBLISH', `${ctx.prefix}n:${broker.node}`, bytes('XC', [4, 0, 5], 'pagealice', head(1, 0), 'n', command).subarray(0, cut)]);
  assert.equal((await broker.push({ user: 'alice', data: 'fine' })).status, 200);
  assert.equal((await stream.next('message')).data, 'fine');
});
