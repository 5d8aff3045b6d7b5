/* Who may come in, and what they may do: tokens, keys, origins, expiry. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CommandError, RefusedError, SLOW, assert, scenario, until } from './lib/harness.mjs';
import { removeDir, tempDir } from './lib/proc.mjs';
import { SECRET, jwt, keyPairs, now, tokenFor } from './lib/tokens.mjs';

const API_KEY = 'the-api-key-of-these-tests-0123456789';
const CLOSED = { dev: false, args: ['--jwt-key', `HS256:${SECRET}`, '--api-key', API_KEY] };
const API = { headers: { authorization: `Bearer ${API_KEY}` } };

async function refused(ctx, broker, options, status, what) {
  const c = ctx.attempt(broker, options);
  await assert.rejects(c.opened, (e) => {
    assert.ok(e instanceof RefusedError, `${what}: ${e.message}`);
    assert.equal(e.status, status, `${what}: ${e.body}`);
    const { error } = JSON.parse(e.body);
    assert.ok(error.code && error.message, what);
    return true;
  });
}

const forbidden = (e) => e instanceof CommandError && e.code === 'forbidden';

scenario('a token is taken from every place it may be in', { core: true }, async (ctx) => {
  const broker = await ctx.broker(CLOSED);
  const t = tokenFor('alice', { device: 'from-token' });
  for (const [name, options] of Object.entries({
    subprotocol: { token: t },
    'subprotocol in front': { protocols: [`bearer.${t}`, 'crier.v1.json'] },
    header: { headers: { authorization: `Bearer ${t}` } },
    query: { query: { token: t } },
    cookie: { headers: { cookie: `a=b; crier_token=${t}; c=d` } },
  })) {
    const c = await ctx.client(broker, options);
    assert.equal(c.welcome.user, 'alice', name);
    assert.equal(c.welcome.device, 'from-token', name);
    await c.close();
  }
  await refused(ctx, broker, {}, 401, 'no token');
  await refused(ctx, broker, { user: 'alice' }, 401, '?user= without --dev');
});

scenario('HS256, RS256 and ES256 side by side, chosen by kid', { core: true }, async (ctx) => {
  const { rsa, ec } = keyPairs();
  const second = 'another-secret-that-is-also-long-enough-for-HS256';
  const broker = await ctx.broker({
    dev: false,
    args: ['--api-key', API_KEY, '--jwt-key', `a=HS256:${SECRET}`, '--jwt-key', `b=HS256:${second}`, '--jwt-key', `r=RS256:${rsa.path}`, '--jwt-key', `e=ES256:${ec.path}`],
  });
  const good = {
    a: jwt({ sub: 'hs', exp: now() + 60 }, { kid: 'a' }),
    b: jwt({ sub: 'hs2', exp: now() + 60 }, { kid: 'b', key: second }),
    r: jwt({ sub: 'rs', exp: now() + 60 }, { kid: 'r', alg: 'RS256', key: rsa.privateKey }),
    e: jwt({ sub: 'es', exp: now() + 60 }, { kid: 'e', alg: 'ES256', key: ec.privateKey }),
  };
  for (const token of Object.values(good)) await (await ctx.client(broker, { token })).close();
  const claims = { sub: 'x', exp: now() + 60 };
  await refused(ctx, broker, { token: jwt(claims, { kid: 'b' }) }, 401, "another key's kid");
  await refused(ctx, broker, { token: jwt(claims, { kid: 'unknown' }) }, 401, 'an unknown kid');
  await refused(ctx, broker, { token: jwt(claims, { kid: 'r' }) }, 401, 'HS256 under an RS256 kid');
  await refused(ctx, broker, { token: jwt(claims, { kid: 'r', key: rsa.pem }) }, 401, 'HS256 signed with the public RSA key');
  await refused(ctx, broker, { token: jwt(claims, { kid: 'e', alg: 'RS256', key: rsa.privateKey }) }, 401, 'RS256 under an ES256 kid');
});

scenario('tokens that are wrong are refused with 401 and a reason', { core: true }, async (ctx) => {
  const broker = await ctx.broker(CLOSED);
  const exp = now() + 3600;
  const good = tokenFor('alice');
  const [h, p, s] = good.split('.');
  const bad = {
    'another secret': jwt({ sub: 'a', exp }, { key: 'x'.repeat(40) }),
    expired: jwt({ sub: 'a', exp: now() - 10 }),
    'no exp': jwt({ sub: 'a' }),
    'exp that is a string': jwt({ sub: 'a', exp: String(exp) }),
    'not valid yet': jwt({ sub: 'a', exp, nbf: now() + 600 }),
    'no sub': jwt({ exp }),
    'sub that is a number': jwt({ sub: 7, exp }),
    'sub with a control character': jwt({ sub: 'a\nb', exp }),
    'sub too long': jwt({ sub: 'x'.repeat(129), exp }),
    'an empty sub': jwt({ sub: '', exp }),
    'alg none': jwt({ sub: 'a', exp }, { alg: 'none' }),
    'alg None with a signature': `${jwt({ sub: 'a', exp }, { alg: 'None' })}${s}`,
    'alg HS512': jwt({ sub: 'a', exp }, { alg: 'HS512' }),
    'no signature': `${h}.${p}.`,
    'a changed claim': `${h}.${Buffer.from(JSON.stringify({ sub: 'mallory', exp })).toString('base64url')}.${s}`,
    'two parts': `${h}.${p}`,
    'four parts': `${good}.x`,
    nonsense: 'nonsense',
    'rooms that are no list': jwt({ sub: 'a', exp, rooms: 'all' }),
    'a list claim as claims': `${h}.${Buffer.from('[]').toString('base64url')}.${s}`,
  };
  for (const [name, token] of Object.entries(bad)) await refused(ctx, broker, { query: { token } }, 401, name);
  await refused(ctx, broker, { token: 'x'.repeat(5000) }, 401, 'a token of 5000 bytes');
  assert.ok((await broker.metric('crier_handshake_failures_total', 'stage="auth"')) >= Object.keys(bad).length);
  assert.ok(!broker.log.includes(good), 'no token in the log');
});

scenario('rooms and send say what a token allows; without them nothing', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ ...CLOSED, args: [...CLOSED.args, '--max-errors', '100'] });
  const poor = await ctx.client(broker, { token: tokenFor('poor') });
  await assert.rejects(poor.join('news'), forbidden);
  for (const target of [{ user: 'rich' }, { user: 'poor' }, { room: 'news' }, { all: true }]) await assert.rejects(poor.command('send', { ...target, data: 1 }), forbidden);

  const rich = await ctx.client(broker, { token: tokenFor('rich', { rooms: ['news', 'team-*', 'a?c'], send: ['user:p*', 'room:team-1'] }) });
  for (const room of ['news', 'team-', 'team-1', 'team-x/y', 'abc', 'aéc']) await rich.join(room);
  for (const room of ['News', 'new', 'newsx', 'xteam-1', 'ac', 'abbc']) await assert.rejects(rich.join(room), forbidden, room);
  await rich.command('send', { user: 'poor', data: 'hello' });
  const m = await poor.next('message');
  assert.equal(m.data, 'hello');
  assert.equal(m.from, 'rich');
  await rich.command('send', { room: 'team-1', data: 1 });
  for (const target of [{ user: 'rich' }, { room: 'news' }, { room: 'team-12' }, { all: true }]) await assert.rejects(rich.command('send', { ...target, data: 1 }), forbidden);
  const chief = await ctx.client(broker, { token: tokenFor('chief', { send: ['all'] }) });
  await chief.command('send', { all: true, data: 'to all' });
  assert.equal((await poor.next('message')).data, 'to all');
  /* A room called "all" is not everyone, a user called "room:x" is no room. */
  await assert.rejects(chief.command('send', { room: 'all', data: 1 }), forbidden);
  await assert.rejects(rich.command('send', { user: 'room:team-1', data: 1 }), forbidden);
});

scenario('a token is refreshed in-band; another user’s is not taken', { core: true, timeout: 90000 }, async (ctx) => {
  const broker = await ctx.broker({ ...CLOSED, args: [...CLOSED.args, '--max-errors', '100'] });
  const life = Math.ceil(3 * SLOW);
  const c = await ctx.client(broker, { token: tokenFor('alice', { exp: now() + life }) });
  const warning = await c.next('expiring');
  assert.ok(warning.in >= 0 && warning.in <= life + 1, JSON.stringify(warning));
  await assert.rejects(c.command('refresh', { token: tokenFor('bob') }), (e) => e.code === 'unauthorized');
  await assert.rejects(c.command('refresh', { token: jwt({ sub: 'alice', exp: now() + 60 }, { key: 'y'.repeat(40) }) }), (e) => e.code === 'unauthorized');
  await assert.rejects(c.join('later'), forbidden);
  await c.command('refresh', { token: tokenFor('alice', { rooms: ['later'] }) });
  await c.join('later');
  /* The old end passes: another client of the same age is closed, this one is not. */
  const other = await ctx.client(broker, { token: tokenFor('carol', { exp: now() + 1 + Math.ceil(SLOW) }) });
  assert.equal((await other.closed).code, 4002);
  await until(() => now() > warning.in + life, 'the first token has ended').catch(() => {});
  assert.equal((await broker.push({ user: 'alice', data: 'alive' }, API)).status, 200);
  assert.equal((await c.next('message')).data, 'alive');
});

scenario('an expired token closes the connection with 4002', async (ctx) => {
  const broker = await ctx.broker(CLOSED);
  const c = await ctx.client(broker, { token: tokenFor('alice', { exp: now() + 2 }) });
  assert.equal((await c.closed).code, 4002);
  await until(async () => (await broker.metric('crier_closes_total', 'reason="token_expired"').catch(() => 0)) >= 0, 'metrics');
});

scenario('origins: same by default, a list with wildcards, 403 for others', { core: true }, async (ctx) => {
  const same = await ctx.broker(CLOSED);
  const token = tokenFor('a');
  const own = `http://127.0.0.1:${same.port}`;
  await ctx.client(same, { token, origin: own });
  await ctx.client(same, { token });
  for (const origin of ['http://evil.example', 'null', `${own}.evil.example`, 'http://127.0.0.1', 'https://', 'http://127.0.0.1:1']) {
    await refused(ctx, same, { token, origin }, 403, origin);
  }
  const post = await same.push({ user: 'a', data: 1 }, { headers: { ...API.headers, origin: 'http://evil.example' } });
  assert.equal(post.status, 403);
  assert.match(same.log, /evil\.example|origin/i);
  const dev = await ctx.broker();
  await refused(ctx, dev, { user: 'a', origin: 'http://evil.example' }, 403, 'a foreign page with --dev');
  assert.ok((await dev.metric('crier_handshake_failures_total', 'stage="origin"')) >= 1);

  const list = await ctx.broker({ dev: false, args: [...CLOSED.args, '--origins', 'https://app.example,https://*.good.example:8443'] });
  for (const origin of ['https://app.example', 'https://APP.example', 'https://a.good.example:8443', 'https://a.b.good.example:8443', 'https://app.example:443']) {
    await ctx.client(list, { token, origin });
  }
  for (const origin of ['http://app.example', 'https://app.example.evil.example', 'https://good.example:8443', 'https://a.good.example', 'https://evil.example/.good.example:8443', `http://127.0.0.1:${list.port}`]) {
    await refused(ctx, list, { token, origin }, 403, origin);
  }
});

scenario('the server API asks for its key', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ ...CLOSED, args: [...CLOSED.args, '--api-key', 'a-second-key-of-the-api-0123456789'] });
  const c = await ctx.client(broker, { token: tokenFor('alice') });
  const body = { user: 'alice', data: 1 };
  for (const [name, headers] of Object.entries({
    none: {},
    wrong: { authorization: 'Bearer wrong' },
    'the beginning of it': { authorization: `Bearer ${API_KEY.slice(0, -1)}` },
    'more than it': { authorization: `Bearer ${API_KEY}x` },
    'another scheme': { authorization: `Basic ${API_KEY}` },
    "a client's token": { authorization: `Bearer ${tokenFor('alice', { send: ['*'] })}` },
  })) {
    const r = await broker.push(body, { headers });
    assert.equal(r.status, 401, name);
    assert.ok(r.json.error.code, name);
    assert.match(r.headers['www-authenticate'] ?? '', /bearer/i, name);
  }
  assert.equal((await broker.push(body, API)).status, 200);
  assert.equal((await broker.push(body, { headers: { authorization: 'bearer a-second-key-of-the-api-0123456789' } })).status, 200);
  assert.equal((await c.messages(2)).length, 2);
  assert.ok(!broker.log.includes(API_KEY), 'no key in the log');
});

scenario('keys may come from files', async (ctx) => {
  const dir = tempDir();
  ctx.defer(() => removeDir(dir));
  writeFileSync(join(dir, 'api'), `${API_KEY}\n`);
  writeFileSync(join(dir, 'hs'), `${SECRET}\n`);
  const broker = await ctx.broker({ dev: false, args: ['--jwt-key', `HS256:@${join(dir, 'hs')}`, '--api-key', `@${join(dir, 'api')}`] });
  await ctx.client(broker, { token: tokenFor('alice') });
  assert.equal((await broker.push({ user: 'alice', data: 1 }, API)).status, 200);
});

scenario('a public listener serves no API, no metrics, no console', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ ...CLOSED, listen: '127.0.0.1:0,public' });
  for (const [method, path] of [
    ['POST', '/api/push'],
    ['GET', '/metrics'],
    ['GET', '/console/'],
    ['GET', '/console/console.js'],
  ]) {
    const r = await broker.request(method, path, { ...API, ...(method === 'POST' ? { body: '{"user":"a","data":1}' } : {}) });
    assert.equal(r.status, 404, path);
  }
  await ctx.client(broker, { token: tokenFor('alice') });
  assert.equal((await broker.request('GET', '/healthz')).status, 200);
});

scenario('a client may not speak for the server: from, seq and id of others are not its to set', async (ctx) => {
  const broker = await ctx.broker();
  const a = await ctx.client(broker, { user: 'a' });
  const b = await ctx.client(broker, { user: 'b' });
  await a.command('send', { user: 'b', data: 1, from: 'root', seq: 5, ts: 1, track: true });
  const m = await b.next('message');
  assert.equal(m.from, 'a');
  assert.notEqual(m.seq, 5);
  assert.ok(m.ts > 1e12);
});
