/* The server API under load and at its edges: what happens when the store stands still, what is not there yet, names that
 * are none, lists longer than a page, and HTTP itself on these paths. */
import { assert, freeze, scenario, until } from './lib/harness.mjs';

const JSON_TYPE = { 'content-type': 'application/json' };
const STORES = ['memory', 'redis'];
const get = (broker, path, headers) => broker.request('GET', path, { headers });
const range = (n) => [...Array(n).keys()];

async function ready(broker) {
  await until(async () => (await get(broker, '/readyz')).status === 200, '/readyz');
}

/* Pushes that are under way: `held` have no answer yet, the others are counted by status. */
class Pushes {
  constructor(broker) {
    this.broker = broker;
    this.all = [];
  }

  send(body, marks) {
    const p = { ...marks, body, status: 0 };
    this.all.push(p);
    p.done = this.broker.push(body).then((r) => {
      p.status = r.status;
      p.answer = r;
    });
    return p;
  }

  count(status, mark) {
    return this.all.filter((p) => p.status === status && (mark === undefined || p.mark === mark)).length;
  }
}

/* Redis stands still (SIGSTOP), so that everything sent to it waits: 8192 messages, of which those of low priority may be
 * half (store/redis_store.h). */
scenario('the queue of pushes is bounded: low goes first, then all; what was taken is there, what was refused is not', { core: true, timeout: 180000 }, async (ctx) => {
  const redis = await ctx.ownRedis();
  const broker = await ctx.broker({ redis, prefix: ctx.newPrefix(), args: ['--redis-timeout', '10m'] });
  await ready(broker);
  assert.equal((await broker.push({ user: 'before', data: 0 })).status, 200);
  const pushes = new Pushes(broker);
  const list = (n, mark) => pushes.send({ users: range(1000).map((i) => `${mark}-${n}-${i}`), data: n, id: `${mark}${n}` }, { mark, targets: 1000 });
  const single = (n, mark, priority) => pushes.send({ user: mark, data: n, id: `${mark}${n}`, priority }, { mark, targets: 1 });
  await freeze(redis.proc.child);
  ctx.defer(() => redis.proc.child.kill('SIGCONT'));
  for (let n = 0; n < 4; n++) list(n, 'list');
  for (let n = 0; n < 150; n++) single(n, 'low', 'low');
  await until(() => pushes.count(503, 'low') > 0, 'low pushes are refused');
  assert.equal(pushes.all.filter((p) => p.status && p.mark !== 'low').length, 0, 'nothing else is');
  for (let n = 4; n < 9; n++) list(n, 'list');
  await until(() => pushes.count(503, 'list') === 1, 'one list too many; there was room for a part of it');
  for (let n = 0; n < 250; n++) single(n, 'one', n % 2 ? 'normal' : 'high');
  await until(() => pushes.count(503, 'one') > 0, 'others are refused');
  for (let n = 0; n < 10; n++) await single(n, 'late', 'low').done;
  assert.equal(pushes.count(503, 'late'), 10);
  assert.equal(pushes.count(503, 'list'), 1);
  assert.equal(pushes.count(200), 0, 'nothing is acknowledged that Redis has not');
  redis.proc.child.kill('SIGCONT');
  await Promise.all(pushes.all.map((p) => p.done));
  for (const p of pushes.all) {
    assert.ok([200, 503].includes(p.status), `${p.mark}: ${p.status}`);
    if (p.status !== 503) continue;
    assert.equal(p.answer.json.error.code, 'overloaded');
    assert.ok(Number(p.answer.headers['retry-after']) >= 1);
  }
  const kept = pushes.all.filter((p) => p.status === 200);
  assert.equal(kept.filter((p) => p.mark === 'list').length, 8);
  const low = kept.filter((p) => p.mark === 'low').length;
  const targets = kept.reduce((sum, p) => sum + p.targets, 0);
  assert.equal(targets, 8192, 'as many as fit');
  assert.equal(low, 96, 'low had half of it');
  await ready(broker);
  for (const mark of ['low', 'one']) {
    const inbox = (await get(broker, `/api/users/${mark}/inbox?limit=1000`)).json.messages;
    assert.deepEqual(inbox.map((m) => m.id).sort(), kept.filter((p) => p.mark === mark).map((p) => p.body.id).sort());
  }
  const over = pushes.all.find((p) => p.mark === 'list' && p.status === 503).body.users;
  for (const user of ['late', over[0], over[999]]) assert.equal((await get(broker, `/api/users/${user}`)).status, 404);
  const backend = await ctx.backend(redis);
  const inboxes = (await backend.keys(`${ctx.prefix}{*}:q:*`)).length;
  assert.equal(inboxes, 8000 + 3, 'each user of a list that was taken has it, and nobody else');
  const again = pushes.all.find((p) => p.mark === 'one' && p.status === 503);
  const retried = (await broker.push(again.body)).json.results[0];
  assert.equal(retried.duplicate, undefined, 'what was refused is sent again as if for the first time');
});

scenario('a store that does not answer: 503 after the time it is given, and the same id again is once', async (ctx) => {
  const redis = await ctx.ownRedis();
  const broker = await ctx.broker({ redis, prefix: ctx.newPrefix(), args: ['--redis-timeout', '200ms'] });
  await ready(broker);
  await freeze(redis.proc.child);
  ctx.defer(() => redis.proc.child.kill('SIGCONT'));
  const late = await broker.push({ user: 'u', data: 1, id: 'm' });
  assert.equal(late.status, 503);
  assert.equal(late.json.error.code, 'store_away');
  assert.ok(Number(late.headers['retry-after']) >= 1);
  redis.proc.child.kill('SIGCONT');
  await until(async () => (await broker.push({ user: 'u', data: 1, id: 'm' })).status === 200, 'kept at last');
  assert.equal((await get(broker, '/api/users/u/inbox')).json.messages.length, 1);
});

scenario('what needs the relay is refused by a broker without Redis, with what to do instead', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const escalate = { after: 60, to: ['webhook'] };
  const push = await broker.push({ user: 'u', data: 1, escalate });
  assert.equal(push.status, 501);
  assert.equal(push.json.error.code, 'not_supported');
  assert.match(push.json.error.message, /--redis/);
  const batch = await broker.request('POST', '/api/push/batch', { headers: JSON_TYPE, body: JSON.stringify([{ user: 'u', data: 1, escalate }, { user: 'v', data: 1 }]) });
  assert.equal(batch.status, 200);
  assert.equal(batch.json.results[0].error.code, 'not_supported');
  assert.ok(batch.json.results[1].results[0].seq > 0);
  assert.equal((await get(broker, '/api/users/u')).status, 404, 'nothing was kept');
  for (const [method, body] of [['GET'], ['PUT', '{"webhook":"https://a.example/"}']]) {
    const r = await broker.request(method, '/api/users/u/addresses', { body });
    assert.equal(r.status, 501, method);
    assert.equal(r.json.error.code, 'not_supported');
    assert.match(r.json.error.message, /--redis/);
  }
});

scenario('names in a query that are none are 400 and named, whoever asks', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  for (const [query, name] of [['user=', 'user'], ['user=%0a', 'user'], [`user=${'x'.repeat(129)}`, 'user'], ['user_id=%ff', 'user'], ['user=%zz', 'user'], ['user=a&device=', 'device'], ['user=a&device=%00', 'device'], [`user=a&device=${'x'.repeat(65)}`, 'device'], ['user=a&device=%9', 'device']]) {
    for (const path of ['/poll', '/events']) {
      const r = await get(broker, `${path}?${query}`);
      assert.equal(r.status, 400, `${path}?${query}: ${r.text}`);
      assert.equal(r.json.error.code, 'bad_request');
      assert.match(r.json.error.message, new RegExp(`^${name} `), query);
    }
    const send = await broker.request('POST', `/send?${query}`, { body: '{"type":"ack","seq":1}' });
    assert.equal(send.status, 400, query);
    const ws = await get(broker, `/ws?${query}`, { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==' });
    assert.equal(ws.status, 400, query);
  }
});

scenario('polls count for their user like messages', async (ctx) => {
  const broker = await ctx.broker({ shards: 1, args: ['--rate-messages', '2', '--rate-user', '2'] });
  const answers = [];
  for (let i = 0; i < 30; i++) answers.push(await get(broker, '/poll?user=ann'));
  const refused = answers.filter((a) => a.status === 429);
  assert.ok(refused.length > 0 && refused.length < 25, `${refused.length}`);
  for (const r of refused) {
    assert.equal(r.json.error.code, 'rate_limited');
    assert.ok(Number(r.headers['retry-after']) >= 1);
  }
  assert.equal((await get(broker, '/poll?user=ben')).status, 200, 'others have their own');
});

/* Every list, three names a page; `next` says how the following page is asked for. */
const LISTS = [
  ['/api/rooms', (p) => p.rooms, (p) => p.next && { after: p.next }],
  ['/api/rooms/hall.1/presence', (p) => p.users, (p) => p.next && { after: p.next }],
  ['/api/rooms/chat.1/history', (p) => p.messages.map((m) => m.seq).reverse(), (p) => p.more && { before: p.next }],
  ['/api/rooms/chat.1/history', (p) => p.messages.map((m) => m.seq), (p) => p.more && { since: p.next }, { since: 0 }],
  ['/api/users/w0/inbox', (p) => p.messages.map((m) => m.seq), (p) => p.more && { after: p.cursor }],
  ['/api/messages/many', (p) => p.recipients.map((r) => r.user), (p) => p.more && { after: p.cursor }],
  ['/api/messages/many/undelivered', (p) => p.recipients.map((r) => r.user), (p) => p.more && { after: p.cursor }],
];

for (const store of STORES) {
  scenario(`${store}: each list is read page by page: nothing is missing, nothing comes twice`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--presence', 'hall.*', '--room-history', 'chat.*:50:1d'] });
    if (store === 'redis') await ready(broker);
    for (let i = 0; i < 10; i++) {
      const c = await ctx.client(broker, { user: `w${i}`, device: 'd', query: { ack: 'explicit' } });
      await c.join('hall.1');
      await c.join(`r${i}`);
    }
    for (let i = 0; i < 10; i++) {
      await broker.push({ room: 'chat.1', data: i });
      await broker.push({ user: 'w0', data: i });
    }
    await broker.push({ users: range(10).map((i) => `w${i}`), data: 1, id: 'many', track: true });
    for (const [path, names, next, first] of LISTS) {
      const seen = [];
      let query = { ...first };
      let pages = 0;
      for (; query; pages++) {
        assert.ok(pages < 20, `${path} ends`);
        const r = await get(broker, `${path}?${new URLSearchParams({ limit: 3, ...query })}`);
        assert.equal(r.status, 200, `${path}: ${r.text}`);
        const page = names(r.json);
        assert.ok(page.length <= 3, path);
        seen.push(...page);
        query = next(r.json);
      }
      assert.ok(pages >= 4, `${path}: ${pages} pages`);
      assert.equal(new Set(seen).size, seen.length, `${path}: twice`);
      const whole = names((await get(broker, `${path}?${new URLSearchParams({ limit: 100, ...first })}`)).json);
      assert.deepEqual([...seen].sort(), [...whole].sort(), path);
      assert.ok(seen.length >= 10, path);
    }
    for (const path of ['/api/rooms?limit=0', '/api/rooms?limit=x', '/api/rooms/hall.1/presence?limit=-1', '/api/rooms/chat.1/history?limit=1e3', '/api/rooms/chat.1/history?before=x', '/api/rooms/chat.1/history?before=1&since=2', '/api/rooms/%0a', '/api/rooms/%zz/history']) {
      const r = await get(broker, path);
      assert.equal(r.status, 400, `${path}: ${r.text}`);
      assert.ok(r.json.error.code);
    }
    for (const path of ['/api/rooms/other/history', '/api/rooms/other/presence']) assert.equal((await get(broker, path)).status, 404, path);
  });
}

scenario('HTTP on the paths of the server API: HEAD, OPTIONS, 405, pipelines, chunks, 100-continue', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  await broker.push({ user: 'u', data: 1 });
  for (const path of ['/api/users/u', '/api/users/u/inbox', '/api/rooms', '/api/nodes', '/api/stats']) {
    const whole = await get(broker, path);
    const head = await broker.request('HEAD', path);
    assert.equal(head.status, 200, path);
    assert.equal(head.text, '');
    assert.equal(head.headers['content-type'], whole.headers['content-type']);
    assert.match(head.headers['cache-control'], /no-store/);
  }
  for (const [path, allow] of [['/api/push', 'POST, OPTIONS'], ['/api/users/u/inbox', 'GET, HEAD, DELETE, OPTIONS'], ['/api/rooms/r/subscribe', 'POST, OPTIONS'], ['/api/users/u/addresses', 'GET, HEAD, PUT, OPTIONS']]) {
    const options = await broker.request('OPTIONS', path);
    assert.equal(options.status, 204, path);
    assert.equal(options.headers.allow, allow);
    const wrong = await broker.request('PATCH', path);
    assert.ok([405, 501].includes(wrong.status), `${path}: ${wrong.status}`);
    const other = await broker.request(allow.startsWith('POST') ? 'GET' : 'POST', path, { body: allow.startsWith('POST') ? undefined : '' });
    assert.equal(other.status, 405, path);
    assert.equal(other.headers.allow, allow);
    assert.equal(other.json.error.code, 'method_not_allowed');
  }
  const r = await ctx.raw(broker);
  const body = '{"user":"p","data":"x"}';
  const post = (lines, bytes) => `POST /api/push HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n${lines}\r\n${bytes}`;
  r.write(post(`Content-Length: ${body.length}\r\n`, body) + post('Transfer-Encoding: chunked\r\n', `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`) + 'GET /api/users/p/inbox HTTP/1.1\r\nHost: localhost\r\n\r\n' + 'DELETE /api/users/p/inbox HTTP/1.1\r\nHost: localhost\r\n\r\n');
  const answers = [];
  for (let i = 0; i < 4; i++) {
    const head = await r.head();
    assert.match(head, /^HTTP\/1\.1 200 /);
    const n = Number(/content-length: (\d+)/i.exec(head)[1]);
    answers.push(JSON.parse(await r.when(() => r.bytes.length >= n && r.take(n).toString(), 'a body')));
  }
  assert.ok(answers[1].results[0].seq > answers[0].results[0].seq);
  assert.equal(answers[2].messages.length, 2, 'each is answered after the one before has been carried out');
  assert.equal(answers[3].removed, 2);
  r.write(post(`Expect: 100-continue\r\nContent-Length: ${body.length}\r\n`, ''));
  assert.match(await r.head(), /^HTTP\/1\.1 100 /);
  r.write(body);
  assert.match(await r.head(), /^HTTP\/1\.1 200 /);
});
