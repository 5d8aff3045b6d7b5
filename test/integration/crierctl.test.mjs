/* The command line: what it prints, what it ends with, and that scripts can rest on both. */
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { BIN, DEADLINE, assert, scenario, within } from './lib/harness.mjs';
import { Proc, tempDir } from './lib/proc.mjs';
import { certificate } from './lib/tls.mjs';
import { SECRET, keyPairs } from './lib/tokens.mjs';

const CRIERCTL = join(dirname(BIN), 'crierctl');
const OK = 0;
const REFUSED = 1;
const USAGE = 2;
const NO_CONNECT = 3;
const API_KEY = 'the-api-key-of-these-tests-0123456789';

function start(ctx, args, env = {}) {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CRIER_')));
  const p = new Proc(CRIERCTL, args, { env: { ...inherited, ...env } });
  ctx.defer(() => p.kill());
  return p;
}

/* Runs to the end; the exit code must be the expected one. */
async function ctl(ctx, expected, args, env) {
  const p = start(ctx, args, env);
  const { code } = await within(p.exit, () => `crierctl ${args.join(' ')}\n${p.stderr}`);
  assert.equal(code, expected, `crierctl ${args.join(' ')}: ${p.stdout}${p.stderr}`);
  return p;
}

const lines = (text) => text.trim().split('\n').map((l) => JSON.parse(l));

scenario('push reaches listen, in both codecs, in order, and is acknowledged', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  for (const codec of ['json', 'msgpack']) {
    const env = { CRIER_URL: broker.url };
    const user = `alice-${codec}`;
    const args = ['listen', '--user', user, '--device', 'phone', '--codec', codec, '--json'];
    const l = start(ctx, [...args, '--room', 'news', '--count', '4'], env);
    await l.expect('stderr', /in the room news/, DEADLINE);
    const pushed = await ctl(ctx, OK, ['push', '--user', user, '--data', '{"n": 1.50, "t":"ä\\n"}', '--id', 'i1', '--event', 'e'], env);
    assert.match(pushed.stdout, new RegExp(`user=${user} .*id=i1 .*seq=\\d+ .*online=1`));
    await ctl(ctx, OK, ['push', '--user', user, '--data', '2'], env);
    await l.expect('stdout', /"data":2/, DEADLINE);
    await ctl(ctx, OK, ['push', '--room', 'news', '--data', '["r"]', '--from', 'bob'], env);
    await l.expect('stdout', /"r"/, DEADLINE);
    await ctl(ctx, OK, ['push', '--all', '--data', 'null'], env);
    const { code } = await within(l.exit, () => l.stderr);
    assert.equal(code, OK);
    const [a, b, r, all] = lines(l.stdout);
    assert.deepEqual(a.data, { n: 1.5, t: 'ä\n' });
    assert.deepEqual([a.id, a.event, b.data], ['i1', 'e', 2]);
    assert.ok(b.seq > a.seq);
    assert.deepEqual([r.room, r.from, r.data], ['news', 'bob', ['r']]);
    assert.deepEqual([all.all, all.data], [true, null]);
    /* What was acknowledged does not come again: the next one on this device is the next message. */
    await ctl(ctx, OK, ['push', '--user', user, '--data', '"later"'], env);
    const next = await ctl(ctx, OK, [...args, '--count', '1'], env);
    assert.equal(lines(next.stdout)[0].data, 'later');
  }
});

scenario('data from a file and from standard input; pretty lines hold no control characters', async (ctx) => {
  const broker = await ctx.broker();
  const env = { CRIER_URL: broker.url };
  const file = join(tempDir('crier-ctl-'), 'data.json');
  writeFileSync(file, '{\n  "escape": "\u009b31m\u007f"\n}\n');
  await ctl(ctx, OK, ['push', '--user', 'bob', '--data', `@${file}`], env);
  const p = new Proc('sh', ['-c', `printf '{"in":1}' | "$0" push --user bob --data -`, CRIERCTL], { env: { ...process.env, ...env } });
  assert.equal((await within(p.exit, () => p.stderr)).code, OK);
  const l = await ctl(ctx, OK, ['listen', '--user', 'bob', '--count', '2'], env);
  assert.match(l.stdout, /to you \{\s+"escape": "\\u009b31m\\u007f" \} seq \d+\n.* \{"in":1\} seq/);
  assert.ok(!/[\u007f-\u009f]/.test(l.stdout));
});

scenario('listen comes back after a restart and misses nothing', { core: true }, async (ctx) => {
  const redis = await ctx.ownRedis();
  const first = await ctx.broker({ redis });
  const l = start(ctx, ['listen', '--user', 'carol', '--json', '--count', '2', '--url', first.url]);
  await l.expect('stderr', /connected to/, DEADLINE);
  await first.push({ user: 'carol', data: 'before' });
  await l.expect('stdout', /before/, DEADLINE);
  await first.stop();
  await l.expect('stderr', /connecting again/, DEADLINE);
  const second = await ctx.broker({ redis, listen: first.plain });
  await second.push({ user: 'carol', data: 'after' });
  const { code } = await within(l.exit, () => l.stderr, 3 * DEADLINE);
  assert.equal(code, OK);
  assert.deepEqual(lines(l.stdout).map((m) => m.data), ['before', 'after']);
});

scenario('tokens of every kind open the door they name', async (ctx) => {
  const keys = keyPairs();
  const dir = tempDir('crier-ctl-');
  const privateFile = (name, pair) => {
    const path = join(dir, name);
    writeFileSync(path, pair.privateKey.export({ type: 'pkcs8', format: 'pem' }));
    return path;
  };
  const secret = join(dir, 'secret');
  writeFileSync(secret, `${SECRET}\n`);
  const broker = await ctx.broker({
    dev: false,
    args: ['--jwt-key', `HS256:${SECRET}`, '--jwt-key', `r=RS256:${keys.rsa.path}`, '--jwt-key', `e=ES256:${keys.ec.path}`, '--api-key', API_KEY],
  });
  const url = { CRIER_URL: broker.url, CRIER_API_KEY: API_KEY };
  for (const spec of [`HS256:${SECRET}`, `HS256:@${secret}`, `r=RS256:${privateFile('rsa', keys.rsa)}`, `e=ES256:${privateFile('ec', keys.ec)}`]) {
    const t = await ctl(ctx, OK, ['token', '--user', 'dave', '--key', spec, '--exp', '5m', '--rooms', 'team/*', 'lobby']);
    const l = start(ctx, ['listen', '--room', 'team/a', '--json', '--count', '1'], { ...url, CRIER_TOKEN: t.stdout.trim() });
    await l.expect('stderr', /as dave[^]*in the room team\/a/, DEADLINE);
    await ctl(ctx, OK, ['push', '--room', 'team/a', '--data', '1'], url);
    assert.equal((await within(l.exit, () => l.stderr)).code, OK);
    const other = await ctl(ctx, REFUSED, ['listen', '--room', 'other'], { ...url, CRIER_TOKEN: t.stdout.trim() });
    assert.match(other.stderr, /room 'other' is refused: forbidden/);
  }
  const anonymous = await ctl(ctx, REFUSED, ['listen', '--user', 'dave'], url);
  assert.match(anonymous.stderr, /refused: .*HTTP 401.*--token/);
  const keyless = await ctl(ctx, REFUSED, ['push', '--user', 'dave', '--data', '1'], { CRIER_URL: broker.url });
  assert.match(keyless.stderr, /refused: .*HTTP 401.*--api-key/);
  await ctl(ctx, USAGE, ['token', '--user', 'dave', '--key', `r=RS256:${keys.rsa.path}`]);
});

scenario('over TLS: trusted by --ca, by --insecure, else refused', async (ctx) => {
  const broker = await ctx.broker({ tls: true });
  const url = `https://localhost:${broker.tlsPort}`;
  const good = await ctl(ctx, OK, ['ping', '--url', url, '--ca', certificate().cert]);
  assert.match(good.stdout, /connect +ok[^]*healthz +ok[^]*readyz +ok/);
  await ctl(ctx, OK, ['ping', '--url', url, '--insecure']);
  const bad = await ctl(ctx, NO_CONNECT, ['ping', '--url', url]);
  assert.match(bad.stderr, /not trusted .*--ca/);
  const plain = await ctl(ctx, NO_CONNECT, ['ping', '--url', `https://127.0.0.1:${broker.port}`]);
  assert.match(plain.stderr, /no TLS with/);
});

scenario('refusals, wrong usage and nobody there are told apart', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ args: ['--max-payload', '1024'] });
  const env = { CRIER_URL: broker.url };
  const big = await ctl(ctx, REFUSED, ['push', '--user', 'a', '--data', JSON.stringify('x'.repeat(2000))], env);
  assert.match(big.stderr, /refused: .*\(HTTP 413\)/);
  const priority = await ctl(ctx, REFUSED, ['push', '--user', 'a', '--data', '1', '--priority', 'urgent'], env);
  assert.match(priority.stderr, /priority.*\(HTTP 400\)/);
  for (const args of [
    [],
    ['shout'],
    ['push', '--data', '1'],
    ['push', '--user', 'a', '--all', '--data', '1'],
    ['push', '--user', 'a'],
    ['push', '--user', 'a', '--data', 'text'],
    ['push', '--user', 'a', '--data', '@/nowhere/at/all'],
    ['push', '--user', 'a', '--data', '1', '--ttl', 'soon'],
    ['push', '--user', 'a', '--data', '1', '--loud'],
    ['listen'],
    ['listen', '--user', 'a', '--codec', 'xml'],
    ['ping', 'now'],
    ['ping', '--url', 'localhost'],
    ['ping', '--url', 'http://localhost:99999'],
    ['token', '--user', 'a', '--key', 'none'],
    ['token', '--user', 'a', '--key', `HS256:${SECRET}`, '--exp', 'never'],
  ]) {
    const p = await ctl(ctx, USAGE, args, env);
    assert.equal(p.stdout, '', args.join(' '));
    assert.notEqual(p.stderr, '', args.join(' '));
  }
  for (const args of [['--help'], ['push', '--help'], ['listen', '--help'], ['token', '--help'], ['ping', '--help']]) {
    assert.match((await ctl(ctx, OK, args)).stdout, /exit codes/);
  }
  await broker.stop();
  const gone = await ctl(ctx, NO_CONNECT, ['ping'], env);
  assert.match(gone.stderr, /cannot connect to .*--url/);
  await ctl(ctx, NO_CONNECT, ['push', '--user', 'a', '--data', '1'], env);
  await ctl(ctx, NO_CONNECT, ['listen', '--user', 'a'], env);
});
