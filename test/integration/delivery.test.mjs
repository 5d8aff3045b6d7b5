/* What the broker is for: users, rooms and everyone, both codecs, on both stores. */
import { CommandError, DEADLINE, assert, scenario, until, within } from './lib/harness.mjs';
import { OP } from './lib/raw.mjs';

/* JSON that no parser and printer would leave as it is: odd spacing, key order, numbers beyond doubles, escapes. */
const ODD_JSON =
  '{ "b" : 1.0 ,\n\t"a":12345678901234567890123456789, "10":1,"9":2, "e":1E+2,"z":-0.0,"u":"\\u00e9\\/é\\ud83d\\ude00", "d":{"x":[ ] , "y":{ }} , "n" :null}';
const EXPLICIT = { ack: 'explicit' };

const push = async (broker, body) => {
  const r = await broker.push(body);
  assert.equal(r.status, 200, r.text);
  return r.json;
};
const dataOf = (list) => list.map((m) => m.data);

for (const store of ['memory', 'redis']) {
  scenario(`${store}: a push reaches every device of a user in both codecs, and nobody else`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const phone = await ctx.client(broker, { user: 'alice', device: 'phone' });
    const desk = await ctx.client(broker, { user: 'alice', device: 'desk', codec: 'msgpack' });
    const bob = await ctx.client(broker, { user: 'bob' });
    assert.equal(phone.welcome.user, 'alice');
    assert.equal(phone.welcome.device, 'phone');
    assert.equal(desk.welcome.device, 'desk');
    assert.equal(phone.welcome.pending, 0);
    assert.ok(bob.welcome.device.length > 0, 'the server names a device');
    assert.ok(phone.welcome.limits.payload > 0);

    const before = Date.now();
    await push(broker, { user: 'alice', data: { text: 'hi', n: [1, 2.5, -3, null, true] }, event: 'greet', from: 'svc' });
    const onPhone = await phone.next('message');
    const onDesk = await desk.next('message');
    assert.deepEqual(onPhone.data, { text: 'hi', n: [1, 2.5, -3, null, true] });
    assert.deepEqual(onDesk.data, onPhone.data);
    assert.equal(onDesk.id, onPhone.id);
    assert.equal(onDesk.seq, onPhone.seq);
    assert.ok(Number.isSafeInteger(onPhone.seq) && onPhone.seq > 0);
    assert.ok(Math.abs(onPhone.ts - before) < 60000, `ts ${onPhone.ts}`);
    assert.equal(onPhone.event, 'greet');
    assert.equal(onPhone.from, 'svc');
    assert.equal(desk.frames.at(-1).binary, true);
    assert.equal(phone.frames.at(-1).binary, false);

    await push(broker, { user: 'bob', data: 'for bob' });
    assert.equal((await bob.next('message')).data, 'for bob');
    assert.equal(bob.take('message'), undefined);
  });

  scenario(`${store}: a room's messages reach its members, before they leave`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const a = await ctx.client(broker, { user: 'a' });
    const b = await ctx.client(broker, { user: 'b', codec: 'msgpack' });
    const out = await ctx.client(broker, { user: 'out' });
    const joined = await a.join('news');
    assert.equal(joined.room, 'news');
    await b.join('news');
    await push(broker, { room: 'news', data: 1 });
    const m = await a.next('message');
    assert.equal(m.room, 'news');
    assert.equal(m.data, 1);
    assert.equal(m.seq, undefined);
    assert.equal((await b.next('message')).room, 'news');

    await a.command('unsubscribe', { room: 'news' });
    await push(broker, { room: 'news', data: 2 });
    assert.equal((await b.next('message')).data, 2);
    await push(broker, { all: true, data: 'end' });
    for (const c of [a, b, out]) {
      const last = await c.next('message');
      assert.equal(last.data, 'end');
      assert.equal(last.all, true);
      assert.equal(last.room, undefined);
      assert.equal(c.take('message'), undefined);
    }
  });

  scenario(`${store}: an anonymous client joins rooms and hears what is for everyone`, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const c = await ctx.client(broker);
    assert.equal(c.welcome.user, undefined);
    await c.join('lobby');
    await push(broker, { room: 'lobby', data: 'room' });
    await push(broker, { all: true, data: 'all' });
    assert.deepEqual(dataOf(await c.messages(2)).sort(), ['all', 'room']);
  });

  scenario(`${store}: JSON data passes byte for byte`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const c = await ctx.client(broker, { user: 'alice', query: EXPLICIT });
    const values = [ODD_JSON, '"\\u0041"', '1e400', '[1,2 , 3]', ' true'.trim(), '0.10000000000000000000000000001', '"\\ud800"'];
    for (const v of values) {
      const r = await broker.push(`{"user":"alice","data":${v}}`);
      assert.equal(r.status, 200, `${v}: ${r.text}`);
      const m = await c.next('message');
      assert.ok(m.raw.includes(`"data":${v}`), `${v} became ${m.raw}`);
    }
    c.writeRaw(`{"type":"send","ref":1,"user":"alice","data":${ODD_JSON}}`);
    const sent = await c.next('message');
    assert.ok(sent.raw.includes(`"data":${ODD_JSON}`), sent.raw);
    /* And out of the inbox again. */
    const late = await ctx.client(broker, { user: 'alice', device: 'other', query: EXPLICIT });
    assert.equal(late.welcome.pending, values.length + 1);
    for (const v of [...values, ODD_JSON]) {
      const m = await late.next('message');
      assert.ok(m.raw.includes(`"data":${v}`), `${v} became ${m.raw}`);
    }
  });

  scenario(`${store}: data crosses between the codecs`, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const json = await ctx.client(broker, { user: 'j' });
    const mp = await ctx.client(broker, { user: 'm', codec: 'msgpack' });
    const value = { int: -7, big: 2 ** 40, float: 0.5, s: 'é😀', list: [null, true, { k: [] }], map: {} };
    await mp.command('send', { user: 'j', data: value });
    assert.deepEqual((await json.next('message')).data, value);
    await json.command('send', { user: 'm', data: value });
    assert.deepEqual((await mp.next('message')).data, value);
    await mp.command('send', { user: 'm', data: new Uint8Array([0, 255, 128]) });
    assert.deepEqual([...(await mp.next('message')).data], [0, 255, 128]);
    await mp.command('send', { user: 'j', data: new Uint8Array([0, 255, 128]) });
    assert.equal((await json.next('message')).data, Buffer.from([0, 255, 128]).toString('base64'));
  });

  scenario(`${store}: clients send to users, rooms and everyone; from is the broker's word`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const alice = await ctx.client(broker, { user: 'alice' });
    const bob = await ctx.client(broker, { user: 'bob', codec: 'msgpack' });
    const ok = await alice.command('send', { user: 'bob', data: { n: 1 }, from: 'mallory', event: 'chat' });
    const m = await bob.next('message');
    assert.equal(m.from, 'alice');
    assert.equal(m.event, 'chat');
    assert.deepEqual(m.data, { n: 1 });
    assert.equal(ok.seq, m.seq);
    assert.equal(ok.id, m.id);
    assert.ok(ok.online >= 1);

    await alice.join('r');
    await bob.join('r');
    await bob.command('send', { room: 'r', data: 'echoed' });
    assert.equal((await alice.next('message')).from, 'bob');
    assert.equal((await bob.next('message')).data, 'echoed');
    await bob.command('send', { room: 'r', data: 'not to me', echo: false });
    assert.equal((await alice.next('message')).data, 'not to me');
    await alice.command('send', { all: true, data: 'everybody' });
    const all = await bob.next('message');
    assert.equal(all.data, 'everybody');
    assert.equal(all.all, true);
    assert.equal((await alice.next('message')).from, 'alice');
    const away = await alice.command('send', { user: 'nobody-here', data: 1 });
    assert.equal(away.online, 0);
    assert.ok(away.seq > 0);
  });

  scenario(`${store}: messages for an absent user wait, come in order, and go when acknowledged`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    for (let i = 0; i < 20; i++) await push(broker, { user: 'alice', data: i });
    const first = await ctx.client(broker, { user: 'alice', device: 'd', query: EXPLICIT });
    assert.equal(first.welcome.pending, 20);
    const list = await first.messages(20);
    assert.deepEqual(dataOf(list), [...Array(20).keys()]);
    for (let i = 1; i < 20; i++) assert.ok(list[i].seq > list[i - 1].seq);
    first.ack(list[11].seq);
    await first.settled();
    await first.close();

    const second = await ctx.client(broker, { user: 'alice', device: 'd', query: EXPLICIT });
    assert.equal(second.welcome.cursor, list[11].seq);
    assert.equal(second.welcome.pending, 8);
    assert.deepEqual(dataOf(await second.messages(8)), [12, 13, 14, 15, 16, 17, 18, 19]);
    second.ack(list[19].seq);
    await second.settled();
    await second.close();

    const third = await ctx.client(broker, { user: 'alice', device: 'd', query: EXPLICIT });
    assert.equal(third.welcome.pending, 0);
    await push(broker, { user: 'alice', data: 'new' });
    assert.equal((await third.next('message')).data, 'new');
  });

  scenario(`${store}: what was not acknowledged comes again, after a crash of the client too`, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const c = await ctx.client(broker, { user: 'alice', device: 'd', query: EXPLICIT });
    await push(broker, { user: 'alice', data: 'x' });
    const m = await c.next('message');
    c.terminate();
    const again = await ctx.client(broker, { user: 'alice', device: 'd', query: EXPLICIT });
    const same = await again.next('message');
    assert.equal(same.seq, m.seq);
    assert.equal(same.id, m.id);
    again.terminate();
    /* A client that says what it has is not sent it again. */
    const brought = await ctx.client(broker, { user: 'alice', device: 'd', query: { ...EXPLICIT, since: String(m.seq) } });
    assert.equal(brought.welcome.pending, 0);
  });

  scenario(`${store}: with automatic acks, the pong to a later ping is the evidence`, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const c = await ctx.client(broker, { user: 'alice', device: 'd' });
    await push(broker, { user: 'alice', data: 'x' });
    const m = await c.next('message');
    await until(async () => (await broker.metric('crier_acks_total')) > 0, 'the cursor written');
    c.terminate();
    const again = await ctx.client(broker, { user: 'alice', device: 'd' });
    assert.equal(again.welcome.cursor, m.seq);
    assert.equal(again.welcome.pending, 0);
  });

  scenario(`${store}: the ping that asks for evidence comes with the message, in one write`, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const c = await ctx.websocket(broker, '/ws?user=alice&device=d');
    await c.message('welcome');
    const from = Date.now();
    await until(() => Date.now() - from > 1100, 'the moment when it may be pinged: once a second, its beginning counts');
    const first = new Promise((resolve) => c.socket.once('data', resolve));
    await push(broker, { user: 'alice', data: 'x' });
    const bytes = await within(first, 'the message');
    const ping = bytes[1] < 126 ? 2 + bytes[1] : 4 + bytes.readUInt16BE(2); // where the message's frame ends
    assert.equal(bytes[0], 0x80 | OP.TEXT);
    assert.equal(bytes[ping], 0x80 | OP.PING);
  });

  scenario(`${store}: a goodbye in the turn of a message comes behind it, whole`, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const users = Array.from({ length: 40 }, (_, i) => `u${i}`);
    const clients = await Promise.all(users.map((user) => ctx.websocket(broker, `/ws?user=${user}&device=d`)));
    await Promise.all(clients.map((c) => c.message('welcome')));
    const from = Date.now();
    await until(() => Date.now() - from > 1100, 'the moment when they may be pinged with a message');
    const call = (path, body) => `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
    const api = await ctx.raw(broker);
    api.write(users.map((u) => call('/api/push', `{"user":"${u}","data":"x"}`) + call(`/api/users/${u}/disconnect`, '{}')).join(''));
    for (const c of clients) {
      assert.equal((await c.message('message')).data, 'x');
      assert.equal((await c.closeFrame()).code, 4009);
    }
  });

  scenario(`${store}: a client that never answers pings has acknowledged nothing`, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const c = await ctx.client(broker, { user: 'alice', device: 'd', autoPong: false });
    await push(broker, { user: 'alice', data: 'x' });
    await c.next('message');
    await c.when(() => c.pings > 0, 'the ping that asks for evidence');
    c.terminate();
    const again = await ctx.client(broker, { user: 'alice', device: 'd' });
    assert.equal(again.welcome.pending, 1);
    assert.equal((await again.next('message')).data, 'x');
  });

  scenario(`${store}: each device has its own cursor; a new one starts where any has come to`, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const a = await ctx.client(broker, { user: 'u', device: 'a', query: EXPLICIT });
    const b = await ctx.client(broker, { user: 'u', device: 'b', query: EXPLICIT });
    for (let i = 0; i < 4; i++) await push(broker, { user: 'u', data: i });
    const list = await a.messages(4);
    await b.messages(4);
    a.ack(list[2].seq);
    await a.settled();
    await a.close();
    await b.close();
    const b2 = await ctx.client(broker, { user: 'u', device: 'b', query: EXPLICIT });
    assert.equal(b2.welcome.pending, 4);
    const fresh = await ctx.client(broker, { user: 'u', device: 'c', query: EXPLICIT });
    assert.equal(fresh.welcome.cursor, list[2].seq);
    assert.deepEqual(dataOf(await fresh.messages(1)), [3]);
  });

  scenario(`${store}: at most a window of unacknowledged messages is in flight; acks pull the rest`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--window', '16'] });
    const total = 100;
    for (let i = 0; i < total; i++) await push(broker, { user: 'w', data: i });
    const c = await ctx.client(broker, { user: 'w', device: 'd', query: EXPLICIT });
    assert.equal(c.welcome.pending, total);
    const got = await c.messages(16);
    await c.settled();
    assert.equal(c.take('message'), undefined, 'nothing beyond the window');
    await push(broker, { user: 'w', data: total });
    c.ack(got.at(-1).seq);
    while (got.length <= total) {
      const m = await c.next('message');
      got.push(m);
      c.ack(m.seq);
    }
    assert.deepEqual(dataOf(got), [...Array(total + 1).keys()]);
  });

  scenario(`${store}: a full inbox drops its oldest and says so`, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--inbox-cap', '5'] });
    for (let i = 0; i < 8; i++) await push(broker, { user: 'u', data: i });
    const c = await ctx.client(broker, { user: 'u', device: 'd', query: EXPLICIT });
    assert.equal(c.welcome.pending, 5);
    assert.deepEqual(dataOf(await c.messages(5)), [3, 4, 5, 6, 7]);
    const gap = await c.next('gap');
    assert.ok(gap.to > 0);
    assert.ok(gap.to < c.frames.find((m) => m.type === 'message').seq);
  });

  scenario(`${store}: ttl 0 is for whoever is connected now; a short ttl ends`, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    await push(broker, { user: 'u', data: 'gone', ttl: 0 });
    await push(broker, { user: 'u', data: 'short', ttl: 1 });
    await push(broker, { user: 'u', data: 'long' });
    await until(async () => {
      const c = await ctx.client(broker, { user: 'u', device: 'd', query: EXPLICIT });
      const { pending } = c.welcome;
      c.terminate();
      return pending === 1;
    }, 'the short message expired');
    const c = await ctx.client(broker, { user: 'u', device: 'd', query: EXPLICIT });
    assert.equal((await c.next('message')).data, 'long');
    await push(broker, { user: 'u', data: 'live', ttl: 0 });
    const live = await c.next('message');
    assert.equal(live.data, 'live');
    assert.equal(live.seq, undefined);
  });

  scenario(`${store}: the same id twice is one message`, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    const c = await ctx.client(broker, { user: 'u', query: EXPLICIT });
    const one = await broker.push({ user: 'u', data: 1, id: 'order-1' });
    const two = await broker.push({ user: 'u', data: 2, id: 'order-1' });
    assert.equal(one.status, 200);
    assert.equal(two.status, 200);
    await push(broker, { user: 'u', data: 'end' });
    const list = await c.messages(2);
    assert.deepEqual(dataOf(list), [1, 'end']);
    assert.equal(list[0].id, 'order-1');
    const s1 = await c.command('send', { user: 'u', data: 3, id: 'from-client' });
    const s2 = await c.command('send', { user: 'u', data: 4, id: 'from-client' });
    assert.equal(s1.seq, s2.seq);
    await push(broker, { user: 'u', data: 'end' });
    assert.deepEqual(dataOf(await c.messages(2)), [3, 'end']);
  });

  scenario(`${store}: many publishers at once, every message once and in seq order`, async (ctx) => {
    const broker = await ctx.brokerOn(store, { shards: 4 });
    const users = ['u1', 'u2', 'u3', 'u4', 'u5'];
    const clients = await Promise.all(users.map((user) => ctx.client(broker, { user, device: 'd', query: EXPLICIT })));
    const each = 60;
    const senders = users.map(async (from, k) => {
      for (let i = 0; i < each; i++) await clients[k].command('send', { user: users[(k + 1) % users.length], data: `${from}-${i}` });
    });
    const receivers = clients.map(async (c, k) => {
      const list = [];
      while (list.length < each) {
        const m = await c.next('message');
        list.push(m);
        c.ack(m.seq);
      }
      const from = users[(k + users.length - 1) % users.length];
      assert.deepEqual(dataOf(list), [...Array(each).keys()].map((i) => `${from}-${i}`));
      for (let i = 1; i < each; i++) assert.ok(list[i].seq > list[i - 1].seq);
    });
    await Promise.all([...senders, ...receivers]);
  });

  scenario(`${store}: limits of rooms and payload are answered with an error`, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--max-rooms', '2', '--max-payload', '1000', '--max-errors', '100'] });
    const c = await ctx.client(broker, { user: 'u' });
    await c.join('1');
    await c.join('2');
    await assert.rejects(c.join('3'), CommandError);
    await c.command('unsubscribe', { room: '1' });
    await c.join('3');
    await assert.rejects(c.command('send', { user: 'u', data: 'x'.repeat(1001) }), (e) => e.code === 'too_big');
    await c.command('send', { user: 'u', data: 'x'.repeat(900) });
    assert.equal((await c.next('message')).data.length, 900);
    const big = await broker.push({ user: 'u', data: 'x'.repeat(2000) });
    assert.equal(big.status, 413);
  });
}

scenario('deflate is either negotiated and works, or is not used', async (ctx) => {
  const broker = await ctx.broker();
  const c = await ctx.client(broker, { user: 'u', deflate: true });
  const text = 'abc '.repeat(2000);
  await push(broker, { user: 'u', data: text });
  assert.equal((await c.next('message', undefined, DEADLINE)).data, text);
  await c.command('send', { user: 'u', data: text });
  assert.equal((await c.next('message')).data, text);
});

scenario('tutorial ?user_id= works, and a proxy in front may ask for any codec order', async (ctx) => {
  const broker = await ctx.broker();
  const c = await ctx.client(broker, { query: { user_id: 'tut' } });
  assert.equal(c.welcome.user, 'tut');
  const second = await ctx.client(broker, { user: 'x', protocols: ['unknown.v9', 'crier.v1.json'] });
  assert.equal(second.socket.protocol, 'crier.v1.json');
});
