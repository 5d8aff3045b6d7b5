/*
 * The relay when something dies: a relay killed or frozen in the middle of a call, Redis killed and restarted, a relay
 * that is there before the first broker, one that is asked to end; and two relays that have nothing to complain of.
 */
import { freeze, assert, scaled, scenario, until, within } from './lib/harness.mjs';
import { answer, hold } from './lib/providers.mjs';
import { came, channelOf, escalated, recipient, setAddresses, settled, stage, told, total } from './lib/relay.mjs';

const isSent = (channel) => (r) => channelOf(r, channel)?.state === 'sent';
/* The shortest lease there may be with this timeout is 3 x timeout + 5 s. */
const SHORT = { timeout: '200ms', lease: '5600ms' };
const range = (n) => [...Array(n).keys()];

scenario('two relays and no faults: each of 200 messages is sent exactly once', { core: true }, async (ctx) => {
  const { broker, provider, relays } = await stage(ctx, { relays: 2, relay: { parallel: 8 } });
  const users = range(20).map((i) => `u${i}`);
  for (const user of users) await setAddresses(broker, user, { wecom: user, webhook: `${provider.url}/${user}` });
  const batch = users.flatMap((user) => range(10).map((i) => ({ user, id: `${user} m${i}`, data: i, escalate: { after: 1, to: [i % 2 ? 'wecom' : 'webhook'], text: `${user} m${i}` } })));
  assert.equal((await broker.request('POST', '/api/push/batch', { body: JSON.stringify(batch) })).status, 200);
  await until(() => provider.taken('wecom').length + provider.taken('webhook').length >= 200, 'all of them', scaled(30000));
  await settled(...relays);
  const got = provider.calls.filter((c) => !c.secret).map((c) => c.json.text.content ?? c.json.text);
  assert.equal(got.length, 200);
  assert.deepEqual([...new Set(got)].sort(), batch.map((m) => m.id).sort());
  assert.equal(await total(relays, 'sent_total'), 200);
  assert.equal(await total(relays, 'again_total'), 0);
  for (const m of batch.slice(0, 10)) assert.equal(came(await recipient(broker, m.user, m.id)), `${m.escalate.to[0]} sent 1`);
});

scenario('a relay killed -9 in the middle of a call: another takes over when the lease has ended', { core: true }, async (ctx) => {
  const { broker, provider, start } = await stage(ctx, { relays: 0 });
  const first = await start({ relay: SHORT });
  await setAddresses(broker, 'u', { webhook: `${provider.url}/u` });
  const held = hold();
  provider.on('webhook /u', [held]);
  await escalated(broker, 'u', 'm', { to: ['webhook'] });
  const call = await within(held.arrived, 'the first call');
  await first.crash();
  const second = await start();
  const r = await told(broker, 'u', 'm', isSent('webhook'), 'the other relay', scaled(15000));
  const calls = provider.to('webhook', '/u');
  assert.equal(calls.length, 2);
  assert.deepEqual(calls.map((c) => c.json.id), ['m', 'm'], 'at least once: the receiver tells by the id');
  assert.ok(calls[1].at - call.at >= 5000, `taken over after ${calls[1].at - call.at} ms`);
  assert.equal(r.state, 'relayed');
  await settled(second);
});

scenario('a relay frozen past its lease does not overwrite what another has done', { core: true }, async (ctx) => {
  const { broker, provider, start } = await stage(ctx, { relays: 0 });
  const frozen = await start({ relay: SHORT });
  const users = ['refused', 'silent'];
  const holds = {};
  for (const user of users) {
    await setAddresses(broker, user, { webhook: `${provider.url}/${user}` });
    holds[user] = hold();
    provider.on(`webhook /${user}`, [holds[user]]);
    await escalated(broker, user, 'm', { to: ['webhook'] });
  }
  await Promise.all(users.map((user) => within(holds[user].arrived, user)));
  await freeze(frozen.proc.child);
  const other = await start();
  const before = {};
  for (const user of users) before[user] = await told(broker, user, 'm', isSent('webhook'), `${user} by the other`, scaled(15000));
  holds.refused.release(answer.http(410)); // what the frozen one finds when it goes on
  frozen.thaw();
  await until(async () => (await frozen.metric('inflight')) === 0, 'it has noted what came of its calls');
  await settled(frozen, other);
  for (const user of users) {
    const r = await recipient(broker, user, 'm');
    assert.equal(channelOf(r, 'webhook').state, 'sent', `${user}: ${JSON.stringify(r.relayed)}`);
    assert.equal(channelOf(r, 'webhook').detail, channelOf(before[user], 'webhook').detail);
    assert.equal(r.state, 'relayed');
    assert.equal(provider.to('webhook', `/${user}`).length, 2);
  }
  await setAddresses(broker, 'next', { webhook: `${provider.url}/next` });
  await other.stop();
  await escalated(broker, 'next', 'm', { to: ['webhook'] });
  await told(broker, 'next', 'm', isSent('webhook'), 'it works on', scaled(15000));
});

scenario('Redis killed -9 and restarted: escalations and attempts survive, and the relays come back by themselves', { timeout: 90000 }, async (ctx) => {
  const redis = await ctx.ownRedis();
  /* What a relay was at when Redis died stays its own until the lease has ended. */
  const { broker, provider, relays } = await stage(ctx, { redis, relays: 2, relay: { attempts: 1000, parallel: 64, timeout: '500ms', lease: '6500ms' } });
  const users = range(20).map((i) => `u${i}`);
  await Promise.all(users.map((user) => setAddresses(broker, user, { wecom: user, webhook: `${provider.url}/${user}` })));
  const batch = users.map((user) => ({ user, id: 'm', data: 1, escalate: { after: 3, to: ['wecom'] } }));
  assert.equal((await broker.request('POST', '/api/push/batch', { body: JSON.stringify(batch) })).status, 200);
  provider.on('webhook /u0', () => answer.http(503));
  await escalated(broker, 'u0', 'retried', { to: ['webhook'] });
  await told(broker, 'u0', 'retried', (r) => channelOf(r, 'webhook')?.attempts >= 2, 'it is being tried');
  await redis.kill();
  await until(async () => (await broker.request('GET', '/readyz')).status === 503, 'the broker has seen it');
  provider.on('webhook /u0', []);
  await redis.up();
  for (const user of users) await told(broker, user, 'm', isSent('wecom'), user, scaled(30000));
  const r = await told(broker, 'u0', 'retried', isSent('webhook'), 'the one that was tried', scaled(30000));
  assert.ok(channelOf(r, 'webhook').attempts >= 3, 'the attempts before are not forgotten');
  for (const user of users) assert.ok(provider.taken('wecom', user).length >= 1);
  await settled(...relays);
  for (const x of relays) assert.ok(!x.proc.exited);
});

scenario('a relay that is there before the first broker waits, says so, and sets to work', async (ctx) => {
  const redis = await ctx.ownRedis();
  const { provider } = await stage(ctx, { relays: 0 }); // for its providers; the broker is on another Redis
  const prefix = 'early:';
  const relay = await ctx.relay({ redis, prefix, provider });
  await until(() => /function|library/i.test(relay.log), 'it says what is missing');
  await until(async () => (await relay.request('GET', '/metrics')).status === 200, 'it lives');
  const broker = await ctx.broker({ redis, prefix });
  await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz');
  await setAddresses(broker, 'u', { wecom: 'u' });
  await escalated(broker, 'u', 'm', { to: ['wecom'] });
  await told(broker, 'u', 'm', isSent('wecom'), 'brought');
  const backend = await ctx.backend(redis);
  const workers = await backend.keys(`${prefix}{c}:relay:*`);
  assert.deepEqual(workers, [`${prefix}{c}:relay:${relay.worker}`]);
  assert.equal(typeof JSON.parse(await backend.get(workers[0])), 'object');
  const left = await backend.pTTL(workers[0]);
  assert.ok(left > 0 && left <= 15000, `${left}`);
  await backend.sendCommand(['FUNCTION', 'FLUSH']);
  await until(async () => {
    await escalated(broker, 'u', 'after the flush', { to: ['wecom'] });
    return true;
  }, 'the broker has loaded them again');
  await told(broker, 'u', 'after the flush', isSent('wecom'), 'and the relay finds them', scaled(15000));
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  scenario(`${signal}: what is under way is finished and written down, nothing new is begun`, { core: signal === 'SIGTERM' }, async (ctx) => {
    const { broker, provider, relay, start } = await stage(ctx, { relay: { parallel: 1 } });
    const held = hold();
    provider.on('webhook /first', [held]);
    for (const user of ['first', 'second']) await setAddresses(broker, user, { webhook: `${provider.url}/${user}` });
    await escalated(broker, 'first', 'm', { to: ['webhook'] });
    await within(held.arrived, 'the first call');
    await escalated(broker, 'second', 'm', { to: ['webhook'] });
    relay.proc.child.kill(signal);
    const { escalate } = await recipient(broker, 'second', 'm');
    await until(() => Date.now() > escalate.at + 100, 'the second is due');
    assert.ok(!relay.proc.exited, 'it waits for what is under way');
    held.release();
    await within(relay.proc.exit, 'its end');
    relay.checkEnd();
    const r = await recipient(broker, 'first', 'm');
    assert.equal(came(r), 'webhook sent 1');
    assert.deepEqual(provider.to('webhook', '/second'), []);
    await start();
    await told(broker, 'second', 'm', isSent('webhook'), 'the next relay', scaled(15000));
    assert.equal(provider.to('webhook', '/first').length, 1);
  });
}
