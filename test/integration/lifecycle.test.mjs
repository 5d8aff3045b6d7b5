/* Starting, refusing to start, stopping; TLS; metrics and health; echo; replaced connections. */
import { createServer } from 'node:net';
import { chmodSync, copyFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import tls from 'node:tls';
import { DEADLINE, assert, scenario, until, within } from './lib/harness.mjs';
import { Broker, brokerArgs } from './lib/broker.mjs';
import { removeDir, tempDir } from './lib/proc.mjs';
import { OP, frame } from './lib/raw.mjs';
import { certificate, newCertificate } from './lib/tls.mjs';
import { SECRET } from './lib/tokens.mjs';

/* Runs the broker to its end: {code, out, err}. */
async function run(ctx, args, env) {
  const p = Broker.spawn(args, env);
  ctx.defer(() => p.kill());
  const { code } = await within(p.exit, () => `crier ${args.join(' ')} ends; ${p.stdout}${p.stderr}`, DEADLINE);
  return { code, out: p.stdout, err: p.stderr };
}

scenario('what it does not understand it refuses to start with, in one sentence', { core: true }, async (ctx) => {
  const dir = tempDir();
  ctx.defer(() => removeDir(dir));
  const nonsense = join(dir, 'nonsense.pem');
  writeFileSync(nonsense, 'nonsense\n');
  const config = join(dir, 'bad.conf');
  writeFileSync(config, 'shards = 2\nlissten = x\n');
  const c = certificate();
  const L = ['--listen', '127.0.0.1:0'];
  const D = [...L, '--dev'];
  const K = [...L, '--jwt-key', `HS256:${SECRET}`, '--api-key', 'k'.repeat(32)];
  const bad = {
    'open by accident': [L, /--dev|key/],
    'an unknown option': [[...D, '--nope', '1'], /nope/],
    'a misspelt option': [[...D, '--lissten', 'x'], /listen/],
    'an option without its value': [[...D, '--shards'], /shards/],
    'a number that is none': [[...D, '--shards', 'many'], /shards/],
    'a number out of range': [[...D, '--shards', '1000'], /shards/],
    'a duration that is none': [[...D, '--ping-interval', 'soon'], /ping-interval/],
    'an address that is none': [['--dev', '--listen', 'nowhere'], /listen/],
    'a port out of range': [['--dev', '--listen', '127.0.0.1:70000'], /listen|port/i],
    'dev beyond loopback': [['--dev', '--listen', '0.0.0.0:0'], /loopback|dev/i],
    'echo without dev': [[...K, '--echo'], /echo/],
    'TLS without a certificate': [[...D, '--tls-listen', '127.0.0.1:0'], /tls-cert|certificate/],
    'a certificate that is not there': [[...D, '--tls-listen', '127.0.0.1:0', '--tls-cert', '/nonexistent/x.pem', '--tls-key', c.key], /nonexistent/],
    'a certificate that is none': [[...D, '--tls-listen', '127.0.0.1:0', '--tls-cert', nonsense, '--tls-key', c.key], /nonsense\.pem/],
    'a key that is none': [[...D, '--tls-listen', '127.0.0.1:0', '--tls-cert', c.cert, '--tls-key', nonsense], /nonsense\.pem|key/],
    'a JWT key without an algorithm': [[...L, '--jwt-key', SECRET], /jwt-key/],
    'a JWT key too short': [[...L, '--api-key', 'k'.repeat(32), '--jwt-key', 'HS256:short'], /32|short/],
    'a JWT key file that is not there': [[...L, '--api-key', 'k'.repeat(32), '--jwt-key', 'RS256:/nonexistent/key.pem'], /nonexistent/],
    'a JWT key file of the wrong kind': [[...L, '--api-key', 'k'.repeat(32), '--jwt-key', `RS256:${nonsense}`], /nonsense\.pem|RS256/],
    'a Redis URL that is none': [[...D, '--redis', 'localhost'], /redis/],
    'a configuration file that is not there': [['--config', '/nonexistent/crier.conf'], /nonexistent/],
    'a configuration file with an unknown option': [['--config', config, ...D], /lissten|bad\.conf/],
    'a stray argument': [[...D, 'stray'], /stray/],
  };
  for (const [name, [args, words]] of Object.entries(bad)) {
    const r = await run(ctx, args);
    assert.ok(r.code > 0 && r.code < 128, `${name}: code ${r.code}\n${r.err}`);
    assert.equal(r.out, '', `${name}: nothing on standard output`);
    assert.match(r.err, words, name);
    assert.equal(r.err.trim().split('\n').length, 1, `${name}: one sentence, not\n${r.err}`);
    assert.ok(!r.err.includes(SECRET), `${name}: no secret`);
  }
  const fromEnv = await run(ctx, D, { CRIER_SHARDS: 'x' });
  assert.ok(fromEnv.code > 0);
  assert.match(fromEnv.err, /SHARDS|shards/);
});

scenario('a taken port is found', { core: true }, async (ctx) => {
  const taken = createServer();
  await new Promise((done) => {
    taken.listen(0, '127.0.0.1', done);
  });
  ctx.defer(() => new Promise((done) => taken.close(done)));
  const { port } = taken.address();
  const r = await run(ctx, ['--dev', '--listen', `127.0.0.1:${port}`]);
  assert.ok(r.code > 0);
  assert.match(r.err, new RegExp(`${port}`));
  /* Another broker's port too, though SO_REUSEPORT would hide it. */
  const broker = await ctx.broker();
  const second = await run(ctx, ['--dev', '--listen', broker.plain]);
  assert.ok(second.code > 0);
  assert.match(second.err, new RegExp(`${broker.port}`));
  assert.equal((await broker.request('GET', '/healthz')).status, 200);
});

scenario('--help, --version, --check, --dump-config', async (ctx) => {
  const help = await run(ctx, ['--help']);
  assert.equal(help.code, 0);
  for (const o of ['--listen', '--tls-cert', '--redis', '--jwt-key', '--ping-interval', '--dump-config']) assert.ok(help.out.includes(o), o);
  const version = await run(ctx, ['--version']);
  assert.equal(version.code, 0);
  assert.match(version.out, /\d+\.\d+\.\d+/);
  assert.equal((await run(ctx, [...brokerArgs(), '--check'])).code, 0);
  assert.ok((await run(ctx, ['--listen', '127.0.0.1:0', '--check'])).code > 0);
  const dump = await run(ctx, ['--dump-config', '--jwt-key', `k=HS256:${SECRET}`, '--redis', 'redis://u:secretpass@127.0.0.1:1'], { CRIER_MAX_ROOMS: '7' });
  assert.equal(dump.code, 0);
  assert.match(dump.out, /max-rooms\s*=\s*7/);
  assert.ok(!dump.out.includes(SECRET) && !dump.out.includes('secretpass'), dump.out);
  /* What it prints it reads again. */
  const dir = tempDir();
  ctx.defer(() => removeDir(dir));
  const plain = await run(ctx, ['--dump-config', ...brokerArgs({ args: ['--ping-interval', '7s'] })]);
  writeFileSync(join(dir, 'c.conf'), plain.out);
  const again = await run(ctx, ['--config', join(dir, 'c.conf'), '--dump-config']);
  assert.equal(again.out, plain.out);
  /* Flags win over the environment, that over the file. */
  const won = await run(ctx, ['--config', join(dir, 'c.conf'), '--max-rooms', '9', '--dump-config'], { CRIER_MAX_ROOMS: '8', CRIER_PING_INTERVAL: '8s' });
  assert.match(won.out, /max-rooms\s*=\s*9/);
  assert.match(won.out, /ping-interval\s*=\s*8s/);
});

scenario('one readiness line, and the number of connections it has room for', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ tls: true, shards: 3, args: ['--node', 'my-node'] });
  assert.equal(broker.shards, 3);
  assert.match(broker.node, /^my-node/);
  assert.equal(broker.store, 'memory');
  assert.ok(broker.tlsPort > 0 && broker.port > 0);
  assert.equal(broker.proc.stdout.split('\n').length, 2, broker.proc.stdout);
  await until(() => /connections/.test(broker.log), 'the number of connections'); // another pipe than the readiness line's
  await until(() => /dev/i.test(broker.log), 'it says loudly that it is open');
});

for (const signal of ['SIGTERM', 'SIGINT']) {
  scenario(`${signal} with clients: told, closed 1001, acks kept, exit 0`, { core: signal === 'SIGTERM' }, async (ctx) => {
    const { redis } = await ctx.redis();
    const prefix = ctx.newPrefix();
    const broker = await ctx.broker({ redis, prefix, tls: true });
    const clients = [];
    for (let i = 0; i < 10; i++) clients.push(await ctx.client(broker, { user: `u${i}`, device: 'd', codec: i % 2 ? 'msgpack' : 'json', tls: i % 3 === 0, query: { ack: 'explicit' } }));
    for (let i = 0; i < 10; i++) await broker.push({ user: `u${i}`, data: i });
    for (const c of clients) c.ack((await c.next('message')).seq);
    const idle = await ctx.raw(broker);
    const began = Date.now();
    const { code } = await broker.stop(signal);
    assert.equal(code, 0);
    for (const c of clients) {
      assert.equal((await c.closed).code, 1001);
      const m = await c.next('closing').catch(() => undefined);
      assert.ok(m, 'it was told before');
      assert.equal(m.code, 1001);
      assert.ok(m.retry_after > 0 && m.retry_after <= 60, `retry_after ${m.retry_after} s`);
    }
    await idle.gone();
    assert.ok(Date.now() - began < 30000);
    const next = await ctx.broker({ redis, prefix });
    const back = await ctx.client(next, { user: 'u3', device: 'd', query: { ack: 'explicit' } });
    assert.equal(back.welcome.pending, 0, 'the ack was flushed');
  });
}

scenario('a client that does not leave is cut after the drain time', async (ctx) => {
  const broker = await ctx.broker({ args: ['--drain-timeout', '500ms'] });
  const r = await ctx.websocket(broker, '/ws?user=stubborn');
  await r.message('welcome');
  broker.proc.child.kill('SIGTERM');
  assert.equal((await r.closeFrame()).code, 1001);
  await r.gone();
  assert.equal((await broker.stop()).code, 0);
});

scenario('health, readiness, metrics', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  assert.equal((await broker.request('GET', '/healthz')).status, 200);
  await until(async () => (await broker.request('GET', '/readyz')).status === 200, 'ready');
  const c = await ctx.client(broker, { user: 'm' });
  await c.join('r');
  await broker.push({ user: 'm', data: 1 });
  await broker.push({ room: 'r', data: 2 });
  await c.messages(2);
  const m = await broker.request('GET', '/metrics');
  assert.equal(m.status, 200);
  assert.match(m.headers['content-type'], /^text\/plain.*version=0\.0\.4/);
  const names = new Map();
  for (const line of m.text.trimEnd().split('\n')) {
    if (line.startsWith('# TYPE ')) {
      const [, , name, type] = line.split(' ');
      assert.ok(!names.has(name), `${name} has two TYPE lines`);
      names.set(name, type);
    } else if (!line.startsWith('#')) {
      const s = /^([a-z_]+)(\{([a-z_]+="[^"]*",?)+\})? (-?[0-9.e+]+|\+Inf)$/.exec(line);
      assert.ok(s, `not a sample: ${line}`);
      assert.ok(names.has(s[1].replace(/_(bucket|sum|count)$/, '')) || names.has(s[1]), `${s[1]} has no TYPE`);
    }
  }
  assert.equal(await broker.metric('crier_clients'), 1);
  assert.equal(await broker.metric('crier_users'), 1);
  assert.equal(await broker.metric('crier_rooms'), 1);
  assert.ok((await broker.metric('crier_deliveries_total')) >= 2);
  assert.equal(await broker.metric('crier_push_total', 'target="user"'), 1);
  assert.equal(await broker.metric('crier_push_total', 'target="room"'), 1);
  assert.ok((await broker.metric('crier_bytes_total', 'direction="out"')) > 100);
  const latency = [...names].find(([, type]) => type === 'histogram');
  assert.ok(latency, 'a latency histogram');
  await until(async () => (await broker.metric(`${latency[0]}_count`)) >= 2, 'latencies are counted');
  await c.close();
  for (const name of ['crier_clients', 'crier_users']) await until(async () => (await broker.metric(name)) === 0, `${name} back to 0`);
});

scenario('one connection a device: the newer takes over, the older is closed 4010', { core: true }, async (ctx) => {
  const broker = await ctx.broker();
  const old = await ctx.client(broker, { user: 'u', device: 'd', query: { ack: 'explicit' } });
  const other = await ctx.client(broker, { user: 'u', device: 'e' });
  const newer = await ctx.client(broker, { user: 'u', device: 'd', query: { ack: 'explicit' } });
  assert.equal((await old.closed).code, 4010);
  await broker.push({ user: 'u', data: 1 });
  assert.equal((await newer.next('message')).data, 1);
  assert.equal((await other.next('message')).data, 1);
});

scenario('too many connections of one user: the oldest goes', async (ctx) => {
  const broker = await ctx.broker({ args: ['--max-user-conns', '3'] });
  const list = [];
  for (let i = 0; i < 4; i++) list.push(await ctx.client(broker, { user: 'u', device: `d${i}` }));
  assert.equal((await list[0].closed).code, 4010);
  await broker.push({ user: 'u', data: 1 });
  for (const c of list.slice(1)) assert.equal((await c.next('message')).data, 1);
});

scenario('TLS 1.2 and 1.3, not older; HTTP and WebSocket over it', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ tls: true });
  for (const version of ['TLSv1.2', 'TLSv1.3']) {
    const c = await ctx.client(broker, { user: `u-${version}`, tls: true, tlsOptions: { minVersion: version, maxVersion: version } });
    assert.equal(c.socket._socket.getProtocol(), version);
    const data = 'x'.repeat(60000);
    for (let i = 0; i < 5; i++) {
      await broker.push({ user: `u-${version}`, data });
      assert.equal((await c.next('message')).data, data);
    }
    await c.command('send', { user: `u-${version}`, data: 'over TLS' });
    assert.equal((await c.next('message')).data, 'over TLS');
    await c.close();
  }
  assert.equal((await broker.request('GET', '/healthz', { tls: true })).status, 200);
  assert.equal((await broker.push({ user: 'x', data: 1 }, { tls: true })).status, 200);
  const old = tls.connect({ host: '127.0.0.1', port: broker.tlsPort, rejectUnauthorized: false, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' });
  ctx.defer(() => old.destroy());
  await within(new Promise((done) => old.on('error', done)), 'TLS 1.1 is refused');
  /* Plain HTTP on the TLS port, and noise, end quickly and are counted. */
  const { default: net } = await import('node:net');
  const noise = net.connect({ host: '127.0.0.1', port: broker.tlsPort });
  noise.on('error', () => {});
  noise.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  noise.resume();
  await within(new Promise((done) => noise.on('close', done)), 'plain HTTP on the TLS port is closed');
  await until(async () => (await broker.metric('crier_handshake_failures_total', 'stage="tls"')) >= 2, 'failed handshakes counted');
});

/* The fingerprint of the certificate that a new connection is shown. */
async function shown(ctx, broker) {
  const s = tls.connect({ host: '127.0.0.1', port: broker.tlsPort, rejectUnauthorized: false });
  ctx.defer(() => s.destroy());
  await within(new Promise((done, fail) => s.on('secureConnect', done).on('error', fail)), 'TLS');
  return s.getPeerCertificate().fingerprint256;
}

scenario('SIGHUP: a renewed certificate serves new connections, the others stay; a bad one changes nothing', { core: true }, async (ctx) => {
  const mine = newCertificate();
  const next = newCertificate();
  for (const c of [mine, next]) ctx.defer(() => removeDir(c.dir));
  const broker = await ctx.broker({ tls: mine });
  const here = await ctx.client(broker, { user: 'here', tls: true, tlsOptions: { ca: mine.ca } });
  const first = await shown(ctx, broker);
  const hangUp = () => broker.proc.child.kill('SIGHUP');

  copyFileSync(next.cert, mine.cert); // the key is still the old one's
  hangUp();
  await until(() => /TLS key \S+: .*mismatch; the certificate of before stays in use/.test(broker.log), 'the fault in the log');
  assert.equal(await shown(ctx, broker), first);

  copyFileSync(next.key, mine.key);
  hangUp();
  await until(async () => (await shown(ctx, broker)) !== first, 'the new certificate');
  assert.match(broker.log, /the certificate \S+ is good (only )?until \d{4}-\d\d-\d\d \d\d:\d\d UTC/);

  writeFileSync(mine.cert, 'nonsense');
  hangUp();
  await until(() => /cannot use the TLS certificate .*; the certificate of before stays/.test(broker.log), 'the next fault in the log');
  assert.notEqual(await shown(ctx, broker), first);

  await broker.push({ user: 'here', data: 'still there' });
  assert.equal((await here.next('message')).data, 'still there');
});

scenario('SIGHUP where there is no certificate is no fault', async (ctx) => {
  const broker = await ctx.broker();
  broker.proc.child.kill('SIGHUP');
  await until(() => broker.log.includes('no certificate to read again'), 'it says so');
  assert.equal((await broker.request('GET', '/healthz')).status, 200);
});

scenario('a TLS session is resumed on any shard', async (ctx) => {
  const broker = await ctx.broker({ tls: true, shards: 4 });
  let session;
  let reused = 0;
  for (let i = 0; i < 8; i++) {
    const s = tls.connect({ host: '127.0.0.1', port: broker.tlsPort, ca: certificate().ca, servername: 'localhost', session });
    const got = new Promise((done) => s.on('session', done));
    await within(new Promise((done, fail) => s.on('secureConnect', done).on('error', fail)), 'TLS');
    if (s.isSessionReused()) reused += 1;
    s.write('GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n');
    s.resume();
    session = await within(got, 'a session ticket');
    await within(new Promise((done) => s.on('close', done)), 'the end');
  }
  assert.equal(reused, 7);
});

scenario('a client that asks for nothing gets a session ticket too', async (ctx) => {
  const broker = await ctx.broker({ tls: true });
  const s = tls.connect({ host: '127.0.0.1', port: broker.tlsPort, ca: certificate().ca, servername: 'localhost', minVersion: 'TLSv1.3' });
  const got = new Promise((done, fail) => s.on('session', done).on('error', fail));
  s.resume();
  await within(got, 'a session ticket');
  s.destroy();
});

scenario('/echo: text and binary come back as they are, in fragments and large', { core: true }, async (ctx) => {
  const broker = await ctx.broker({ tls: true, args: ['--echo', '--max-message', '2MiB'] });
  for (const useTls of [false, true]) {
    const c = await ctx.client(broker, { path: '/echo', protocols: [], raw: true, tls: useTls });
    const round = async (data, binary) => {
      c.writeRaw(data, { binary });
      const f = await c.next('frame', undefined, DEADLINE * 2);
      assert.equal(f.binary, binary);
      assert.ok(f.bytes.equals(Buffer.from(data)), `${data.length} bytes, ${binary ? 'binary' : 'text'}`);
    };
    for (const n of [0, 1, 125, 126, 127, 65535, 65536, 1024 * 1024]) {
      await round('a'.repeat(n), false);
      await round(Buffer.alloc(n, 0xfe), true);
    }
    const half = Buffer.alloc(512 * 1024, 'é');
    c.socket.send(half, { binary: false, fin: false });
    c.socket.send(half, { binary: false, fin: true });
    assert.equal((await c.next('frame', undefined, DEADLINE * 2)).bytes.length, 1024 * 1024);
    const pong = new Promise((done) => c.socket.once('pong', done));
    c.socket.ping('payload');
    assert.equal((await within(pong, 'a pong')).toString(), 'payload');
    await c.close();
  }
  const r = await ctx.websocket(broker, '/echo', { headers: { 'Sec-WebSocket-Protocol': undefined } });
  for (let i = 0; i < 200; i++) r.write(frame(OP.TEXT, `m${i}`));
  for (let i = 0; i < 200; i++) assert.equal((await r.nextFrame()).payload.toString(), `m${i}`);
  r.write(frame(OP.TEXT, '', { length: 3 * 1024 * 1024 }));
  assert.equal((await r.closeFrame()).code, 1009);

  for (const n of [0, 5, 100000, 1024 * 1024]) {
    const body = Buffer.alloc(n, 0x81);
    const a = await broker.request('POST', '/echo', { body });
    assert.equal(a.status, 200);
    assert.ok(a.body.equals(body), `${n} bytes over HTTP`);
  }
  assert.equal((await broker.request('POST', '/echo', { body: Buffer.alloc(3 * 1024 * 1024) })).status, 413);
});

scenario('without --echo there is no /echo', async (ctx) => {
  const broker = await ctx.broker();
  assert.equal((await broker.request('POST', '/echo', { body: 'x' })).status, 404);
});

scenario('an unreadable key file is one sentence', { skip: process.getuid() === 0 && 'root reads every file' }, async (ctx) => {
  const dir = tempDir();
  ctx.defer(() => removeDir(dir));
  const file = join(dir, 'secret');
  writeFileSync(file, SECRET);
  chmodSync(file, 0);
  const r = await run(ctx, ['--listen', '127.0.0.1:0', '--api-key', 'k'.repeat(32), '--jwt-key', `HS256:@${file}`]);
  assert.ok(r.code > 0);
  assert.match(r.err, /secret/);
});
