/* The Redis contract: PUBLISH to user, room and all in every form a payload may have, and what is refused. */
import { decode, encode } from '@msgpack/msgpack';
import { assert, scenario, until } from './lib/harness.mjs';

/* What to publish, and the message's members that must come of it: {raw} is the JSON text of data, {bytes} binary. */
const FORMS = [
  { name: 'an envelope', p: '{"data":{ "x":1 },"event":"greet","from":"svc","id":"m-1"}', raw: '{ "x":1 }', want: { event: 'greet', from: 'svc', id: 'm-1' } },
  { name: 'an envelope with every member', p: '{"id":"m-2","ttl":60,"priority":"high","collapse":"k","track":true,"data":[1]}', raw: '[1]', want: { id: 'm-2' } },
  { name: 'an envelope whose data is null', p: '{"data":null}', raw: 'null' },
  { name: 'plain text', p: 'hello', raw: '"hello"' },
  { name: 'plain text with quotes and umlauts', p: 'say "hé" \\o/', value: 'say "hé" \\o/' },
  { name: 'a JSON array', p: '[1, 2 ,3]', raw: '[1, 2 ,3]' },
  { name: 'a JSON number beyond doubles', p: '123456789012345678901234567890', raw: '123456789012345678901234567890' },
  { name: 'a JSON string', p: '"s"', raw: '"s"' },
  { name: 'an object without data', p: '{"text":"hi","to":[]}', raw: '{"text":"hi","to":[]}' },
  { name: 'an object with data and unknown members', p: '{"data":1,"more":2}', raw: '{"data":1,"more":2}' },
  { name: 'JSON that is broken is text', p: '{"data":', value: '{"data":' },
  { name: 'bytes', p: Buffer.from([0xff, 0xfe, 0x00, 0x80]), bytes: [0xff, 0xfe, 0x00, 0x80] },
  { name: 'a msgpack map with data', p: Buffer.from(encode({ data: { x: [1, 'é'] }, event: 'e' })), value: { x: [1, 'é'] }, want: { event: 'e' } },
];

async function checkForm(form, json, mp) {
  const j = await json.next('message');
  const m = await mp.next('message');
  for (const [k, v] of Object.entries(form.want || {})) {
    assert.equal(j[k], v, `${form.name}: ${k}`);
    assert.equal(m[k], v, `${form.name}: ${k} in msgpack`);
  }
  if (form.bytes) {
    assert.equal(j.data, Buffer.from(form.bytes).toString('base64'), form.name);
    assert.deepEqual([...m.data], form.bytes, form.name);
    return;
  }
  if (form.raw) assert.ok(j.raw.includes(`"data":${form.raw}`), `${form.name}: ${j.raw}`);
  else assert.deepEqual(j.data, form.value, form.name);
  assert.deepEqual(m.data, form.raw ? JSON.parse(form.raw) : form.value, form.name);
}

async function ready(broker) {
  await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz');
}

for (const [target, suffix] of [
  ['user', 'user:alice'],
  ['room', 'room:news'],
  ['all', 'all'],
]) {
  scenario(`PUBLISH to ${target} in every form`, { core: target === 'user' }, async (ctx) => {
    const { backend } = await ctx.redis();
    const broker = await ctx.brokerOn('redis');
    await ready(broker);
    const json = await ctx.client(broker, { user: 'alice', device: 'j' });
    const mp = await ctx.client(broker, { user: 'alice', device: 'm', codec: 'msgpack' });
    if (target === 'room') {
      await json.join('news');
      await mp.join('news');
    }
    for (const form of FORMS) {
      const heard = await backend.publish(`${ctx.prefix}${suffix}`, form.p);
      assert.ok(heard >= 1, `${form.name}: nobody subscribed`);
      await checkForm(form, json, mp);
    }
    assert.ok((await broker.metric('crier_odd_envelopes_total')) >= 1);
  });
}

scenario('a bare PUBLISH to an absent user is kept', { core: true }, async (ctx) => {
  const { backend } = await ctx.redis();
  const broker = await ctx.brokerOn('redis');
  await ready(broker);
  for (let i = 0; i < 5; i++) assert.equal(await backend.publish(`${ctx.prefix}user:late`, `{"data":${i}}`), 1);
  await until(async () => (await broker.metric('crier_stored_total')) >= 5, 'all stored');
  const c = await ctx.client(broker, { user: 'late', query: { ack: 'explicit' } });
  assert.deepEqual((await c.messages(5)).map((m) => m.data), [0, 1, 2, 3, 4]);
  await backend.publish(`${ctx.prefix}user:away`, '{"data":1,"ttl":0}');
  await backend.publish(`${ctx.prefix}user:away`, 'kept');
  await until(async () => (await broker.metric('crier_stored_total')) >= 6, 'the other stored');
  const away = await ctx.client(broker, { user: 'away', query: { ack: 'explicit' } });
  assert.equal(away.welcome.pending, 1);
  assert.equal((await away.next('message')).data, 'kept');
});

const REFUSED = [
  ['ttl of the wrong kind', '{"data":1,"ttl":"soon"}', /ttl/],
  ['an unknown priority', '{"data":1,"priority":"urgent"}', /priority/],
  ['an id that is no string', '{"data":1,"id":7}', /id/],
  ['an id with control characters', '{"data":1,"id":"a\\nb"}', /id/],
  ['a negative ttl', '{"data":1,"ttl":-1}', /ttl/],
  ['an event that is no string', '{"data":1,"event":{}}', /event/],
  ['track of the wrong kind', '{"data":1,"track":"yes"}', /track/],
  ['a msgpack member of the wrong kind', Buffer.from(encode({ data: 1, from: 5 })), /from/],
  ['too much data', JSON.stringify({ data: 'x'.repeat(5000) }), /./],
];

for (const suffix of ['user:alice', 'room:news', 'all']) {
  scenario(`refused payloads to ${suffix} are counted, kept with their reason, and delivered to nobody`, { core: suffix === 'room:news' }, async (ctx) => {
    const { backend } = await ctx.redis();
    const broker = await ctx.brokerOn('redis', { args: ['--max-payload', '4096'] });
    await ready(broker);
    const c = await ctx.client(broker, { user: 'alice' });
    await c.join('news');
    for (const [, p] of REFUSED) await backend.publish(`${ctx.prefix}${suffix}`, p);
    await backend.publish(`${ctx.prefix}${suffix}`, 'fine');
    assert.equal((await c.next('message')).data, 'fine');
    await until(async () => (await broker.metric('crier_bad_messages_total', 'source="redis"')) === REFUSED.length, 'each one counted');
    const kept = await until(async () => {
      const list = await backend.lRange(`${ctx.prefix}refused`, 0, -1);
      return list.length === REFUSED.length && list;
    }, 'each one kept');
    for (const [name, , why] of REFUSED) assert.ok(kept.some((entry) => why.test(entry)), `${name} is not in ${kept}`);
    assert.match(broker.log, /refus/i);
  });
}

scenario('channels that are none of ours do no harm', async (ctx) => {
  const { backend } = await ctx.redis();
  const broker = await ctx.brokerOn('redis');
  await ready(broker);
  const c = await ctx.client(broker, { user: 'alice' });
  for (const name of ['user:', `user:${'x'.repeat(200)}`, 'user:a\nb', 'room:', 'everyone', 'n:nobody']) await backend.publish(ctx.prefix + name, 'x');
  await backend.publish(`${ctx.prefix}user:alice`, 'still here');
  assert.equal((await c.next('message')).data, 'still here');
  assert.ok(decode(encode(1)) === 1);
});

scenario('names with every odd character work', async (ctx) => {
  const { backend } = await ctx.redis();
  const broker = await ctx.brokerOn('redis');
  await ready(broker);
  for (const name of ['a b', 'é😀', 'a*b?[c]', 'user:nested:1', '{tag}', "o'hara\"\\", 'x'.repeat(128)]) {
    const c = await ctx.client(broker, { user: name, query: { ack: 'explicit' } });
    assert.equal(c.welcome.user, name);
    await c.join(name);
    await backend.publish(`${ctx.prefix}user:${name}`, 'u');
    assert.equal((await c.next('message')).data, 'u');
    await backend.publish(`${ctx.prefix}room:${name}`, 'r');
    assert.equal((await c.next('message')).room, name);
    await c.close();
  }
});

scenario('two prefixes on one Redis are two worlds', async (ctx) => {
  const { backend } = await ctx.redis();
  const one = await ctx.brokerOn('redis');
  const first = ctx.prefix;
  const two = await ctx.brokerOn('redis');
  await ready(one);
  await ready(two);
  const a = await ctx.client(one, { user: 'u' });
  const b = await ctx.client(two, { user: 'u' });
  await backend.publish(`${first}user:u`, 'one');
  await backend.publish(`${ctx.prefix}user:u`, 'two');
  assert.equal((await a.next('message')).data, 'one');
  assert.equal((await b.next('message')).data, 'two');
});
