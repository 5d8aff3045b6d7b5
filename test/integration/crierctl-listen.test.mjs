/* crierctl listen over each way: the same messages, acknowledged, resumed, in order; refusals told apart. */
import net from 'node:net';
import { dirname, join } from 'node:path';
import { BIN, DEADLINE, assert, scenario, until, within } from './lib/harness.mjs';
import { Proc } from './lib/proc.mjs';
import { certificate } from './lib/tls.mjs';
import { SECRET, tokenFor } from './lib/tokens.mjs';

const CRIERCTL = join(dirname(BIN), 'crierctl');
const OK = 0;
const REFUSED = 1;
const USAGE = 2;
const WAYS = [
  { name: 'ws', codec: 'json' },
  { name: 'ws', codec: 'msgpack' },
  { name: 'sse', codec: 'json' },
  { name: 'poll', codec: 'json' },
  { name: 'tcp', codec: 'json' },
  { name: 'tcp', codec: 'msgpack' },
];
const TCP = ['--tcp-listen', '127.0.0.1:0'];

function start(ctx, args, env = {}) {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CRIER_')));
  const p = new Proc(CRIERCTL, ['listen', '--json', ...args], { env: { ...inherited, ...env } });
  ctx.defer(() => p.kill());
  return p;
}

async function ended(p, code) {
  assert.equal((await within(p.exit, () => p.stderr, 3 * DEADLINE)).code, code, p.stderr);
  return p.stdout.trim().split('\n').filter(Boolean).map((l) => JSON.parse(l));
}

const urlOf = (broker, way) => (way.name === 'tcp' ? `tcp://127.0.0.1:${broker.tcpPort}` : broker.url);
const argsOf = (broker, way) => ['--transport', way.name, '--codec', way.codec, '--url', urlOf(broker, way)];
const pending = async (broker, user) => (await broker.request('GET', `/api/users/${user}`)).json.pending;

for (const way of WAYS) {
  scenario(`${way.name}, ${way.codec}: stored and live, to a room, in order, once, acknowledged`, { core: true, timeout: 120000 }, async (ctx) => {
    const broker = await ctx.broker({ args: [...TCP, '--room-history', 'chat.*:50:1d'] });
    const args = [...argsOf(broker, way), '--user', 'ann', '--device', 'd'];
    for (let i = 0; i < 250; i++) await broker.push({ user: 'ann', data: { i, text: 'ä\n1.50' } });
    const first = start(ctx, [...args, '--count', '250']);
    const seen = await ended(first, OK);
    assert.deepEqual(seen.map((m) => m.data.i), [...Array(250).keys()]);
    assert.equal(seen[0].data.text, 'ä\n1.50');
    await until(async () => (await pending(broker, 'ann')) === 0, 'all acknowledged');
    const l = start(ctx, [...args, '--room', 'chat.1', '--count', '4']);
    await l.expect('stderr', way.name === 'poll' ? /polling / : /in the room chat\.1/, DEADLINE);
    /* A poll is in no room before its first question has been carried out; it finds the room where it then stands. */
    if (way.name === 'poll') await until(async () => (await broker.request('GET', '/api/users/ann')).json.online, 'the poller');
    await broker.push({ user: 'ann', data: 'one' });
    await l.expect('stdout', /"one"/, DEADLINE);
    await broker.push({ room: 'chat.1', data: 'two', event: 'said' });
    await l.expect('stdout', /"two"/, DEADLINE);
    await broker.push({ user: 'ann', data: 'three' });
    await l.expect('stdout', /"three"/, DEADLINE);
    await broker.push({ user: 'ann', data: 'four' });
    const more = await ended(l, OK);
    assert.deepEqual(more.map((m) => m.data), ['one', 'two', 'three', 'four']);
    assert.deepEqual([more[1].room, more[1].event], ['chat.1', 'said']);
    await until(async () => (await pending(broker, 'ann')) === 0, 'all acknowledged');
  });

  scenario(`${way.name}, ${way.codec}: a broker that comes back finds the listener where it was`, { timeout: 180000 }, async (ctx) => {
    const redis = await ctx.ownRedis();
    const prefix = ctx.newPrefix();
    const broker = await ctx.broker({ redis, prefix, args: TCP });
    const l = start(ctx, [...argsOf(broker, way), '--user', 'ann', '--device', 'd', '--count', '30']);
    await l.expect('stderr', way.name === 'poll' ? /polling / : /connected to/, DEADLINE);
    for (let i = 0; i < 10; i++) await broker.push({ user: 'ann', data: i });
    await l.expect('stdout', /"data":9\b/, DEADLINE);
    await broker.stop();
    const again = await ctx.broker({ redis, prefix, listen: broker.plain, args: ['--tcp-listen', `127.0.0.1:${broker.tcpPort}`] });
    for (let i = 10; i < 20; i++) assert.equal((await again.push({ user: 'ann', data: i })).status, 200);
    await l.expect('stdout', /"data":19\b/, 6 * DEADLINE);
    await again.crash();
    const third = await ctx.broker({ redis, prefix, listen: broker.plain, args: ['--tcp-listen', `127.0.0.1:${broker.tcpPort}`] });
    await until(async () => (await third.push({ user: 'ann', data: 20, id: 'first' })).status === 200, 'the store');
    for (let i = 21; i < 30; i++) assert.equal((await third.push({ user: 'ann', data: i })).status, 200);
    const seen = await ended(l, OK);
    assert.deepEqual(seen.map((m) => m.data), [...Array(30).keys()]);
  });

  scenario(`${way.name}, ${way.codec}: who may not, is told why`, { core: true }, async (ctx) => {
    const broker = await ctx.broker({ dev: false, args: [...TCP, '--jwt-key', `HS256:${SECRET}`, '--api-key', 'k'.repeat(20), '--room-history', 'chat.*:5:1d'] });
    const args = argsOf(broker, way);
    const nobody = start(ctx, [...args, '--user', 'ann']);
    await ended(nobody, REFUSED);
    assert.match(nobody.stderr, /refused: .*--token/);
    const wrong = start(ctx, [...args, '--token', 'x.y.z']);
    await ended(wrong, REFUSED);
    assert.match(wrong.stderr, /bad_token/);
    const token = tokenFor('ann', { rooms: ['chat.1'] });
    const other = start(ctx, [...args, '--token', token, '--room', 'chat.2']);
    await ended(other, REFUSED);
    assert.match(other.stderr, /forbidden/);
    const good = start(ctx, [...args, '--token', token, '--room', 'chat.1', '--count', '1']);
    await good.expect('stderr', way.name === 'poll' ? /polling / : /in the room chat\.1/, DEADLINE);
    await broker.push({ user: 'ann', data: 1 }, { headers: { authorization: `Bearer ${'k'.repeat(20)}` } });
    assert.deepEqual((await ended(good, OK)).map((m) => m.data), [1]);
  });
}

scenario('over TLS', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ tls: true, args: ['--tcp-tls-listen', '127.0.0.1:0'] });
  for (const name of ['ws', 'sse', 'poll', 'tcp']) {
    const url = name === 'tcp' ? `tcps://localhost:${broker.tcpTlsPort}` : `https://localhost:${broker.tlsPort}`;
    await broker.push({ user: name, data: 'hi' });
    const l = start(ctx, ['--transport', name, '--url', url, '--ca', certificate().cert, '--user', name, '--count', '1']);
    assert.deepEqual((await ended(l, OK)).map((m) => m.data), ['hi']);
  }
});

scenario('ways and codecs that do not go together are wrong usage', { core: true }, async (ctx) => {
  for (const args of [['--transport', 'fax'], ['--transport', 'sse', '--codec', 'msgpack'], ['--transport', 'poll', '--codec', 'msgpack'], ['--transport', 'tcp'], ['--transport', 'ws', '--url', 'tcp://localhost:1'], ['--url', 'tcp://localhost']]) {
    const l = start(ctx, ['--user', 'a', ...args]);
    await ended(l, USAGE);
    assert.match(l.stderr, /^crierctl: --(transport|url)/, args.join(' '));
  }
  const http = new Proc(CRIERCTL, ['nodes', '--url', 'tcp://localhost:1']);
  assert.equal((await http.exit).code, USAGE);
});

/* A server that answers whatever it is asked with these bytes, and then hangs up. */
async function nonsense(ctx, bytes) {
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => socket.end(bytes));
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  ctx.defer(() => new Promise((done) => server.close(done)));
  return server.address().port;
}

const HEAD = 'HTTP/1.1 200 OK\r\n';
const NONSENSE = [
  Buffer.alloc(0),
  Buffer.from('hello\r\n\r\n'),
  Buffer.from('HTTP/1.1 999\r\n\r\n'),
  Buffer.from('HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n'),
  Buffer.alloc(100000, 0x41),
  Buffer.from([0xff, 0xff, 0xff, 0xff, 0x81, 0xa1]),
  Buffer.from([0, 0, 0, 0]),
  Buffer.from([0, 0, 0, 2, 0x81, 0xa1]),
  Buffer.from('{"type":"welcome"\n{"type":7}\n[]\n{}\nnull\n'),
  Buffer.from('{"type":"welcome"}\n{"type":"message"}\n{"type":"message","seq":1e99,"data":"\\ud800"}\n{"type":"closing","code":99999}\n{"type":"gap"}\n{"type":"error"}\n'),
  Buffer.from(`${HEAD}Content-Type: text/event-stream\r\n\r\n:\n\ndata\n\ndata: {"type":"message"\n\nid\nid: \0\ndata: []\n\nretry: x\n\ndata: {"type":"message","seq":1}`),
  Buffer.from(`${HEAD}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:\r\nzz\r\n`),
  Buffer.from(`${HEAD}Content-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n`),
  Buffer.from(`${HEAD}Content-Length: 2\r\n\r\n{}`),
  Buffer.from(`${HEAD}Content-Length: 40\r\n\r\n{"messages":[1,{"type":"message"},[[]]],`),
  Buffer.from(`${HEAD}Content-Length: 99999999999999999999\r\n\r\n{}`),
  Buffer.from(`${HEAD}\r\n{"messages":[1,"x",{"type":"message"},{"type":"gap"}],"gap":{},"gaps":[{}],"cursor":"${'c'.repeat(3000)}","more":true}`),
  Buffer.from(`${HEAD}\r\n{"messages":[],"gap":{"from":1},"gaps":[],"cursor":"","more":true}`),
  Buffer.from('HTTP/1.1 503 Busy\r\nRetry-After: 99999999999\r\nContent-Length: 3\r\n\r\n{"e'),
];

scenario('a server that talks nonsense ends the command with a sentence', { core: true, timeout: 180000 }, async (ctx) => {
  for (const [i, bytes] of NONSENSE.entries()) {
    const port = await nonsense(ctx, bytes);
    const runs = WAYS.map((way) => ['listen', '--no-reconnect', '--user', 'a', '--room', 'r', '--transport', way.name, '--codec', way.codec, '--url', `${way.name === 'tcp' ? 'tcp' : 'http'}://127.0.0.1:${port}`]);
    for (const args of [['push', '--user', 'a', '--data', '1'], ['nodes'], ['rooms', '--every-page'], ['message', 'x'], ['ping']]) runs.push([...args, '--url', `http://127.0.0.1:${port}`]);
    const left = runs.map((args) => {
      const p = new Proc(CRIERCTL, [...args, '--timeout', '5']);
      ctx.defer(() => p.kill());
      return [args, p];
    });
    for (const [args, p] of left) {
      const { code, signal } = await within(p.exit, () => `nonsense ${i}: crierctl ${args.join(' ')}\n${p.stderr}`, 3 * DEADLINE);
      assert.equal(signal, null, `nonsense ${i}: crierctl ${args.join(' ')}\n${p.stderr}`);
      assert.doesNotMatch(p.stderr, /Sanitizer|runtime error/, `nonsense ${i}: crierctl ${args.join(' ')}`);
      assert.ok([0, 1, 3].includes(code), `nonsense ${i}: ${code} ${p.stderr}`);
      if (code) assert.match(p.stderr, /^(\* |crierctl: )/, `nonsense ${i}: crierctl ${args.join(' ')}`);
    }
  }
});
