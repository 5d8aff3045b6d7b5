/* What docs/examples/ shows is run here, as a reader would run it, with the real broker and the real Redis. */
import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, symlinkSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { join } from 'node:path';
import { encode } from '@msgpack/msgpack';
import { Chromium, noChromium } from './lib/chromium.mjs';
import { DEADLINE, ROOT, assert, scenario, until, within } from './lib/harness.mjs';
import { Proc, removeDir, tempDir } from './lib/proc.mjs';
import { ACCOUNT } from './lib/providers.mjs';
import { setAddresses, settled, stage } from './lib/relay.mjs';
import { SECRET, tokenFor } from './lib/tokens.mjs';

const HERE = `${ROOT}/docs/examples`;
const API_KEY = 'the-api-key-of-the-examples-0123456789';
const ODD = 'Grüße "ab" \\ \t€ 🙂\nand a second line';
const findIn = (dirs, name) => dirs.map((d) => join(d, name)).find((f) => existsSync(f));
const which = (name) => findIn(process.env.PATH.split(':'), name);

function phpMissing() {
  if (!which('php')) return 'php is not installed (php-cli)';
  return /^curl$/m.test(execFileSync('php', ['-m'], { encoding: 'utf8' })) ? false : 'php has no curl extension (php-curl)';
}

/* A program to its end: what it printed, or a failure that shows what it said. */
async function run(ctx, command, args, env = {}, code = 0) {
  const p = new Proc(command, args, { name: args[0], env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env } });
  ctx.defer(() => p.kill());
  await within(p.exit, `${command} ${args.join(' ')}`, DEADLINE * 2);
  assert.equal(p.result.code, code, `${command} ${args.join(' ')}: ${p.stdout}${p.stderr}`);
  return p;
}

/* A copy of a folder where a reader would have run `npm install`. */
function installed(ctx, folder) {
  const dir = tempDir('crier-example-');
  ctx.defer(() => removeDir(dir));
  symlinkSync(`${ROOT}/test/integration/node_modules`, join(dir, 'node_modules'));
  mkdirSync(join(dir, folder));
  for (const f of readdirSync(`${HERE}/${folder}`)) copyFileSync(`${HERE}/${folder}/${f}`, join(dir, folder, f));
  return join(dir, folder);
}

const OVER_HTTP = [
  ['push.sh', 'sh', which('curl') ? false : 'curl is not installed'],
  ['push.mjs', process.execPath, false],
  ['push_http.py', 'python3', which('python3') ? false : 'python3 is not installed'],
  ['push.php', 'php', phpMissing()],
];

for (const [file, command, skip] of OVER_HTTP) {
  scenario(`backends/${file}: a message over HTTP, with a key; what is refused is said`, { skip, core: file === 'push.mjs' }, async (ctx) => {
    const broker = await ctx.broker({ dev: false, args: ['--api-key', API_KEY, '--jwt-key', `HS256:${SECRET}`] });
    const c = await ctx.client(broker, { token: tokenFor('ann') });
    const path = `${HERE}/backends/${file}`;
    const env = { CRIER_URL: broker.url, CRIER_KEY: API_KEY };
    const sent = JSON.parse((await run(ctx, command, [path, 'ann', ODD], env)).stdout);
    const m = await c.next('message');
    assert.deepEqual(m.data, { text: ODD });
    assert.equal((sent.results?.[0] ?? sent).seq, m.seq);

    const p = await run(ctx, command, [path, 'ann', 'x'], { ...env, CRIER_KEY: 'a-wrong-key-of-some-length' }, command === 'sh' ? 22 : command === 'php' ? 255 : 1);
    assert.match(p.stdout + p.stderr, /401/);
    assert.match(p.stdout + p.stderr, /unauthorized/);
  });

  scenario(`backends/${file}: a broker that is busy is asked again, with the same id`, { skip, timeout: 120000 }, async (ctx) => {
    const bodies = [];
    const answers = [[503, { 'retry-after': '1' }, '{"error":{"code":"store_away","message":"later"}}'], [200, {}, '{"results":[{"user":"ann","id":"i","seq":7,"online":0}]}']];
    const server = http.createServer(async (req, res) => {
      let text = '';
      for await (const piece of req) text += piece;
      bodies.push(JSON.parse(text));
      const [status, headers, body] = answers[Math.min(bodies.length, 2) - 1];
      res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body);
    });
    await new Promise((done) => server.listen(0, '127.0.0.1', done));
    ctx.defer(() => server.close());
    const p = await run(ctx, command, [`${HERE}/backends/${file}`, 'ann', 'x'], { CRIER_URL: `http://127.0.0.1:${server.address().port}` });
    assert.match(p.stdout, /"seq": ?7/);
    assert.equal(bodies.length, 2);
    assert.ok(bodies[0].id.length >= 16);
    assert.deepEqual(bodies[0], bodies[1]);
  });
}

scenario('backends/push_redis.py and push-redis.mjs: PUBLISH and the function, over a Redis connection', { core: true }, async (ctx) => {
  const redis = await ctx.ownRedis(); // the examples keep the prefix that brokers have by default
  const broker = await ctx.broker({ redis });
  const c = await ctx.client(broker, { user: 'ann' });
  const dir = installed(ctx, 'backends');
  const ways = [[process.execPath, 'push-redis.mjs'], ...(which('python3') ? [['python3', 'push_redis.py']] : [])];
  for (const [command, file] of ways) {
    const p = await run(ctx, command, [join(dir, file), 'ann', ODD], { REDIS_URL: redis.url, REDIS_PORT: String(redis.port) });
    const both = await c.messages(2); // one live, one stored: in no order between them
    const live = both.find((m) => m.event === 'hint');
    const stored = both.find((m) => m.event !== 'hint');
    assert.deepEqual([live.data, live.seq], [{ typing: true }, undefined], file);
    assert.deepEqual(stored.data, { text: ODD }, file);
    assert.deepEqual(JSON.parse(p.stdout), { seq: stored.seq, nodes: 1, duplicate: false }, file);
  }
});

scenario('backends/redis-cli.sh: every way in, with redis-cli', async (ctx) => {
  const redis = await ctx.ownRedis();
  const broker = await ctx.broker({ redis });
  const c = await ctx.client(broker, { user: 'ann' });
  await c.join('news');
  for (const again of [0, 1]) {
    const p = await run(ctx, 'sh', [`${HERE}/backends/redis-cli.sh`, 'ann', ODD], { REDIS_URL: redis.url });
    const got = await c.messages(again ? 4 : 5);
    const data = got.map((m) => JSON.stringify(m.data)).sort();
    const want = [ODD, { kind: 'typing' }, 'to the room', 'to everybody', ...(again ? [] : [{ kind: 'invoice', number: 7 }])];
    assert.deepEqual(data, want.map((x) => JSON.stringify(x)).sort());
    const [, , seq, nodes, duplicate] = p.stdout.trim().split('\n').map(Number);
    assert.ok(seq > 1e15);
    assert.deepEqual([nodes, duplicate], again ? [0, 1] : [1, 0]);
  }
});

scenario('backends/webhook.mjs: what the relay brings, once; what is not signed is refused', { core: true }, async (ctx) => {
  const { broker, relay } = await stage(ctx);
  const p = listener(ctx, process.execPath, [`${HERE}/backends/webhook.mjs`, ACCOUNT.webhook.secret, '0']);
  const [, url] = await p.expect('stderr', /listening on (\S+)/, DEADLINE);
  await setAddresses(broker, 'ann', { webhook: url });
  const escalate = { after: 1, to: ['webhook'], text: ODD };
  await broker.push({ user: 'ann', id: 'i', data: { text: ODD }, escalate });
  await p.until(1);
  assert.deepEqual(p.got(), [{ user: 'ann', id: 'i', text: ODD, data: { text: ODD } }]);
  await settled(relay);

  const body = JSON.stringify({ user: 'ann', id: 'i', text: 'again' });
  const signature = (secret, t = Math.floor(Date.now() / 1000)) => `t=${t},v1=${createHmac('sha256', secret).update(`${t}.${body}`).digest('hex')}`;
  const post = async (header) => (await fetch(url, { method: 'POST', body, headers: header ? { 'crier-signature': header } : {} })).status;
  assert.equal(await post(signature(ACCOUNT.webhook.secret)), 200, 'a repetition is taken, and not handled again');
  assert.equal(await post(), 401);
  assert.equal(await post(signature('another secret')), 401);
  assert.equal(await post(signature(ACCOUNT.webhook.secret, 1730000012)), 401, 'of long ago');
  assert.equal(p.got().length, 1);
});

/* ---- bare TCP ---- */

function listener(ctx, command, args) {
  const p = new Proc(command, args, { name: args[0] });
  ctx.defer(() => p.kill());
  p.got = () => p.stdout.split('\n').filter(Boolean).map((l) => JSON.parse(l));
  p.until = (n) => until(() => p.got().length >= n, () => `${n} messages, got ${p.stdout}${p.stderr}`);
  return p;
}

async function tcpExample(ctx, command, first) {
  const broker = await ctx.broker({ args: ['--tcp-listen', '127.0.0.1:0', '--jwt-key', `HS256:${SECRET}`] });
  const where = [...first, '127.0.0.1', String(broker.tcpPort)];
  const open = (user, device, ...token) => {
    const p = listener(ctx, command, [...where, user, device, ...token]);
    return p.expect('stderr', /"type":"welcome"/, DEADLINE).then(() => p);
  };
  const p = await open('ann', 'box');
  const tricky = { seq: 1, room: 'x', data: { type: 'ping' }, text: '","type":"ping","seq":5' };
  await broker.push({ user: 'ann', data: tricky, id: '"seq":9', event: '"room":' });
  await broker.push({ user: 'ann', data: 2, ttl: 0 });
  await broker.push({ all: true, data: 3 });
  await p.until(3);
  assert.deepEqual(p.got().map((m) => m.data), [tricky, 2, 3]);
  /* Acknowledged: the inbox lets it go. Not what a client says, what the broker knows. */
  await until(async () => (await broker.request('GET', '/api/users/ann/inbox')).json.messages.length === 0, 'the ack');
  await p.kill('SIGKILL');
  for (const n of [4, 5]) await broker.push({ user: 'ann', data: n });
  const again = await open('x', 'box', tokenFor('ann'));
  await again.until(2);
  assert.deepEqual(again.got().map((m) => m.data), [4, 5]);
  return { broker, again };
}

/* Heartbeats, from a broker of one's own: `ping` is what it says, `pong` what it has to hear. */
async function answersPing(ctx, command, first, ping, pong) {
  let heard = Buffer.alloc(0);
  const server = net.createServer((socket) => {
    socket.on('error', () => {});
    socket.on('data', (d) => {
      heard = Buffer.concat([heard, d]);
    });
    socket.write(ping);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  ctx.defer(() => server.close());
  listener(ctx, command, [...first, '127.0.0.1', String(server.address().port), 'ann', 'box']);
  await until(() => heard.includes(pong), () => `a pong in ${heard}`);
}
const framed = (object) => {
  const body = encode(object);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(body.length);
  return Buffer.concat([length, body]);
};

scenario('tcp/client.c: compiles without a warning; messages, acks, pings, tokens', { core: true, skip: which('cc') ? false : 'no C compiler' }, async (ctx) => {
  const dir = tempDir('crier-example-');
  ctx.defer(() => removeDir(dir));
  const program = join(dir, 'client');
  await run(ctx, 'cc', ['-Wall', '-Wextra', '-Werror', '-o', program, `${HERE}/tcp/client.c`]);
  assert.ok(readFileSync(`${HERE}/tcp/client.c`, 'utf8').split('\n').length <= 75, 'it is meant to be short');
  const { broker, again } = await tcpExample(ctx, program, []);
  await broker.stop();
  await within(again.exit, 'the end of the client');
  assert.equal(again.result.code, 1);
  assert.match(again.stderr, /"type":"closing"/);
  await run(ctx, program, [], {}, 2);
  await answersPing(ctx, program, [], '{"type":"ping"}\n', '{"type":"pong"}\n');
});

scenario('tcp/client.mjs: msgpack behind its length; messages, acks, pings, tokens; it comes back', async (ctx) => {
  const { broker, again } = await tcpExample(ctx, process.execPath, [join(installed(ctx, 'tcp'), 'client.mjs')]);
  const port = broker.tcpPort;
  await broker.stop();
  const next = await ctx.broker({ args: ['--tcp-listen', `127.0.0.1:${port}`, '--jwt-key', `HS256:${SECRET}`] });
  await next.push({ user: 'ann', data: 'after the restart' });
  await again.until(3);
  assert.equal(again.got()[2].data, 'after the restart');
  await answersPing(ctx, process.execPath, [join(installed(ctx, 'tcp'), 'client.mjs')], framed({ type: 'ping' }), framed({ type: 'pong' }));
});

/* ---- the chat ---- */

async function chatPages(ctx) {
  const server = http.createServer((req, res) => {
    const name = new URL(req.url, 'http://x').pathname;
    if (name === '/chat.html') res.setHeader('content-type', 'text/html').end(readFileSync(`${HERE}/chat/chat.html`));
    else res.writeHead(404).end();
  });
  await new Promise((done) => server.listen(0, 'localhost', done));
  ctx.defer(() => server.closeAllConnections());
  ctx.defer(() => server.close());
  const redis = await ctx.ownRedis();
  const args = ['--room-history', 'chat.*:200:7d', '--presence', 'chat.*'];
  const broker = await ctx.broker({ redis, args });
  const browser = await Chromium.start(ctx);
  const tab = async (user, query = '') => {
    const t = await browser.tab(`http://localhost:${server.address().port}/chat.html?broker=http://localhost:${broker.port}${user ? `&user=${user}` : ''}${query}`);
    t.write = (text) => t.run(`document.querySelector('#text').value = ${JSON.stringify(text)}; document.querySelector('#composer').requestSubmit()`);
    t.texts = () => t.run(`[...document.querySelectorAll('#log article')].map((a) => [...a.childNodes].filter((n) => n.nodeType === 3).map((n) => n.data).join(''))`);
    t.shows = (...texts) => until(async () => JSON.stringify(await t.texts()) === JSON.stringify(texts), `${user} sees ${texts}`, DEADLINE * 3);
    t.pick = async (label) => {
      const button = `[...document.querySelectorAll('.pick')].find((b) => b.firstChild.textContent === ${JSON.stringify(label)})`;
      await t.until(`!!${button}`);
      await t.run(`${button}.click()`);
    };
    return t;
  };
  return { broker, redis, args, tab };
}

scenario('chat/chat.html: rooms with history, who is there, private messages, a broker that goes and comes', { skip: noChromium, timeout: 180000 }, async (ctx) => {
  const { broker, redis, args, tab } = await chatPages(ctx);
  const ann = await tab('', '');
  await ann.until(`document.querySelector('#login').open`);
  await ann.run(`document.querySelector('#name').value = 'ann'; document.querySelector('#login form').requestSubmit(document.querySelector('#login .button'))`);
  await ann.until(`document.querySelector('#state').dataset.state === 'open'`);
  await ann.write('first <b>');
  await ann.shows('first <b>');
  await ann.until(`!document.querySelector('article.waiting')`);
  const bob = await tab('bob');
  await bob.shows('first <b>'); // history
  await bob.until(`document.querySelector('#people').innerText.includes('ann')`);
  await ann.until(`document.querySelector('#people').innerText.includes('bob')`);
  await bob.write('second');
  await ann.shows('first <b>', 'second');
  await ann.pick('bob');
  await ann.write('between us');
  await bob.until(`document.querySelector('#private .count')?.textContent === '1'`);
  await bob.shows('first <b>', 'second');
  await bob.pick('@ann');
  await bob.shows('between us');
  await bob.reload(); // acknowledged, and kept by the page
  await bob.pick('@ann');
  await bob.shows('between us');
  await bob.pick('#lobby');

  const { port } = broker;
  await broker.crash();
  await bob.until(`document.querySelector('#state').dataset.state === 'waiting'`);
  await bob.write('said meanwhile');
  await ann.pick('#lobby');
  await ctx.broker({ redis, args, listen: `127.0.0.1:${port}` });
  await ann.shows('first <b>', 'second', 'said meanwhile');
  await bob.until(`!document.querySelector('article.waiting, article.failed')`);
  await bob.shows('first <b>', 'second', 'said meanwhile');
  await ann.write('all here');
  await bob.shows('first <b>', 'second', 'said meanwhile', 'all here');
  assert.deepEqual([...ann.faults, ...bob.faults], []);
});

scenario('chat/chat.html: nothing sticks out, at 1280 and at 390 pixels', { skip: noChromium, timeout: 120000 }, async (ctx) => {
  const { broker, tab } = await chatPages(ctx);
  const long = await ctx.client(broker, { user: 'x'.repeat(120) });
  await long.command('subscribe', { room: 'chat.lobby', presence: true });
  await long.command('send', { room: 'chat.lobby', event: 'chat', data: { text: 'w'.repeat(500) } });
  const t = await tab('ann');
  await t.shows('w'.repeat(500));
  for (const width of [1280, 390]) {
    await t.send('Emulation.setDeviceMetricsOverride', { width, height: 780, deviceScaleFactor: 1, mobile: width < 500 });
    for (const open of [false, true]) {
      if (open && width > 500) continue;
      await t.run(`document.querySelector('#side').classList.contains('open') !== ${open} && document.querySelector('#people-button').click()`);
      await t.until(`innerWidth === ${width} && document.documentElement.scrollWidth <= ${width}`);
      const out = await t.run(`[...document.querySelectorAll('article, #composer, #text, header, .title')].filter((e) => { const r = e.getBoundingClientRect(); return r.right > innerWidth + 1 || r.left < -1; }).length`);
      assert.equal(out, 0, `${width} pixels`);
    }
  }
});
