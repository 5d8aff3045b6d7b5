/*
 * The shipped configurations of nginx and haproxy (docs/deploy), with other ports and certificates and nothing else:
 * every way in goes through real proxies, over TLS, to three brokers, without stickiness. And the systemd unit.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { BIN, ROOT, assert, scenario, until } from './lib/harness.mjs';
import { request } from './lib/http.mjs';
import { Proc, freePort, removeDir, tempDir } from './lib/proc.mjs';
import { Events } from './lib/sse.mjs';
import { certificate } from './lib/tls.mjs';

const ENV = { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` };
const find = (name) => ENV.PATH.split(':').some((dir) => existsSync(join(dir, name)));
const missing = (name) => (find(name) ? false : `there is no ${name} here`);
const deploy = (name) => join(ROOT, 'docs/deploy', name);

function replaced(text, pairs) {
  for (const [from, to] of pairs) {
    assert.ok(text.includes(from), `the shipped file has no "${from}"`);
    text = text.replaceAll(from, to);
  }
  return text;
}

const nginx = {
  name: 'nginx',
  start(dir, { plain, tls }, nodes) {
    const c = certificate();
    const site = replaced(readFileSync(deploy('nginx.conf'), 'utf8'), [
      ['listen 8080', `listen 127.0.0.1:${plain}`],
      ['listen 8443', `listen 127.0.0.1:${tls}`],
      ...nodes.map((b, i) => [`127.0.0.1:800${i + 1}`, `127.0.0.1:${b.port}`]),
      ['/etc/crier/cert.pem', c.cert],
      ['/etc/crier/key.pem', c.key],
    ]);
    writeFileSync(join(dir, 'crier.conf'), site);
    const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((t) => `  ${t}_temp_path ${dir}/${t};\n`).join('');
    writeFileSync(join(dir, 'nginx.conf'), `pid ${dir}/pid;\nevents { worker_connections 512; }\nhttp {\n${temp}  access_log off;\n  include ${dir}/crier.conf;\n}\n`);
    return new Proc('nginx', ['-p', dir, '-c', join(dir, 'nginx.conf'), '-e', 'stderr', '-g', 'daemon off;'], { name: 'nginx', env: ENV });
  },
};

const haproxy = {
  name: 'haproxy',
  start(dir, { plain, tls }, nodes) {
    const env = { ...ENV, CRIER_HA_PLAIN: `127.0.0.1:${plain}`, CRIER_HA_TLS: `127.0.0.1:${tls}`, CRIER_HA_CERT: certificate().pem };
    nodes.forEach((b, i) => {
      env[`CRIER_HA_BROKER_${i + 1}`] = `127.0.0.1:${b.port}`;
    });
    return new Proc('haproxy', ['-db', '-f', deploy('haproxy.cfg')], { name: 'haproxy', env });
  },
};

/* The proxy in front of the nodes, as a place to connect to. */
async function front(ctx, proxy, nodes) {
  const dir = tempDir('crier-proxy-');
  ctx.defer(() => removeDir(dir));
  for (let attempt = 0; ; attempt++) {
    const at = { port: await freePort(), tlsPort: await freePort() };
    const proc = proxy.start(dir, { plain: at.port, tls: at.tlsPort }, nodes);
    ctx.defer(() => proc.kill('SIGTERM'));
    const up = () => request(at, 'GET', '/readyz', { tls: true }).then((r) => r.status === 200, () => false);
    await until(async () => proc.exited || (await up()), `${proxy.name} answers`);
    if (!proc.exited) return at;
    if (attempt === 3) throw new Error(`${proxy.name} ended: ${proc.stderr}`); // its port was taken by somebody else
  }
}

async function cluster(ctx, args = []) {
  const { redis } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const nodes = [];
  for (const node of ['n1', 'n2', 'n3']) nodes.push(await ctx.broker({ redis, prefix, args: ['--node', node, '--room-history', 'h.*:200:1d', ...args] }));
  for (const b of nodes) await until(async () => (await b.metric('crier_nodes')) === 3 && (await b.request('GET', '/readyz')).status === 200, `${b.node} sees all`);
  return nodes;
}

async function push(node, body) {
  const r = await node.push(body);
  assert.equal(r.status, 200, r.text);
}

async function events(ctx, at, options) {
  const e = await Events.open(at, { tls: true, ...options });
  ctx.defer(() => e.close());
  return e;
}

async function poll(at, query) {
  const r = await request(at, 'GET', `/poll?${new URLSearchParams(query)}`, { tls: true });
  assert.equal(r.status, 200, r.text);
  assert.equal(r.headers['cache-control'], 'no-store');
  return r.json;
}

const dataOf = (list) => list.map((m) => m.data);
const range = (n) => [...Array(n).keys()];

for (const proxy of [nginx, haproxy]) {
  const skip = missing(proxy.name);

  scenario(`${proxy.name}: events and messages one by one, heartbeats, both WebSocket codecs, compressed too`, { core: true, skip }, async (ctx) => {
    const nodes = await cluster(ctx, ['--ping-interval', '1s']);
    const at = await front(ctx, proxy, nodes);
    const sse = await events(ctx, at, { user: 'alice', device: 'page', query: { rooms: 'h.r' } });
    assert.equal((await sse.next('ok')).room, 'h.r');
    const sockets = [];
    for (const [codec, deflate] of [['json', false], ['msgpack', false], ['json', true]])
      sockets.push(await ctx.client(at, { tls: true, user: 'alice', device: `${codec}-${deflate}`, codec, deflate, query: { ping: 'message' } }));
    /* The next is sent when the one before has come: whoever collects hangs. */
    for (const n of range(20)) {
      await push(nodes[n % 3], n % 2 ? { room: 'h.r', data: n } : { user: 'alice', data: n });
      assert.equal((await sse.next('message')).data, n);
      for (const c of n % 2 ? [] : sockets) assert.equal((await c.next('message')).data, n);
    }
    const text = 'long '.repeat(2000);
    await push(nodes[0], { user: 'alice', data: text });
    for (const c of [sse, ...sockets]) assert.equal((await c.next('message')).data, text);
    await sse.when(() => (sse.text.match(/^:/gm) || []).length >= 2, 'two comments');
    for (const c of sockets) {
      await c.next('ping');
      c.write({ type: 'pong' });
    }
    assert.ok(sse.res.headers['content-encoding'] === undefined);
    assert.match(sse.res.headers['content-type'], /^text\/event-stream/);
    const sent = await sockets[0].command('send', { user: 'alice', data: 'mine' });
    assert.ok(sent.seq > 0);
    assert.equal((await sse.next('message')).data, 'mine');
    assert.equal((await request(at, 'GET', '/metrics', { tls: true })).status, 404);
  });

  scenario(`${proxy.name}: polls without stickiness over three nodes, one of which is killed: nothing lost, nothing twice`, { core: true, skip }, async (ctx) => {
    const nodes = await cluster(ctx);
    const at = await front(ctx, proxy, nodes);
    let { cursor } = await poll(at, { user: 'bob', device: 'd', ack: 'explicit', rooms: 'h.x' });
    const got = [];
    const total = 120;
    const writer = (async () => {
      for (const n of range(total)) await push(nodes[0], n % 3 ? { user: 'bob', data: n } : { room: 'h.x', data: n });
    })();
    for (let n = 0; got.length < total && n < 3000; n++) {
      if (got.length > 40 && nodes[2] && !nodes[2].killed) await nodes[2].crash();
      const a = await request(at, 'GET', `/poll?${new URLSearchParams({ user: 'bob', device: 'd', ack: 'explicit', rooms: 'h.x', after: cursor, wait: n % 4 ? 0 : 1, limit: 9 })}`, { tls: true }).catch(() => undefined);
      if (!a || a.status >= 500) continue; // the node that was asked has just died: the same question again
      assert.equal(a.status, 200, a.text);
      got.push(...a.json.messages);
      cursor = a.json.cursor;
    }
    await writer;
    assert.deepEqual(dataOf(got).sort((a, b) => a - b), range(total));
    for (const b of nodes.slice(0, 2)) assert.equal(await b.metric('crier_clients', 'transport="poll"'), 1, `${b.node} was asked`);
  });

  scenario(`${proxy.name}: one device over mixed transports and nodes, with one cursor; commands by posts`, { core: true, skip }, async (ctx) => {
    const nodes = await cluster(ctx);
    const at = await front(ctx, proxy, nodes);
    const me = { user: 'carol', device: 'd' };
    const seen = [];
    let n = 0;
    let last;
    const post = async (command) => {
      const r = await request(at, 'POST', `/send?${new URLSearchParams(me)}`, { tls: true, body: JSON.stringify(command) });
      assert.equal(r.status, 200, r.text);
    };
    const ways = {
      async websocket(codec) {
        const c = await ctx.client(at, { tls: true, ...me, codec, query: { ack: 'explicit', ...(last ? { since: last } : {}) } });
        const m = await c.messages(3);
        await c.command('ack', { seq: m[2].seq });
        await c.close();
        return m;
      },
      async sse() {
        const e = await events(ctx, at, { ...me, lastEventId: last });
        const m = await e.messages(3);
        await post({ type: 'ack', seq: m[2].seq });
        e.close();
        return m;
      },
      async poll(wait) {
        const list = [];
        for (let after = last; list.length < 3; ) {
          const a = await poll(at, { ...me, wait, ack: 'explicit', ...(after ? { after } : {}) });
          list.push(...a.messages);
          after = a.cursor;
        }
        await post({ type: 'ack', seq: list[2].seq });
        return list;
      },
    };
    const order = [['websocket', 'json'], ['poll', 0], ['sse'], ['poll', 20], ['websocket', 'msgpack'], ['sse'], ['websocket', 'json']];
    await ctx.client(at, { tls: true, ...me }).then((c) => c.close());
    for (const [way, arg] of order) {
      for (let i = 0; i < 3; i++) await push(nodes[i], { user: 'carol', data: n++ });
      const m = await ways[way](arg);
      last = Number(m[2].seq);
      seen.push(...m);
    }
    assert.deepEqual(dataOf(seen), range(n));
    const inbox = () => nodes[0].request('GET', '/api/users/carol/inbox').then((r) => r.json.messages.length);
    await until(async () => (await inbox()) === 0, 'all of it was acknowledged');
  });
}

scenario('systemd finds nothing wrong with the unit', { skip: missing('systemd-analyze') }, async (ctx) => {
  const dir = tempDir('crier-unit-');
  ctx.defer(() => removeDir(dir));
  const unit = join(dir, 'crier.service');
  writeFileSync(unit, replaced(readFileSync(deploy('crier.service'), 'utf8'), [['/usr/local/bin/crier', BIN]]));
  const r = spawnSync('systemd-analyze', ['verify', unit], { env: ENV, encoding: 'utf8' });
  assert.equal(r.status, 0, r.stderr);
  assert.equal(r.stderr.split('\n').filter((line) => line.includes('crier.service')).join('\n'), '');
});
