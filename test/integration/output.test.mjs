/* What leaves in one turn: messages of many rooms that meet on the same connections, however they are sent, and where the kernel forbids some of that. */
import { spawn } from 'node:child_process';
import { Broker } from './lib/broker.mjs';
import { BIN, assert, scenario, until } from './lib/harness.mjs';
import { Proc } from './lib/proc.mjs';

const range = (n) => [...Array(n).keys()];
const ROOMS = 40;
const CLIENTS = 60;
const BURSTS = 15;

/* Nobody is too slow here, whatever the machine. */
const PATIENT = ['--max-rooms', '100', '--outq-soft', '64MiB', '--outq-hard', '128MiB', '--outq-count', '100000'];

/* Clients of both codecs and of a compressed connection; each is in two thirds of the rooms, every third in all. */
const isIn = (client, room) => client % 3 === 0 || (client + room) % 3 !== 0;

for (const args of [[], ['--batch-sends', 'aio'], ['--batch-sends', 'off']]) {
  for (const shards of [1, 3]) {
    scenario(`bursts to overlapping rooms: all, once, in order ${[`${shards} shards`, ...args].join(' ')}`, { core: shards === 1 }, async (ctx) => {
      const { redis, backend } = await ctx.redis();
      const broker = await ctx.broker({ redis, prefix: ctx.newPrefix(), shards, args: [...args, ...PATIENT] });
      await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz');
      const clients = await Promise.all(
        range(CLIENTS).map(async (i) => {
          const c = await ctx.client(broker, { user: `u${i}`, codec: i % 2 ? 'msgpack' : 'json', deflate: i % 5 === 4 });
          await Promise.all(range(ROOMS).filter((r) => isIn(i, r)).map((r) => c.command('subscribe', { room: `r${r}` })));
          return c;
        }),
      );
      for (const burst of range(BURSTS)) {
        const pipe = backend.multi();
        for (const r of range(ROOMS)) pipe.publish(`${ctx.prefix}room:r${(r + burst) % ROOMS}`, JSON.stringify({ data: { burst, pad: 'x'.repeat(burst % 4 === 3 ? 3000 : 50) } }));
        await pipe.execAsPipeline();
      }
      for (const [i, c] of clients.entries()) {
        const rooms = range(ROOMS).filter((r) => isIn(i, r));
        const mine = () => c.frames.filter((m) => m.type === 'message');
        await until(() => mine().length >= rooms.length * BURSTS, `client ${i} has its messages`);
        assert.equal(mine().length, rooms.length * BURSTS);
        for (const r of rooms) {
          const got = mine().filter((m) => m.room === `r${r}`).map((m) => m.data.burst);
          assert.deepEqual(got, range(BURSTS), `client ${i}, room r${r}`);
        }
      }
      assert.equal(await broker.metric('crier_drops_total'), 0);
    });
  }
}

/* A filter of system calls as containers have it: those named are answered with EPERM. */
const FORBID = `
import ctypes, os, struct, sys
def op(code, jt, jf, k): return struct.pack('HBBI', code, jt, jf, k)
forbidden = [int(n) for n in sys.argv[1].split(',')]
program = op(0x20, 0, 0, 0)
for n in forbidden: program += op(0x15, 0, 1, n) + op(0x06, 0, 0, 0x00050001)
program += op(0x06, 0, 0, 0x7fff0000)
code = ctypes.create_string_buffer(program)
fprog = struct.pack('HxxxxxxQ', len(program) // 8, ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.c_char_p(fprog), 0, 0):
    sys.exit('no filter: ' + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[2], sys.argv[2:])
`;
const IO_URING_SETUP = 425;
const IO_SETUP = { x64: 206, arm64: 0 }[process.arch];

const python = await new Promise((resolve) => {
  spawn('python3', ['-c', 'import ctypes'], { stdio: 'ignore' }).on('error', () => resolve(false)).on('exit', (code) => resolve(code === 0));
});
const skip = !python ? 'python3 is not installed' : IO_SETUP === undefined ? `io_setup has another number on ${process.arch}` : false;

const FILTERS = [
  ['io_uring', [IO_URING_SETUP], /io_uring is not to be had \(Operation not permitted\)[^]*output is written by aio/],
  ['io_uring and aio', [IO_URING_SETUP, IO_SETUP], /aio is not to be had \(Operation not permitted\)[^]*output is written by one send each/],
];
for (const [name, calls, log] of FILTERS) {
  scenario(`where ${name} is forbidden the broker says so and goes on`, { skip }, async (ctx) => {
    const args = ['-c', FORBID, calls.join(','), BIN, '--listen', '127.0.0.1:0', '--shards', '1', '--dev'];
    const proc = new Proc('python3', args, { name: 'crier' });
    ctx.defer(() => proc.kill('SIGTERM'));
    const [, port] = await proc.expect('stdout', /^crier ready .*plain=127\.0\.0\.1:(\d+)/m);
    const broker = Object.assign(new Broker(), { proc, port: Number(port), host: '127.0.0.1', node: 'filtered' });
    assert.match(proc.stderr, log);
    const clients = await Promise.all(range(8).map((i) => ctx.client(broker, { user: `u${i}` })));
    await broker.push({ users: range(8).map((i) => `u${i}`), data: 1 }); /* several at once: as a submission, where there is one */
    for (const c of clients) assert.equal((await c.next('message')).data, 1);
  });
}
