/*
 * tcp.mjs - a client of the bare TCP listener in either framing, with promises as in client.mjs. Answers pings by
 * itself unless told not to.
 */
import net from 'node:net';
import tls from 'node:tls';
import { decode, encode } from '@msgpack/msgpack';
import { DEADLINE, within } from './env.mjs';
import { certificate } from './tls.mjs';

export class Tcp {
  /* options: codec ("json", "msgpack"), tls, hello {} (what goes beside type; null: none), autoPong, welcome. */
  static async open(broker, options = {}) {
    const c = new Tcp();
    c.codec = options.codec || 'json';
    c.autoPong = options.autoPong ?? true;
    c.bytes = Buffer.alloc(0);
    c.frames = [];
    c.queue = [];
    c.waiters = new Set();
    c.pings = 0;
    c.ref = 0;
    c.socket = options.tls
      ? tls.connect({ host: '127.0.0.1', port: broker.tcpTlsPort, ca: certificate().ca, servername: 'localhost' })
      : net.connect({ host: '127.0.0.1', port: broker.tcpPort });
    c.socket.setNoDelay(true);
    c.socket.on('error', () => {});
    c.socket.on('data', (d) => {
      c.bytes = Buffer.concat([c.bytes, d]);
      c.#read();
    });
    c.socket.on('close', () => {
      c.ended = true;
      c.#wake();
    });
    await within(
      new Promise((resolve, reject) => {
        c.socket.once(options.tls ? 'secureConnect' : 'connect', resolve);
        c.socket.once('error', reject);
      }),
      'a TCP connection',
    );
    if (options.hello !== null) c.write({ type: 'hello', ...(options.hello || {}) });
    if (options.welcome ?? options.hello !== null) c.welcome = await c.next('welcome');
    return c;
  }

  #frame() {
    if (this.codec === 'json') {
      const at = this.bytes.indexOf(10);
      if (at < 0) return undefined;
      const text = this.bytes.subarray(0, at).toString('utf8');
      this.bytes = this.bytes.subarray(at + 1);
      return Object.defineProperty(JSON.parse(text), 'raw', { value: text });
    }
    if (this.bytes.length < 4) return undefined;
    const n = this.bytes.readUInt32BE(0);
    if (this.bytes.length < 4 + n) return undefined;
    const m = decode(this.bytes.subarray(4, 4 + n));
    this.bytes = this.bytes.subarray(4 + n);
    return m;
  }

  #read() {
    for (let m = this.#frame(); m; m = this.#frame()) {
      if (m.type === 'ping') {
        this.pings += 1;
        if (this.autoPong) this.write({ type: 'pong' });
      }
      this.frames.push(m);
      this.queue.push(m);
    }
    this.#wake();
  }

  #wake() {
    for (const w of this.waiters) w();
  }

  when(look, what, ms = DEADLINE) {
    let watcher;
    const seen = () => JSON.stringify(this.frames.slice(-6), (_, v) => (typeof v === 'bigint' ? String(v) : v)).slice(0, 1500);
    const found = new Promise((resolve, reject) => {
      watcher = () => {
        const v = look();
        if (v) {
          this.waiters.delete(watcher);
          resolve(v);
        } else if (this.ended) {
          reject(new Error(`${what}: the connection ended; got ${seen()}`));
        }
      };
      this.waiters.add(watcher);
      watcher();
    });
    return within(found, () => `${what}; got ${seen()}`, ms).finally(() => this.waiters.delete(watcher));
  }

  take(type, fits = () => true) {
    const i = this.queue.findIndex((m) => m.type === type && fits(m));
    return i < 0 ? undefined : this.queue.splice(i, 1)[0];
  }

  next(type, fits, ms) {
    return this.when(() => this.take(type, fits), `a message of type "${type}"`, ms);
  }

  async messages(n, ms) {
    const list = [];
    for (let i = 0; i < n; i++) list.push(await this.next('message', undefined, ms));
    return list;
  }

  write(object) {
    if (this.codec === 'json') {
      this.socket.write(`${JSON.stringify(object)}\n`);
      return;
    }
    const body = Buffer.from(encode(object));
    const head = Buffer.alloc(4);
    head.writeUInt32BE(body.length);
    this.socket.write(Buffer.concat([head, body]));
  }

  /* Sends a command and resolves with its answer, ok or error. */
  async command(type, fields = {}) {
    const ref = ++this.ref;
    this.write({ type, ref, ...fields });
    return this.when(() => this.take('ok', (m) => m.ref === ref) || this.take('error', (m) => m.ref === ref), `the answer to ${type}`);
  }

  async gone(ms) {
    if (!this.ended) await this.when(() => this.ended, 'the end of the connection', ms);
  }

  destroy() {
    this.socket.destroy();
  }
}
