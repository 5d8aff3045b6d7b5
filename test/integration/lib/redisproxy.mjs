/*
 * redisproxy.mjs - stands between a broker and Redis, understands RESP just enough to know which reply answers which
 * command, and answers some of them itself: LOADING, READONLY, garbage, nothing at all, or nothing after Redis has
 * carried the command out.
 */
import net from 'node:net';

/* The length of the first whole RESP value in `b` from `at` on, or 0. */
function valueEnd(b, at) {
  const line = b.indexOf('\r\n', at);
  if (line < 0) return 0;
  const n = Number(b.toString('latin1', at + 1, line));
  switch (b[at]) {
    case 0x24: // $
      return n < 0 ? line + 2 : b.length >= line + 4 + n ? line + 4 + n : 0;
    case 0x2a: {
      // *
      let end = line + 2;
      for (let i = 0; i < n; i++) {
        end = valueEnd(b, end);
        if (!end) return 0;
      }
      return end;
    }
    default:
      return line + 2;
  }
}

/* The words of a command: an array of bulk strings. */
function words(b) {
  const out = [];
  let at = b.indexOf('\r\n') + 2;
  while (at < b.length) {
    const line = b.indexOf('\r\n', at);
    const n = Number(b.toString('latin1', at + 1, line));
    out.push(b.toString('latin1', line + 2, line + 2 + n));
    at = line + 4 + n;
  }
  return out;
}

class Pair {
  constructor(proxy, down) {
    this.proxy = proxy;
    this.down = down;
    this.up = net.connect({ host: '127.0.0.1', port: proxy.port });
    this.waiting = []; // one for each command: undefined (pass the reply on), a Buffer instead of it, or "nothing"
    this.asked = Buffer.alloc(0);
    this.answered = Buffer.alloc(0);
    down.on('data', (d) => this.#command(d));
    this.up.on('data', (d) => this.#reply(d));
    for (const [a, b] of [[down, this.up], [this.up, down]]) {
      a.on('error', () => {});
      a.on('close', () => {
        b.destroy();
        proxy.pairs.delete(this);
      });
    }
  }

  #command(d) {
    this.asked = Buffer.concat([this.asked, d]);
    for (let end; (end = valueEnd(this.asked, 0)); ) {
      const command = this.asked.subarray(0, end);
      this.asked = this.asked.subarray(end);
      this.#one(command, words(command));
    }
  }

  #one(command, w) {
    if (/SUBSCRIBE$/i.test(w[0])) this.subscribed = true;
    const fault = this.subscribed ? undefined : this.proxy.rule?.(w);
    if (fault) this.proxy.hits++;
    if (fault?.instead !== undefined) {
      this.waiting.push(Buffer.from(fault.instead, 'latin1'));
      this.#flush();
    } else {
      this.waiting.push(fault?.after);
      this.up.write(command);
    }
  }

  /* Answers that need no reply of Redis, as far as it is their turn. */
  #flush() {
    while (Buffer.isBuffer(this.waiting[0])) this.down.write(this.waiting.shift());
  }

  #reply(d) {
    if (this.subscribed) {
      this.down.write(d);
      return;
    }
    this.answered = Buffer.concat([this.answered, d]);
    for (let end; (end = valueEnd(this.answered, 0)); ) {
      const reply = this.answered.subarray(0, end);
      this.answered = this.answered.subarray(end);
      const how = this.waiting.shift();
      if (how === 'cut') this.down.destroy();
      else if (how !== 'nothing') this.down.write(reply);
      this.#flush();
    }
  }
}

/*
 * proxy.rule(words) says what happens to a command: undefined (nothing special), {instead: text} (Redis never sees it),
 * {after: "nothing"} (Redis does it, the reply is lost) or {after: "cut"} (and the connection with it).
 */
export class RedisProxy {
  static async start(redis) {
    const p = new RedisProxy();
    p.port = redis.port;
    p.pairs = new Set();
    p.hits = 0;
    p.server = net.createServer((s) => p.pairs.add(new Pair(p, s)));
    await new Promise((r) => {
      p.server.listen(0, '127.0.0.1', r);
    });
    p.url = `redis://127.0.0.1:${p.server.address().port}`;
    return p;
  }

  stop() {
    for (const pair of this.pairs) {
      pair.down.destroy();
      pair.up.destroy();
    }
    return new Promise((r) => {
      this.server.close(r);
    });
  }
}
