/*
 * transports.mjs - one connection of a device over each transport the broker has: WebSocket with JSON or msgpack, and
 * Server-Sent Events. All look the same to the device: opened, then message(object) in order, then closed.
 */
import { createRequire } from 'node:module';
import http from 'node:http';

const require = createRequire(new URL('../../integration/package.json', import.meta.url));
const WebSocket = require('ws');
const { decode, encode } = require('@msgpack/msgpack');

class Ws {
  constructor(at, codec, query, on) {
    this.codec = codec;
    const protocols = [`crier.v1.${codec}`, `bearer.${at.token}`];
    this.socket = new WebSocket(`ws://${at.host}:${at.port}/ws?${query}`, protocols, { perMessageDeflate: at.deflate, handshakeTimeout: at.timeout, maxPayload: 16 << 20 });
    this.socket.on('message', (bytes) => on.message(codec === 'json' ? JSON.parse(bytes.toString('utf8')) : decode(bytes)));
    this.socket.on('unexpected-response', (req, res) => {
      on.refused(res.statusCode);
      res.resume();
      req.destroy();
      on.closed(0);
    });
    this.socket.on('error', () => {});
    this.socket.on('close', (code) => on.closed(code));
  }

  get acks() {
    return true;
  }

  write(object) {
    if (this.socket.readyState === WebSocket.OPEN) this.socket.send(this.codec === 'json' ? JSON.stringify(object) : encode(object));
  }

  pause() {
    this.socket.pause();
  }

  resume() {
    this.socket.resume();
  }

  close() {
    this.socket.close(1000);
  }

  cut() {
    this.socket.terminate();
  }
}

class Sse {
  constructor(at, query, since, on) {
    const headers = { accept: 'text/event-stream', authorization: `Bearer ${at.token}` };
    if (since) headers['last-event-id'] = String(since);
    this.rest = '';
    this.req = http.get({ host: at.host, port: at.port, path: `/events?${query}`, headers, agent: false }, (res) => {
      this.res = res;
      if (res.statusCode !== 200) {
        on.refused(res.statusCode);
        res.resume();
        this.req.destroy();
        return;
      }
      res.setEncoding('utf8');
      res.on('data', (text) => this.#feed(text, on));
      res.on('error', () => {});
    });
    this.req.on('error', () => {});
    this.req.on('close', () => {
      clearTimeout(this.timer);
      if (!this.gone) on.closed(0);
      this.gone = true;
    });
    this.timer = setTimeout(() => this.res || this.req.destroy(), at.timeout);
  }

  #feed(text, on) {
    this.rest += text;
    for (let at; !this.gone && (at = this.rest.indexOf('\n\n')) >= 0; ) {
      const data = this.rest
        .slice(0, at)
        .split('\n')
        .filter((l) => l.startsWith('data:'))
        .map((l) => l.slice(l[5] === ' ' ? 6 : 5));
      this.rest = this.rest.slice(at + 2);
      if (data.length) on.message(JSON.parse(data.join('\n')));
    }
  }

  /* This connection has no way back: its cursor moves when the device comes again and says what it has. */
  get acks() {
    return false;
  }

  write() {}

  pause() {
    this.res?.pause();
  }

  resume() {
    this.res?.resume();
  }

  close() {
    this.cut();
  }

  cut() {
    this.req.destroy();
  }
}

/*
 * Opens a connection. at: {host, port, token, timeout, deflate}; q: {device, since, ack, rooms}; on: {message, refused,
 * closed}. `closed` comes exactly once, also when there never was a connection.
 */
export function openTransport(kind, at, q, on) {
  const query = new URLSearchParams();
  if (q.device) query.set('device', q.device);
  if (q.ack) query.set('ack', q.ack);
  if (kind === 'sse') {
    if (q.rooms?.length) query.set('rooms', q.rooms.join(','));
    return new Sse(at, query, q.since, on);
  }
  if (q.since !== undefined) query.set('since', String(q.since));
  return new Ws(at, kind === 'ws-msgpack' ? 'msgpack' : 'json', query, on);
}
