/* crierctl: a command for each call of the server API, its pages and its words; batches; completion in a real bash; the man
 * pages; what `make install` puts where. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { basename, dirname, join } from 'node:path';
import { parse } from 'yaml';
import { BIN, DEADLINE, ROOT, assert, scaled, scenario, until, within } from './lib/harness.mjs';
import { Proc, tempDir } from './lib/proc.mjs';

const CRIERCTL = join(dirname(BIN), 'crierctl');
const OK = 0;
const REFUSED = 1;
const USAGE = 2;
const NO_CONNECT = 3;

function start(ctx, args, env = {}, input) {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CRIER_')));
  const p = new Proc(CRIERCTL, args, { env: { ...inherited, ...env }, stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'] });
  ctx.defer(() => p.kill());
  if (input !== undefined) {
    p.child.stdin.on('error', () => {});
    p.child.stdin.end(input);
  }
  return p;
}

async function ctl(ctx, expected, args, env, input) {
  const p = start(ctx, args, env, input);
  const { code } = await within(p.exit, () => `crierctl ${args.join(' ')}\n${p.stderr}`, 3 * DEADLINE);
  assert.equal(code, expected, `crierctl ${args.join(' ')}: ${p.stdout}${p.stderr}`);
  return p;
}

const lines = (text) => text.trim().split('\n').filter(Boolean).map((l) => JSON.parse(l));
const jsonl = (list) => `${list.map((x) => JSON.stringify(x)).join('\n')}\n`;

/* The commands and the options of each, as --help tells them. */
function commands() {
  const help = execFileSync(CRIERCTL, ['--help'], { encoding: 'utf8' });
  return [...help.matchAll(/^ {2}([a-z]+) +\S/gm)].map((m) => m[1]);
}
const helpOf = (command) => execFileSync(CRIERCTL, [command, '--help'], { encoding: 'utf8' });
const optionsOf = (command) => [...helpOf(command).matchAll(/^ {2}(--[a-z-]+)/gm)].map((m) => m[1]);

const has = (program) => {
  try {
    execFileSync('sh', ['-c', `command -v ${program}`], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
};

for (const store of ['memory', 'redis']) {
  scenario(`${store}: each call from the command line, for people and as JSON`, { core: true, timeout: 120000 }, async (ctx) => {
    const broker = await ctx.brokerOn(store, { args: ['--presence', 'hall.*', '--room-history', 'chat.*:50:1d'] });
    await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz');
    const env = { CRIER_URL: broker.url };
    const json = async (...args) => lines((await ctl(ctx, OK, [...args, '--json'], env)).stdout);
    const text = async (...args) => (await ctl(ctx, OK, args, env)).stdout;
    const c = await ctx.client(broker, { user: 'bob b', device: 'd', query: { ack: 'explicit' } });
    await c.join('hall.1');

    const pushed = await text('push', '--users', 'alice', 'bob b', '--data', '{"n":1}', '--id', 'm/1', '--track', '--priority', 'high', '--ttl', '600', '--event', 'e', '--collapse', 'k', '--from', 'shop');
    assert.match(pushed, /^user=alice {2}id=m\/1 {2}seq=\d+ {2}online=0\nuser=bob b .*online=1\n$/);
    const m = await c.next('message');
    assert.deepEqual([m.event, m.from, m.data], ['e', 'shop', { n: 1 }]);
    assert.equal((await json('push', '--rooms', 'chat.1', 'chat.2', '--data', '1'))[0].results.length, 2);
    c.ack(m.seq);
    await until(async () => /user=bob b {2}state=acked/.test(await text('message', 'm/1')), 'acked');
    assert.deepEqual((await json('message', 'm/1', '--user', 'alice'))[0].recipients.map((r) => r.state), ['queued']);
    assert.match(await text('undelivered', 'm/1'), /user=alice {2}state=queued {2}queued=20\d\d-\d\d-\d\d /);
    assert.deepEqual((await json('retry', 'm/1'))[0].results.map((r) => r.result), ['waiting', 'delivered']);

    assert.match(await text('user', 'alice'), /^user +alice\n[^]*pending +1\n/);
    assert.equal((await json('user', 'bob b'))[0].devices[0].device, 'd');
    for (let i = 0; i < 4; i++) await broker.push({ user: 'alice', data: i });
    const page = start(ctx, ['inbox', 'alice', '--limit', '2'], env);
    await page.exit;
    assert.match(page.stderr, /there is more: --after '\d+'/);
    assert.deepEqual((await json('inbox', 'alice', '--limit', '2', '--every-page')).map((p) => p.messages.length), [2, 2, 1]);
    const first = (await json('inbox', 'alice', '--limit', '2'))[0];
    assert.equal((await json('inbox', 'alice', '--after', first.cursor))[0].messages.length, 3);
    assert.match(await text('inbox', 'alice', '--clear'), /removed +5/);

    assert.deepEqual(await json('subscribe', 'bob b', 'news'), [{ user: 'bob b', nodes: 1 }]);
    assert.equal((await c.next('ok')).room, 'news');
    assert.match(await text('unsubscribe', 'bob b', 'news', '--device', 'd'), /nodes +1/);
    assert.equal((await c.next('unsubscribed')).room, 'news');
    const rooms = (await json('rooms', '--limit', '1', '--every-page')).flatMap((p) => p.rooms);
    for (const room of ['chat.1', 'chat.2', 'hall.1']) assert.ok(rooms.includes(room), `${room} of ${rooms}`);
    assert.equal((await json('room', 'chat.1'))[0].history.messages, 1);
    assert.match(await text('presence', 'hall.1'), /users:\n {2}bob b\n/);
    for (let i = 2; i <= 5; i++) await broker.push({ room: 'chat.1', data: i });
    const back = (await json('history', 'chat.1', '--limit', '2', '--every-page')).map((p) => p.messages.map((x) => x.data));
    assert.deepEqual(back, [[4, 5], [2, 3], [1]]);
    const forth = (await json('history', 'chat.1', '--limit', '2', '--since', '0', '--every-page')).flatMap((p) => p.messages.map((x) => x.data));
    assert.deepEqual(forth, [1, 2, 3, 4, 5]);

    assert.equal((await json('nodes'))[0].nodes.length, 1);
    assert.equal((await json('stats'))[0].nodes.length, 1);
    assert.match(await text('stats'), /clients +\d+\n/);
    assert.match(await text('health'), /readyz +ok/);
    assert.deepEqual(await json('disconnect', 'bob b', '--device', 'd', '--reason', 'lost phone'), [{ user: 'bob b', nodes: 1 }]);
    assert.deepEqual(await c.closed, { code: 4009, reason: 'lost phone' });

    const unknown = await ctl(ctx, REFUSED, ['user', 'nobody'], env);
    assert.match(unknown.stderr, /refused: not_found: /);
    assert.match((await ctl(ctx, REFUSED, ['presence', 'plain'], env)).stderr, /not_found/);
  });
}

/* A server that answers each call with little, or with `answer`, and remembers it. */
async function recorder(ctx, answer) {
  const seen = [];
  const server = http.createServer((req, res) => {
    const body = [];
    req.on('data', (d) => body.push(d));
    req.on('end', () => {
      seen.push({ method: req.method, url: req.url, body: Buffer.concat(body).toString() });
      res.setHeader('content-type', 'application/json');
      res.end(answer ?? (req.url === '/api/push' ? '{"results":[]}' : req.url === '/api/push/batch' ? '{"results":[{}]}' : '{"nodes":[]}'));
    });
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  ctx.defer(() => new Promise((done) => { server.closeAllConnections(); server.close(done); }));
  return { seen, env: { CRIER_URL: `http://127.0.0.1:${server.address().port}` } };
}

scenario('every call of the file has its command', { core: true }, async (ctx) => {
  const { seen, env } = await recorder(ctx);
  const runs = [['push', '--user', 'x', '--data', '1'], ['message', 'x'], ['undelivered', 'x'], ['retry', 'x'], ['user', 'x'], ['inbox', 'x'], ['inbox', 'x', '--clear'], ['disconnect', 'x'], ['subscribe', 'x', 'x'], ['unsubscribe', 'x', 'x'], ['rooms'], ['room', 'x'], ['presence', 'x'], ['history', 'x'], ['nodes'], ['stats'], ['health'], ['addresses', 'x'], ['addresses', 'x', '--wecom', 'w']];
  for (const args of runs) await ctl(ctx, OK, args, env);
  await ctl(ctx, OK, ['batch'], env, '{"user":"x","data":1}\n');
  const called = new Set(seen.map((r) => `${r.method} ${r.url}`));
  const doc = parse(readFileSync(`${ROOT}/docs/openapi.yaml`, 'utf8'));
  for (const [path, item] of Object.entries(doc.paths)) {
    if (!/^\/(api\/|healthz|readyz)/.test(path)) continue;
    for (const method of ['get', 'post', 'delete', 'put'].filter((m) => item[m])) {
      assert.ok(called.has(`${method.toUpperCase()} ${path.replace(/\{\w+\}/g, 'x')}`), `${method} ${path}`);
    }
  }
  await ctl(ctx, OK, ['history', 'a/b ä?', '--before', '7', '--limit', '3'], env);
  assert.equal(seen.at(-1).url, '/api/rooms/a%2Fb%20%C3%A4%3F/history?limit=3&before=7');
  await ctl(ctx, OK, ['subscribe', '--device', 'd"', '--', '--odd', 'r'], env);
  assert.deepEqual([seen.at(-1).url, JSON.parse(seen.at(-1).body)], ['/api/rooms/r/subscribe', { user: '--odd', device: 'd"' }]);
  await ctl(ctx, OK, ['addresses', 'a', '--webhook', 'https://a.example/"', '--wechat', 'o'], env);
  assert.deepEqual([seen.at(-1).method, seen.at(-1).url, JSON.parse(seen.at(-1).body)], ['PUT', '/api/users/a/addresses', { wechat: 'o', webhook: 'https://a.example/"' }]);
  await ctl(ctx, OK, ['addresses', 'a', '--clear'], env);
  assert.deepEqual([seen.at(-1).method, seen.at(-1).body], ['PUT', '{}']);
  await ctl(ctx, OK, ['push', '--user', 'a', '--data', '1', '--escalate-after', '60', '--escalate-to', 'wecom', 'webhook', '--escalate-text', 'hi "you"'], env);
  assert.deepEqual(JSON.parse(seen.at(-1).body).escalate, { to: ['wecom', 'webhook'], text: 'hi "you"', after: 60 });
  const loop = await recorder(ctx, '{"rooms":["a"],"next":"a"}');
  assert.match((await ctl(ctx, REFUSED, ['rooms', '--every-page'], loop.env)).stderr, /same page again: 'a'/);
  for (const args of [['user'], ['user', 'a', 'b'], ['subscribe', 'a'], ['inbox', 'a', '--every'], ['completion'], ['completion', 'fish'], ['batch', '--size', '0'], ['batch', '/nowhere/at/all'], ['push', '--user', 'a', '--data', '1', '--retries', '2'], ['push', '--user', 'a', '--data', '1', '--escalate-after', '5'], ['push', '--user', 'a', '--data', '1', '--escalate-to', 'wecom'], ['push', '--user', 'a', '--users', 'b', '--data', '1']]) {
    const p = await ctl(ctx, USAGE, args, env);
    assert.equal(p.stdout, '', args.join(' '));
    assert.match(p.stderr, /^crierctl: /, args.join(' '));
  }
});

scenario('a batch: in order, refusals by line, from a file and from a pipe', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const env = { CRIER_URL: broker.url };
  const good = Array.from({ length: 500 }, (_, i) => ({ user: 'u', data: i, id: `b${i}` }));
  const file = join(tempDir('crier-ctl-'), 'messages.jsonl');
  writeFileSync(file, jsonl(good));
  assert.match((await ctl(ctx, OK, ['batch', file, '--size', '33'], env)).stdout, /^500 kept, 0 refused, [\d.]+ s\n$/);
  const inbox = (await broker.request('GET', '/api/users/u/inbox?limit=1000')).json.messages;
  assert.deepEqual(inbox.map((m) => m.data), good.map((m) => m.data));
  assert.match((await ctl(ctx, OK, ['batch', '-'], env, jsonl(good))).stdout, /^500 kept/);
  assert.equal((await broker.request('GET', '/api/users/u/inbox?limit=1000')).json.messages.length, 500, 'once');
  const mixed = '{"user":"v","data":1}\n\nnot json\n{"user":"v"}\r\n[1]\n{"user":"v","data":2}';
  const p = await ctl(ctx, REFUSED, ['batch', '--json'], env, mixed);
  assert.match(p.stderr, /line 3 is no JSON object[^]*line 5 is no JSON object[^]*line 4: bad_request: data is missing/);
  assert.deepEqual(lines(p.stdout).map((r) => (r.error ? r.error.code : r.results[0].user)), ['v', 'bad_request', 'v']);
  assert.match((await ctl(ctx, OK, ['batch'], env, '')).stdout, /^0 kept, 0 refused/);
});

scenario('a batch shows on a terminal how far it is', { skip: has('script') ? false : 'script (util-linux) is not installed' }, async (ctx) => {
  const broker = await ctx.broker();
  const file = join(tempDir('crier-ctl-'), 'messages.jsonl');
  writeFileSync(file, jsonl(Array.from({ length: 50 }, (_, i) => ({ user: 'u', data: i }))));
  const p = new Proc('script', ['-qec', `${CRIERCTL} batch ${file} --url ${broker.url}`, '/dev/null']);
  ctx.defer(() => p.kill());
  assert.equal((await within(p.exit, 'the batch')).code, OK, p.stdout);
  assert.match(p.stdout, /\r50 sent, 0 refused, [\d.]+ s, \d+\/s \r?\n50 kept/);
});

scenario('what the broker is too busy for is sent again after the time it asks for', { core: true }, async (ctx) => {
  const answers = [];
  const seen = [];
  const server = http.createServer((req, res) => {
    req.resume().on('end', () => {
      seen.push(req.url);
      const status = answers.shift() ?? 200;
      if (status === 0) {
        req.socket.destroy();
        return;
      }
      res.writeHead(status, { 'content-type': 'application/json', ...(status === 503 ? { 'retry-after': '1' } : {}) });
      res.end(status === 200 ? '{"results":[{"user":"u","id":"m","seq":1,"online":0}]}' : '{"error":{"code":"overloaded","message":"too much is waiting"}}');
    });
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  ctx.defer(() => new Promise((done) => { server.closeAllConnections(); server.close(done); }));
  const env = { CRIER_URL: `http://127.0.0.1:${server.address().port}` };
  const push = ['push', '--user', 'u', '--data', '1', '--id', 'm'];
  answers.push(503, 503);
  const p = await ctl(ctx, OK, [...push, '--retries', '2'], env);
  assert.equal(seen.length, 3);
  assert.match(p.stderr, /busy \(HTTP 503\); again in 1 s/);
  answers.push(503, 503);
  assert.match((await ctl(ctx, REFUSED, [...push, '--retries', '1'], env)).stderr, /refused: overloaded: too much is waiting \(HTTP 503\); try again in 1 s/);
  answers.push(503);
  assert.match((await ctl(ctx, OK, ['batch'], env, '{"user":"u","data":1}')).stdout, /^1 kept/);
  answers.push(0);
  assert.match((await ctl(ctx, NO_CONNECT, push, env)).stderr, /not known: the same --id/);
  answers.push(0);
  assert.match((await ctl(ctx, NO_CONNECT, ['batch'], env, '{"user":"u","data":1}')).stderr, /lines 1 to 1 were taken is not known/);
});

scenario('each command has help with examples, an about, and the exit codes', { core: true }, async () => {
  const all = commands();
  assert.ok(all.length >= 20, `${all}`);
  for (const c of all) {
    const help = helpOf(c);
    assert.match(help, new RegExp(`^crierctl ${c}: .*\\n\\nusage: crierctl ${c}`), c);
    assert.match(help, /\nexamples:\n {2}\S/, c);
    assert.match(help, /exit codes: 0 /, c);
    assert.equal(execFileSync(CRIERCTL, ['help', c], { encoding: 'utf8' }), help);
  }
});

/* What a real bash offers for a command line; its last word is the one at hand. */
function completed(...words) {
  const script = 'source <("$0" completion bash); COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _crierctl; printf "%s\\n" "${COMPREPLY[@]}"';
  return new Promise((resolve, reject) => {
    execFile('bash', ['-c', script, CRIERCTL, 'crierctl', ...words], { cwd: ROOT, timeout: scaled(20000) }, (e, out, err) => (e || err ? reject(e || new Error(err)) : resolve(out.split('\n').filter(Boolean))));
  });
}

scenario('bash completes every command, every option, values and files', { core: true }, async () => {
  const all = commands();
  assert.deepEqual((await completed('')).sort(), [...all, '--help', '--version'].sort());
  assert.deepEqual(await completed('undel'), ['undelivered']);
  for (const c of all) {
    const offered = await completed(c, '--');
    assert.deepEqual([...offered].sort(), [...optionsOf(c), '--help'].sort(), c);
  }
  assert.deepEqual(await completed('push', '--priority', ''), ['low', 'normal', 'high']);
  assert.deepEqual(await completed('listen', '--codec', 'm'), ['msgpack']);
  assert.deepEqual(await completed('push', '--user', ''), []);
  assert.deepEqual(await completed('completion', ''), ['bash', 'zsh', '--help']);
  assert.ok((await completed('ping', '--ca', 'READ')).includes('README.md'));
  assert.ok((await completed('batch', 'READ')).includes('README.md'));
});

scenario('zsh takes the completion', { skip: has('zsh') ? false : 'zsh is not installed' }, async () => {
  const file = join(tempDir('crier-zsh-'), '_crierctl');
  writeFileSync(file, execFileSync(CRIERCTL, ['completion', 'zsh']));
  execFileSync('zsh', ['-n', file]);
});

scenario('the man pages are those of these programs, and name every command and option', { core: true }, async () => {
  const dir = tempDir('crier-man-');
  execFileSync('sh', [join(ROOT, 'scripts/man'), dir], { env: { ...process.env, BUILD: dirname(BIN) } });
  for (const page of ['crierctl.1', 'crier.8', 'crier-relay.8']) {
    assert.equal(readFileSync(join(ROOT, 'docs/man', page), 'utf8'), readFileSync(join(dir, page), 'utf8'), `docs/man/${page} is old: make man`);
  }
  const plain = (page) => readFileSync(join(ROOT, 'docs/man', page), 'utf8').replaceAll('\\-', '-');
  const ctlPage = plain('crierctl.1');
  for (const c of commands()) {
    const section = new RegExp(`^\\.SS ${c}\\n([^]*?)(?=^\\.S[SH] )`, 'm').exec(ctlPage);
    assert.ok(section, `a section of ${c}`);
    const common = ctlPage.slice(ctlPage.indexOf('.SH COMMON OPTIONS'));
    for (const o of optionsOf(c)) assert.ok(section[1].includes(`.B ${o}`) || common.includes(`.B ${o}`), `${c} ${o}`);
  }
  const broker = execFileSync(BIN, ['--help'], { encoding: 'utf8' });
  for (const [, o] of broker.matchAll(/^ {2}(?:-\w, )?(--[a-z-]+)/gm)) assert.ok(plain('crier.8').includes(o), o);
});

scenario('groff has nothing to say against the man pages', { skip: has('groff') ? false : 'groff is not installed' }, async () => {
  for (const page of ['crierctl.1', 'crier.8', 'crier-relay.8']) {
    const said = execFileSync('sh', ['-c', 'groff -man -ww -Tutf8 "$0" 2>&1 >/dev/null', join(ROOT, 'docs/man', page)], { encoding: 'utf8' });
    assert.equal(said, '', page);
  }
});

scenario('make install puts everything where PREFIX and DESTDIR say, and leaves a configuration alone', { core: true, timeout: 300000 }, async () => {
  const dir = tempDir('crier-install-');
  const make = (...goals) => execFileSync('make', ['-s', '-C', ROOT, ...goals, `BUILD=${basename(dirname(BIN))}`, `SAN=${process.env.CRIER_SAN || ''}`, `DESTDIR=${dir}`, 'PREFIX=/usr'], { encoding: 'utf8' });
  make('install');
  const wanted = ['usr/bin/crier', 'usr/bin/crierctl', 'usr/bin/crier-bench', 'usr/bin/crier-relay', 'usr/share/man/man1/crierctl.1', 'usr/share/man/man8/crier.8', 'usr/share/man/man8/crier-relay.8', 'usr/share/bash-completion/completions/crierctl', 'usr/share/zsh/site-functions/_crierctl', 'etc/crier/crier.conf', 'etc/crier/relay.conf'];
  const there = readdirSync(dir, { recursive: true }).map(String).filter((f) => statSync(join(dir, f)).isFile());
  assert.deepEqual(there.sort(), [...wanted].sort());
  assert.match(execFileSync(join(dir, 'usr/bin/crier'), ['--version'], { encoding: 'utf8' }), /^crier /);
  assert.equal(readFileSync(join(dir, 'usr/share/bash-completion/completions/crierctl'), 'utf8'), execFileSync(CRIERCTL, ['completion', 'bash'], { encoding: 'utf8' }));
  const conf = join(dir, 'etc/crier/crier.conf');
  writeFileSync(conf, 'dev = true\n');
  make('install');
  assert.equal(readFileSync(conf, 'utf8'), 'dev = true\n');
  make('uninstall');
  assert.ok(!existsSync(join(dir, 'usr/bin/crier')));
  assert.ok(existsSync(conf));
});
