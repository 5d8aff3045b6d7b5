/* crier-bench: what its lines say is what happened. A tool that measures has to notice what it is there to notice. */
import { createServer } from 'node:http';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { WebSocketServer } from 'ws';
import { BIN, DEADLINE, assert, scenario, within } from './lib/harness.mjs';
import { Proc, removeDir, tempDir } from './lib/proc.mjs';
import { certificate } from './lib/tls.mjs';

const BENCH = join(dirname(BIN), 'crier-bench');

async function bench(...args) {
  const p = new Proc(BENCH, args.map(String), { name: 'crier-bench' });
  const { code } = await within(p.exit, () => `crier-bench ${args[0]}: ${p.stderr}`, 3 * DEADLINE);
  return { code, out: p.stdout, err: p.stderr };
}

async function line(...args) {
  const r = await bench(...args);
  assert.equal(r.code, 0, r.err);
  return JSON.parse(r.out);
}

/* A publisher's and subscribers' server that leaves out every tenth message and says every seventh twice. */
async function liar(ctx) {
  let n = 0;
  const wss = new WebSocketServer({ noServer: true });
  const server = createServer((req, res) => {
    let body = '';
    req.on('data', (d) => (body += d)).on('end', () => {
      n++;
      const times = n % 10 === 0 ? 0 : n % 7 === 0 ? 2 : 1;
      for (const ws of wss.clients) for (let i = 0; i < times; i++) ws.send(body);
      res.writeHead(200, { 'content-length': 0 }).end();
    });
  });
  server.on('upgrade', (req, socket, head) => wss.handleUpgrade(req, socket, head, () => {}));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  ctx.defer(() => {
    for (const ws of wss.clients) ws.terminate();
    server.closeAllConnections();
    server.close();
  });
  return { port: server.address().port, count: () => n };
}

scenario('what a server loses or says twice is counted, to the message', async (ctx) => {
  const server = await liar(ctx);
  const r = await line('fanout', '--protocol', 'plain', '--url', `ws://127.0.0.1:${server.port}/`, '--publish', `http://127.0.0.1:${server.port}/pub`,
    '--server-pid', process.pid, '--subs', 4, '--procs', 2, '--secs', 0.5, '--warm', 0.1, '--rate', 200);
  assert.equal(r.published, server.count());
  const tens = Math.floor(r.published / 10);
  const sevens = Math.floor(r.published / 7) - Math.floor(r.published / 70);
  assert.ok(tens > 0 && sevens > 0, JSON.stringify(r));
  assert.equal(r.lost, 4 * tens);
  assert.equal(r.duplicates, 4 * sevens);
});

scenario('the floors deliver everything once', async () => {
  for (const args of [['send'], ['joined'], ['send', '--what', 'unicast']]) {
    const r = await line('floor', '--mode', ...args, '--subs', 20, '--secs', 0.3, '--warm', 0.1);
    assert.ok(r.deliveries > 0 && r.cpu_us_per_delivery > 0, JSON.stringify(r));
    assert.deepEqual([r.lost, r.duplicates, r.gone], [0, 0, 0]);
  }
});

scenario('a bare loop pings as often as it is told', async () => {
  const r = await line('floor', '--mode', 'beat', '--beat', 1, '--what', 'heartbeats', '--conns', 50, '--secs', 3, '--warm', 0.5);
  assert.equal(r.gone, 0);
  assert.ok(r.reads >= 50 && r.reads <= 50 * (r.secs + 1), JSON.stringify(r));
  assert.ok(r.cpu_us_per_conn > 0 && r.wakeups_per_s > 0);
});

scenario('handshakes: full and resumed, of OpenSSL alone, of a bare loop, of the broker', async (ctx) => {
  const c = certificate();
  const broker = await ctx.broker({ tls: true });
  const common = ['--subs', 20, '--cert', c.cert, '--key', c.key];
  for (const version of ['1.2', '1.3']) {
    for (const resume of [[], ['--resume']]) {
      const args = [...common, '--tls', version, ...resume];
      const alone = await line('floor', '--mode', 'alone', ...args);
      const bare = await line('floor', '--mode', 'tls', '--what', 'handshake', ...args);
      const crier = await line('handshake', ...args, '--server-pid', broker.proc.pid, '--url', `wss://127.0.0.1:${broker.tlsPort}/`);
      assert.equal(alone.resumed, resume.length ? 20 : 0);
      /* The first connection of each of the two client processes gives the session. */
      for (const r of [bare, crier]) assert.equal(r.resumed, resume.length ? 18 : 0);
      for (const r of [alone, bare, crier]) assert.ok(r.cpu_us_per_connect > 0);
    }
  }
});

scenario('event streams, polls and a cluster of two against the broker', async (ctx) => {
  const { redis } = await ctx.redis();
  const broker = await ctx.brokerOn('redis');
  const other = await ctx.broker({ redis, prefix: ctx.prefix });
  const at = ['--server-pid', broker.proc.pid, '--subs', 10, '--secs', 0.5, '--warm', 0.2];
  const publish = (what) => ['--publish', redis.url, '--channel', `${ctx.prefix}${what}`];
  const sse = await line('fanout', ...at, '--protocol', 'sse', '--room', 'r', '--url', `${broker.url}/events?user={}&rooms=r`, ...publish('room:r'), '--rate', 100);
  const poll = await line('unicast', ...at, '--protocol', 'poll', '--url', `${broker.url}/poll?wait=5&user={}`, ...publish('user:{}'), '--rate', 100);
  assert.equal(sse.bench, 'sse');
  assert.equal(poll.bench, 'longpoll');
  for (const r of [sse, poll]) {
    assert.ok(r.deliveries > 0, JSON.stringify(r));
    assert.deepEqual([r.lost, r.duplicates], [0, 0]);
  }
  const empty = await line('poll', ...at, '--url', `${broker.url}/poll?user={}`);
  assert.ok(empty.polls_per_s > 0 && empty.cpu_us_per_poll > 0);
  const churn = await line('churn', ...at, '--total', 200, '--url', `ws://${broker.plain}/ws`);
  assert.ok(churn.memory_ratio > 0 && churn.cpu_us_last > 0);
  const cluster = await line('cluster', '--prefix', ctx.prefix, '--server-pid', `${broker.proc.pid},${other.proc.pid}`, '--other-pid', redis.proc.pid,
    '--ports', `${broker.port},${other.port}`, '--url', `ws://127.0.0.1:${broker.port}/ws`, '--publish', redis.url, '--subs', 30, '--messages', 3, '--total', 100,
    '--rate', 500, '--secs', 0.1, '--warm', 0.2);
  assert.deepEqual([cluster.ready, cluster.everybody.deliveries, cluster.random_users.deliveries], [30, 90, 100]);
  for (const part of [cluster.everybody, cluster.random_users]) assert.deepEqual([part.lost, part.duplicates], [0, 0]);
});

scenario('the table takes medians, and of ratios the median over rounds', async (ctx) => {
  const dir = tempDir();
  ctx.defer(() => removeDir(dir));
  const file = join(dir, 'lines');
  const row = (label, round, cost) => `${JSON.stringify({ bench: 'fanout', label, round, subs: 5, rate: 0, cpu_us_per_delivery: cost })}\n`;
  writeFileSync(file, [row('crier', 1, 1), row('crier', 2, 30), row('crier', 3, 3), row('nchan', 1, 10), row('nchan', 2, 600), row('nchan', 3, 15)].join(''));
  const { out, code } = await bench('table', file);
  assert.equal(code, 0);
  assert.match(out, /nchan : crier = 10\.00/);
  assert.match(out, /crier +3\.000/);
  assert.match(out, /nchan +15\.000/);
});
