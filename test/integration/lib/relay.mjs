/*
 * relay.mjs - the real crier-relay as a child process, with a configuration of its own: the file is written, the
 * readiness line awaited, and at its end it has to have gone cleanly. And what its tests ask again and again.
 */
import { existsSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { Daemon } from './daemon.mjs';
import { BIN, DEADLINE, scaled, until } from './env.mjs';
import { request } from './http.mjs';
import { Proc, tempDir } from './proc.mjs';
import { ACCOUNT, Provider } from './providers.mjs';

const READY = /^crier-relay ready worker=(\S+)(?: metrics=(\S+))?\n/m;
export const RELAY = process.env.CRIER_BUILD ? resolve(process.env.CRIER_BUILD, 'crier-relay') : join(dirname(BIN), 'crier-relay');

/* The environment without anything that would change the relay's ways: a proxy, above all. */
function cleanEnv(extra) {
  const env = { ...process.env };
  for (const name of Object.keys(env)) if (/^CRIER_|_proxy$/i.test(name)) delete env[name];
  return { ...env, ...extra };
}

/* {section: {option: value}} as a file; a section or value that is false or undefined is left out. */
export function ini(sections) {
  let text = '';
  for (const [name, options] of Object.entries(sections)) {
    if (!options) continue;
    text += `[${name}]\n`;
    for (const [option, value] of Object.entries(options)) if (value !== undefined && value !== false) text += `${option} = ${value}\n`;
  }
  return text;
}

/* Fast enough for tests, and with all three channels at `provider`. A channel's options, or false, change that. */
export function relaySections({ redis, prefix, provider, relay, wecom, wechat, webhook }) {
  const api = provider?.url;
  return {
    redis: { url: redis.url, prefix },
    relay: { poll: '50ms', backoff: '50ms', 'backoff-max': '400ms', timeout: `${scaled(2000)}ms`, 'metrics-listen': '127.0.0.1:0', ...relay },
    wecom: wecom !== false && { ...ACCOUNT.wecom, api, ...wecom },
    wechat: wechat !== false && { ...ACCOUNT.wechat, api, ...wechat },
    webhook: webhook !== false && { ...ACCOUNT.webhook, 'allow-private': 'yes', ...webhook },
  };
}

export function relayFile(text) {
  const file = join(tempDir('crier-relay-'), 'relay.conf');
  writeFileSync(file, text, { mode: 0o600 });
  return file;
}

export class Relay extends Daemon {
  /* options: redis, prefix, provider; relay, wecom, wechat, webhook: options of these sections; env; ready: false: not awaited. */
  static async start(options) {
    const r = new Relay('relay');
    r.proc = Relay.spawn(['--config', relayFile(ini(relaySections(options)))], options.env);
    if (options.ready !== false) await r.ready();
    return r;
  }

  /* The bare process, for starts that are meant to fail. */
  static spawn(args, env) {
    if (!existsSync(RELAY)) throw new Error(`${RELAY} is not there: build it first`);
    return new Proc(RELAY, args, { name: 'crier-relay', env: cleanEnv(env) });
  }

  async ready() {
    const m = await this.proc.expect('stdout', READY, DEADLINE);
    [, this.worker] = m;
    this.port = m[2] ? Number(m[2].split(':').pop()) : undefined;
    return this;
  }

  get node() {
    return `relay ${this.worker}`;
  }

  request(method, path, options) {
    return request(this, method, path, options);
  }

  /* The sum over all lines of that name whose labels hold `labels`; a name that is not there is an error. */
  async metric(name, labels = '') {
    const { text } = await this.request('GET', '/metrics');
    if (!text.includes(`# TYPE crier_relay_${name} `)) throw new Error(`there is no metric crier_relay_${name}`);
    let sum = 0;
    for (const line of text.split('\n')) {
      const m = /^crier_relay_([a-z_]+)(?:\{([^}]*)\})? (\S+)$/.exec(line);
      if (m && m[1] === name && (m[2] || '').includes(labels)) sum += Number(m[3]);
    }
    return sum;
  }
}

/* ---- asking the broker ---- */

const path = (...parts) => parts.map(encodeURIComponent).join('/');
const strict = (r, status = 200) => {
  if (r.status !== status) throw new Error(`${r.status}: ${r.text}`);
  return r.json;
};

export const getAddresses = async (broker, user) => strict(await broker.request('GET', `/api/users/${path(user)}/addresses`));
export const putAddresses = (broker, user, addresses) => broker.request('PUT', `/api/users/${path(user)}/addresses`, { body: JSON.stringify(addresses) });
export const setAddresses = async (broker, user, addresses) => strict(await putAddresses(broker, user, addresses));

/* A push that is escalated after a second, unless it says otherwise. */
export async function escalated(broker, user, id, escalate, rest = {}) {
  return strict(await broker.push({ user, id, data: { n: id }, track: true, escalate: { after: 1, ...escalate }, ...rest })).results[0];
}

/* The line of one recipient in the ledger. */
export async function recipient(broker, user, id) {
  return strict(await broker.request('GET', `/api/messages/${path(id)}?user=${path(user)}`)).recipients[0];
}

/* The same, once `fits` says so. */
export async function told(broker, user, id, fits, what, ms) {
  let last;
  try {
    return await until(async () => {
      last = await recipient(broker, user, id);
      return fits(last) && last;
    }, what, ms);
  } catch (e) {
    throw new Error(`${e.message}: ${JSON.stringify(last)}`);
  }
}

export const channelOf = (r, channel) => (r.relayed || []).find((x) => x.channel === channel);
/* "wecom failed 3, webhook sent 1" */
export const came = (r) => (r.relayed || []).map((x) => `${x.channel} ${x.state} ${x.attempts}`).join(', ');
export const undelivered = async (broker, id) => strict(await broker.request('GET', `/api/messages/${path(id)}/undelivered`)).recipients.map((r) => r.user);

/* Nothing waits for a relay any more, and none is at it. */
export async function settled(...relays) {
  await until(async () => {
    for (const r of relays) if ((await r.metric('pending')) + (await r.metric('inflight')) > 0) return false;
    return true;
  }, 'nothing is pending');
}

/* A counter of several relays together. */
export async function total(relays, name, labels) {
  let sum = 0;
  for (const r of relays) sum += await r.metric(name, labels);
  return sum;
}

/*
 * A broker, providers and relays on one prefix of a redis-server. options: relays (how many, 1), redis (its own), broker
 * (arguments), and those of the relays. Whatever a scenario does, no secret and no token may show in a log.
 */
export async function stage(ctx, { relays = 1, redis, broker: args, ...options } = {}) {
  redis ??= (await ctx.redis()).redis;
  const prefix = ctx.newPrefix();
  const broker = await ctx.broker({ redis, prefix, args });
  await until(async () => (await broker.request('GET', '/readyz')).status === 200, '/readyz');
  const provider = await Provider.start(ctx);
  ctx.defer(() => {
    for (const r of ctx.relays) {
      const leak = /wecom-secret|wechat-secret|webhook secret|token-we(com|chat)-\d/.exec(r.log);
      if (leak) throw new Error(`"${leak[0]}" is in the log of ${r.node}`);
    }
  });
  const start = (more = {}) => ctx.relay({ redis, prefix, provider, ...options, ...more, relay: { ...options.relay, ...more.relay } });
  const list = await Promise.all(Array.from({ length: relays }, () => start()));
  return { redis, prefix, broker, provider, start, relays: list, relay: list[0] };
}
