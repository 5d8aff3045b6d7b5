/*
 * client.mjs - a WebSocket client of the broker in either codec, with promises: next(type) takes the oldest message of
 * that type that nobody has taken yet, waiting for it if need be.
 */
import { decode, encode } from '@msgpack/msgpack';
import WebSocket from 'ws';
import { DEADLINE, within } from './env.mjs';
import { certificate } from './tls.mjs';

export class RefusedError extends Error {
  constructor(status, body) {
    super(`the handshake was answered with ${status}: ${body}`);
    this.status = status;
    this.body = body;
  }
}

export class CommandError extends Error {
  constructor(answer) {
    super(`${answer.code}: ${answer.message}`);
    this.code = answer.code;
    this.answer = answer;
  }
}

/*
 * options: user, device, codec ("json", "msgpack"), token (as a subprotocol entry), query {}, headers {}, tls, origin,
 * path, port, deflate, tlsOptions {}, raw (no codec: frames as they come).
 */
export class Client {
  constructor(broker, options = {}) {
    this.codec = options.codec || 'json';
    this.frames = []; // everything that came, in order
    this.queue = []; // what nobody has taken yet
    this.waiters = new Set();
    this.ref = 0;
    const query = new URLSearchParams(options.query || {});
    if (options.user !== undefined) query.set('user', options.user);
    if (options.device !== undefined) query.set('device', options.device);
    const port = options.port || (options.tls ? broker.tlsPort : broker.port);
    const url = `${options.tls ? 'wss' : 'ws'}://127.0.0.1:${port}${options.path || '/ws'}${query.size === 0 ? '' : `?${query}`}`;
    const protocols = options.protocols || [`crier.v1.${this.codec}`, ...(options.token ? [`bearer.${options.token}`] : [])];
    this.socket = new WebSocket(url, protocols, {
      perMessageDeflate: options.deflate ?? false,
      headers: options.headers || {},
      origin: options.origin,
      autoPong: options.autoPong ?? true,
      maxPayload: 64 * 1024 * 1024,
      ...(options.tls ? { ca: certificate().ca, servername: 'localhost', ...(options.tlsOptions || {}) } : {}),
    });
    this.raw = options.raw || false;
    this.pings = 0;
    this.closed = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => {
        this.closeCode = code;
        resolve({ code, reason: reason.toString() });
        this.#wake();
      });
    });
    this.opened = new Promise((resolve, reject) => {
      this.socket.on('open', () => resolve(this));
      this.socket.on('error', (e) => {
        this.error = e;
        reject(e);
      });
      this.socket.on('unexpected-response', (req, res) => {
        let body = '';
        res.on('data', (d) => {
          body += d;
        });
        res.on('end', () => {
          reject(new RefusedError(res.statusCode, body));
          req.destroy();
        });
        res.on('error', reject);
      });
    });
    this.opened.catch(() => {});
    this.socket.on('ping', () => {
      this.pings += 1;
      this.#wake();
    });
    this.socket.on('message', (bytes, binary) => this.#frame(bytes, binary));
  }

  /* Connected and welcomed; `client.welcome` is the welcome. */
  static async connect(broker, options = {}) {
    const c = new Client(broker, options);
    await within(c.opened, 'WebSocket handshake');
    if (!c.raw) c.welcome = await c.next('welcome');
    return c;
  }

  #frame(bytes, binary) {
    let m;
    if (this.raw) {
      m = { type: 'frame', bytes, binary };
    } else if (this.codec === 'json') {
      const text = bytes.toString('utf8');
      m = JSON.parse(text);
      Object.defineProperty(m, 'raw', { value: text });
    } else {
      m = decode(bytes);
      Object.defineProperty(m, 'raw', { value: bytes });
    }
    Object.defineProperty(m, 'binary', { value: binary });
    this.frames.push(m);
    this.queue.push(m);
    this.#wake();
  }

  #wake() {
    for (const w of this.waiters) w();
  }

  /* Resolves with what `look` returns as soon as that is true; looks again after each frame and at the close. */
  when(look, what, ms = DEADLINE) {
    let watcher;
    const found = new Promise((resolve, reject) => {
      watcher = () => {
        const v = look(); // may take: so never again once it has found
        if (v) {
          this.waiters.delete(watcher);
          resolve(v);
        } else if (this.closeCode !== undefined) {
          reject(new Error(`${what}: closed with ${this.closeCode} before; got ${this.seen()}`));
        }
      };
      this.waiters.add(watcher);
      watcher();
    });
    return within(found, () => `${what}; got ${this.seen()}`, ms).finally(() => this.waiters.delete(watcher));
  }

  seen() {
    return JSON.stringify(this.frames.slice(-8), (_, v) => (typeof v === 'bigint' ? String(v) : v)).slice(0, 2000);
  }

  take(type, fits = () => true) {
    const i = this.queue.findIndex((m) => m.type === type && fits(m));
    return i < 0 ? undefined : this.queue.splice(i, 1)[0];
  }

  next(type, fits, ms) {
    return this.when(() => this.take(type, fits), `a message of type "${type}"`, ms);
  }

  /* The next n messages of type "message". */
  async messages(n, ms) {
    const list = [];
    for (let i = 0; i < n; i++) list.push(await this.next('message', undefined, ms));
    return list;
  }

  write(object) {
    this.socket.send(this.codec === 'json' ? JSON.stringify(object) : encode(object));
  }

  writeRaw(bytes, options) {
    this.socket.send(bytes, options);
  }

  /* Sends a command and resolves with its ok; rejects with a CommandError. */
  async command(type, fields = {}) {
    const ref = ++this.ref;
    this.write({ type, ref, ...fields });
    const answer = await this.when(
      () => this.take('ok', (m) => m.ref === ref) || this.take('error', (m) => m.ref === ref),
      `the answer to ${type}`,
    );
    if (answer.type === 'error') throw new CommandError(answer);
    return answer;
  }

  join(room) {
    return this.command('subscribe', { room });
  }

  ack(seq) {
    this.write({ type: 'ack', seq });
  }

  /* A round trip: what was sent before has been handled, and what was queued for us before its answer has come. */
  settled() {
    return this.join('a-room-to-settle-in');
  }

  async close(code = 1000) {
    if (this.socket.readyState <= WebSocket.OPEN) this.socket.close(code);
    return within(this.closed, 'the close handshake');
  }

  terminate() {
    this.socket.on('error', () => {});
    this.socket.terminate();
  }
}
