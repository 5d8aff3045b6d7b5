/*
 * transports.mjs - one connection of a device over each transport the broker has: WebSocket and bare TCP with JSON or
 * msgpack, Server-Sent Events, long and short polls. All look the same to the device: a welcome, messages in order, then closed.
 */
import http from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';

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

/* A bare TCP connection: JSON lines, or msgpack behind four bytes of length; heartbeats are messages. */
class Tcp {
  constructor(at, codec, hello, on) {
    this.codec = codec;
    this.bytes = Buffer.alloc(0);
    this.socket = net.connect({ host: at.host, port: at.tcpPort });
    this.socket.setNoDelay(true);
    this.socket.on('error', () => {});
    this.socket.on('data', (d) => {
      this.bytes = Buffer.concat([this.bytes, d]);
      for (let m; (m = this.#frame()); ) {
        if (m.type === 'ping') this.write({ type: 'pong' });
        else on.message(m);
      }
    });
    this.socket.on('close', () => on.closed(0));
    this.write({ type: 'hello', token: at.token, ...hello });
  }

  #frame() {
    const json = this.codec === 'json';
    if (this.socket.destroyed || (!json && this.bytes.length < 4)) return undefined;
    const from = json ? 0 : 4;
    const to = json ? this.bytes.indexOf(10) : 4 + this.bytes.readUInt32BE(0);
    if (to < 0 || to > this.bytes.length) return undefined;
    const frame = this.bytes.subarray(from, to);
    this.bytes = this.bytes.subarray(json ? to + 1 : to);
    return json ? JSON.parse(frame.toString('utf8')) : decode(frame);
  }

  get acks() {
    return true;
  }

  write(object) {
    if (this.socket.destroyed) return;
    if (this.codec === 'json') {
      this.socket.write(`${JSON.stringify(object)}\n`);
      return;
    }
    const body = Buffer.from(encode(object));
    const head = Buffer.alloc(4);
    head.writeUInt32BE(body.length);
    this.socket.write(Buffer.concat([head, body]));
  }

  pause() {
    this.socket.pause();
  }

  resume() {
    this.socket.resume();
  }

  close() {
    this.socket.end();
  }

  cut() {
    this.socket.destroy();
  }
}

/* What a device says beside a connection that goes one way. */
function post(at, device, object) {
  const text = JSON.stringify(object);
  const headers = { authorization: `Bearer ${at.token}`, 'content-type': 'application/json', 'content-length': text.length };
  const query = new URLSearchParams({ device });
  const req = http.request({ host: at.host, port: at.port, method: 'POST', path: `/send?${query}`, headers, agent: false, timeout: at.timeout }, (res) => res.resume());
  req.on('timeout', () => req.destroy());
  req.on('error', () => {});
  req.end(text);
}

const SHORT_MS = 20;

/* Polls, one after the other; each says by `after` what has come, which acknowledges it. */
class Poll {
  constructor(at, q, on, short) {
    Object.assign(this, { at, on, short, device: q.device, after: q.since });
    this.#ask();
  }

  #ask() {
    const query = new URLSearchParams({ device: this.device, ack: 'explicit', wait: this.welcomed && !this.short ? '3' : '0' });
    if (this.after !== undefined) query.set('after', String(this.after));
    const { at } = this;
    this.req = http.get({ host: at.host, port: at.port, path: `/poll?${query}`, headers: { authorization: `Bearer ${at.token}` }, agent: false }, (res) => {
      let text = '';
      res.setEncoding('utf8');
      res.on('data', (d) => {
        text += d;
      });
      res.on('error', () => this.#end());
      res.on('end', () => {
        clearTimeout(this.timer);
        if (res.statusCode !== 200) this.on.refused(res.statusCode);
        if (res.statusCode !== 200 || !res.complete) this.#end();
        else this.#answer(JSON.parse(text));
      });
    });
    this.req.on('error', () => this.#end());
    this.timer = setTimeout(() => this.req.destroy(), at.timeout + 3000);
  }

  #answer(a) {
    if (this.gone) return;
    if (!this.welcomed) this.on.message({ type: 'welcome', node: this.at.node, device: this.device });
    this.welcomed = true;
    if (a.gap) this.on.message({ type: 'gap', ...a.gap });
    for (const m of a.messages) if (!this.gone) this.on.message(m);
    this.after = a.cursor;
    if (this.paused) this.waiting = true;
    else if (this.short && !this.gone) this.timer = setTimeout(() => this.#ask(), SHORT_MS);
    else if (!this.gone) this.#ask();
  }

  #end() {
    clearTimeout(this.timer);
    if (!this.gone) this.on.closed(0);
    this.gone = true;
  }

  get acks() {
    return false;
  }

  write(object) {
    if (object.type === 'ack') post(this.at, this.device, object);
  }

  pause() {
    this.paused = true;
  }

  resume() {
    this.paused = false;
    if (this.waiting && !this.gone) this.#ask();
    this.waiting = false;
  }

  close() {
    this.cut();
  }

  cut() {
    this.req.destroy();
    this.#end();
  }
}

class Sse {
  constructor(at, query, since, on) {
    const headers = { accept: 'text/event-stream', authorization: `Bearer ${at.token}` };
    if (since) headers['last-event-id'] = String(since);
    this.rest = '';
    this.at = at;
    this.device = query.get('device');
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

  /* The cursor moves when the device comes again and says what it has, or by a request beside the stream. */
  get acks() {
    return true;
  }

  write(object) {
    if (object.type === 'ack') post(this.at, this.device, object);
  }

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
 * Opens a connection. at: {host, port, tcpPort, node, token, timeout, deflate}; q: {device, since, ack, rooms}; on:
 * {message, refused, closed}. `closed` comes exactly once, also when there never was a connection.
 */
export function openTransport(kind, at, q, on) {
  const codec = kind.endsWith('msgpack') ? 'msgpack' : 'json';
  if (kind.startsWith('poll')) return new Poll(at, q, on, kind === 'poll-short');
  if (kind.startsWith('tcp')) return new Tcp(at, codec, { device: q.device, ack: q.ack, ...(q.since === undefined ? {} : { since: q.since }) }, on);
  const query = new URLSearchParams();
  if (q.device) query.set('device', q.device);
  if (q.ack) query.set('ack', q.ack);
  if (kind === 'sse') {
    if (q.rooms?.length) query.set('rooms', q.rooms.join(','));
    return new Sse(at, query, q.since, on);
  }
  if (q.since !== undefined) query.set('since', String(q.since));
  return new Ws(at, codec, query, on);
}
