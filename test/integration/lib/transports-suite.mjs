/*
 * transports-suite.mjs - what a user's inbox promises, over every way in: one table of transports, one table of
 * behaviours. The clients are those of the chaos test, and behave as protocol.md asks: they keep their last seq, bring it
 * when they come again and drop what they have. Two test files share the table, since one of them would be what all
 * others are waited for.
 */
import { openTransport } from '../../chaos/lib/transports.mjs';
import { DEADLINE, assert, scenario, until } from './harness.mjs';
import { SECRET, tokenFor } from './tokens.mjs';

export const KINDS = ['ws-json', 'ws-msgpack', 'tcp-json', 'tcp-msgpack', 'sse', 'poll', 'poll-short'];
const POLLS = ['poll', 'poll-short'];
const ONE_WAY = ['sse', ...POLLS]; // commands are posted
const KEY = 'k'.repeat(32);
const OPTIONS = { dev: false, args: ['--jwt-key', `HS256:${SECRET}`, '--api-key', KEY, '--tcp-listen', '127.0.0.1:0'] };
const AUTH = { authorization: `Bearer ${KEY}` };
const range = (from, to) => Array.from({ length: Math.max(0, to - from + 1) }, (_, i) => from + i);

const api = (broker, method, path, body) => broker.request(method, path, { headers: AUTH, ...(body ? { body: JSON.stringify(body) } : {}) });

async function push(broker, body) {
  const r = await broker.push(body, { headers: AUTH });
  assert.equal(r.status, 200, r.text);
  return r.json.results[0].seq;
}

/* A device: what it has taken is in `log`, once each; what came again is in `again`. */
class Device {
  constructor(ctx, user, name, claims = { send: ['*'], rooms: ['*'] }) {
    Object.assign(this, { ctx, user, name, log: [], again: [], gaps: [], answers: [], last: 0 });
    this.token = tokenFor(user, claims);
    ctx.defer(() => this.cut());
  }

  /* Connects; at the latest a second one after a refusal. resume: brings its last seq. */
  async open(broker, kind, { ack = 'explicit', bring = true } = {}) {
    const conn = { kind, last: 0 };
    this.conn = conn;
    const at = { host: '127.0.0.1', port: broker.port, tcpPort: broker.tcpPort, node: broker.node, token: this.token, timeout: DEADLINE, deflate: false };
    conn.closed = new Promise((resolve) => {
      conn.end = resolve;
    });
    conn.closed.then(() => {
      conn.over = true;
    });
    conn.wire = openTransport(kind, at, { device: this.name, since: (bring && this.last) || undefined, ack }, {
      message: (m) => this.#heard(conn, m),
      refused: (status) => {
        conn.refused = status;
      },
      closed: (code) => conn.end(code),
    });
    await until(() => conn.welcome || conn.over, `${this.name} is welcomed over ${kind}`);
    return conn.welcome ? conn : undefined;
  }

  #heard(conn, m) {
    if (m.type === 'welcome') conn.welcome = m;
    else if (m.type === 'gap') this.gaps.push(m);
    else if (m.type !== 'message') this.answers.push(m);
    else if (m.seq === undefined) this.log.push(m);
    else {
      const seq = Number(m.seq);
      assert.ok(seq > conn.last, `${seq} after ${conn.last} on one connection (${conn.kind})`);
      conn.last = seq;
      (seq > this.last ? this.log : this.again).push(m);
      this.last = Math.max(this.last, seq);
    }
  }

  get data() {
    return this.log.map((m) => m.data);
  }

  has(n, ms) {
    return until(() => this.log.length >= n, `${n} messages at ${this.name} over ${this.conn.kind}, not ${this.log.length}`, ms);
  }

  ack(seq = this.last) {
    this.conn.wire.write({ type: 'ack', seq });
  }

  async close() {
    this.conn.wire.close();
    await this.conn.closed;
  }

  async cut() {
    this.conn?.wire.cut();
    await this.conn?.closed;
  }
}

const device = (ctx, user, name, claims) => new Device(ctx, user, name, claims);

/* What the store still keeps for the user. */
async function pending(broker, user) {
  const r = await api(broker, 'GET', `/api/users/${user}/inbox`);
  return r.status === 404 ? 0 : r.json.messages.length;
}

const emptied = (broker, user) => until(async () => (await pending(broker, user)) === 0, `the inbox of ${user} is empty`);

/* ---- behaviours: (ctx, broker, kind) ---- */

const BEHAVIOURS = {
  async 'connects race with messages: each once, in order'(ctx, broker, kind) {
    const total = 150;
    const d = device(ctx, 'ann', 'd');
    await d.open(broker, kind);
    let sent = 0;
    const writer = (async () => {
      while (sent < total) await push(broker, { user: 'ann', data: ++sent });
    })();
    while (sent < total) {
      await d.cut();
      await d.open(broker, kind);
      await new Promise((done) => setTimeout(done, Math.random() * 15));
    }
    await writer;
    await d.has(total);
    assert.deepEqual(d.data, range(1, total));
    assert.deepEqual(d.gaps, []);
  },

  async 'who comes again gets what came meanwhile: by its last seq, or by what it acknowledged'(ctx, broker, kind) {
    const d = device(ctx, 'ben', 'd');
    await d.open(broker, kind);
    for (const n of range(1, 5)) await push(broker, { user: 'ben', data: n });
    await d.has(5);
    await d.cut();
    for (const n of range(6, 9)) await push(broker, { user: 'ben', data: n });
    await d.open(broker, kind);
    await d.has(9);
    assert.deepEqual(d.data, range(1, 9));
    assert.deepEqual(d.again, [], 'it brought its last seq');
    if (POLLS.includes(kind)) {
      await emptied(broker, 'ben'); // the next question has acknowledged all of it
    } else {
      d.ack(d.log[6].seq);
      await until(async () => (await pending(broker, 'ben')) === 2, 'the acknowledged ones are gone');
    }
    await d.cut();
    d.log.length = d.last = 0; // it has lost its memory
    await push(broker, { user: 'ben', data: 10 });
    await d.open(broker, kind);
    await until(() => d.data.at(-1) === 10, 'the last one');
    assert.deepEqual(d.data, POLLS.includes(kind) ? [10] : [8, 9, 10]);
    assert.deepEqual(d.gaps, []);
    d.ack();
    await emptied(broker, 'ben');
  },

  async 'two devices, each with its own cursor'(ctx, broker, kind) {
    const [a, b] = [device(ctx, 'cat', 'a'), device(ctx, 'cat', 'b')];
    await a.open(broker, kind);
    await b.open(broker, kind === 'ws-json' ? 'sse' : 'ws-json');
    for (const n of range(1, 4)) await push(broker, { user: 'cat', data: n });
    await Promise.all([a.has(4), b.has(4)]);
    await b.cut();
    a.ack();
    for (const n of range(5, 8)) await push(broker, { user: 'cat', data: n });
    await a.has(8);
    a.ack();
    assert.ok((await pending(broker, 'cat')) >= 8, 'kept for the one that is away');
    b.log.length = b.last = 0;
    await b.open(broker, kind);
    await b.has(8);
    assert.deepEqual(b.data, range(1, 8));
    b.ack();
    await emptied(broker, 'cat');
  },

  async 'a slow reader disturbs nobody and loses nothing'(ctx, broker, kind) {
    const total = 400;
    const [slow, quick] = [device(ctx, 'dan', 'slow'), device(ctx, 'dan', 'quick')];
    await slow.open(broker, kind);
    await quick.open(broker, 'ws-json', { ack: 'auto' });
    slow.conn.wire.pause();
    const text = 'x'.repeat(16000);
    for (let n = 1; n <= total; n += 20) await Promise.all(range(n, n + 19).map((k) => push(broker, { user: 'dan', data: { k, text } })));
    await quick.has(total);
    assert.ok(slow.log.length < total, 'it does not read');
    slow.conn.wire.resume();
    const acks = setInterval(() => slow.conn.over || slow.ack(), 20);
    ctx.defer(() => clearInterval(acks));
    while (slow.log.length < total) {
      await until(() => slow.log.length >= total || slow.conn.over, `all of it at the slow one, not ${slow.log.length}`, DEADLINE * 2);
      if (slow.conn.over) await slow.open(broker, kind); // too slow is a reason to be sent away; stored messages wait
    }
    clearInterval(acks);
    for (const d of [slow, quick]) assert.deepEqual(d.log.map((m) => m.data.k).sort((x, y) => x - y), range(1, total));
    assert.deepEqual(slow.log.map((m) => Number(m.seq)), quick.log.map((m) => Number(m.seq)), 'one order for both');
    assert.deepEqual(slow.gaps, []);
  },

  async 'live-only messages come to who is there'(ctx, broker, kind) {
    if (kind === 'poll-short') return; // it never waits
    const d = device(ctx, 'eve', 'd');
    await d.open(broker, kind);
    const live = (data) => until(async () => {
      await push(broker, { user: 'eve', data, ttl: 0 });
      return d.data.includes(data);
    }, `${data} over ${kind}`); // a poll may be between two questions
    await live('one');
    await d.cut();
    await push(broker, { user: 'eve', data: 'nobody', ttl: 0 });
    await push(broker, { user: 'eve', data: 'kept' });
    await d.open(broker, kind);
    await until(() => d.data.includes('kept'), 'what was kept');
    assert.ok(!d.data.includes('nobody'));
    assert.equal(d.log.find((m) => m.data === 'one').seq, undefined);
  },
};

export function promisesOn(store) {
  for (const kind of KINDS) {
    for (const [what, behave] of Object.entries(BEHAVIOURS)) {
      scenario(`${store}, ${kind}: ${what}`, { core: kind === 'ws-msgpack' || kind === 'poll' }, async (ctx) => behave(ctx, await ctx.brokerOn(store, OPTIONS), kind));
    }
  }

  scenario(`${store}: one device over all transports in turn: one cursor`, { core: true }, async (ctx) => {
    const broker = await ctx.brokerOn(store, OPTIONS);
    const d = device(ctx, 'fay', 'd');
    await d.open(broker, 'ws-json');
    let n = 0;
    /* Every way after every other one, with and without a last seq of its own. */
    for (const from of KINDS) {
      for (const to of KINDS) {
        for (const kind of [from, to]) {
          await d.cut();
          await push(broker, { user: 'fay', data: ++n });
          await d.open(broker, kind, { bring: n % 4 === 1 });
          await push(broker, { user: 'fay', data: ++n });
          await d.has(n);
          d.ack();
          await emptied(broker, 'fay');
        }
      }
    }
    assert.deepEqual(d.data, range(1, n));
    assert.deepEqual([d.again, d.gaps], [[], []]);
  });
}

/* ---- several brokers ---- */

export function deaths(kind) {
  scenario(`redis, ${kind}: the broker is killed and another takes over: nothing lost, nothing twice`, { core: kind === 'sse' || kind === 'poll' }, async (ctx) => {
    const { redis } = await ctx.redis();
    const prefix = ctx.newPrefix();
    const start = () => ctx.broker({ redis, prefix, ...OPTIONS });
    const other = await start();
    const d = device(ctx, 'gil', 'd');
    let broker = await start();
    let sent = 0;
    let stop = false;
    await d.open(broker, kind);
    const writer = (async () => {
      while (!stop) {
        if (sent - d.log.length < 100) await push(other, { user: 'gil', data: ++sent });
        else await new Promise((done) => setTimeout(done, 2));
      }
    })();
    const acks = setInterval(() => d.last && d.ack(), 20); // else the window is full one day
    ctx.defer(() => clearInterval(acks));
    for (let round = 0; round < 3; round++) {
      await d.has(sent + 5);
      await broker.crash();
      await d.conn.closed;
      /* To the one that lives, and to a new one. */
      while (!(await d.open(other, kind)));
      broker = await start();
      await d.has(sent + 5);
      await d.cut();
      while (!(await d.open(broker, kind)));
    }
    await d.has(sent + 5);
    stop = true;
    await writer;
    await d.has(sent);
    assert.deepEqual(d.data, range(1, sent));
    assert.deepEqual(d.gaps, []);
    await emptied(other, 'gil');
  });

  scenario(`redis, ${kind}: Redis is killed and comes back: nothing that was accepted is lost, nothing twice`, async (ctx) => {
    const redis = await ctx.ownRedis();
    const broker = await ctx.broker({ redis, ...OPTIONS });
    const d = device(ctx, 'hal', 'd');
    await d.open(broker, kind);
    const accepted = [];
    let n = 0;
    const send = async () => {
      const data = ++n;
      const id = `m${data}`;
      await until(async () => (await broker.push({ user: 'hal', data, id }, { headers: AUTH })).status === 200, 'it is taken', DEADLINE * 2);
      accepted.push(data);
    };
    for (const _ of range(1, 20)) await send();
    await redis.kill();
    await until(async () => (await broker.metric('crier_redis_up')) === 0, 'the broker sees it');
    const later = send();
    await redis.up();
    await later;
    for (const _ of range(1, 20)) await send();
    while (d.log.length < accepted.length) {
      if (d.conn.over) await d.open(broker, kind);
      await until(() => d.log.length >= accepted.length || d.conn.over, 'all of it', DEADLINE * 2);
    }
    assert.deepEqual(d.data, accepted);
    assert.deepEqual(d.gaps, []);
  });
}

/* ---- what a token allows, how fast one may be ---- */

/* A command over the transport itself, or posted beside it where it has no way up. */
async function command(d, broker, object) {
  const ref = `r${d.answers.length}-${Math.random()}`;
  if (ONE_WAY.includes(d.conn.kind)) {
    const r = await broker.request('POST', `/send?device=${d.name}`, { headers: { authorization: `Bearer ${d.token}` }, body: JSON.stringify({ ...object, ref }) });
    return r.json;
  }
  d.conn.wire.write({ ...object, ref });
  await until(() => d.answers.some((m) => m.ref === ref), `the answer to ${object.type} over ${d.conn.kind}`);
  return d.answers.find((m) => m.ref === ref);
}

export function permissions(kind) {
  scenario(`${kind}: what the token says of rooms and of sending holds`, { core: true }, async (ctx) => {
    const broker = await ctx.broker({ ...OPTIONS, args: [...OPTIONS.args, '--room-history', 'h.*:10:1d', '--presence', 'h.*'] });
    const d = device(ctx, 'ida', 'd', { rooms: ['h.in*'], send: ['user:ivy', 'room:h.in'] });
    await d.open(broker, kind);
    const code = async (object) => {
      const a = await command(d, broker, object);
      return a.type === 'ok' ? 'ok' : a.code;
    };
    for (const target of [{ user: 'ida' }, { user: 'ivy2' }, { room: 'h.out' }, { room: 'h.in2' }, { all: true }])
      assert.equal(await code({ type: 'send', ...target, data: 1 }), 'forbidden', JSON.stringify(target));
    for (const target of [{ user: 'ivy' }, { room: 'h.in' }]) assert.equal(await code({ type: 'send', ...target, data: 1 }), 'ok');
    for (const type of ['history', 'presence']) {
      assert.equal(await code({ type, room: 'h.out' }), 'forbidden');
      assert.equal(await code({ type, room: 'h.in' }), 'ok');
    }
    if (POLLS.includes(kind)) return; // their rooms are in the URL: poll.test.mjs
    assert.equal(await code({ type: 'subscribe', room: 'h.out' }), 'forbidden');
    assert.equal(await code({ type: 'subscribe', room: 'h.in' }), 'ok');
    await push(broker, { room: 'h.out', data: 'not for it' });
    await push(broker, { room: 'h.in', data: 'for it' });
    await until(() => d.data.includes('for it'), 'the room');
    assert.ok(!d.data.includes('not for it'));
    /* Somebody else's `from` is not to be had. */
    await command(d, broker, { type: 'send', room: 'h.in', data: 'said', from: 'somebody' });
    await until(() => d.data.includes('said'), 'what it said');
    assert.equal(d.log.find((m) => m.data === 'said').from, 'ida');
  });

  scenario(`${kind}: who sends or subscribes too fast is told so`, { core: true }, async (ctx) => {
    const broker = await ctx.broker({ ...OPTIONS, shards: 1, args: [...OPTIONS.args, '--rate-messages', '5', '--rate-user', '1', '--rate-subscribes', '1', '--max-rooms', '4', '--room-history', 'h.*:10:1d'] });
    const d = device(ctx, 'jan', 'd');
    await d.open(broker, kind);
    if (POLLS.includes(kind)) await d.cut(); // each poll is a message
    const answers = [];
    for (const n of range(1, 18)) answers.push(await command(d, broker, { type: 'send', user: 'nobody', data: n, ttl: 0 }));
    const good = answers.filter((a) => a.type === 'ok').length;
    const refused = answers.filter((a) => a.code === 'rate_limited');
    assert.equal(good + refused.length, 18);
    assert.ok(good >= 8 && refused.length >= 1, `${good} went through`); // a slow machine takes a while
    assert.ok(refused.every((a) => a.retry_after >= 1));
    const rooms = [];
    for (const n of range(1, 14)) {
      if (POLLS.includes(kind)) {
        const r = await broker.request('GET', `/poll?rooms=h.${n}`, { headers: { authorization: `Bearer ${tokenFor('kim', { rooms: ['*'] })}` } });
        rooms.push(r.json.code);
        if (r.status === 429) assert.ok(Number(r.headers['retry-after']) >= 1);
      } else {
        rooms.push((await command(d, broker, { type: n % 2 ? 'subscribe' : 'unsubscribe', room: 'h.x' })).code);
      }
    }
    assert.ok(rooms.includes('rate_limited'), rooms.join());
  });
}
