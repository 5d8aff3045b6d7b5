/* docs/delivery.md: its programs are run as they stand there, and each test that it, or docs/relay.md, names exists. */
import { readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ROOT, assert, scenario, until, within } from './lib/harness.mjs';
import { Proc, tempDir } from './lib/proc.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const page = readFileSync(join(ROOT, 'docs/delivery.md'), 'utf8');

/* The code of the blocks that are marked with exactly this word. */
const blocks = (kind) => [...page.matchAll(new RegExp(`^\`\`\`${kind}\\n([^]*?)^\`\`\`$`, 'gm'))].map((m) => m[1]);

async function run(ctx, command, args, env) {
  const p = new Proc(command, args, { env: { ...process.env, ...env }, cwd: here });
  ctx.defer(() => p.kill());
  const { code } = await within(p.exit, () => p.stderr);
  assert.equal(code, 0, p.stderr);
  return p.stdout;
}

const numbers = (text) => text.match(/\d+/g).map(Number);

const WAYS = {
  'the shell line': async (ctx, redis) => {
    const [line] = blocks('sh');
    return run(ctx, 'sh', ['-c', line.replace('redis-cli', `redis-cli -p ${redis.port}`)]);
  },
  'the Node program': async (ctx, redis) => {
    const file = join(here, `.delivery-page-${process.pid}.mjs`); // beside node_modules
    writeFileSync(file, blocks('js')[0]);
    ctx.defer(() => run(ctx, 'rm', ['-f', file]));
    return run(ctx, process.execPath, [file], { REDIS_URL: redis.url });
  },
  'the Python program': async (ctx, redis) => {
    const file = join(tempDir('crier-page-'), 'push.py');
    writeFileSync(file, blocks('python')[0]);
    return run(ctx, 'python3', [file], { REDIS_URL: redis.url });
  },
};

for (const [name, way] of Object.entries(WAYS)) {
  scenario(`${name} of docs/delivery.md stores a message, once`, async (ctx) => {
    const redis = await ctx.ownRedis();
    const broker = await ctx.broker({ redis });
    await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz');
    const first = numbers(await way(ctx, redis));
    const again = numbers(await way(ctx, redis));
    assert.ok(first[0] > 0, 'a seq');
    assert.deepEqual(first.slice(1), [0, 0], 'nobody was there');
    assert.deepEqual(again, [first[0], 0, 1], 'the same id again');
    const c = await ctx.client(broker, { user: 'alice', device: 'd', query: { ack: 'explicit' } });
    const m = await c.next('message');
    assert.deepEqual([m.seq, m.id, m.data], [first[0], 'order-7/paid', { text: 'hi' }]);
    await c.settled();
    assert.equal(c.take('message'), undefined);
  });
}

test('each test that docs/delivery.md names exists, and each row of its table has one', () => {
  const named = [...page.matchAll(/^\| ([\d]+) \| `([a-z0-9-]+\.test\.mjs)`: "(.+)" \|$/gm)];
  assert.ok(named.length > 20);
  for (const [, row, file, name] of named) {
    const source = readFileSync(join(here, file), 'utf8').replaceAll("\\'", "'").replaceAll("${behind ? ` whose clock is ${behind} s behind` : ''}", '');
    assert.ok(source.includes(name.replace(' whose clock is 30 s behind', '')), `row ${row}: ${file} has no test "${name}"`);
  }
  const rows = [...page.matchAll(/^\| (\d+)\. /gm)].map((m) => m[1]);
  assert.ok(rows.length >= 13);
  for (const row of rows) assert.ok(named.some((n) => n[1] === row), `row ${row} has a test`);
});

test('each test that docs/relay.md names exists', () => {
  const text = readFileSync(join(ROOT, 'docs/relay.md'), 'utf8');
  const named = [...text.matchAll(/`([a-z-]+\.test\.mjs)`: "(.+?)"[; ]/g)];
  assert.ok(named.length > 20);
  for (const [, file, name] of named) assert.ok(readFileSync(join(here, file), 'utf8').includes(name), `${file} has no test "${name}"`);
});
