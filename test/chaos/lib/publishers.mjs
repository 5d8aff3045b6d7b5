/*
 * publishers.mjs - everybody who publishes: by function, by the API, by bare PUBLISH, by a client's `send`; and the book
 * of what was tried and what was accepted, which is the truth the devices' logs are compared with.
 */
import http from 'node:http';
import { tokenFor } from '../../integration/lib/tokens.mjs';
import { roomUser } from './roomplace.mjs';
import { Rng, sleep } from './rng.mjs';
import { openTransport } from './transports.mjs';
import { API_KEY } from './world.mjs';

const ANSWER_MS = 1500;

/* token -> {token, user, via, ttl, id, tries, state, seq, t0, t1, receivers}. state: "maybe" until somebody says OK. */
export class Book {
  constructor() {
    this.entries = new Map();
    this.rooms = new Map();
    this.order = new Map(); // "publisher user" -> tokens in the order in which they were accepted
  }

  open(fields) {
    const e = { tries: 0, state: 'maybe', t0: Date.now(), ...fields };
    this.entries.set(e.token, e);
    return e;
  }

  accepted(e, seq) {
    e.state = 'accepted';
    e.t1 = Date.now();
    e.seq = seq;
  }

  ofUser(user) {
    return [...this.entries.values()].filter((e) => e.user === user);
  }
}

function post(node, body) {
  return new Promise((resolve) => {
    const text = JSON.stringify(body);
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${API_KEY}`, 'content-length': Buffer.byteLength(text) };
    const req = http.request({ host: node.host, port: node.port, method: 'POST', path: '/api/push', headers, agent: false, timeout: ANSWER_MS }, (res) => {
      let got = '';
      res.setEncoding('utf8');
      res.on('data', (d) => {
        got += d;
      });
      res.on('end', () => {
        try {
          resolve({ status: res.statusCode, json: JSON.parse(got) });
        } catch {
          resolve(undefined);
        }
      });
      res.on('error', () => resolve(undefined));
    });
    const timer = setTimeout(() => req.destroy(), ANSWER_MS);
    req.on('error', () => resolve(undefined));
    req.on('close', () => {
      clearTimeout(timer);
      resolve(undefined);
    });
    req.end(text);
  });
}

const within = (promise, ms) => Promise.race([promise, sleep(ms).then(() => undefined)]);

class Publisher {
  constructor(world, book, name, users, pace) {
    Object.assign(this, { world, book, name, users, pace });
    this.rng = new Rng(world.seed, `publisher ${name}`);
    this.n = 0;
  }

  kinds = { stored: 80, live: 10, short: 5, large: 5 };

  tracks = true; // some of those with an id: verify.mjs asks the ledger for them by it

  /* What is to be sent: mostly stored; some live-only, some that live for a second or two. */
  make(user) {
    const { rng } = this;
    const kind = rng.weighted(this.kinds);
    const token = `${this.name}:${this.n++}`;
    const data = { t: token, u: this.called(user), x: 'x'.repeat(kind === 'large' ? rng.int(4000, 20000) : rng.int(0, 200)) };
    const ttl = kind === 'live' ? 0 : kind === 'short' ? rng.int(1, 2) : undefined;
    const id = rng.chance(this.ids ?? 0.7) ? `id-${token}` : undefined;
    const track = id && this.tracks && rng.chance(0.3) ? true : undefined;
    return this.book.open({ token, user: this.called(user), to: user, via: this.via, kind, ttl, data, id, track });
  }

  /* How the book calls who it is for. */
  called(user) {
    return user;
  }

  payload(e) {
    return JSON.stringify({ data: e.data, ttl: e.ttl, id: e.id, track: e.track });
  }

  /* Tries until accepted if there is an id that makes it harmless; once if there is none. */
  async deliver(e) {
    do {
      e.tries++;
      if (await this.attempt(e)) break;
      await sleep(this.rng.int(20, 200));
    } while (e.id && !this.world.over);
    e.t1 ??= Date.now();
    if (e.state === 'accepted' && e.seq) {
      const key = `${this.name} ${e.user}`;
      if (!this.book.order.has(key)) this.book.order.set(key, []);
      this.book.order.get(key).push(e);
    }
    delete e.data;
  }

  async prepare() {}

  async run() {
    await this.prepare();
    while (!this.world.quiet) {
      await this.deliver(this.make(this.rng.pick(this.users)));
      await sleep(this.rng.next() * 2 * this.pace);
    }
  }
}

/* FCALL crier_user, with id and ttl in the payload or as arguments. */
export class ByFunction extends Publisher {
  via = 'function';

  async prepare() {
    this.redis = await this.world.client();
  }

  async attempt(e) {
    const args = ['FCALL', 'crier_user', '1', this.world.prefix, e.user];
    if (e.tries % 2) args.push(this.payload(e));
    else args.push(JSON.stringify({ data: e.data, track: e.track }), e.ttl === undefined ? '' : String(e.ttl), ...(e.id ? [e.id] : []));
    const r = await within(this.redis.sendCommand(args).catch(() => undefined), ANSWER_MS);
    if (!Array.isArray(r)) return false;
    this.book.accepted(e, Number(r[0]));
    return true;
  }
}

/* More in one go than an inbox holds. */
export class Flooder extends ByFunction {
  ids = 0.1;

  async run() {
    await this.prepare();
    while (!this.world.quiet) {
      const user = this.rng.pick(this.users);
      const n = this.rng.int(20, this.world.cap * 2);
      await Promise.all(Array.from({ length: n }, () => this.deliver(this.make(user))));
      await sleep(this.rng.int(1500, 4000));
    }
  }
}

/* POST /api/push, to one user or to several at once. */
export class ByApi extends Publisher {
  via = 'api';

  field = 'user';

  async attempt(e) {
    const body = { [this.field]: e.to, data: e.data, ttl: e.ttl, id: e.id, track: e.track };
    const r = await post(this.rng.pick(this.world.nodes), body);
    if (r?.status !== 200) {
      if (r && r.status !== 503) this.world.fault(`the API answered ${r.status} to ${e.token}: ${JSON.stringify(r.json)}`);
      return false;
    }
    this.book.accepted(e, r.json.results[0].seq);
    return true;
  }
}

/* Bare PUBLISH: nobody says that it was kept. */
export class ByPublish extends Publisher {
  via = 'publish';

  field = 'user';

  ids = 0.3;

  async prepare() {
    this.redis = await this.world.client();
  }

  async attempt(e) {
    e.t0 = Date.now();
    const r = await within(this.redis.sendCommand(['PUBLISH', `${this.world.prefix}${this.field}:${e.to}`, this.payload(e)]).catch(() => undefined), ANSWER_MS);
    e.t1 = Date.now();
    if (typeof r !== 'number') return false;
    e.receivers = r;
    e.state = 'published';
    return true;
  }
}

/* A client of its own that sends to others, and repeats what was not answered after it came back. */
export class ByClient extends Publisher {
  via = 'client';

  ids = 1;

  tracks = false;

  #open() {
    this.wire?.cut();
    this.waiting = new Map();
    const node = this.rng.pick(this.world.nodes);
    const at = { host: node.host, port: node.port, token: this.token, timeout: 3000 };
    return new Promise((resolve) => {
      this.wire = openTransport(this.rng.pick(['ws-json', 'ws-msgpack']), at, { device: 'sender' }, {
        message: (m) => {
          if (m.type === 'welcome') resolve(true);
          this.waiting.get(m.ref)?.(m);
        },
        refused: () => {},
        closed: () => {
          this.wire = undefined;
          for (const w of this.waiting.values()) w(undefined);
          resolve(false);
        },
      });
      setTimeout(resolve, 3000, false);
    });
  }

  async attempt(e) {
    this.token ??= tokenFor(this.name, { rooms: [], send: ['user:*'] });
    if (!this.wire && !(await this.#open())) return false;
    const { wire, waiting } = this;
    if (!wire) return false; // it was cut as soon as it stood
    const answer = new Promise((resolve) => {
      waiting.set(e.token, resolve);
      setTimeout(resolve, ANSWER_MS, undefined);
    });
    wire.write({ type: 'send', ref: e.token, user: e.user, data: e.data, id: e.id, ...(e.ttl !== undefined ? { ttl: e.ttl } : {}) });
    const m = await answer;
    waiting.delete(e.token);
    if (m?.type !== 'ok') {
      if (m && !['unavailable', 'overloaded'].includes(m.code)) this.world.fault(`a client's send was answered ${JSON.stringify(m)}`);
      if (!m) {
        wire.cut();
        if (this.wire === wire) this.wire = undefined;
      }
      return false;
    }
    this.book.accepted(e, m.seq === undefined ? undefined : Number(m.seq));
    return true;
  }
}

/* Where something has expired, nobody can say that it was recovered. */
const LASTING = { stored: 85, live: 10, large: 5 };

/* A room with history, by the API. */
export class ToHistory extends ByApi {
  via = 'api to a room';

  kinds = LASTING;

  tracks = false;

  field = 'room';

  called(room) {
    return roomUser(room);
  }
}

/* The same room by bare PUBLISH. */
export class PublishToHistory extends ByPublish {
  via = 'publish to a room';

  kinds = LASTING;

  tracks = false;

  field = 'room';

  called(room) {
    return roomUser(room);
  }
}

/* Rooms and everybody, by PUBLISH and by the API: at most once for each connection. */
export class ToRooms extends Publisher {
  via = 'rooms';

  async run() {
    const redis = await this.world.client();
    while (!this.world.quiet) {
      const token = `${this.name}:${this.n++}`;
      const room = this.rng.chance(0.1) ? undefined : this.rng.pick(this.users);
      const data = { t: token };
      if (this.rng.chance(0.5)) await within(redis.sendCommand(['PUBLISH', `${this.world.prefix}${room ? `room:${room}` : 'all'}`, JSON.stringify({ data })]).catch(() => undefined), ANSWER_MS);
      else await post(this.rng.pick(this.world.nodes), room ? { room, data } : { all: true, data });
      await sleep(this.rng.next() * 2 * this.pace);
    }
  }
}
