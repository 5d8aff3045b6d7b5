/*
 * roomplace.mjs - a device's place in a room with history: what it took, up to which seq, what it was told it has missed, and
 * who it believes to be in the room. It looks to verify.mjs like a device whose user is the room.
 */
import { sleep } from './rng.mjs';

export const roomUser = (room) => `room ${room}`;

export class Place {
  constructor(device, room) {
    this.device = device;
    this.world = device.world;
    this.room = room;
    this.user = roomUser(room);
    this.name = `${device.user}/${device.name}`;
    this.last = 0;
    this.base = undefined; // the seq of the first answer to subscribe
    this.log = [];
    this.gaps = [];
    this.live = new Map();
    this.rooms = new Map();
    this.faults = [];
    this.counts = { again: 0, recovered: 0, holes: 0 };
  }

  #fault(text) {
    if (this.faults.length < 20) this.faults.push(`${this.name} in ${this.room} at ${this.world.clock()} ms: ${text}`);
  }

  /* On a connection that has just been welcomed. */
  join(conn) {
    conn.view = { users: undefined, edges: [], joined: false };
    conn.lastInRoom = 0;
    conn.since = this.base === undefined ? undefined : Math.max(this.last, this.base);
    conn.wire.write({ type: 'subscribe', ref: 'place', room: this.room, presence: true, ...(conn.since === undefined ? {} : { since: conn.since }) });
  }

  async #again(conn, type) {
    await sleep(300);
    if (conn !== this.device.conn) return;
    if (type === 'subscribe') this.join(conn);
    else this.#ask(conn);
  }

  #ask(conn) {
    conn.wire.write({ type: 'presence', ref: 'who', room: this.room, limit: 1000 });
  }

  /* Answers, presence, gaps and messages of this room; true if it was for this place. */
  take(conn, m) {
    if (m.ref === 'place') {
      if (m.type === 'ok') this.#joined(conn, m);
      else this.#again(conn, 'subscribe');
    } else if (m.ref === 'who') {
      if (m.type === 'ok') this.#list(conn, m);
      else this.#again(conn, 'presence');
    } else if (m.room !== this.room) {
      return false;
    } else if (m.type === 'presence') {
      this.#edge(conn, m);
    } else if (m.type === 'gap') {
      this.gaps.push({ from: Number(m.from), to: Number(m.to), at: this.world.clock() });
    } else if (m.type === 'message') {
      this.#message(conn, m);
    }
    return true;
  }

  #joined(conn, m) {
    const seq = Number(m.seq);
    conn.view.joined = true;
    this.base ??= seq;
    if (conn.since !== undefined && m.recovered) this.counts.recovered++;
    if (conn.since !== undefined && !m.recovered) {
      this.counts.holes++;
      this.gaps.push({ from: conn.since + 1, to: seq, at: this.world.clock() });
    }
    if (!m.recovered) this.last = Math.max(this.last, seq);
    this.#ask(conn);
  }

  #message(conn, m) {
    const seq = Number(m.seq);
    if (m.seq === undefined) {
      if (!this.live.has(m.data.t)) this.live.set(m.data.t, []);
      this.live.get(m.data.t).push({ at: this.world.clock(), on: this.device.on, by: conn.kind, conn });
      return;
    }
    if (seq <= conn.lastInRoom) this.#fault(`${m.data.t}: seq ${seq} after ${conn.lastInRoom} on one connection (${conn.kind})`);
    conn.lastInRoom = seq;
    if (seq <= this.last) {
      this.counts.again++;
      return;
    }
    this.last = seq;
    this.log.push({ seq, token: m.data.t, at: this.world.clock() });
  }

  #list(conn, m) {
    const { view } = conn;
    view.users = new Set(m.users);
    view.seq = Number(m.seq);
    for (const e of view.edges.splice(0)) this.#apply(conn, e);
  }

  #edge(conn, m) {
    const e = { seq: Number(m.seq), user: m.user, join: m.change === 'join' };
    if (conn.view.users) this.#apply(conn, e);
    else conn.view.edges.push(e);
  }

  #apply(conn, e) {
    const { view } = conn;
    if (e.seq <= view.seq) return;
    if (view.users.has(e.user) === e.join) this.#fault(`${e.user} was said to ${e.join ? 'join' : 'leave'}, and had before (on one connection, ${conn.kind})`);
    if (e.join) view.users.add(e.user);
    else view.users.delete(e.user);
  }
}
