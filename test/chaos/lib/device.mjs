/*
 * device.mjs - one device of a user: connects, moves between nodes and transports, is slow at times, and keeps what a
 * careful client keeps: its last seq and a log of what it took. It drops seq <= last, as protocol.md says.
 */
import { tokenFor } from '../../integration/lib/tokens.mjs';
import { Place } from './roomplace.mjs';
import { Rng, sleep } from './rng.mjs';
import { openTransport } from './transports.mjs';

const TRANSPORTS = { 'ws-json': 4, 'ws-msgpack': 3, sse: 3, 'tcp-json': 2, 'tcp-msgpack': 2 };
const ONE_WAY = ['sse', 'poll']; // rooms are named when they open, if at all
const OPEN_MS = 4000;

export class Device {
  constructor(world, user, name, options = {}) {
    Object.assign(this, { world, user, name, options });
    this.rng = new Rng(world.seed, `device ${user}/${name}`);
    this.token = tokenFor(user, { rooms: ['*'], send: [] });
    this.last = 0;
    this.base = undefined; // the cursor of the first welcome: what came before was never this device's
    this.log = []; // {seq, token, at} of what was taken
    this.live = new Map(); // token -> when and where it came
    this.rooms = new Map();
    this.gaps = []; // {from, to}
    this.polledAt = new Map(); // a node keeps a device that polls for two minutes
    this.place = options.place && new Place(this, options.place);
    this.faults = []; // sentences: what no device may ever see
    this.counts = { connects: 0, refused: 0, again: 0, pauses: 0, transports: {} };
  }

  /* The node's full name while welcomed there. */
  get on() {
    return this.conn?.welcome?.node;
  }

  #fault(text) {
    if (this.faults.length < 20) this.faults.push(`${this.user}/${this.name} at ${this.world.clock()} ms: ${text}`);
  }

  #message(conn, m) {
    if (conn !== this.conn) return;
    if (this.place && m.type !== 'welcome' && this.place.take(conn, m)) return;
    switch (m.type) {
      case 'welcome':
        conn.welcome = m;
        if (m.cursor !== undefined) this.base ??= Number(m.cursor);
        this.id ??= m.device;
        conn.opened();
        break;
      case 'message':
        this.#take(conn, m);
        break;
      case 'gap':
        this.gaps.push({ from: Number(m.from), to: Number(m.to), at: this.world.clock() });
        break;
      default:
        break;
    }
  }

  #take(conn, m) {
    const { data } = m;
    const token = data?.t;
    if (m.seq === undefined) {
      const where = m.room !== undefined || m.all ? this.rooms : this.live;
      if (where === this.live && data.u !== this.user) this.#fault(`a message to ${data.u} came: ${token}`);
      if (!where.has(token)) where.set(token, []);
      where.get(token).push({ at: this.world.clock(), on: this.on, by: conn.kind, conn });
      return;
    }
    const seq = Number(m.seq);
    if (data.u !== this.user) this.#fault(`a message to ${data.u} came: ${token}`);
    if (seq <= conn.lastSeq) this.#fault(`${token}: seq ${seq} after ${conn.lastSeq} on one connection (${conn.kind})`);
    conn.lastSeq = seq;
    if (seq <= this.last) {
      this.counts.again++;
      return;
    }
    this.last = seq;
    this.log.push({ seq, token, at: this.world.clock() });
    if (conn.explicit || (conn.kind === 'sse' && this.rng.chance(0.05))) this.#ackSoon(conn);
  }

  #ackSoon(conn) {
    conn.ackTimer ??= setTimeout(() => {
      conn.ackTimer = undefined;
      if (conn === this.conn) conn.wire.write({ type: 'ack', seq: this.last });
    }, this.world.calm ? 20 : this.rng.int(10, 400));
  }

  #query(kind) {
    const { rng } = this;
    const explicit = kind === 'poll' || (kind !== 'sse' && rng.chance(0.6));
    const knows = kind === 'sse' || this.world.calm || rng.chance(0.6);
    return {
      device: this.options.guest ? this.id : this.name,
      since: knows && this.last ? this.last : undefined,
      ack: explicit ? 'explicit' : 'auto',
      rooms: this.options.rooms,
    };
  }

  /* Those who poll do it now and then; nobody begins with it, since only a welcome says where a device begins. */
  #kind() {
    const polls = this.options.polls && this.base !== undefined && !this.options.guest;
    return this.rng.weighted(polls ? { ...TRANSPORTS, poll: 5 } : TRANSPORTS);
  }

  /* One connection; resolves with it once welcomed, or with undefined. */
  async connect(node, kind) {
    const q = this.#query(kind);
    this.#drop();
    if (kind === 'poll') this.polledAt.set(node.full, Date.now());
    const conn = { kind, node, lastSeq: 0, explicit: q.ack === 'explicit', refused: 0 };
    this.conn = conn;
    conn.closed = new Promise((resolve) => {
      conn.end = resolve;
    });
    const welcomed = new Promise((resolve) => {
      conn.opened = () => resolve(conn);
      conn.closed.then(() => resolve(undefined));
    });
    const at = { host: node.host, port: node.port, tcpPort: node.tcpPort, node: node.full, token: this.token, timeout: OPEN_MS, deflate: this.rng.chance(0.2) };
    conn.wire = openTransport(kind, at, q, {
      message: (m) => this.#message(conn, m),
      refused: (status) => {
        conn.refused = status;
        this.counts.refused++;
      },
      closed: (code) => {
        conn.code = code;
        clearTimeout(conn.ackTimer);
        conn.end();
      },
    });
    const timer = setTimeout(() => conn.wire.cut(), OPEN_MS);
    const good = await welcomed;
    clearTimeout(timer);
    if (!good) return undefined;
    this.counts.connects++;
    this.counts.transports[kind] = (this.counts.transports[kind] || 0) + 1;
    if (this.place && !ONE_WAY.includes(kind)) this.place.join(conn);
    if (!ONE_WAY.includes(kind)) for (const room of this.options.rooms || []) conn.wire.write({ type: 'subscribe', room, ref: 'r' });
    return conn;
  }

  /* The connection in use is not listened to any more, and answers no ping any more. */
  #drop(gently = false) {
    const { conn } = this;
    this.conn = undefined;
    if (!conn) return;
    clearTimeout(conn.ackTimer);
    if (gently) conn.wire.close();
    else conn.wire.cut();
  }

  async #stay(conn) {
    const { rng, world } = this;
    let left = rng.int(500, this.options.flood ? 4000 : 10000);
    while (left > 0 && !world.calm && conn.code === undefined) {
      if (rng.chance(0.08)) {
        const ms = rng.int(500, 3000);
        this.counts.pauses++;
        conn.wire.pause();
        await Promise.race([conn.closed, sleep(ms)]);
        conn.wire.resume();
      }
      await Promise.race([conn.closed, sleep(500)]);
      left -= 500;
    }
  }

  /* Comes and goes until the world is calm. */
  async roam() {
    const { rng, world } = this;
    while (!world.calm) {
      const conn = await this.connect(rng.pick(world.nodes), this.#kind());
      if (!conn) {
        await sleep(rng.int(50, 300));
        continue;
      }
      await this.#stay(conn);
      if (world.calm) break;
      if (rng.chance(0.3)) continue; // moves without a pause: the new connection comes while the old one still stands
      this.#drop(rng.chance(0.5));
      await sleep(rng.chance(0.15) ? rng.int(2000, 6000) : rng.int(0, 800));
    }
  }

  /* All is well again: one connection that stays. Tries until it stands. */
  async settle(asked) {
    const { rng, world } = this;
    while (!world.over) {
      let kind = asked || this.#kind();
      if (this.place && ONE_WAY.includes(kind)) kind = 'ws-json'; // where its room is
      const conn = await this.connect(rng.pick(world.nodes), kind);
      if (conn) return conn;
      await sleep(rng.int(50, 200));
    }
    return undefined;
  }

  /* Says what it has. */
  ack() {
    const { conn } = this;
    if (conn?.wire.acks && this.last) conn.wire.write({ type: 'ack', seq: this.last });
  }

  leave(gently) {
    this.#drop(gently);
  }
}
