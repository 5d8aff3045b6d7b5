/*
 * sse.mjs - a client of GET /events made from node's http alone, which keeps every byte: next(type) as in client.mjs.
 * What programs really use (the npm package eventsource, a browser) is tested beside it.
 */
import http from 'node:http';
import https from 'node:https';
import { DEADLINE, within } from './env.mjs';
import { certificate } from './tls.mjs';

export class Events {
  /* options: user, device, query {}, headers {}, lastEventId, tls. Rejects with {status, text} in the error when refused. */
  static async open(broker, options = {}) {
    const e = new Events();
    e.text = ''; // all bytes
    e.events = []; // {event, id, data, raw} in order
    e.queue = []; // messages that nobody has taken
    e.waiters = new Set();
    const query = new URLSearchParams(options.query || {});
    if (options.user !== undefined) query.set('user', options.user);
    if (options.device !== undefined) query.set('device', options.device);
    const headers = { accept: 'text/event-stream', ...(options.headers || {}) };
    if (options.lastEventId !== undefined) headers['last-event-id'] = String(options.lastEventId);
    const at = options.tls ? { port: broker.tlsPort, ca: certificate().ca, servername: 'localhost' } : { port: broker.port };
    await within(e.#request(options.tls ? https : http, { host: '127.0.0.1', path: `/events?${query}`, headers, agent: false, ...at }), 'GET /events');
    if (options.welcome ?? true) e.welcome = await e.next('welcome');
    return e;
  }

  #request(scheme, where) {
    return new Promise((resolve, reject) => {
      this.req = scheme.get(where, (res) => {
        this.res = res;
        res.setEncoding('utf8');
        if (res.statusCode !== 200) {
          let text = '';
          res.on('data', (d) => {
            text += d;
          });
          res.on('end', () => reject(Object.assign(new Error(`refused with ${res.statusCode}: ${text}`), { status: res.statusCode, text, headers: res.headers })));
          return;
        }
        res.on('data', (d) => this.#feed(d));
        res.on('error', () => {});
        res.on('close', () => {
          this.ended = true;
          this.#wake();
        });
        resolve();
      });
      this.req.on('error', (e) => {
        this.ended = true;
        this.#wake();
        reject(e);
      });
    });
  }

  #feed(text) {
    this.text += text;
    let at;
    this.rest = (this.rest || '') + text;
    while ((at = this.rest.indexOf('\n\n')) >= 0) {
      this.#block(this.rest.slice(0, at));
      this.rest = this.rest.slice(at + 2);
    }
    this.#wake();
  }

  #block(block) {
    const data = [];
    let event = 'message';
    for (const line of block.split('\n')) {
      const m = /^([a-z]*): ?(.*)$/s.exec(line);
      if (!m || m[1] === '') continue;
      if (m[1] === 'data') data.push(m[2]);
      else if (m[1] === 'event') event = m[2];
      else if (m[1] === 'id') this.lastId = m[2];
      else if (m[1] === 'retry') this.retry = Number(m[2]);
    }
    if (!data.length) return;
    const raw = data.join('\n');
    const object = JSON.parse(raw);
    Object.defineProperty(object, 'raw', { value: raw });
    Object.defineProperty(object, 'sse', { value: { event, id: /^id: (.*)$/m.exec(block)?.[1] } });
    this.events.push(object);
    this.queue.push(object);
  }

  #wake() {
    for (const w of this.waiters) w();
  }

  when(look, what, ms = DEADLINE) {
    let watcher;
    const found = new Promise((resolve, reject) => {
      watcher = () => {
        const v = look();
        if (v) {
          this.waiters.delete(watcher);
          resolve(v);
        } else if (this.ended) {
          reject(new Error(`${what}: the stream ended; got ${this.text.slice(-1000)}`));
        }
      };
      this.waiters.add(watcher);
      watcher();
    });
    return within(found, () => `${what}; got ${this.text.slice(-1000)}`, ms).finally(() => this.waiters.delete(watcher));
  }

  take(type, fits = () => true) {
    const i = this.queue.findIndex((m) => m.type === type && fits(m));
    return i < 0 ? undefined : this.queue.splice(i, 1)[0];
  }

  next(type, fits, ms) {
    return this.when(() => this.take(type, fits), `an event of type "${type}"`, ms);
  }

  async messages(n, ms) {
    const list = [];
    for (let i = 0; i < n; i++) list.push(await this.next('message', undefined, ms));
    return list;
  }

  /* The broker has ended the stream. */
  async gone(ms) {
    if (!this.ended) await this.when(() => this.ended, 'the end of the stream', ms);
  }

  close() {
    this.req.destroy();
  }
}
