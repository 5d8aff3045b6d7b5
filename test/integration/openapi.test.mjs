/*
 * docs/openapi.yaml against the broker: the same paths and methods, and on a real broker each of its operations is called
 * so that it gives each status the file names, no other; answers, their types and their headers are held against it.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { decode, encode } from '@msgpack/msgpack';
import Ajv2020 from 'ajv/dist/2020.js';
import { parse } from 'yaml';
import { BIN, ROOT, assert, scenario, until } from './lib/harness.mjs';
import { SECRET } from './lib/tokens.mjs';

const KEY = 'a-key-of-the-server-api-0123456789';
const METHODS = ['get', 'put', 'post', 'delete', 'options', 'patch'];
/* What a browser or a conformance suite asks for; no calls. */
const NOT_DESCRIBED = ['GET /', 'GET /console', 'GET /echo', 'POST /echo'];
/* Statuses that need an accident at the very moment of the request. */
const NOT_TRIED = { 'ws 503': 'memory is out, or the broker stops just then', 'events 503': 'the same' };

const doc = parse(readFileSync(`${ROOT}/docs/openapi.yaml`, 'utf8'));
const ajv = new Ajv2020({ strict: false, allErrors: true });
ajv.addSchema(doc, 'api');

const escaped = (s) => encodeURIComponent(s.replaceAll('~', '~0').replaceAll('/', '~1'));
const operations = new Map();
for (const [path, item] of Object.entries(doc.paths)) {
  for (const method of METHODS.filter((m) => item[m])) {
    operations.set(item[method].operationId, { path, method, op: item[method], parameters: [...(item.parameters || []), ...(item[method].parameters || [])], at: ['paths', path, method] });
  }
}

/* A node of the file and where it is, references followed. */
function find(at) {
  let node = doc;
  let where = [];
  for (const key of at) {
    node = node[key];
    where.push(key);
    assert.ok(node !== undefined, where.join(' '));
    if (node.$ref && !at.includes('schema')) {
      where = node.$ref.slice(2).split('/');
      node = where.reduce((n, k) => n[k], doc);
    }
  }
  return { node, where };
}

function validator(where) {
  const id = `api#/${where.map(escaped).join('/')}`;
  const v = ajv.getSchema(id) || ajv.compile({ $ref: id });
  return (value, what) => assert.ok(v(value), `${what}: ${ajv.errorsText(v.errors)}\n${JSON.stringify(value)?.slice(0, 600)}`);
}

function holdBody(o, body, type, what) {
  const { node, where } = find([...o.at, 'requestBody']);
  assert.ok(node.content[type], `${what}: the file knows no body of ${type}`);
  validator([...where, 'content', type, 'schema'])(body, `${what}, its body`);
}

function holdHeaders(response, headers, what) {
  for (const [name, ref] of Object.entries(response.headers || {})) {
    const value = headers[name.toLowerCase()];
    if (name === 'X-Request-Id' && value === undefined) continue;
    assert.notEqual(value, undefined, `${what}: without ${name}`);
    const header = ref.$ref ? ref.$ref.slice(2).split('/').reduce((n, k) => n[k], doc) : ref;
    if (header.schema) assert.ok(ajv.validate(header.schema, value), `${what}: ${name}: ${value}`);
  }
}

/* An answer against what the file says of this operation and status. */
function holdAnswer(id, r) {
  const o = operations.get(id);
  const what = `${id} ${r.status}`;
  assert.ok(o.op.responses[r.status], `${what}: the file does not know this status: ${r.text?.slice(0, 300)}`);
  const { node, where } = find([...o.at, 'responses', String(r.status)]);
  holdHeaders(node, r.headers, what);
  if (!node.content) return;
  const type = r.headers['content-type'].split(';')[0];
  assert.ok(node.content[type], `${what}: the file knows no answer of ${type}`);
  const value = type === 'application/json' ? r.json : type === 'application/msgpack' ? decode(r.body) : r.text;
  if (type !== 'text/event-stream') validator([...where, 'content', type, 'schema'])(value, what);
}

const tried = new Set();

function target(o, { params = {}, query = {} }) {
  const path = o.path.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(params[name] ?? 'x'));
  const q = new URLSearchParams(query).toString();
  return q ? `${path}?${q}` : path;
}

/* One call that has to end with this status. ask: params, query, headers, body (a value), raw (bytes), msgpack. */
async function call(broker, id, status, ask = {}) {
  const o = operations.get(id);
  assert.ok(o, `${id} is in the file`);
  const type = ask.msgpack ? 'application/msgpack' : 'application/json';
  let body = ask.raw;
  if ('body' in ask) {
    if (status < 400) holdBody(o, ask.body, type, id);
    body = ask.msgpack ? Buffer.from(encode(ask.body)) : JSON.stringify(ask.body);
  }
  const headers = { ...(body !== undefined ? { 'content-type': type } : {}), ...(ask.msgpack ? { accept: type } : {}), ...ask.headers };
  const r = await broker.request(o.method.toUpperCase(), target(o, ask), { headers, body });
  assert.equal(r.status, status, `${id} ${target(o, ask)}: ${r.text}`);
  holdAnswer(id, r);
  if (ask.msgpack && body === undefined && status === 200) assert.equal(r.headers['content-type'], type, id);
  tried.add(`${id} ${status}`);
  return r;
}

/* The head of an answer that does not end. */
async function stream(ctx, broker, id, ask = {}) {
  const o = operations.get(id);
  const raw = await ctx.raw(broker);
  const lines = Object.entries({ Host: 'localhost', ...ask.headers }).map(([k, v]) => `${k}: ${v}\r\n`);
  raw.write(`GET ${target(o, ask)} HTTP/1.1\r\n${lines.join('')}\r\n`);
  const head = await raw.head();
  const status = Number(head.split(' ')[1]);
  const headers = Object.fromEntries(head.split('\r\n').slice(1).filter(Boolean).map((l) => [l.slice(0, l.indexOf(':')).toLowerCase(), l.slice(l.indexOf(':') + 2)]));
  holdAnswer(id, { status, headers, text: '' });
  tried.add(`${id} ${status}`);
  raw.destroy();
  return status;
}

const UPGRADE = { connection: 'Upgrade', upgrade: 'websocket', 'sec-websocket-version': '13', 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==' };
const ids = (fits) => [...operations].filter(([, o]) => fits(o)).map(([id]) => id);
const ofApi = ids((o) => o.path.startsWith('/api/'));
const body = { push: { user: 'u', data: 1 }, pushBatch: [{ user: 'u', data: 1 }], subscribeUser: { user: 'u' }, unsubscribeUser: { user: 'u' }, send: { type: 'send', user: 'u', data: 1 }, putAddresses: { wecom: 'w' } };
const plain = (id) => (body[id] ? { body: body[id] } : {});

scenario('the file and the router have the same paths and methods', { core: true }, async () => {
  const routes = execFileSync(BIN, ['--routes'], { encoding: 'utf8' }).trim().split('\n');
  const described = [...operations.values()].map((o) => `${o.method.toUpperCase()} ${o.path.replace(/\{\w+\}/g, '*')}`);
  assert.deepEqual(described.sort(), routes.filter((r) => !NOT_DESCRIBED.includes(r)).sort());
  for (const r of NOT_DESCRIBED) assert.ok(routes.includes(r), `${r} is served`);
  assert.equal(operations.size, described.length, 'each operation has an id of its own');
});

scenario('each parameter of a path is described, and nothing refers to what is not there', { core: true }, async () => {
  for (const [id, o] of operations) {
    const named = o.parameters.map((p) => (p.$ref ? p.$ref.slice(2).split('/').reduce((n, k) => n[k], doc) : p));
    for (const p of named) assert.ok(p?.name && p.in && p.schema, `${id}: a parameter`);
    assert.deepEqual(named.filter((p) => p.in === 'path').map((p) => p.name), [...o.path.matchAll(/\{(\w+)\}/g)].map((m) => m[1]), id);
    for (const status of Object.keys(o.op.responses)) assert.ok(find([...o.at, 'responses', status]).node.description, `${id} ${status}`);
  }
  const walk = (node) => {
    if (node && typeof node === 'object') {
      if (typeof node.$ref === 'string') assert.ok(node.$ref.slice(2).split('/').reduce((n, k) => n?.[k], doc), node.$ref);
      Object.values(node).forEach(walk);
    }
  };
  walk(doc);
});

for (const store of ['memory', 'redis']) {
  scenario(`${store}: what goes well`, { core: true, timeout: 120000 }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--presence', 'hall.*', '--room-history', 'chat.*:50:1d'] });
    await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz');
    for (const id of ['healthz', 'readyz', 'metrics', 'listNodes', 'getStats']) await call(broker, id, 200);
    const full = { data: { n: 1.5 }, event: 'e', from: 'shop', ttl: 60, priority: 'high', collapse: 'c', track: true };
    await call(broker, 'push', 200, { body: { users: ['u', 'v', 'away'], id: 'm', ...full }, headers: { 'x-request-id': 'r-1' } });
    await call(broker, 'push', 200, { body: { users: ['u', 'v', 'away'], id: 'm', ...full } });
    await call(broker, 'push', 200, { body: { user: 'u', data: 2, priority: 'low' }, headers: { 'idempotency-key': 'k' } });
    const c = await ctx.client(broker, { user: 'u', device: 'd', query: { ack: 'explicit' } });
    for (const room of ['hall.1', 'chat.1', 'plain']) await c.join(room);
    for (const b of [{ room: 'chat.1', id: 'inroom', ...full }, { rooms: ['chat.1', 'plain'], data: [] }, { all: true, data: null, id: 'toall', track: true }, { user: 'nobody', data: 1, ttl: 0, track: true, id: 'live' }]) await call(broker, 'push', 200, { body: b });
    await call(broker, 'push', 200, { msgpack: true, body: { room: 'plain', data: new Uint8Array([1]) } });
    await call(broker, 'pushBatch', 200, { body: [{ user: 'u', data: 3 }, { rooms: ['a', 'b'], data: 4 }] });
    await call(broker, 'pushBatch', 200, { msgpack: true, body: [{ user: 'u', data: 5 }] });
    const mixed = await broker.request('POST', '/api/push/batch', { body: '[{"user":"u"},{"user":"u","data":1},{"room":"u","data":1,"escalate":{"after":5,"to":["wecom"]}},7]' });
    holdAnswer('pushBatch', mixed);
    assert.deepEqual(mixed.json.results.map((x) => x.error?.code), ['bad_request', undefined, 'bad_request', 'bad_json']);
    const list = await c.messages(2);
    c.ack(list[1].seq);
    await until(async () => (await call(broker, 'getMessage', 200, { params: { id: 'm' } })).json.recipients.some((r) => r.state === 'acked'), 'an ack');
    for (const id of ['m', 'inroom', 'toall', 'live']) {
      for (const what of ['getMessage', 'getUndelivered', 'retryMessage']) {
        await call(broker, what, 200, { params: { id } });
        await call(broker, what, 200, { params: { id }, query: { limit: 1, after: '' }, msgpack: true });
      }
    }
    await call(broker, 'getMessage', 200, { params: { id: 'm' }, query: { user: 'v' } });
    if (store === 'redis') {
      const escalate = { after: 3600, to: ['webhook', 'wecom', 'wechat'], text: 'hi' };
      await call(broker, 'push', 200, { body: { user: 'esc', data: 1, id: 'esc', escalate } });
      await call(broker, 'push', 200, { msgpack: true, body: { user: 'esc2', data: 1, id: 'esc', escalate } });
      assert.deepEqual((await call(broker, 'getMessage', 200, { params: { id: 'esc' } })).json.recipients[0].escalate.to, escalate.to);
      for (const addresses of [{ wecom: 'w', wechat: 'o', webhook: 'https://a.example/' }, { wechat: 'ö' }, {}]) {
        for (const msgpack of [false, true]) {
          await call(broker, 'putAddresses', 200, { msgpack, params: { user: 'esc' }, body: addresses });
          await call(broker, 'getAddresses', 200, { msgpack, params: { user: 'esc' } });
        }
        assert.deepEqual((await call(broker, 'getAddresses', 200, { params: { user: 'esc' } })).json, { user: 'esc', addresses });
      }
      for (const raw of ['', '[]', 'x', '{"sms":"1"}', '{"webhook":"ftp://a"}', '{"wecom":""}', '{"wecom":1}', '{"wecom":"a","wecom":"b"}']) await call(broker, 'putAddresses', 400, { raw });
      await call(broker, 'getAddresses', 400, { params: { user: '\n' } });
    }
    for (const user of ['u', 'v']) {
      await call(broker, 'getUser', 200, { params: { user } });
      await call(broker, 'getUser', 200, { params: { user }, msgpack: true });
      await call(broker, 'getInbox', 200, { params: { user } });
      await call(broker, 'getInbox', 200, { params: { user }, query: { limit: 1, after: 1 }, msgpack: true });
    }
    await call(broker, 'clearInbox', 200, { params: { user: 'v' } });
    await call(broker, 'getUser', 200, { params: { user: 'v' } });
    await call(broker, 'getInbox', 200, { params: { user: 'v' } });
    await call(broker, 'subscribeUser', 200, { params: { room: 'r' }, body: { user: 'u', device: 'd' } });
    await call(broker, 'unsubscribeUser', 200, { params: { room: 'r' }, body: { user: 'u' }, msgpack: true });
    for (const room of ['hall.1', 'chat.1', 'plain', 'never', 'ä/b']) await call(broker, 'getRoom', 200, { params: { room } });
    for (const query of [{}, { limit: 1 }, { limit: 1, after: 'chat.1' }]) await call(broker, 'listRooms', 200, { query });
    for (const query of [{}, { limit: 1, after: 'a' }]) await call(broker, 'getPresence', 200, { params: { room: 'hall.1' }, query });
    for (const query of [{}, { limit: 1 }, { since: 0, limit: 1 }, { before: 1 }]) await call(broker, 'getHistory', 200, { params: { room: 'chat.1' }, query });
    for (const id of ['listNodes', 'getStats', 'listRooms', 'getRoom']) await call(broker, id, 200, { msgpack: true });
    await call(broker, 'poll', 200, { query: { user: 'v', device: 'p' } });
    await call(broker, 'push', 200, { body: { user: 'v', data: 1 } });
    await until(async () => (await call(broker, 'poll', 200, { query: { user: 'v', device: 'p' } })).json.messages.length === 1, 'a message polled');
    const start = await call(broker, 'poll', 200, { query: { user: 'q', device: 'p', rooms: 'chat.9' } });
    await call(broker, 'pushBatch', 200, { body: Array.from({ length: 60 }, (_, i) => ({ room: 'chat.9', data: i })) });
    await until(async () => (await call(broker, 'poll', 200, { query: { user: 'q', device: 'p', rooms: 'chat.9', ack: 'explicit', after: start.json.cursor } })).json.gaps, 'a gap of a room');
    await call(broker, 'send', 200, { query: { user: 'v' }, body: { type: 'history', room: 'chat.1', limit: 2 } });
    await call(broker, 'send', 200, { query: { user: 'v' }, body: { type: 'presence', room: 'hall.1' } });
    await call(broker, 'send', 200, { query: { user: 'v' }, body: { type: 'send', ref: 1, user: 'u', data: 'hi' } });
    await call(broker, 'send', 200, { query: { user: 'v' }, body: { type: 'send', ref: 'r', room: 'plain', data: 'hi' }, msgpack: true });
    for (const id of ['preflightEvents', 'preflightPoll', 'preflightSend']) await call(broker, id, 204, { headers: { origin: 'http://localhost:3000' } });
    assert.equal(await stream(ctx, broker, 'events', { query: { user: 'w', rooms: 'plain' } }), 200);
    assert.equal(await stream(ctx, broker, 'ws', { query: { user: 'w' }, headers: UPGRADE }), 101);
    await call(broker, 'disconnectUser', 200, { params: { user: 'u' }, body: { device: 'd', reason: 'bye' } });
    await call(broker, 'disconnectUser', 200, { params: { user: 'u' } });
  });
}

/* What each operation refuses with 400 and 404. */
const WRONG = {
  push: [{ raw: '{"data":1}' }, { raw: 'x' }, { raw: `{"user":"u","data":${'['.repeat(100)}${']'.repeat(100)}}` }, { body: { user: 'u', data: 1, ttl: 'x' }, msgpack: true }],
  pushBatch: [{ raw: '{}' }, { raw: '[]' }, { body: [{ user: 'u', data: 1 }], headers: { 'idempotency-key': 'k' } }],
  subscribeUser: [{ raw: '{}' }, { raw: '{"user":""}' }, { params: { room: '\n' }, body: { user: 'u' } }],
  unsubscribeUser: [{ raw: '[]' }],
  disconnectUser: [{ raw: '{"device":1}' }, { raw: '{"why":"x"}' }],
  getMessage: [{ query: { limit: 0 } }, { query: { after: 'zz' } }, { query: { user: '\n' } }],
  getUndelivered: [{ query: { limit: 'x' } }],
  retryMessage: [{ params: { id: 'x'.repeat(129) } }],
  getUser: [{ params: { user: '\u0000' } }],
  getInbox: [{ query: { after: -1 } }],
  clearInbox: [{ params: { user: 'x'.repeat(600) } }],
  listRooms: [{ query: { limit: 1001 } }],
  getRoom: [{ params: { room: '\n' } }],
  getPresence: [{ query: { limit: 0 }, params: { room: 'hall.1' } }],
  getHistory: [{ query: { before: 1, since: 2 }, params: { room: 'chat.1' } }, { query: { since: 'x' }, params: { room: 'chat.1' } }],
  poll: [{ query: { user: 'u', wait: 61 } }, { query: { user: 'u', ack: 'sent' } }, { query: { user: '' } }],
  events: [{ query: { user: 'u', ack: 'x' } }, { query: { user: 'u', since: 'x' } }],
  ws: [{ query: { user: 'u', ack: 'x' }, headers: UPGRADE }, { query: { user: 'u' }, headers: { ...UPGRADE, 'sec-websocket-protocol': 'other' } }, { query: { user: 'u' }, headers: { ...UPGRADE, 'sec-websocket-key': 'x' } }],
  send: [{ query: { user: 'u' }, raw: '{"type":"send"}' }, { query: { user: 'u' }, raw: 'x' }, { query: { user: 'u' }, raw: '{"type":"nothing"}' }, { query: { user: '' }, raw: '{}' }],
};
const ABSENT = { getMessage: {}, getUndelivered: {}, retryMessage: {}, getUser: {}, getPresence: { params: { room: 'plain' } }, getHistory: { params: { room: 'plain' } } };

scenario('what is refused: 400, 404, 413, 426, 501, an origin', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--presence', 'hall.*', '--room-history', 'chat.*:50:1d', '--max-payload', '1024'] });
  for (const [id, list] of Object.entries(WRONG)) for (const ask of list) await call(broker, id, 400, ask);
  for (const [id, ask] of Object.entries(ABSENT)) await call(broker, id, 404, ask);
  const big = 'x'.repeat(9 * 1024 * 1024 + 4096);
  for (const id of ids((o) => o.op.responses[413])) await call(broker, id, 413, { raw: big, query: id === 'send' ? { user: 'u' } : {} });
  await call(broker, 'push', 413, { body: { user: 'u', data: 'x'.repeat(2000) } });
  await call(broker, 'push', 501, { body: { user: 'u', data: 1, escalate: { after: 5, to: ['webhook'], text: 'x' } } });
  await call(broker, 'getAddresses', 501);
  await call(broker, 'putAddresses', 501, { body: { webhook: 'https://a.example' } });
  await call(broker, 'ws', 426, { query: { user: 'u' } });
  for (const id of ids((o) => o.op.responses[403])) await call(broker, id, 403, { ...plain(id), headers: { origin: 'https://evil.example', ...(id === 'ws' ? UPGRADE : {}) }, query: { user: 'u' } });
  await call(broker, 'send', 501, { query: { user: 'u' }, body: { type: 'history', room: 'plain' } });
  await call(broker, 'send', 409, { query: { user: 'u', device: 'd' }, body: { type: 'subscribe', room: 'r' } });
});

scenario('without a key, a token, or what the token allows', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ dev: false, args: ['--api-key', KEY, '--jwt-key', `HS256:${SECRET}`] });
  for (const id of ofApi) {
    await call(broker, id, 401, plain(id));
    await call(broker, id, 401, { ...plain(id), headers: { authorization: `Bearer ${KEY}x` } });
  }
  assert.equal(await broker.metric('crier_handshake_failures_total', 'stage="auth"'), 2 * ofApi.length, 'counted');
  for (const id of ['poll', 'events', 'send']) await call(broker, id, 401, plain(id));
  await call(broker, 'ws', 401, { headers: UPGRADE });
  await call(broker, 'poll', 401, { query: { token: 'x.y.z' } });
  await call(broker, 'listNodes', 200, { headers: { authorization: `Bearer ${KEY}` } });
});

scenario('too fast', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ shards: 1, args: ['--rate-messages', '1', '--rate-subscribes', '1', '--rate-user', '1', '--max-rooms', '2'] });
  const many = (id, ask) => until(async () => (await broker.request(operations.get(id).method.toUpperCase(), target(operations.get(id), ask), { body: ask.raw })).status === 429, id);
  const cases = [['poll', { query: { user: 'a' } }], ['send', { query: { user: 'b' }, raw: '{"type":"send","user":"u","data":1,"ttl":0}' }]];
  for (const [id, ask] of cases) {
    await many(id, ask);
    await call(broker, id, 429, ask);
  }
  await until(async () => {
    const raw = await ctx.raw(broker);
    raw.write(`GET /events?user=c&rooms=a,b HTTP/1.1\r\nHost: localhost\r\n\r\n`);
    const head = await raw.head();
    raw.destroy();
    return head.startsWith('HTTP/1.1 429 ');
  }, 'subscribes');
  await call(broker, 'events', 429, { query: { user: 'c', rooms: 'a,b' } });
});

scenario('while the store is away', { core: true, timeout: 120000 }, async (ctx) => {
  const redis = await ctx.ownRedis();
  const broker = await ctx.broker({ redis, prefix: ctx.newPrefix(), args: ['--presence', 'x', '--room-history', 'x:5:1d'] });
  await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz');
  await redis.kill();
  await until(async () => (await broker.request('GET', '/readyz')).status === 503, 'not ready');
  await call(broker, 'readyz', 503);
  for (const id of ids((o) => o.op.responses[503] && o.path.startsWith('/api/'))) await call(broker, id, 503, plain(id));
  await call(broker, 'poll', 503, { query: { user: 'a' } });
  await call(broker, 'send', 503, { query: { user: 'a' }, body: body.send });
});

/* The last: what the scenarios above have not seen is not proved. */
scenario('each status of each operation has been tried', { core: true }, async () => {
  const described = [...operations].flatMap(([id, o]) => Object.keys(o.op.responses).map((status) => `${id} ${status}`));
  assert.deepEqual(described.filter((d) => !tried.has(d) && !NOT_TRIED[d]), []);
});
