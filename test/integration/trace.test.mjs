/* crierctl trace: the way of one tracked message, drawn from its ledger. */
import { dirname, join } from 'node:path';
import { BIN, assert, scenario, until, within } from './lib/harness.mjs';
import { Proc, tempDir } from './lib/proc.mjs';

const CRIERCTL = join(dirname(BIN), 'crierctl');
const STORES = ['memory', 'redis'];
const EXPLICIT = { ack: 'explicit' };

async function ctl(ctx, expected, args, env = {}) {
  const inherited = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('CRIER_')));
  const p = new Proc(CRIERCTL, args, { env: { ...inherited, ...env } });
  ctx.defer(() => p.kill());
  const { code } = await within(p.exit, () => `crierctl ${args.join(' ')}\n${p.stderr}`);
  assert.equal(code, expected, `crierctl ${args.join(' ')}: ${p.stdout}${p.stderr}`);
  return p;
}

const CLOCK = '\\d{4}-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d\\.\\d{3} +\\+\\d+ ms';

for (const store of STORES) {
  scenario(`${store}: each recipient, each device, stored, arrived, written, acked`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store);
    if (store === 'redis') await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz');
    const env = { CRIER_URL: broker.url };
    const phone = await ctx.client(broker, { user: 'alice', device: 'phone', query: EXPLICIT });
    await ctx.client(broker, { user: 'alice', device: 'desk', query: EXPLICIT });
    const room = await ctx.client(broker, { user: 'carol', device: 'c', query: EXPLICIT });
    await room.join('news');
    assert.equal((await broker.push({ users: ['alice', 'bob'], data: 1, id: 'order/7', track: true })).status, 200);
    assert.equal((await broker.push({ room: 'news', data: 1, id: 'order/7', track: true })).status, 200);
    const m = await phone.next('message');
    phone.ack(m.seq);
    const look = async (args = []) => (await ctl(ctx, 0, ['trace', 'order/7', ...args], env)).stdout;
    const acked = new RegExp(`device phone  acked\\n.*${CLOCK}  arrived   at node \\S+, shard \\d+\\n.*${CLOCK}  written *\\n.*${CLOCK}  acked *\\n`);
    const text = await until(async () => {
      const t = await look();
      return acked.test(t) && /device desk  written/.test(t) && /room news  written/.test(t) && t;
    }, 'the ledger has it all');
    assert.match(text, new RegExp(`user alice  acked\\n.*${CLOCK}  stored    by node ${broker.node.replaceAll('.', '\\.')}\\S*, seq ${m.seq}, shown to 1 node\\n`));
    assert.match(text, /user bob  queued\n.* stored .*shown to 0 nodes\n +\| +no device has been seen\n.* expires/);
    assert.match(text, /room news  written\n.* sent +by node \S+\n.* written +to 1 connections/);
    assert.ok(!text.includes('\u001b'), 'no colours where it is not a terminal');

    const missing = await look(['--undelivered']);
    assert.match(missing, /user bob/);
    assert.doesNotMatch(missing, /alice/);

    const pages = (await look(['--json'])).trim().split('\n').map((l) => JSON.parse(l));
    assert.deepEqual(pages.flatMap((p) => p.recipients.map((r) => r.user ?? r.room)).sort(), ['alice', 'bob', 'news']);
  });
}

scenario('many recipients come page by page; drops and retries are told', async (ctx) => {
  const broker = await ctx.broker();
  const env = { CRIER_URL: broker.url };
  const users = [...Array(450).keys()].map((i) => `u${i}`);
  assert.equal((await broker.push({ users, data: 1, id: 'many', track: true })).status, 200);
  const { stdout } = await ctl(ctx, 0, ['trace', 'many'], env);
  for (const u of users) assert.ok(stdout.includes(`user ${u}  queued\n`), u);
  const pages = (await ctl(ctx, 0, ['trace', 'many', '--json'], env)).stdout.trim().split('\n');
  assert.ok(pages.length > 1, 'a line a page');
  assert.equal(pages.reduce((n, p) => n + JSON.parse(p).recipients.length, 0), users.length);
  await broker.push({ user: 'gone', data: 1, id: 'live', ttl: 0, track: true });
  await until(async () => /user gone  dropped\n.* sent .*\n[^]*dropped +offline/.test((await ctl(ctx, 0, ['trace', 'live'], env)).stdout), 'nobody was there');
  await broker.request('POST', '/api/messages/many/retry');
  await until(async () => /retried +attempt 2/.test((await ctl(ctx, 0, ['trace', 'many'], env)).stdout), 'the retry');
});

scenario('trace: what is unknown or wrong is said; colours on a terminal alone', async (ctx) => {
  const broker = await ctx.broker();
  const env = { CRIER_URL: broker.url };
  assert.match((await ctl(ctx, 1, ['trace', 'nothing'], env)).stderr, /not_found/);
  assert.match((await ctl(ctx, 2, ['trace'], env)).stderr, /trace ID/);
  assert.match((await ctl(ctx, 0, ['trace', '--help'], env)).stdout, /--undelivered/);
  assert.match((await ctl(ctx, 3, ['trace', 'x', '--url', 'http://127.0.0.1:1'], env)).stderr, /crierctl: /);
  await broker.push({ user: 'alice', data: 1, id: 'c', track: true });
  const plain = { ...process.env, ...env, TERM: 'xterm' };
  delete plain.NO_COLOR;
  const terminal = new Proc('script', ['-qec', `${CRIERCTL} trace c`, join(tempDir('crier-trace-'), 'typescript')], { env: plain });
  ctx.defer(() => terminal.kill());
  await within(terminal.exit, 'script');
  assert.match(terminal.stdout, /user alice {2}\u001b\[36mqueued/, terminal.stderr);
});
