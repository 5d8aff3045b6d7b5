/* POST /api/push: what it answers, and what it refuses, naming the member at fault. */
import { decode, encode } from '@msgpack/msgpack';
import { assert, scenario } from './lib/harness.mjs';

const one = { user: 'a', data: 1 };
const big = (n) => 'x'.repeat(n);

/* body, and what the error's message must name */
const BAD = [
  ['not JSON', 'hello', /JSON/i],
  ['JSON that stops', '{"user":"a","data":', /./],
  ['nothing', '', /./],
  ['an array', '[]', /object/i],
  ['a string', '"x"', /object/i],
  ['two objects', '{"user":"a","data":1}{}', /./],
  ['no target', '{"data":1}', /user|target/],
  ['no data', '{"user":"a"}', /data/],
  ['two targets', '{"user":"a","room":"b","data":1}', /user|room|target/],
  ['a user that is a number', '{"user":1,"data":1}', /user/],
  ['an empty user', '{"user":"","data":1}', /user/],
  ['a user name too long', `{"user":"${big(129)}","data":1}`, /user/],
  ['a user name with a control character', '{"user":"a\\u0000b","data":1}', /user/],
  ['users that are a string', '{"users":"a","data":1}', /users/],
  ['users with nobody', '{"users":[],"data":1}', /users/],
  ['users with a number', '{"users":["a",1],"data":1}', /users/],
  ['rooms that are an object', '{"rooms":{},"data":1}', /rooms/],
  ['all that is false', '{"all":false,"data":1}', /all|target/],
  ['all that is a string', '{"all":"yes","data":1}', /all/],
  ['an id that is a number', '{"user":"a","data":1,"id":1}', /id/],
  ['an id too long', `{"user":"a","data":1,"id":"${big(129)}"}`, /id/],
  ['an event with a line break', '{"user":"a","data":1,"event":"a\\nb"}', /event/],
  ['a from that is an object', '{"user":"a","data":1,"from":{}}', /from/],
  ['a ttl that is a string', '{"user":"a","data":1,"ttl":"1"}', /ttl/],
  ['a negative ttl', '{"user":"a","data":1,"ttl":-1}', /ttl/],
  ['a fractional ttl', '{"user":"a","data":1,"ttl":1.5}', /ttl/],
  ['an unknown priority', '{"user":"a","data":1,"priority":"urgent"}', /priority/],
  ['a collapse that is a number', '{"user":"a","data":1,"collapse":1}', /collapse/],
  ['a track that is a number', '{"user":"a","data":1,"track":1}', /track/],
  ['an unknown member', '{"user":"a","data":1,"prio":"low"}', /prio/],
  ['a member twice', '{"user":"a","user":"b","data":1}', /user/],
  ['data that is no JSON', '{"user":"a","data":nope}', /./],
  ['a lone control character', '{"user":"a","data":"\u0001"}', /./],
  ['nesting without end', `{"user":"a","data":${'['.repeat(5000)}${']'.repeat(5000)}}`, /./],
];

scenario('bodies that are wrong get 400 and the member at fault', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  for (const [name, body, words] of BAD) {
    const r = await broker.push(body);
    assert.equal(r.status, 400, `${name}: ${r.status} ${r.text}`);
    assert.match(r.headers['content-type'], /^application\/json/, name);
    assert.ok(r.json.error.code, name);
    assert.match(r.json.error.message, words, name);
  }
  const bytes = Buffer.concat([Buffer.from('{"user":"a","data":"'), Buffer.from([0xff]), Buffer.from('"}')]);
  assert.equal((await broker.request('POST', '/api/push', { body: bytes })).status, 400);
  assert.equal((await broker.push(one)).status, 200);
});

scenario('what is too big is 413 and says the limit; the wrong kind of content is 415', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--max-payload', '1000'] });
  const data = await broker.push({ user: 'a', data: big(1001) });
  assert.equal(data.status, 413);
  assert.match(data.json.error.message, /1000/);
  assert.equal((await broker.push({ user: 'a', data: big(990) })).status, 200);
  const body = await broker.push(`{"user":"a","data":1,"x":"${big(2 * 1024 * 1024)}"}`);
  assert.equal(body.status, 413);
  const xml = await broker.request('POST', '/api/push', { body: '<a/>', headers: { 'content-type': 'text/xml' } });
  assert.ok([400, 415].includes(xml.status), `${xml.status}`);
});

scenario('every kind of target is answered with id, seq and online', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const a = await ctx.client(broker, { user: 'a', query: { ack: 'explicit' } });
  const b = await ctx.client(broker, { user: 'b', query: { ack: 'explicit' } });
  for (const c of [a, b]) {
    await c.join('r1');
    await c.join('r2');
  }
  const single = (await broker.push({ user: 'a', data: 1, id: 'mine' })).json.results;
  assert.equal(single.length, 1);
  assert.equal(single[0].user, 'a');
  assert.equal(single[0].id, 'mine');
  assert.ok(single[0].online >= 1);
  const m = await a.next('message');
  assert.equal(m.seq, single[0].seq);
  assert.equal(m.id, 'mine');

  const many = (await broker.push({ users: ['a', 'b', 'absent'], data: 2 })).json.results;
  assert.deepEqual(many.map((r) => r.user), ['a', 'b', 'absent']);
  assert.equal(many[2].online, 0);
  assert.ok(many.every((r) => r.seq > 0 && r.id === many[0].id));
  assert.equal((await a.next('message')).id, many[0].id);
  assert.equal((await b.next('message')).seq, many[1].seq);

  const rooms = (await broker.push({ rooms: ['r1', 'r2'], data: 3 })).json.results;
  assert.deepEqual(rooms.map((r) => r.room), ['r1', 'r2']);
  assert.deepEqual((await a.messages(2)).map((x) => x.room).sort(), ['r1', 'r2']);
  await b.messages(2);

  const all = (await broker.push({ all: true, data: 4 })).json.results;
  assert.equal(all[0].all, true);
  assert.equal((await b.next('message')).all, true);

  const twice = (await broker.push({ user: 'a', data: 1, id: 'mine' })).json.results;
  assert.equal(twice[0].duplicate, true);
  assert.equal(twice[0].seq, single[0].seq);
});

scenario('msgpack in, msgpack out', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const j = await ctx.client(broker, { user: 'j' });
  const m = await ctx.client(broker, { user: 'm', codec: 'msgpack' });
  const post = (o) => broker.request('POST', '/api/push', { body: Buffer.from(encode(o)), headers: { 'content-type': 'application/msgpack' } });
  const r = await post({ users: ['j', 'm'], data: { n: 2 ** 40, s: 'é', l: [null, false] }, event: 'e' });
  assert.equal(r.status, 200, r.text);
  assert.match(r.headers['content-type'], /msgpack/);
  assert.equal(decode(r.body).results.length, 2);
  for (const c of [j, m]) {
    const got = await c.next('message');
    assert.deepEqual(got.data, { n: 2 ** 40, s: 'é', l: [null, false] });
    assert.equal(got.event, 'e');
  }
  for (const bad of [{ user: 'j' }, { user: 1, data: 1 }, [], 'x', { user: 'j', data: 1, ttl: 'x' }]) assert.equal((await post(bad)).status, 400, JSON.stringify(bad));
  const cut = await broker.request('POST', '/api/push', { body: Buffer.from([0x82, 0xa4]), headers: { 'content-type': 'application/msgpack' } });
  assert.equal(cut.status, 400);
});

scenario('a push is answered whatever its receivers do, and while they come and go', async (ctx) => {
  const broker = await ctx.broker({ shards: 4 });
  const coming = (async () => {
    for (let i = 0; i < 60; i++) {
      const c = await ctx.client(broker, { user: 'busy', device: `d${i % 3}`, query: { ack: 'explicit' } });
      if (i % 2) c.terminate();
      else await c.close();
    }
  })();
  const ids = [];
  for (let i = 0; i < 200; i++) {
    const r = await broker.push({ user: 'busy', data: i });
    assert.equal(r.status, 200);
    ids.push(r.json.results[0].seq);
  }
  await coming;
  const last = await ctx.client(broker, { user: 'busy', device: 'last', query: { ack: 'explicit' } });
  const list = [];
  while (list.length < last.welcome.pending) {
    const m = await last.next('message');
    list.push(m.seq);
    last.ack(m.seq);
  }
  assert.deepEqual(list, ids);
});

scenario('request ids are echoed', async (ctx) => {
  const broker = await ctx.broker();
  const r = await broker.push(one, { headers: { 'x-request-id': 'req-7' } });
  assert.equal(r.headers['x-request-id'], 'req-7');
});
