/*
 * raw.mjs - a bare socket that says exactly what it is told to, and WebSocket frames made by hand, right or wrong.
 */
import { randomBytes } from 'node:crypto';
import net from 'node:net';
import tls from 'node:tls';
import { DEADLINE, within } from './env.mjs';

export const OP = { CONT: 0, TEXT: 1, BINARY: 2, CLOSE: 8, PING: 9, PONG: 10 };

/* One client frame. options: fin, rsv (0-7), mask, length (a lie), wide (64-bit length where it need not be). */
export function frame(opcode, payload = '', options = {}) {
  const { fin = true, rsv = 0, mask = true, length, wide = false } = options;
  const body = Buffer.from(payload);
  const n = length ?? body.length;
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
  const m = mask ? 0x80 : 0;
  if (wide || n > 65535) {
    const b = Buffer.alloc(8);
    b.writeBigUInt64BE(BigInt(n));
    head.push(m | 127, ...b);
  } else if (n > 125) {
    head.push(m | 126, n >> 8, n & 255);
  } else {
    head.push(m | n);
  }
  if (!mask) return Buffer.concat([Buffer.from(head), body]);
  const key = randomBytes(4);
  return Buffer.concat([Buffer.from(head), key, body.map((x, i) => x ^ key[i & 3])]);
}

export function closePayload(code, reason = '') {
  const b = Buffer.alloc(2);
  b.writeUInt16BE(code);
  return Buffer.concat([b, Buffer.from(reason)]);
}

export function upgradeRequest(path = '/ws', headers = {}) {
  const all = {
    Host: 'localhost',
    Upgrade: 'websocket',
    Connection: 'Upgrade',
    'Sec-WebSocket-Key': randomBytes(16).toString('base64'),
    'Sec-WebSocket-Version': '13',
    'Sec-WebSocket-Protocol': 'crier.v1.json',
    ...headers,
  };
  const lines = Object.entries(all).filter(([, v]) => v !== undefined);
  return `GET ${path} HTTP/1.1\r\n${lines.map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`;
}

export class Raw {
  static async open(broker, { useTls = false, ...options } = {}) {
    const r = new Raw();
    r.bytes = Buffer.alloc(0);
    r.waiters = new Set();
    r.socket = useTls
      ? tls.connect({ host: '127.0.0.1', port: broker.tlsPort, rejectUnauthorized: false, ...options })
      : net.connect({ host: '127.0.0.1', port: broker.port, ...options });
    r.socket.setNoDelay(true);
    r.socket.on('error', (e) => {
      r.error = e;
    });
    r.socket.on('data', (d) => {
      r.bytes = Buffer.concat([r.bytes, d]);
      r.wake();
    });
    r.socket.on('end', () => {
      r.ended = true;
      r.wake();
    });
    r.closed = new Promise((resolve) => {
      r.socket.on('close', () => {
        r.isClosed = true;
        resolve();
        r.wake();
      });
    });
    await within(
      new Promise((resolve, reject) => {
        r.socket.once(useTls ? 'secureConnect' : 'connect', resolve);
        r.socket.once('error', reject);
      }),
      'a TCP connection',
    );
    return r;
  }

  /* Upgraded already: the answer's head is read and checked. */
  static async websocket(broker, path = '/ws', options = {}) {
    const r = await Raw.open(broker, options);
    r.write(upgradeRequest(path, options.headers));
    const head = await r.head();
    if (!head.startsWith('HTTP/1.1 101 ')) throw new Error(`no upgrade: ${head}${r.bytes}`);
    return r;
  }

  wake() {
    for (const w of this.waiters) w();
  }

  write(data) {
    this.socket.write(data);
  }

  when(look, what, ms = DEADLINE) {
    let watcher;
    const found = new Promise((resolve, reject) => {
      watcher = () => {
        const v = look(); // may take: so never again once it has found
        if (v) {
          this.waiters.delete(watcher);
          resolve(v);
        } else if (this.isClosed) {
          reject(new Error(`${what}: the connection was closed; unread: ${JSON.stringify(this.bytes.toString('latin1').slice(0, 400))}`));
        }
      };
      this.waiters.add(watcher);
      watcher();
    });
    return within(found, what, ms).finally(() => this.waiters.delete(watcher));
  }

  take(n) {
    const b = this.bytes.subarray(0, n);
    this.bytes = this.bytes.subarray(n);
    return b;
  }

  /* Up to and with the empty line of an HTTP head. */
  head(ms) {
    return this.when(
      () => {
        const at = this.bytes.indexOf('\r\n\r\n');
        return at >= 0 && this.take(at + 4).toString('latin1');
      },
      'an HTTP head',
      ms,
    );
  }

  /* One whole HTTP answer with Content-Length: {status, head, body}. */
  async answer(ms) {
    const head = await this.head(ms);
    const n = Number(/^content-length: *(\d+)/im.exec(head)?.[1] ?? 0);
    const body = await this.when(() => this.bytes.length >= n && this.take(n).toString('utf8').padEnd(n ? 0 : 1), 'an HTTP body', ms);
    return { status: Number(head.split(' ')[1]), head, body: n ? body : '' };
  }

  #frame() {
    const b = this.bytes;
    if (b.length < 2) return undefined;
    let n = b[1] & 127;
    let at = 2;
    if (n === 126) {
      if (b.length < 4) return undefined;
      n = b.readUInt16BE(2);
      at = 4;
    } else if (n === 127) {
      if (b.length < 10) return undefined;
      n = Number(b.readBigUInt64BE(2));
      at = 10;
    }
    if (b.length < at + n) return undefined;
    const all = this.take(at + n);
    return { fin: (all[0] & 0x80) !== 0, rsv: (all[0] >> 4) & 7, opcode: all[0] & 15, masked: (all[1] & 0x80) !== 0, payload: all.subarray(at) };
  }

  nextFrame(ms) {
    return this.when(() => this.#frame(), 'a WebSocket frame', ms);
  }

  /* Reads on to the close frame: {code, reason}. */
  async closeFrame(ms) {
    for (;;) {
      const f = await this.nextFrame(ms);
      if (f.opcode !== OP.CLOSE) continue;
      return { code: f.payload.length >= 2 ? f.payload.readUInt16BE(0) : 1005, reason: f.payload.subarray(2).toString('utf8') };
    }
  }

  /* The next JSON message of a type. */
  async message(type, ms) {
    for (;;) {
      const f = await this.nextFrame(ms);
      if (f.opcode === OP.CLOSE) throw new Error(`closed: ${f.payload.toString('latin1')}`);
      if (f.opcode !== OP.TEXT) continue;
      const m = JSON.parse(f.payload.toString('utf8'));
      if (m.type === type) return m;
    }
  }

  /* The peer has closed (FIN or RST). */
  async gone(ms) {
    await this.when(() => this.ended || this.isClosed, 'the end of the connection', ms);
  }

  destroy() {
    this.socket.destroy();
  }
}
