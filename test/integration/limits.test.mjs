/* Rate limits of connections and users, and how many connections an address may have. */
import { CommandError, assert, scenario, until } from './lib/harness.mjs';

/* How many of n commands sent at once went through; the others were all told rate_limited. */
async function through(client, n, fields = { user: 'nobody', data: 1, ttl: 0 }, type = 'send') {
  const results = await Promise.allSettled(Array.from({ length: n }, () => client.command(type, fields)));
  for (const r of results) {
    if (r.status === 'fulfilled') continue;
    assert.ok(r.reason instanceof CommandError, r.reason?.message);
    assert.equal(r.reason.code, 'rate_limited');
    assert.ok(r.reason.answer.retry_after >= 1);
  }
  return results.filter((r) => r.status === 'fulfilled').length;
}

const about = (n, least, most) => assert.ok(n >= least && n <= most, `${n} is not from ${least} to ${most}`);

scenario('messages a second, and twice as many at once', { core: true }, async (t) => {
  const broker = await t.broker({ args: ['--rate-messages', '5'] });
  const c = await t.client(broker, { user: 'ann' });
  const first = await through(c, 30);
  about(first, 10, 25); // a slow machine takes a while to send them
  assert.equal(await broker.metric('crier_rate_limited_total'), 30 - first);
  const refused = await c.command('send', { user: 'nobody', data: 1, ttl: 0 }).catch((e) => e.answer);
  await new Promise((r) => setTimeout(r, (refused.retry_after ?? 0) * 1000)); // as it was told
  assert.equal(await through(c, 1), 1);
  const other = await t.client(broker, { user: 'bob', codec: 'msgpack' });
  about(await through(other, 30), 10, 25);
});

scenario('who goes on is closed with 4029', { core: true }, async (t) => {
  const broker = await t.broker({ args: ['--rate-messages', '5'] });
  const c = await t.client(broker, { user: 'ann' });
  for (let i = 0; i < 200; i++) c.write({ type: 'send', user: 'nobody', data: 1, ttl: 0 });
  assert.equal((await c.closed).code, 4029);
  assert.equal(await broker.metric('crier_closes_total', 'rate_limited'), 1);
  const again = await t.client(broker, { user: 'ann' }); // the user may come back
  await again.ack(1);
});

scenario('broken messages count too', async (t) => {
  const broker = await t.broker({ args: ['--rate-messages', '5', '--max-errors', '1000'] });
  const c = await t.client(broker, { user: 'ann' });
  for (let i = 0; i < 200; i++) c.writeRaw('{');
  assert.equal((await c.closed).code, 4029);
});

scenario('all connections of a user together', async (t) => {
  const broker = await t.broker({ shards: 3, args: ['--rate-messages', '5', '--rate-user', '2'] });
  const clients = [];
  for (let i = 0; i < 4; i++) clients.push(await t.client(broker, { user: 'ann', device: `d${i}` }));
  const counts = await Promise.all(clients.map((c) => through(c, 25)));
  about(counts.reduce((a, b) => a + b), 20, 39); // each by itself: 40 and more
});

scenario('acks and pongs are as many as there are messages', async (t) => {
  const broker = await t.broker({ args: ['--rate-messages', '2'] });
  const c = await t.client(broker, { user: 'ann', query: { ack: 'explicit' } });
  for (let i = 0; i < 100; i++) await broker.push({ user: 'ann', data: i });
  for (let i = 0; i < 100; i++) {
    c.ack((await c.next('message')).seq);
    c.write({ type: 'pong' });
  }
  assert.equal(await through(c, 1), 1);
  assert.equal(await broker.metric('crier_rate_limited_total'), 0);
});

scenario('bytes a second; one long message always passes', async (t) => {
  const broker = await t.broker({ args: ['--rate-bytes', '1KiB', '--max-message', '16KiB'] });
  const c = await t.client(broker, { user: 'ann' });
  const data = 'x'.repeat(15 * 1024);
  assert.equal(await through(c, 3, { user: 'nobody', data, ttl: 0 }), 1);
  assert.equal(await through(c, 1), 1);
});

scenario('subscribes a second; all rooms at once', async (t) => {
  const broker = await t.broker({ args: ['--rate-subscribes', '1', '--max-rooms', '6'] });
  const c = await t.client(broker, { user: 'ann' });
  for (let i = 0; i < 6; i++) await c.join(`r${i}`);
  for (let i = 0; i < 6; i++) await c.command('unsubscribe', { room: `r${i}` });
  about(await through(c, 6, { room: 'again' }, 'subscribe'), 0, 5);
  assert.equal(await through(c, 5), 5);
});

scenario('POST /send and the rooms of an event stream', async (t) => {
  const broker = await t.broker({ shards: 1, args: ['--rate-messages', '3', '--rate-user', '2', '--rate-subscribes', '1', '--max-rooms', '4'] });
  const answers = [];
  for (let i = 0; i < 20; i++) {
    answers.push(await broker.request('POST', '/send?user=ann', { body: JSON.stringify({ type: 'send', ref: i, user: 'bob', data: i }) }));
  }
  const refused = answers.filter((a) => a.status === 429);
  about(refused.length, 4, 8);
  for (const a of refused) {
    assert.equal(a.json.code, 'rate_limited');
    assert.equal(typeof a.json.ref, 'number');
    assert.ok(Number(a.headers['retry-after']) >= 1);
  }
  const events = async () => {
    const r = await t.raw(broker);
    r.write('GET /events?user=eve&rooms=a,b,c,d HTTP/1.1\r\nHost: localhost\r\n\r\n');
    const head = await r.head();
    r.destroy();
    return head;
  };
  assert.match(await events(), /^HTTP\/1\.1 200 /);
  assert.match(await events(), /^HTTP\/1\.1 200 /);
  const third = await events();
  assert.match(third, /^HTTP\/1\.1 429 /);
  assert.match(third, /^retry-after: [1-4]\r$/im);
});

scenario('connections of one address', { core: true }, async (t) => {
  const broker = await t.broker({ shards: 4, tls: true, args: ['--max-addr-conns', '5'] });
  const clients = [];
  for (let i = 0; i < 5; i++) clients.push(await t.client(broker, { user: `u${i}`, tls: i % 2 === 1 }));
  const refused = async () => {
    const c = t.attempt(broker, { user: 'late' });
    return c.opened.then(() => false, () => true);
  };
  for (let i = 0; i < 10; i++) assert.ok(await refused());
  await clients[0].close();
  clients[3].terminate();
  await until(async () => !(await refused()), 'a place for another');
  await clients[1].close();
  await until(async () => (await broker.metric('crier_refused_total')) >= 10, 'the refusals counted');
});
