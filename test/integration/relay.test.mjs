/*
 * The relay: what nobody acknowledges comes by WeCom, WeChat or a webhook. A real broker, a real Redis, real relays, and
 * providers of the tests' own (lib/providers.mjs). What dies on the way is in relay-faults.test.mjs.
 */
import { decode, encode } from '@msgpack/msgpack';
import { readFileSync } from 'node:fs';
import { ROOT, assert, scaled, scenario, until, within } from './lib/harness.mjs';
import { freePort } from './lib/proc.mjs';
import { ACCOUNT, answer, clientMsgId, signed } from './lib/providers.mjs';
import { Relay, came, channelOf, escalated, getAddresses, ini, putAddresses, recipient, relayFile, relaySections, setAddresses, settled, stage, told, total, undelivered } from './lib/relay.mjs';

const EXPLICIT = { ack: 'explicit' };
const ODD_TEXT = 'Grüße "ab" \\ \t€ 🙂\nand a second line';
const ODD_JSON = '{ "b" : 1.0 ,\n\t"a":12345678901234567890123456789, "e":1E+2,"u":"\\u00e9\\/é\\ud83d\\ude00", "d":{"x":[ ] } , "n" :null}';
const isSent = (channel) => (r) => channelOf(r, channel)?.state === 'sent';
const isOver = (channel) => (r) => ['sent', 'failed'].includes(channelOf(r, channel)?.state);

/* The time between one call and the next, ms. */
const gaps = (calls) => calls.slice(1).map((c, i) => c.at - calls[i].at);
const EARLY = 15; // clocks of two processes, cut to milliseconds

scenario('wecom: what nobody acknowledges is brought once, with its text, and not before its time', { core: true }, async (ctx) => {
  const { broker, provider, relays } = await stage(ctx, { relays: 2, relay: { text: 'There is something for you.' } });
  const users = { ann: ODD_TEXT, 'a:b': undefined, 'Jürgen 7:x:': 'x'.repeat(500) };
  const id = 'order:7/paid ü';
  const before = Date.now();
  for (const [user, text] of Object.entries(users)) {
    await setAddresses(broker, user, { wecom: `wc-${user}` });
    await escalated(broker, user, id, { to: ['wecom'], text }, { data: user, track: undefined }); // escalate says track
  }
  for (const [user, text] of Object.entries(users)) {
    const r = await told(broker, user, id, isSent('wecom'), `${user} has it`);
    const [call] = provider.to('wecom', `wc-${user}`);
    assert.deepEqual(call.json, {
      touser: `wc-${user}`,
      msgtype: 'text',
      agentid: ACCOUNT.wecom.agentid,
      text: { content: text ?? 'There is something for you.' },
      enable_duplicate_check: 1,
      duplicate_check_interval: 120,
    });
    assert.equal(r.state, 'relayed');
    assert.deepEqual(r.escalate.to, ['wecom']);
    assert.equal(r.relayed.length, 1);
    const { attempts, at, detail } = r.relayed[0];
    assert.equal(attempts, 1);
    assert.match(detail, /wecom-msgid-\d/);
    assert.ok(r.escalate.at >= before + 1000 - EARLY, `${r.escalate.at}: after a second`);
    assert.ok(call.at >= r.escalate.at - EARLY, `${call.at}: not before ${r.escalate.at}`);
    assert.ok(at >= call.at - EARLY);
  }
  const phone = await ctx.client(broker, { user: 'ann', device: 'phone', query: EXPLICIT });
  phone.ack((await phone.next('message')).seq);
  const acked = await told(broker, 'ann', id, (r) => r.state === 'acked', 'acked all the same');
  assert.equal(came(acked), 'wecom sent 1');
  await settled(...relays);
  assert.equal(provider.to('wecom').length, 3);
  assert.equal(await total(relays, 'sent_total', 'channel="wecom"'), 3);
});

scenario('acknowledged in time: nothing is sent; written and not acknowledged: it is', { core: true }, async (ctx) => {
  const { broker, provider, relays, relay } = await stage(ctx);
  for (const user of ['quick', 'slow', 'two', 'live', 'away']) await setAddresses(broker, user, { webhook: `${provider.url}/${user}` });
  const clients = {};
  for (const [user, device] of [['quick', 'phone'], ['slow', 'phone'], ['two', 'phone'], ['two', 'desk'], ['live', 'phone']]) {
    clients[`${user} ${device}`] = await ctx.client(broker, { user, device, query: EXPLICIT });
  }
  for (const user of ['quick', 'slow', 'two']) await escalated(broker, user, 'm', { to: ['webhook'], after: 2 });
  for (const user of ['live', 'away']) await escalated(broker, user, 'm', { to: ['webhook'], after: 2 }, { ttl: 0 }); // of these nothing more is known than that they were written
  for (const [name, c] of Object.entries(clients)) {
    const m = await c.next('message');
    if (name === 'quick phone' || name === 'two desk') c.ack(m.seq); // one device is enough
  }
  const slow = await told(broker, 'slow', 'm', isSent('webhook'), 'slow');
  assert.equal(slow.devices[0].state, 'written');
  assert.equal(slow.state, 'relayed');
  await told(broker, 'away', 'm', isSent('webhook'), 'away');
  await settled(...relays);
  assert.deepEqual(provider.to('webhook', '/live'), []);
  for (const user of ['quick', 'two']) {
    const r = await recipient(broker, user, 'm');
    assert.equal(r.state, 'acked');
    assert.equal(r.relayed, undefined);
    assert.deepEqual(provider.to('webhook', `/${user}`), []);
  }
  assert.equal(await relay.metric('cancelled_total'), 3);
});

scenario('a late ack ends the retries, and the channels behind are not asked', { core: true }, async (ctx) => {
  const { broker, provider, relays } = await stage(ctx, { relays: 2, relay: { attempts: 1000, backoff: '50ms', 'backoff-max': '100ms' } });
  await setAddresses(broker, 'u', { webhook: `${provider.url}/u`, wecom: 'u' });
  provider.on('webhook /u', () => answer.http(503));
  await escalated(broker, 'u', 'm', { to: ['webhook', 'wecom'] });
  const r = await told(broker, 'u', 'm', (x) => channelOf(x, 'webhook')?.attempts >= 3, 'three attempts');
  assert.equal(channelOf(r, 'webhook').state, 'again');
  assert.match(channelOf(r, 'webhook').detail, /503/);
  assert.equal(r.state, 'queued');
  const c = await ctx.client(broker, { user: 'u', device: 'd', query: EXPLICIT });
  c.ack((await c.next('message')).seq);
  await told(broker, 'u', 'm', (x) => x.state === 'acked', 'acked');
  await settled(...relays);
  const n = provider.to('webhook', '/u').length;
  await setAddresses(broker, 'v', { webhook: `${provider.url}/v` });
  await escalated(broker, 'v', 'm', { to: ['webhook'] });
  await told(broker, 'v', 'm', isSent('webhook'), 'another one, a second later');
  assert.equal(provider.to('webhook', '/u').length, n);
  assert.deepEqual(provider.to('wecom'), []);
  assert.equal(await total(relays, 'cancelled_total'), 1);
});

scenario('wechat: a template message, with an id to tell repetitions by; the first channel that can', { core: true }, async (ctx) => {
  const { broker, provider, relays } = await stage(ctx);
  const users = ['ann', 'Jürgen:ü'];
  for (const user of users) {
    await setAddresses(broker, user, { wechat: `openid-${user}`, wecom: `wc-${user}`, webhook: `${provider.url}/x` });
    await escalated(broker, user, 'm:1', { to: ['wechat', 'webhook', 'wecom'], text: ODD_TEXT });
  }
  provider.on('wechat openid-ann', [answer.http(502)]);
  for (const user of users) {
    const r = await told(broker, user, 'm:1', isSent('wechat'), user);
    assert.match(channelOf(r, 'wechat').detail, /^(msgid )?2002283\d\d$/);
    const calls = provider.to('wechat', `openid-${user}`);
    assert.equal(calls.length, user === 'ann' ? 2 : 1);
    for (const call of calls) {
      assert.deepEqual(call.json, { touser: `openid-${user}`, template_id: ACCOUNT.wechat.template, client_msg_id: clientMsgId(user, 'm:1'), data: { [ACCOUNT.wechat.field]: { value: ODD_TEXT } } });
    }
  }
  await settled(...relays);
  assert.equal(provider.to('wechat token').length, 1);
  assert.equal(provider.to('wecom').length + provider.to('webhook').length, 0);
});

scenario('webhook: the body, its signature, its key, and the number of the attempt', { core: true }, async (ctx) => {
  const { broker, provider } = await stage(ctx);
  for (const user of ['json', 'msgpack', 'bare']) await setAddresses(broker, user, { webhook: `${provider.url}/hook/${user}?a=b%20c` });
  provider.on('webhook /hook/json', [answer.http(503)]);
  const id = 'order/7 ü';
  const escalate = { after: 1, to: ['webhook'], text: ODD_TEXT };
  assert.equal((await broker.push(`{"user":"json","event":"paid","id":${JSON.stringify(id)},"data":${ODD_JSON},"escalate":${JSON.stringify(escalate)}}`)).status, 200);
  const mp = { user: 'msgpack', id, data: { bytes: new Uint8Array([0, 255, 128]), n: -1 }, escalate };
  assert.equal((await broker.request('POST', '/api/push', { headers: { 'content-type': 'application/msgpack' }, body: Buffer.from(encode(mp)) })).status, 200);
  for (const user of ['json', 'msgpack']) {
    const r = await told(broker, user, id, isSent('webhook'), user);
    assert.equal(channelOf(r, 'webhook').detail, 'HTTP 200');
    const calls = provider.to('webhook', `/hook/${user}`);
    assert.equal(calls.length, user === 'json' ? 2 : 1);
    calls.forEach((call, i) => {
      assert.equal(call.method, 'POST');
      assert.deepEqual(call.query, { a: 'b c' });
      assert.match(call.headers['content-type'], /^application\/json/);
      assert.equal(call.headers['idempotency-key'], clientMsgId(user, id), 'the same for each attempt, another for each user');
      assert.ok(signed(call), `the signature ${call.headers['crier-signature']}`);
      assert.ok(!signed({ ...call, body: Buffer.concat([call.body, Buffer.from(' ')]) }) && !signed(call, 'another secret'));
      const { message, message_base64: base64, ...rest } = call.json;
      assert.deepEqual(rest, { id, user, text: ODD_TEXT, attempt: i + 1, due: r.escalate.at });
      if (user === 'json') {
        assert.ok(call.body.includes(`"data":${ODD_JSON}`), `byte for byte: ${call.body}`);
        assert.equal(message.event, 'paid');
        assert.equal(base64, undefined);
      } else {
        assert.equal(message, undefined);
        assert.deepEqual(decode(Buffer.from(base64, 'base64')).data, { bytes: Buffer.from([0, 255, 128]), n: -1 });
      }
    });
  }
});

scenario('webhook: which answers end it, which are tried again, and Retry-After', async (ctx) => {
  const { broker, provider, relays } = await stage(ctx, { relay: { attempts: 3, 'backoff-max': '1500ms', parallel: 64 } });
  const http = (status, headers) => answer.http(status, { 'content-length': 0, ...headers });
  const after = (seconds) => [http(503, { 'retry-after': seconds })];
  const rows = {
    ok204: { answers: [http(204)], came: 'sent 1', detail: /^HTTP 204$/ },
    gone: { answers: [http(410)], came: 'failed 1', detail: /^HTTP 410$/ },
    bad: { answers: [http(400)], came: 'failed 1', detail: /^HTTP 400$/ },
    unknown: { answers: [http(404)], came: 'failed 1', detail: /^HTTP 404$/ },
    moved: { answers: [http(302, { location: `${provider.url}/stolen` })], came: 'failed 1', detail: /^HTTP 302$/ },
    moved308: { answers: [http(308, { location: '/stolen' })], came: 'failed 1', detail: /^HTTP 308$/ },
    timeout408: { answers: [http(408)], came: 'sent 2' },
    early: { answers: [http(425)], came: 'sent 2' },
    many: { answers: [http(429), http(500)], came: 'sent 3' },
    down: { answers: [http(500), http(502), http(503)], came: 'failed 3', detail: /^HTTP 503$/ },
    dropped: { answers: () => answer.reset(), came: 'failed 3', detail: /./, more: true },
    soon: { answers: after('1'), came: 'sent 2', least: 1000 },
    far: { answers: after('86400'), came: 'sent 2', least: 1500 }, // no later than backoff-max
    date: { answers: after('Wed, 21 Oct 2065 07:28:00 GMT'), came: 'sent 2' },
    nonsense: { answers: after('-99999999999999999999'), came: 'sent 2' },
    nobody: { url: `http://127.0.0.1:${await freePort()}/`, came: 'failed 3', detail: /./ },
    notls: { url: `https://127.0.0.1:${provider.port}/`, came: 'failed 3', detail: /./ },
    login: { url: `http://me:hidden@127.0.0.1:${provider.port}/login`, came: 'sent 1' },
  };
  for (const [user, row] of Object.entries(rows)) {
    await setAddresses(broker, user, { webhook: row.url || `${provider.url}/${user}` });
    provider.on(`webhook /${user}`, row.answers || []);
    await escalated(broker, user, user, { to: ['webhook'] });
  }
  for (const [user, row] of Object.entries(rows)) {
    const r = await told(broker, user, user, isOver('webhook'), `${user}: ${row.came}`);
    assert.equal(came(r), `webhook ${row.came}`, `${user}: ${JSON.stringify(r.relayed)}`);
    assert.match(channelOf(r, 'webhook').detail, row.detail || /^HTTP 200$/, user);
    const calls = provider.to('webhook', `/${user}`);
    const { attempts } = channelOf(r, 'webhook');
    if (!row.url) assert.ok(row.more ? calls.length >= attempts : calls.length === attempts, `${user}: ${calls.length} calls`);
    if (row.least) assert.ok(gaps(calls)[0] >= row.least - EARLY, `${user}: again after ${gaps(calls)[0]} ms`);
  }
  await settled(...relays);
  assert.deepEqual(provider.to('webhook', '/stolen'), []);
});

scenario('webhook: an address of this machine or of a private net is refused, however it is written', { core: true }, async (ctx) => {
  const { broker, provider, start, relays } = await stage(ctx, { relays: 0 });
  const proxy = `http://127.0.0.1:${await freePort()}`; // it would connect where the relay may not, and is not asked
  relays.push(await start({ webhook: { 'allow-private': undefined }, env: { http_proxy: proxy, all_proxy: proxy } }));
  const { port } = provider;
  const hosts = ['127.0.0.1', '127.1', '2130706433', '0x7f000001', '0.0.0.0', 'localhost', '[::1]', '[::]', '[::ffff:127.0.0.1]', '[::ffff:10.0.0.1]', '10.1.2.3', '172.16.0.1', '192.168.1.1', '169.254.169.254', '100.64.0.1', '224.0.0.1', '[fe80::1]', '[fd00::1]', '[ff02::1]'];
  for (const [i, host] of hosts.entries()) {
    await setAddresses(broker, `u${i}`, { webhook: `http://${host}:${port}/private`, wecom: 'boss' });
    await escalated(broker, `u${i}`, 'm', { to: ['webhook', 'wecom'] });
  }
  for (const [i, host] of hosts.entries()) {
    const r = await told(broker, `u${i}`, 'm', isSent('wecom'), host);
    assert.equal(came(r), 'webhook failed 1, wecom sent 1', host);
    assert.equal(channelOf(r, 'webhook').detail, 'address not allowed', host);
  }
  assert.deepEqual(provider.to('webhook'), []);
});

scenario('tokens: one call serves two relays and 50 messages; it is renewed 300 s before its end; a failed renewal does no harm', { core: true }, async (ctx) => {
  const { broker, provider, redis, prefix, relays } = await stage(ctx, { relays: 2 });
  const backend = await ctx.backend(redis);
  await setAddresses(broker, 'u', { wecom: 'u' });
  const several = async (name, n) => {
    for (let i = 0; i < n; i++) await escalated(broker, 'u', `${name}${i}`, { to: ['wecom'] });
    for (let i = 0; i < n; i++) await told(broker, 'u', `${name}${i}`, isSent('wecom'), `${name}${i}`);
  };
  const tokens = () => provider.to('wecom token').length;
  await several('first', 50);
  assert.equal(tokens(), 1);
  const key = `${prefix}{c}:token:wecom`;
  const kept = await backend.hGetAll(key);
  assert.equal(kept.until - kept.renew, 300000);
  const given = provider.to('wecom token')[0].at;
  assert.ok(Math.abs(kept.until - given - 7200000) < scaled(60000));
  await backend.hSet(key, 'renew', '1'); // as if the time had come
  await several('second', 5);
  assert.equal(tokens(), 2);
  await backend.hSet(key, 'renew', '1');
  provider.on('wecom token', [answer.http(503)]);
  await several('third', 1);
  assert.ok(tokens() >= 3);
  assert.equal(provider.to('wecom').length, 56);
  assert.equal(provider.taken('wecom').length, 56, 'none was refused');
  assert.equal(await total(relays, 'token_refreshes_total', 'channel="wecom"'), provider.taken('wecom token').length);
});

scenario('tokens: one that is refused is renewed once, for all, and the messages go', { core: true }, async (ctx) => {
  const { broker, provider, relays } = await stage(ctx, { relays: 2, relay: { parallel: 32 } });
  await setAddresses(broker, 'u', { wecom: 'u', wechat: 'u' });
  const channels = ['wecom', 'wechat'];
  const round = async (name, n) => {
    for (const to of channels) for (let i = 0; i < n; i++) await escalated(broker, 'u', `${name} ${to} ${i}`, { to: [to] });
    for (const to of channels) {
      for (let i = 0; i < n; i++) {
        const r = await told(broker, 'u', `${name} ${to} ${i}`, isSent(to), `${name} ${to} ${i}`);
        assert.equal(came(r), `${to} sent 1`, 'one attempt, whatever it took');
      }
    }
  };
  await round('good', 1);
  for (const [i, code] of [42001, 40014, 40001].entries()) {
    for (const to of channels) provider.refuse(to, code);
    await round(`refused with ${code}`, code === 42001 ? 20 : 2);
    for (const to of channels) assert.equal(provider.to(`${to} token`).length, 2 + i, `${to} ${code}`);
  }
  for (const to of channels) assert.equal(await total(relays, 'token_refreshes_total', `channel="${to}"`), 4);
});

scenario('tokens: refused twice, it is tried again later; none to be had, it fails after its attempts', async (ctx) => {
  const { broker, provider, relays } = await stage(ctx, { relay: { attempts: 3, backoff: '200ms' } });
  const users = { twice: 3, always: 6 };
  provider.on('wecom twice', [answer.code(42001), answer.code(40014)]);
  provider.on('wecom always', () => answer.code(40001));
  for (const user of Object.keys(users)) {
    await setAddresses(broker, user, { wecom: user, webhook: `${provider.url}/${user}` });
    await escalated(broker, user, 'm', { to: ['wecom', 'webhook'] });
  }
  const twice = await told(broker, 'twice', 'm', isSent('wecom'), 'twice');
  assert.equal(came(twice), 'wecom sent 2');
  const times = provider.to('wecom', 'twice');
  assert.equal(times.length, 3, 'two with the first attempt, one with the second');
  assert.ok(gaps(times)[1] >= 100 - EARLY, 'not at once');
  const always = await told(broker, 'always', 'm', isSent('webhook'), 'always');
  assert.equal(came(always), 'wecom failed 3, webhook sent 1');
  assert.match(channelOf(always, 'wecom').detail, /40001/);
  assert.equal(provider.to('wecom', 'always').length, 6);

  provider.on('wechat token', () => answer.code(40013, 'invalid appid'));
  await setAddresses(broker, 'none', { wechat: 'none', webhook: `${provider.url}/none` });
  await escalated(broker, 'none', 'm', { to: ['wechat', 'webhook'] });
  const none = await told(broker, 'none', 'm', isSent('webhook'), 'none');
  assert.equal(came(none), 'wechat failed 3, webhook sent 1');
  assert.match(channelOf(none, 'wechat').detail, /40013/);
  assert.deepEqual(provider.to('wechat'), []);
  assert.match(relays[0].log, /40013/);
});

scenario('what is tried again, with growing delays, what is not, and the next channel; the metrics add up', { core: true, timeout: 90000 }, async (ctx) => {
  const relay = { attempts: 4, backoff: '100ms', 'backoff-max': '10s', parallel: 64, timeout: `${scaled(700)}ms` };
  const { broker, provider, relays } = await stage(ctx, { relays: 2, relay, wechat: { api: `http://127.0.0.1:${await freePort()}` } });
  const big = JSON.stringify({ pad: 'x'.repeat(1 << 20), errcode: 0, msgid: 'too far away' });
  const again = {
    45009: [answer.code(45009), /45009/],
    '-1': [answer.code(-1), /-1/],
    503: [answer.http(503), /^HTTP 503$/],
    429: [answer.http(429), /^HTTP 429$/],
    '500 with errcode 0': [answer.json({ errcode: 0, msgid: 'no' }, 500), /^HTTP 500$/],
    'no JSON': [answer.http(200, {}, '<html>busy</html>'), /./],
    nothing: [answer.http(200), /./],
    'an array': [answer.json([{ errcode: 0 }]), /./],
    'too long': [answer.http(200, { 'content-type': 'application/json' }, big), /./],
    'cut short': [answer.raw('HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"errcode":0'), /./],
    reset: [answer.reset(), /./],
    hanging: [answer.hang(), /^timeout$/],
  };
  const final = {
    40003: [answer.code(40003, 'invalid openid'), /40003.*invalid openid/],
    81013: [answer.code(81013), /81013/],
    invaliduser: [answer.json({ errcode: 0, errmsg: 'ok', invaliduser: 'x', msgid: 'no' }), /invaliduser/],
  };
  const rows = [
    ...Object.entries(again).map(([name, [a, detail]]) => ({ name, a, detail, attempts: 4, first: 'wecom' })),
    ...Object.entries(final).map(([name, [a, detail]]) => ({ name, a, detail, attempts: 1, first: 'wecom' })),
    { name: 'closed port', detail: /connection/, attempts: 4, first: 'wechat' },
  ];
  for (const { name, a, first } of rows) {
    provider.on(`wecom ${name}`, () => a);
    await setAddresses(broker, name, { [first]: name, webhook: `${provider.url}/next` });
  }
  for (const { name, first } of rows) await escalated(broker, name, 'm', { to: [first, 'webhook'] });
  const sums = { sent: 0, again: 0, failed: 0 };
  for (const { name, detail, attempts, first } of rows) {
    const r = await told(broker, name, 'm', isSent('webhook'), name, scaled(30000));
    assert.equal(came(r), `${first} failed ${attempts}, webhook sent 1`, name);
    assert.match(channelOf(r, first).detail, detail, name);
    const calls = provider.to('wecom', name);
    if (first !== 'wecom') assert.deepEqual(calls, []);
    else if (name === 'reset') assert.ok(calls.length >= attempts); // curl asks again by itself when a kept connection breaks before an answer
    else assert.equal(calls.length, attempts, name);
    if (name !== 'reset') gaps(calls).forEach((ms, i) => assert.ok(ms >= 50 * 2 ** i - EARLY, `${name}: attempt ${i + 2} came ${ms} ms after the one before`));
    for (const x of r.relayed) {
      sums[x.state] += 1;
      sums.again += x.attempts - 1;
    }
  }
  await settled(...relays);
  for (const [name, sum] of Object.entries(sums)) assert.equal(await total(relays, `${name}_total`), sum, name);
  assert.equal(await total(relays, 'failed_total', 'channel="wecom"'), rows.length - 1);
  assert.equal(await total(relays, 'sent_total', 'channel="webhook"'), rows.length);
  assert.equal(await total(relays, 'cancelled_total'), 0);
  for (const r of relays) {
    assert.equal((await r.request('GET', '/healthz')).status, 200);
    assert.equal((await r.request('GET', '/nothing')).status, 404);
  }
});

scenario('channels without address or configuration are passed over; when nothing is left the user stays undelivered', { core: true }, async (ctx) => {
  const { broker, provider, relays } = await stage(ctx, { wechat: false });
  const all = ['wechat', 'wecom', 'webhook'];
  await setAddresses(broker, 'some', { wechat: 'openid', webhook: `${provider.url}/some` });
  await escalated(broker, 'some', 'm', { to: all });
  await escalated(broker, 'none', 'm', { to: all });
  await setAddresses(broker, 'bad', { wecom: 'bad' });
  provider.on('wecom bad', [answer.code(40003)]);
  await escalated(broker, 'bad', 'm', { to: ['wecom'] });
  const some = await told(broker, 'some', 'm', isSent('webhook'), 'some');
  assert.deepEqual(some.relayed.map((x) => [x.channel, x.state, x.detail]), [['wechat', 'failed', 'not configured'], ['wecom', 'failed', 'no address'], ['webhook', 'sent', 'HTTP 200']]);
  const none = await told(broker, 'none', 'm', isOver('webhook'), 'none');
  assert.deepEqual(none.relayed.map((x) => [x.channel, x.state]), all.map((c) => [c, 'failed']));
  assert.deepEqual(none.relayed.slice(1).map((x) => x.detail), ['no address', 'no address']);
  assert.equal(none.state, 'queued');
  assert.equal(came(await told(broker, 'bad', 'm', isOver('wecom'), 'bad')), 'wecom failed 1');
  for (const [i, many] of ['ann|bob', '@all'].entries()) { // WeCom would take them for several people
    await setAddresses(broker, `many${i}`, { wecom: many });
    await escalated(broker, `many${i}`, 'm', { to: ['wecom'] });
    assert.equal(came(await told(broker, `many${i}`, 'm', isOver('wecom'), many)), 'wecom failed 1');
  }
  assert.deepEqual(provider.to('wecom').map((c) => c.recipient), ['bad']);
  await settled(...relays);
  const open = await undelivered(broker, 'm');
  assert.ok(open.includes('none') && open.includes('bad'), `${open}`);
  assert.equal(provider.to('wechat').length, 0);
  const late = await ctx.client(broker, { user: 'none', device: 'd' });
  assert.equal((await late.next('message')).id, 'm', 'the inbox has it all the same');
});

scenario('each of several users has an escalation of its own; the same id again makes none; what left the inbox unread comes too', async (ctx) => {
  const { broker, provider, relays } = await stage(ctx, { broker: ['--inbox-cap', '3'] });
  const users = ['a', 'b', 'c'];
  for (const user of ['brief', 'full']) await setAddresses(broker, user, { webhook: `${provider.url}/${user}` });
  await escalated(broker, 'brief', 'b', { to: ['webhook'], after: 2 }, { ttl: 1 });
  await escalated(broker, 'full', 'f', { to: ['webhook'], after: 2 });
  for (let i = 0; i < 3; i++) await broker.push({ user: 'full', data: i });
  for (const user of users) await setAddresses(broker, user, { wecom: user });
  const body = { users, id: 'm', data: 1, escalate: { after: 1, to: ['wecom'] } };
  for (let i = 0; i < 2; i++) assert.equal((await broker.push(body)).status, 200);
  const batch = [{ user: 'a', id: 'n', data: 2, escalate: { after: 1, to: ['wecom'] } }, { user: 'b', id: 'n', data: 2 }];
  assert.equal((await broker.request('POST', '/api/push/batch', { body: JSON.stringify(batch) })).status, 200);
  for (const user of users) await told(broker, user, 'm', isSent('wecom'), user);
  await told(broker, 'a', 'n', isSent('wecom'), 'the batch');
  for (const [user, id] of [['brief', 'b'], ['full', 'f']]) {
    await told(broker, user, id, isSent('webhook'), user);
    assert.deepEqual(provider.to('webhook', `/${user}`).map((c) => c.json.message.data), [{ n: id }]);
  }
  await settled(...relays);
  assert.deepEqual(provider.to('wecom').map((c) => c.recipient).sort(), ['a', 'a', 'b', 'c']);
});

scenario('hostile answers: the relay lives, and what it notes is short and plain', { timeout: 90000 }, async (ctx) => {
  const { broker, provider, relays } = await stage(ctx, { relay: { attempts: 1, parallel: 64, timeout: `${scaled(700)}ms` } });
  const head = (rest = '') => `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n${rest}\r\n`;
  const deep = 40000;
  const bodies = {
    'deep arrays': answer.http(200, {}, `{"errcode":${'['.repeat(deep)}${']'.repeat(deep)}}`),
    'deep objects': answer.http(200, {}, `${'{"a":'.repeat(8000)}0${'}'.repeat(8000)}`),
    'deep and open': answer.http(200, {}, '['.repeat(60000)),
    'code as a string': answer.json({ errcode: '0', msgid: 'x' }),
    'code as a list': answer.json({ errcode: [0], msgid: 'x' }),
    'code as a fraction': answer.http(200, {}, '{"errcode":0.5}'),
    'code too great': answer.http(200, {}, '{"errcode":1e999,"errmsg":"x"}'),
    'code too long': answer.http(200, {}, `{"errcode":${'9'.repeat(5000)}}`),
    'code twice': answer.http(200, {}, '{"errcode":0,"errcode":40003}'),
    'msgid of another kind': answer.json({ errcode: 0, msgid: { a: [1] } }),
    'a long msgid': answer.json({ errcode: 0, msgid: 'ü'.repeat(5000) }),
    'an odd msgid': answer.json({ errcode: 0, msgid: 'a\nb\r\u0000c\u001b[31m\ud800' }),
    'an odd errmsg': answer.json({ errcode: 40003, errmsg: `x\n\u0000\u2028${'€'.repeat(500)}` }),
    'the token in errmsg': (call, res) => answer.json({ errcode: 40003, errmsg: `hint: ${call.query.access_token}` })(call, res),
    'no UTF-8': answer.http(200, {}, Buffer.from([0x7b, 0x22, 0xff, 0xfe, 0x22, 0x3a, 0x30, 0x7d])),
    'null': answer.http(200, {}, 'null'),
    'zero bytes': answer.http(200, {}, Buffer.alloc(5000)),
    'no length': answer.raw(`${head()}{"errcode":0,"msgid":"no length"}`),
    'two lengths': answer.raw(`${head('Content-Length: 5\r\nContent-Length: 500\r\n')}{"errcode":0}`),
    'a false length': answer.raw(`${head('Content-Length: -5\r\n')}{}`),
    'bad chunks': answer.raw(`${head('Transfer-Encoding: chunked\r\n')}zz\r\n{}`),
    'an endless chunk': answer.raw(`${head('Transfer-Encoding: chunked\r\n')}ffffffffffffffffff\r\n{}`),
    'a false coding': answer.http(200, { 'content-encoding': 'gzip' }, 'no gzip'),
    'a megabyte without length': answer.raw(`${head()}{"a":"${'x'.repeat(1 << 20)}`),
    'long headers': answer.raw(`HTTP/1.1 200 OK\r\n${`X-A: ${'y'.repeat(8000)}\r\n`.repeat(60)}\r\n{}`),
    'no HTTP': answer.raw(Buffer.alloc(4096, 0xaa)),
    'HTTP of long ago': answer.raw('{"errcode":0}'),
    'half a head': answer.halfway('HTTP/1.1 200 O'),
    '100 and nothing': answer.halfway('HTTP/1.1 100 Continue\r\n\r\n'),
    'status 999': answer.raw('HTTP/1.1 999 What\r\nContent-Length: 2\r\n\r\n{}'),
  };
  const fits = {
    'no length': 'sent',
    'a long msgid': 'sent',
    'an odd msgid': 'sent',
    'the token in errmsg': 'failed',
    'an odd errmsg': 'failed',
    'a megabyte without length': 'failed',
    'no HTTP': 'failed',
    'half a head': 'failed',
    'deep and open': 'failed',
    null: 'failed',
    'no UTF-8': 'failed',
  };
  for (const [name, a] of Object.entries(bodies)) {
    provider.on(`wecom ${name}`, () => a);
    provider.on(`webhook /${encodeURIComponent(name)}`, () => a);
    await setAddresses(broker, name, { wecom: name, webhook: `${provider.url}/${encodeURIComponent(name)}` });
    await escalated(broker, name, 'by wecom', { to: ['wecom'] });
    await escalated(broker, name, 'by webhook', { to: ['webhook'] });
  }
  for (const name of Object.keys(bodies)) {
    for (const channel of ['wecom', 'webhook']) {
      const r = await told(broker, name, `by ${channel}`, isOver(channel), `${name} by ${channel}`, scaled(30000));
      const { state, detail } = channelOf(r, channel);
      if (channel === 'wecom' && fits[name]) assert.equal(state, fits[name], `${name}: ${detail}`);
      assert.ok(Buffer.byteLength(detail) <= 160, `${name}: ${detail}`);
      assert.doesNotMatch(detail, /[\u0000-\u001f\u007f\ufffd]|token-wecom/, name);
    }
  }
  const odd = [answer.http(200, {}, '[['), answer.json({ access_token: 5, expires_in: 7200 }), answer.json({ access_token: '', expires_in: 7200 }), answer.json({ access_token: 'x'.repeat(70000), expires_in: 7200 }), answer.json({ access_token: 'x y\r\nz', expires_in: 7200 }), answer.json({ access_token: 'good', expires_in: 'soon' }), answer.json({ access_token: 'good', expires_in: -1 })];
  let asked = 0;
  provider.on('wechat token', () => odd[asked++ % odd.length]);
  await setAddresses(broker, 'odd token', { wechat: 'u' });
  for (let round = 0; asked < odd.length; round++) { // who waits for a token while another fails to make it may give up with it
    const ids = [0, 1, 2, 3, 4].map((i) => `t${round} ${i}`);
    for (const id of ids) await escalated(broker, 'odd token', id, { to: ['wechat'] });
    for (const id of ids) assert.equal(came(await told(broker, 'odd token', id, isOver('wechat'), id)), 'wechat failed 1', 'a token that is none');
  }
  assert.deepEqual(provider.to('wechat'), []);
  provider.on('wechat token', []);
  await setAddresses(broker, 'u', { wecom: 'u', webhook: `${provider.url}/u`, wechat: 'u' });
  for (const channel of ['wecom', 'webhook', 'wechat']) await escalated(broker, 'u', `well ${channel}`, { to: [channel] });
  for (const channel of ['wecom', 'webhook', 'wechat']) {
    await told(broker, 'u', `well ${channel}`, isSent(channel), `all is well by ${channel}`);
  }
  assert.ok(!relays[0].proc.exited);
});

scenario('an escalation outlives the ledger of other messages, whatever else is pushed under its id', { core: true }, async (ctx) => {
  const { broker, provider } = await stage(ctx, { broker: ['--ledger-ttl', '1s'] });
  await setAddresses(broker, 'u', { webhook: `${provider.url}/late` });
  await escalated(broker, 'u', 'late', { after: 4, to: ['webhook'] });
  assert.equal((await broker.request('POST', '/api/messages/late/retry')).status, 200);
  await broker.push({ user: 'v', data: 1, id: 'late', track: true });
  const call = await until(() => provider.to('webhook', '/late')[0], 'the call');
  assert.deepEqual(call.json.message.data, { n: 'late' });
  await told(broker, 'u', 'late', isSent('webhook'), 'and the ledger knows');
});

scenario('what the broker refuses of escalate, by name; nothing of it is stored', { core: true }, async (ctx) => {
  const { broker } = await stage(ctx, { relays: 0 });
  const good = { after: 5, to: ['wecom', 'webhook'], text: 'x' };
  const rows = [
    [{ ...good, after: 0 }, 'escalate.after'],
    [{ ...good, after: -1 }, 'escalate.after'],
    [{ ...good, after: 1.5 }, 'escalate.after'],
    [{ ...good, after: '5' }, 'escalate.after'],
    [{ ...good, after: undefined }, 'escalate.after'],
    [{ ...good, after: 7 * 86400 + 1 }, 'escalate.after'],
    [{ ...good, to: undefined }, 'escalate.to'],
    [{ ...good, to: [] }, 'escalate.to'],
    [{ ...good, to: 'wecom' }, 'escalate.to'],
    [{ ...good, to: ['fax'] }, 'escalate.to'],
    [{ ...good, to: ['wecom', 7] }, 'escalate.to'],
    [{ ...good, to: ['wecom', 'webhook', 'wecom'] }, 'escalate.to'],
    [{ ...good, text: 'x'.repeat(501) }, 'escalate.text'],
    [{ ...good, text: 'ü'.repeat(251) }, 'escalate.text'],
    [{ ...good, text: 7 }, 'escalate.text'],
    [{ ...good, more: 1 }, 'escalate'],
    [7, 'escalate'],
    ['60', 'escalate'],
    [[good], 'escalate'],
  ];
  const refusal = (error, names, what) => {
    assert.equal(error?.code, 'bad_request', what);
    assert.match(error.message, names instanceof RegExp ? names : new RegExp(names.replace('.', '\\.')), what);
  };
  for (const [escalate, names] of rows) {
    const what = JSON.stringify(escalate).slice(0, 100);
    const r = await broker.push({ user: 'u', data: 1, escalate });
    assert.equal(r.status, 400, `${what}: ${r.text}`);
    refusal(r.json.error, names, what);
  }
  const mp = { user: 'u', data: 1, escalate: { after: 5, to: ['wecom', 'wecom'] } };
  const r = await broker.request('POST', '/api/push', { headers: { 'content-type': 'application/msgpack' }, body: Buffer.from(encode(mp)) });
  assert.equal(r.status, 400);
  refusal(decode(r.body).error, 'escalate.to', 'msgpack');
  for (const target of [{ room: 'r' }, { rooms: ['r', 's'] }, { all: true }]) {
    const no = await broker.push({ ...target, data: 1, escalate: good });
    assert.equal(no.status, 400, JSON.stringify(target));
    refusal(no.json.error, 'escalate', JSON.stringify(target));
  }
  const batch = rows.map(([escalate]) => ({ user: 'u', data: 1, escalate }));
  const each = (await broker.request('POST', '/api/push/batch', { body: JSON.stringify(batch) })).json;
  assert.equal(JSON.stringify(each).match(/"code":"bad_request"/g).length, rows.length);
  assert.deepEqual((await broker.request('GET', '/api/users/u/inbox')).json?.messages ?? [], []);
  for (const escalate of [{ ...good, after: 3600 }, { ...good, text: 'ü'.repeat(250) }, { ...good, text: undefined }, { ...good, to: ['webhook'] }]) {
    assert.equal((await broker.push({ user: 'u', data: 1, escalate })).status, 200, JSON.stringify(escalate));
  }
});

scenario('addresses: put, shown, replaced, cleared; what is refused is named', { core: true }, async (ctx) => {
  const { broker } = await stage(ctx, { relays: 0 });
  const user = 'Jürgen:ü/x';
  const shown = async () => (await getAddresses(broker, user)).addresses;
  assert.deepEqual(await shown(), {});
  const all = { wecom: 'jü', wechat: 'openid-1', webhook: 'https://example.org/hook?a=1&b=ü' };
  assert.deepEqual((await setAddresses(broker, user, all)).addresses, all);
  assert.deepEqual(await shown(), all);
  const { status, headers, body } = await broker.request('GET', `/api/users/${encodeURIComponent(user)}/addresses`, { headers: { accept: 'application/msgpack' } });
  assert.deepEqual([status, headers['content-type'], decode(body)], [200, 'application/msgpack', { user, addresses: all }]);
  await setAddresses(broker, user, { wechat: 'openid-2' });
  assert.deepEqual(await shown(), { wechat: 'openid-2' });
  const rows = [
    [{ fax: '1' }, /member/],
    [{ wecom: 'x', fax: '1' }, /member/],
    [{ wecom: 7 }, /wecom/],
    [{ wecom: '' }, /wecom/],
    [{ wecom: 'a\nb' }, /wecom/],
    [{ wechat: 'x'.repeat(513) }, /wechat/],
    [{ webhook: 'ftp://example.org/' }, /webhook/],
    [{ webhook: 'file:///etc/passwd' }, /webhook/],
    [{ webhook: 'example.org/hook' }, /webhook/],
    [{ webhook: `https://${'x'.repeat(510)}` }, /webhook/],
    [[], /./],
  ];
  for (const [addresses, names] of rows) {
    const r = await putAddresses(broker, user, addresses);
    assert.equal(r.status, 400, `${JSON.stringify(addresses)}: ${r.text}`);
    assert.match(r.json.error.message, names);
  }
  assert.equal((await broker.request('PUT', '/api/users/u/addresses', { body: '{"wecom":' })).status, 400);
  assert.equal((await broker.request('PUT', '/api/users/u/addresses')).status, 400);
  assert.deepEqual(await shown(), { wechat: 'openid-2' }, 'what was refused changed nothing');
  await setAddresses(broker, user, {});
  assert.deepEqual(await shown(), {});
});

scenario('the embedded store has no relay: 501, for escalate and for addresses', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const push = await broker.push({ user: 'u', data: 1, escalate: { after: 5, to: ['wecom'] } });
  const answers = [push, await putAddresses(broker, 'u', { wecom: 'u' }), await broker.request('GET', '/api/users/u/addresses')];
  for (const r of answers) assert.deepEqual([r.status, r.json.error.code], [501, 'not_supported']);
  assert.equal((await broker.push({ user: 'u', data: 1, escalate: { after: 0, to: ['wecom'] } })).status, 400, 'a wrong one is wrong first');
  assert.deepEqual((await broker.request('GET', '/api/users/u/inbox')).json?.messages ?? [], []);
});

/* ---- the command line ---- */

async function run(ctx, args) {
  const p = Relay.spawn(args);
  ctx.defer(() => p.kill());
  await within(p.exit, () => `crier-relay ${args.join(' ')}\n${p.stderr}`);
  return p;
}

scenario('--check: a good file passes; what is wrong is named with file and line', { core: true }, async (ctx) => {
  const check = async (text) => {
    const file = relayFile(text);
    return { file, p: await run(ctx, ['--config', file, '--check']) };
  };
  const secret = relayFile('from-a-file\n');
  const good = relaySections({ redis: { url: 'redis://127.0.0.1:1' }, prefix: 'crier:', provider: { url: 'https://api.example.org' }, wechat: { secret: `@${secret}` } });
  const ok = await check(ini(good));
  assert.equal(ok.p.result.code, 0, ok.p.stderr);
  assert.doesNotMatch(ok.p.stdout + ok.p.stderr, /-secret/);
  const shown = /^```ini\n([^]*?)^```$/m.exec(readFileSync(`${ROOT}/docs/relay.md`, 'utf8'))[1];
  assert.equal((await check(shown)).p.result.code, 0, 'the file of docs/relay.md');
  const example = readFileSync(`${ROOT}/docs/relay.conf.example`, 'utf8');
  const all = example.replace(/^#(?=\[|[a-z-]+ = )/gm, '').replace(/= @.*/g, '= x');
  assert.ok(ini(good).split('\n').every((l) => all.includes(`\n${l.split('=')[0]}`)), 'each option is in the example');
  for (const text of [example, all]) {
    const { p } = await check(text);
    assert.equal(p.result.code, 0, `docs/relay.conf.example: ${p.stderr}`);
  }
  assert.equal((await check('[redis]\nurl = redis://127.0.0.1:6379\n')).p.result.code, 0, 'no channel is no fault');
  const lines = (text) => text.split('\n');
  const rows = [
    [['[relay]', 'colour = blue'], 2, /colour/],
    [['', '[fax]', 'number = 1'], 2, /fax/],
    [['attempts = 3'], 1, /attempts/],
    [['[relay]', 'poll = soon'], 2, /poll/],
    [['[relay]', '# a comment', 'attempts = 0'], 3, /attempts/],
    [['[relay]', 'attempts = many'], 2, /attempts/],
    [['[relay]', 'parallel = -1'], 2, /parallel/],
    [['[relay]', 'log = loud'], 2, /log/],
    [['[relay]', 'no equals sign'], 2, /./],
    [['[webhook]', 'secret = x', 'allow-private = maybe'], 3, /allow-private/],
  ];
  for (const [text, line, names] of rows) {
    const { file, p } = await check(text.join('\n'));
    const what = `${text.join(' / ')}: ${p.stderr}`;
    assert.equal(p.result.code, 2, what);
    assert.ok(lines(p.stderr).some((l) => l.includes(`${file}:${line}`) && names.test(l)), what);
  }
  const whole = [
    [{ relay: { timeout: '10s', lease: '34s' } }, /lease/],
    [{ relay: { backoff: '10s', 'backoff-max': '5s' } }, /backoff/],
    [{ redis: { url: 'http://127.0.0.1' } }, /url/],
    [{ wecom: { agentid: 'seven' } }, /agentid/],
    [{ wecom: { api: 'ftp://example.org' } }, /api/],
    [{ webhook: { secret: '@/nowhere/at/all' } }, /nowhere/],
    [{ wecom: { corpid: undefined } }, /corpid/],
    [{ wecom: { secret: undefined } }, /secret/],
    [{ wecom: { agentid: undefined } }, /agentid/],
    [{ wechat: { template: undefined } }, /template/],
  ];
  for (const [change, names] of whole) {
    const { p } = await check(ini(relaySections({ redis: { url: 'redis://127.0.0.1:1' }, prefix: 'crier:', provider: { url: 'https://x.example' }, ...change })));
    assert.equal(p.result.code, 2, `${JSON.stringify(change)}: ${p.stderr}`);
    assert.match(p.stderr, names);
    assert.doesNotMatch(p.stderr, /-secret/);
  }
  const least = await check(ini({ relay: { timeout: '10s', lease: '35s' } }));
  assert.equal(least.p.result.code, 0, least.p.stderr);
});

scenario('the command line: help, version, and what is no command', async (ctx) => {
  for (const arg of ['--help', '--version']) {
    const p = await run(ctx, [arg]);
    assert.equal(p.result.code, 0);
    assert.match(p.stdout, /crier-relay/);
  }
  for (const args of [[], ['--nonsense'], ['--config'], ['--config', '/nowhere/at/all']]) {
    const p = await run(ctx, args);
    assert.equal(p.result.code, 2, `${args}: ${p.stderr}`);
    assert.ok(p.stderr.length > 0);
  }
  const file = relayFile(ini({ relay: { 'metrics-listen': '203.0.113.1:1' }, redis: { url: 'redis://127.0.0.1:1' } }));
  assert.equal((await run(ctx, ['--config', file])).result.code, 1, 'an address that is not ours');
});
