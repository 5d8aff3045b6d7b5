/* Clients that others made, each over the transports it has: undici, ws, curl, Python's websockets, Chromium's own. */
import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import * as undici from 'undici';
import WebSocket from 'ws';
import { Chromium, noChromium } from './lib/chromium.mjs';
import { EventStream } from './lib/conformance/whatwg_sse.mjs';
import { DEADLINE, ROOT, assert, scenario, until, within } from './lib/harness.mjs';
import { Proc, freePort, removeDir, tempDir } from './lib/proc.mjs';

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const JSON_TYPE = { 'content-type': 'application/json' };

/* ---- undici ---- */

scenario('undici: fetch keeps its connection; requests that are pipelined are answered in order', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  let connects = 0;
  const client = new undici.Client(broker.url, { pipelining: 10 });
  client.on('connect', () => {
    connects += 1;
  });
  ctx.defer(() => client.destroy());
  const c = await ctx.client(broker, { user: 'ann' });
  const answers = await Promise.all(range(1, 50).map((n) => client.request({ method: 'POST', path: '/api/push', headers: { ...JSON_TYPE, 'x-request-id': `r${n}` }, body: `{"user":"ann","data":${n}}` })
    .then(async (r) => [r.statusCode, r.headers['x-request-id'], (await r.body.json()).results[0].seq])));
  assert.deepEqual(answers.map(([s, id]) => [s, id]), range(1, 50).map((n) => [200, `r${n}`]));
  const bySeq = [...answers].sort((a, b) => a[2] - b[2]);
  assert.deepEqual(bySeq, answers, 'kept in the order they were sent');
  assert.deepEqual((await c.messages(50)).map((m) => m.data), range(1, 50));
  const ask = async (method, status) => {
    const r = await client.request({ method, path: '/healthz' });
    assert.equal(r.statusCode, status);
    assert.equal((await r.body.text()).length > 0, method === 'GET');
  };
  await ask('GET', 200);
  await ask('OPTIONS', 204);
  const bad = await client.request({ method: 'POST', path: '/api/push', body: '{"user":7}', headers: JSON_TYPE });
  assert.equal(bad.statusCode, 400);
  await bad.body.dump();
  assert.equal(connects, 1, 'one connection for all of it, errors too');
  await ask('HEAD', 200); // undici trusts no server with the connection after it
});

scenario('undici: a body of unknown length goes in chunks; polls are waited for and given up', async (ctx) => {
  const broker = await ctx.broker();
  const agent = new undici.Agent();
  ctx.defer(() => agent.destroy());
  const fetch = (path, more) => undici.fetch(new URL(path, broker.url), { dispatcher: agent, ...more });
  async function* body() {
    yield Buffer.from('{"user":"ann",');
    yield Buffer.from('"data":"in pieces"}');
  }
  assert.equal((await fetch('/api/push', { method: 'POST', body: body(), duplex: 'half', headers: JSON_TYPE })).status, 200);
  assert.deepEqual((await (await fetch('/poll?user=ann')).json()).messages.map((m) => m.data), ['in pieces']);
  const waiting = fetch('/poll?user=ann&wait=30');
  await until(async () => (await broker.metric('crier_clients', 'transport="poll"')) >= 1, 'a poll that waits');
  await broker.push({ user: 'ann', data: 'at once' });
  assert.deepEqual((await (await waiting).json()).messages.map((m) => m.data), ['at once']);
  const stop = new AbortController();
  const given = fetch('/poll?user=ann&wait=30', { signal: stop.signal });
  await until(async () => (await broker.metric('crier_clients', 'transport="poll"')) >= 1, 'a second poll that waits');
  stop.abort();
  await assert.rejects(given, { name: 'AbortError' });
  await broker.push({ user: 'ann', data: 'not lost with it' });
  assert.deepEqual((await (await fetch('/poll?user=ann&wait=5')).json()).messages.map((m) => m.data), ['not lost with it']);
});

scenario('undici: an event stream, read from the body of a fetch', async (ctx) => {
  const broker = await ctx.broker();
  const stop = new AbortController();
  ctx.defer(() => stop.abort());
  const r = await undici.fetch(`${broker.url}/events?user=ann&device=d`, { signal: stop.signal });
  assert.equal(r.headers.get('content-type').split(';')[0], 'text/event-stream');
  const s = new EventStream();
  const reader = r.body.getReader();
  for (const n of [1, 2, 3]) await broker.push({ user: 'ann', data: n });
  const messages = () => s.events.map((e) => JSON.parse(e.data)).filter((m) => m.type === 'message');
  while (messages().length < 3) s.feed((await within(reader.read(), 'more of the stream')).value);
  assert.deepEqual(messages().map((m) => m.data), [1, 2, 3]);
});

/* The WebSocket of browsers, of undici, and the one of `ws`, through the same lines. */
for (const [name, Socket] of [['undici', undici.WebSocket], ['ws', WebSocket]]) {
  scenario(`${name}: a WebSocket as browsers have it`, { core: name === 'undici' }, async (ctx) => {
    const broker = await ctx.broker();
    const open = async () => {
      const ws = new Socket(`ws://127.0.0.1:${broker.port}/ws?user=ann&device=d&ack=explicit`, ['crier.v1.json']);
      ctx.defer(() => ws.close());
      ws.got = [];
      ws.onmessage = (e) => ws.got.push(JSON.parse(e.data));
      ws.ended = new Promise((done) => {
        ws.onclose = done;
      });
      ws.of = (type) => ws.got.filter((m) => m.type === type);
      await until(() => ws.of('welcome').length === 1, 'the welcome');
      return ws;
    };
    const ws = await open();
    assert.equal(ws.protocol, 'crier.v1.json');
    ws.send(JSON.stringify({ type: 'send', ref: 1, user: 'ann', data: 'ä€🙂'.repeat(500) }));
    await until(() => ws.of('message').length === 1 && ws.of('ok').length === 1, 'the message and its answer');
    assert.equal(ws.of('message')[0].data, 'ä€🙂'.repeat(500));
    ws.close(4001, 'enough');
    assert.deepEqual((({ code, wasClean }) => [code, wasClean])(await within(ws.ended, 'the close')), [4001, true]);
    const again = await open();
    await until(() => again.of('message').length === 1, 'what was not acknowledged');
    again.send(new Uint8Array([1, 2, 3])); // binary, where text is spoken
    const { code, reason, wasClean } = await within(again.ended, 'the end');
    assert.deepEqual([code, wasClean], [1003, true]);
    assert.match(reason, /text/);
  });
}

/* ---- curl ---- */

const noCurl = process.env.PATH.split(':').some((d) => existsSync(join(d, 'curl'))) ? false : 'curl is not installed';

/* curl to its end: {code, out, err, headers (of the last answer), status}. */
async function curl(ctx, ...args) {
  const p = new Proc('curl', ['--silent', '--show-error', '--max-time', String(Math.ceil(DEADLINE / 1000)), ...args], { name: 'curl' });
  ctx.defer(() => p.kill());
  await within(p.exit, `curl ${args.join(' ')}`, DEADLINE * 2);
  return { code: p.result.code, out: p.stdout, err: p.stderr };
}

scenario('curl: push, poll, HEAD, OPTIONS, an old version, a connection that is kept', { skip: noCurl, core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const url = (path) => `${broker.url}${path}`;
  const pushed = await curl(ctx, url('/api/push'), '-d', '{"user":"ann","data":{"text":"hi"}}');
  assert.ok(JSON.parse(pushed.out).results[0].seq > 0, 'as a form, which is what curl says without a header');
  const poll = await curl(ctx, '-i', url('/poll?user=ann'));
  assert.match(poll.out, /^cache-control: no-store\r$/im);
  assert.deepEqual(JSON.parse(poll.out.split('\r\n\r\n')[1]).messages.map((m) => m.data), [{ text: 'hi' }]);
  assert.equal(JSON.parse((await curl(ctx, url('/poll?user=ann'))).out).messages.length, 0);

  const head = await curl(ctx, '--head', url('/healthz'));
  const get = await curl(ctx, '-i', url('/healthz'));
  const undated = (s) => s.replace(/^date: .*\r\n/im, '');
  assert.equal(undated(head.out), undated(`${get.out.split('\r\n\r\n')[0]}\r\n\r\n`), 'the head of GET');
  assert.match((await curl(ctx, '-i', '-X', 'OPTIONS', url('/api/push'))).out, /^allow: .*POST/im);
  assert.match((await curl(ctx, '-i', '-X', 'OPTIONS', '--request-target', '*', url('/'))).out, /^HTTP\/1\.1 204 /);
  assert.match((await curl(ctx, '-i', '--http1.0', url('/healthz'))).out, /^connection: close\r$/im);
  assert.match((await curl(ctx, '-i', '--http2', url('/healthz'))).out, /^HTTP\/1\.1 200 /, 'an upgrade that is not known is passed over');
  const fail = await curl(ctx, '--fail-with-body', url('/api/push'), '-d', '{}');
  assert.equal(fail.code, 22);
  assert.ok(JSON.parse(fail.out).error.message);

  const two = await curl(ctx, '-o', '/dev/null', '-o', '/dev/null', '-o', '/dev/null', '-w', '%{num_connects} ', url('/healthz'), url('/poll?user=ann'), url('/nowhere'));
  assert.equal(two.out.trim(), '1 0 0', 'one connection');
});

scenario('curl: a chunked upload, Expect: 100-continue, both, and what is too big', { skip: noCurl }, async (ctx) => {
  const broker = await ctx.broker();
  const dir = tempDir();
  ctx.defer(() => removeDir(dir));
  const body = join(dir, 'body.json');
  const data = 'x'.repeat(60000);
  writeFileSync(body, JSON.stringify({ user: 'ann', data }));
  const url = `${broker.url}/api/push`;
  for (const headers of [[], ['Transfer-Encoding: chunked'], ['Expect: 100-continue'], ['Expect: 100-continue', 'Transfer-Encoding: chunked']]) {
    const r = await curl(ctx, '-v', '--expect100-timeout', String(DEADLINE / 1000), ...headers.flatMap((h) => ['-H', h]), '-H', 'Content-Type: application/json', '--data-binary', `@${body}`, url);
    assert.equal(r.code, 0, r.err);
    assert.ok(JSON.parse(r.out).results[0].seq > 0, r.out);
    assert.equal(/< HTTP\/1\.1 100 Continue/.test(r.err), headers.some((h) => h.startsWith('Expect')), headers.join());
    assert.equal(/> Content-Length: /.test(r.err), !headers.some((h) => h.startsWith('Transfer')), headers.join());
  }
  const got = [];
  for (let more = true; more; ) {
    const page = JSON.parse((await curl(ctx, `${broker.url}/poll?user=ann`)).out);
    got.push(...page.messages);
    ({ more } = page);
  }
  assert.deepEqual(got.map((m) => m.data === data), [true, true, true, true]);

  writeFileSync(body, 'y'.repeat(3 << 20));
  const early = await curl(ctx, '-v', '-H', 'Expect: 100-continue', '--expect100-timeout', String(DEADLINE / 1000), '--data-binary', `@${body}`, url);
  assert.match(early.err, /< HTTP\/1\.1 413 /);
  assert.doesNotMatch(early.err, /100 Continue/, 'refused before it was sent');
  assert.equal(JSON.parse(early.out).error.code, 'too_big');
});

scenario('curl -N: an event stream, resumed by Last-Event-ID', { skip: noCurl, core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const listen = (...more) => {
    const p = new Proc('curl', ['--silent', '-N', ...more, `${broker.url}/events?user=ann&device=d`], { name: 'curl' });
    ctx.defer(() => p.kill());
    p.parsed = () => new EventStream().feed(Buffer.from(p.stdout));
    p.messages = () => p.parsed().events.filter((e) => JSON.parse(e.data).type === 'message');
    p.until = (n) => until(() => p.messages().length >= n, () => `${n} events in ${p.stdout}`);
    return p;
  };
  const first = listen();
  for (const n of [1, 2, 3]) await broker.push({ user: 'ann', data: n });
  await first.until(3);
  const { id } = first.messages()[1];
  await first.kill('SIGTERM');
  await broker.push({ user: 'ann', data: 4 });
  const second = listen('-H', `Last-Event-ID: ${id}`);
  await second.until(2);
  assert.deepEqual(second.messages().map((e) => JSON.parse(e.data).data), [3, 4]);
});

/* ---- Python ---- */

function noWebsockets() {
  try {
    execFileSync('/usr/bin/python3', ['-c', 'import websockets'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'python3-websockets is not installed';
  }
}

scenario("Python's websockets: compressed fragments, pings, acks, close codes, coming back", { skip: noWebsockets() }, async (ctx) => {
  const broker = await ctx.broker();
  const p = new Proc('/usr/bin/python3', [`${ROOT}/test/integration/lib/websockets_client.py`, `ws://127.0.0.1:${broker.port}/ws?user=py&device=d`], { name: 'python3' });
  ctx.defer(() => p.kill());
  const step = (name) => p.expect('stdout', new RegExp(`^.*"step": "${name}".*$`, 'm'), DEADLINE * 2).then(([line]) => JSON.parse(line));
  assert.deepEqual(await step('welcome'), { step: 'welcome', user: 'py', subprotocol: 'crier.v1.json', extensions: ['permessage-deflate'] });
  assert.equal((await step('joined')).ok.room, 'news');
  await step('pong');
  assert.equal((await step('echo')).same, true);
  assert.equal((await step('acked')).ok.ref, 3);
  await broker.push({ user: 'py', data: 'kept' });
  assert.equal((await step('pushed')).data, 'kept');
  assert.equal((await step('closed')).code, 4000);
  assert.deepEqual(await step('again'), { step: 'again', pending: 1, extensions: [] });
  assert.equal((await step('resumed')).data, 'kept');
  assert.equal((await step('refused')).code, 1003);
  await within(p.exit, 'the end of the program');
  assert.equal(p.result.code, 0, p.stderr);
});

/* ---- Chromium's own ---- */

for (const kind of ['EventSource', 'WebSocket']) {
  scenario(`Chromium's ${kind}: a broker that is killed and comes back: nothing lost, nothing twice`, { skip: noChromium, timeout: 120000 }, async (ctx) => {
    const { redis, backend } = await ctx.redis();
    const prefix = ctx.newPrefix();
    const port = await freePort();
    const start = () => ctx.broker({ redis, prefix, listen: `127.0.0.1:${port}` });
    const page = http.createServer((req, res) => res.setHeader('content-type', 'text/html').end('<!doctype html><title>x</title>'));
    await new Promise((done) => page.listen(0, 'localhost', done));
    ctx.defer(() => page.close());
    ctx.defer(() => page.closeAllConnections());
    let broker = await start();
    const tab = await (await Chromium.start(ctx)).tab(`http://localhost:${page.address().port}/`);
    const where = JSON.stringify(`//localhost:${port}/${kind === 'WebSocket' ? 'ws' : 'events'}?user=ann&device=d`);
    /* A WebSocket does not come back by itself: four lines for what EventSource has inside. */
    const code = kind === 'EventSource'
      ? `globalThis.es = new EventSource('http:' + ${where}); es.onmessage = (e) => { const m = JSON.parse(e.data); if (m.type === 'message') got.push([m.data, e.lastEventId === String(m.seq)]); }; es.addEventListener('welcome', () => welcomes++);`
      : `let last; const dial = () => { const ws = new WebSocket('ws:' + ${where} + '&ack=explicit' + (last ? '&since=' + last : '')); ws.onmessage = (e) => { const m = JSON.parse(e.data); if (m.type === 'welcome') welcomes++; if (m.type !== 'message' || m.seq <= last) return; last = m.seq; got.push([m.data, true]); ws.send(JSON.stringify({ type: 'ack', seq: last })); }; ws.onclose = () => setTimeout(dial, 200); }; dial();`;
    await tab.run(`globalThis.got = []; globalThis.welcomes = 0; ${code}`);
    await tab.until('welcomes === 1');
    const say = (n) => backend.sendCommand(['FCALL', 'crier_user', '1', prefix, 'ann', JSON.stringify({ data: n })]);
    for (const n of range(1, 10)) await say(n);
    await tab.until('got.length >= 10');
    for (const round of [1, 2]) {
      await broker.crash();
      for (const n of range(1, 10)) await say(10 * round + n);
      broker = await start();
      await tab.until(`got.length >= ${10 * (round + 1)}`, DEADLINE * 4);
    }
    await say(31);
    await tab.until('got.length >= 31');
    assert.deepEqual(await tab.run('got'), range(1, 31).map((n) => [n, true]));
  });
}
