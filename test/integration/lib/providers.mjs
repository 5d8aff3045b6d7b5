/*
 * providers.mjs - WeCom, the WeChat official accounts and a webhook receiver, as a relay meets them: one HTTP server on a
 * loopback port, told apart by the path. It keeps books of the tokens it gave out, records every call, and answers as
 * the test says: on('wecom', ...) for all, on('wecom ann', ...) for one recipient, on('webhook /x', ...) for one path.
 *
 * An answer is what answer.* makes: a list of them is used up one by one, then all goes well again; a function is asked
 * for each call and may return none, which is the good answer.
 */
import { createHash, createHmac, timingSafeEqual } from 'node:crypto';
import http from 'node:http';

export const ACCOUNT = {
  wecom: { corpid: 'ww 1&b=2', secret: 'wecom-secret/+=&%', agentid: 1000002 },
  wechat: { appid: 'wx+1 2', secret: 'wechat-secret?#&', template: 'TEMPLATE-1', field: 'thing4' },
  webhook: { secret: 'webhook secret, long enough' },
};

const PATHS = {
  '/cgi-bin/gettoken': { name: 'wecom token', channel: 'wecom', id: 'corpid', secret: 'corpsecret' },
  '/cgi-bin/token': { name: 'wechat token', channel: 'wechat', id: 'appid', secret: 'secret' },
  '/cgi-bin/message/send': { name: 'wecom', channel: 'wecom' },
  '/cgi-bin/message/template/send': { name: 'wechat', channel: 'wechat' },
};

export const answer = {
  json: (object, status = 200, headers = {}) => (call, res) => res.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(object)),
  code: (errcode, errmsg = 'no') => answer.json({ errcode, errmsg }),
  http: (status, headers = {}, body = '') => (call, res) => res.writeHead(status, headers).end(body),
  /* Bytes as they are, then the end of the connection. */
  raw: (bytes) => (call, res) => res.socket.end(bytes),
  /* Bytes as they are, and the connection stays. */
  halfway: (bytes) => (call, res) => res.socket.write(bytes),
  reset: () => (call, res) => res.socket.resetAndDestroy(),
  hang: () => () => {},
};

/* An answer that waits for the test: `held.arrived` resolves with the call, `held.release(x)` lets it have answer x, or the good one. */
export function hold() {
  let arrived;
  let release;
  const opened = new Promise((resolve) => {
    release = resolve;
  });
  const held = async (call, res, good) => {
    arrived(call);
    const what = (await opened) || good;
    if (!res.destroyed) what(call, res);
  };
  held.arrived = new Promise((resolve) => {
    arrived = resolve;
  });
  held.release = release;
  return held;
}

/* What a receiver has to do with Crier-Signature: true when the body is the relay's own. */
export function signed(call, secret = ACCOUNT.webhook.secret) {
  const m = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(call.headers['crier-signature'] || '');
  if (!m) return false;
  const want = createHmac('sha256', secret).update(`${m[1]}.`).update(call.body).digest();
  return timingSafeEqual(want, Buffer.from(m[2], 'hex')) && Math.abs(Number(m[1]) - Date.now() / 1000) < 300;
}

/* The name that an escalation has in Redis, and what WeChat tells repetitions by. */
export const escalationName = (user, id) => `t:u:${Buffer.byteLength(user)}:${user}:${id}`;
export const clientMsgId = (user, id) => createHash('sha256').update(escalationName(user, id)).digest('hex').slice(0, 32);

export class Provider {
  static async start(ctx) {
    const p = new Provider();
    p.server = http.createServer((req, res) => p.#serve(req, res));
    p.server.on('clientError', (e, socket) => socket.destroy());
    await new Promise((resolve) => p.server.listen(0, '127.0.0.1', resolve));
    p.port = p.server.address().port;
    p.url = `http://127.0.0.1:${p.port}`;
    ctx.defer(() => p.stop());
    return p;
  }

  constructor() {
    this.calls = [];
    this.scripts = new Map();
    this.tokens = { wecom: new Map(), wechat: new Map() }; // token -> errcode that it is refused with, 0: good
    this.expiresIn = 7200;
    this.given = 0;
  }

  stop() {
    this.server.closeAllConnections();
    return new Promise((resolve) => this.server.close(resolve));
  }

  on(which, answers) {
    this.scripts.set(which, typeof answers === 'function' ? answers : [...answers]);
  }

  /* The calls of that name ("wecom", "wechat token", "webhook"), of one recipient or path where it is given. */
  to(name, recipient) {
    return this.calls.filter((c) => c.name === name && (recipient === undefined || c.recipient === recipient));
  }

  /* Those that were taken: the recipient has them on a screen. */
  taken(name, recipient) {
    return this.to(name, recipient).filter((c) => c.taken);
  }

  /* From now on all tokens that were given out are refused with this code. */
  refuse(channel, errcode) {
    for (const token of this.tokens[channel].keys()) this.tokens[channel].set(token, errcode);
  }

  async #serve(req, res) {
    const at = Date.now();
    const url = new URL(req.url, 'http://x');
    const parts = [];
    try {
      for await (const part of req) parts.push(part);
    } catch {
      return; // the caller went
    }
    const known = PATHS[url.pathname];
    const call = { at, method: req.method, path: url.pathname, query: Object.fromEntries(url.searchParams), headers: req.headers, body: Buffer.concat(parts), ...known };
    call.name ??= 'webhook';
    try {
      call.json = JSON.parse(call.body.toString('utf8'));
    } catch {
      call.json = undefined;
    }
    call.recipient = known ? call.json?.touser : url.pathname;
    this.calls.push(call);
    res.on('error', () => {});
    const good = (c, r) => this.#good(c, r);
    const chosen = this.#script(`${call.name} ${call.recipient}`, call) || this.#script(call.name, call) || good;
    chosen(call, res, good);
  }

  #script(key, call) {
    const s = this.scripts.get(key);
    return typeof s === 'function' ? s(call) : s?.shift();
  }

  #good(call, res) {
    const no = call.secret ? this.#badAccount(call) : call.channel ? this.#badMessage(call) : 0;
    if (no) return answer.code(no, 'refused by the tests')(call, res);
    call.taken = true;
    if (call.secret) {
      const token = `token-${call.channel}-${++this.given}-/+=&%`;
      this.tokens[call.channel].set(token, 0);
      return answer.json({ ...(call.channel === 'wecom' && { errcode: 0, errmsg: 'ok' }), access_token: token, expires_in: this.expiresIn })(call, res);
    }
    if (call.channel === 'wecom') return answer.json({ errcode: 0, errmsg: 'ok', msgid: `wecom-msgid-${++this.given}` })(call, res);
    if (call.channel === 'wechat') return answer.json({ errcode: 0, errmsg: 'ok', msgid: 200228332 + ++this.given })(call, res);
    return answer.http(200, {}, 'ok')(call, res);
  }

  #badAccount(call) {
    const account = ACCOUNT[call.channel];
    const right = call.method === 'GET' && call.query[call.id] === account[call.id] && call.query[call.secret] === account.secret;
    return right && (call.channel === 'wecom' || call.query.grant_type === 'client_credential') ? 0 : 40013;
  }

  #badMessage(call) {
    if (call.method !== 'POST' || !call.json || !/^application\/json\b/.test(call.headers['content-type'] || '')) return 44002;
    return this.tokens[call.channel].get(call.query.access_token) ?? 40014;
  }
}
