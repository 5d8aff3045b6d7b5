/*
 * broker.mjs - the real broker as a child process: options in, readiness line out.
 */
import { Daemon } from './daemon.mjs';
import { BIN, DEADLINE, requireBroker } from './env.mjs';
import { request } from './http.mjs';
import { Proc } from './proc.mjs';
import { certificate } from './tls.mjs';

const READY = /^crier ready node=(\S+) plain=(\S+)(?: tls=(\S+))? store=(redis|memory) shards=(\d+)(?: tcp=(\S+))?(?: tcp-tls=(\S+))?\n/m;

/* The environment without anything that would configure the broker. */
function cleanEnv(extra) {
  const env = { ...process.env, ...extra };
  for (const name of Object.keys(env)) {
    if (name.startsWith('CRIER_') && !(extra && name in extra)) delete env[name];
  }
  return env;
}

/* options: args[], dev (default true), tls (true, or a certificate of its own), redis, prefix, shards (default 2), env. */
export function brokerArgs(options = {}) {
  const args = ['--listen', options.listen || '127.0.0.1:0', '--shards', String(options.shards ?? 2)];
  if (options.dev ?? true) args.push('--dev');
  if (process.env.CRIER_SAN === 'address') args.push('--batch-sends', 'aio'); // the other builds run with io_uring
  if (options.tls) {
    const c = options.tls === true ? certificate() : options.tls;
    args.push('--tls-listen', '127.0.0.1:0', '--tls-cert', c.cert, '--tls-key', c.key);
  }
  if (options.redis) args.push('--redis', options.redis.url);
  if (options.prefix) args.push('--prefix', options.prefix);
  return [...args, ...(options.args || [])];
}

export class Broker extends Daemon {
  static async start(options = {}) {
    const b = new Broker('broker');
    b.proc = Broker.spawn(brokerArgs(options), options.env);
    const m = await b.proc.expect('stdout', READY, DEADLINE);
    [, b.node, b.plain, b.tls, b.store] = m;
    b.shards = Number(m[5]);
    b.host = '127.0.0.1';
    b.port = Number(b.plain.split(':').pop());
    b.tlsPort = b.tls ? Number(b.tls.split(':').pop()) : undefined;
    b.tcpPort = m[6] ? Number(m[6].split(':').pop()) : undefined;
    b.tcpTlsPort = m[7] ? Number(m[7].split(':').pop()) : undefined;
    b.url = `http://${b.plain}`;
    return b;
  }

  /* The bare process, for starts that are meant to fail. */
  static spawn(args, env) {
    requireBroker();
    return new Proc(BIN, args, { name: 'crier', env: cleanEnv(env) });
  }

  request(method, path, options) {
    return request(this, method, path, options);
  }

  push(body, options = {}) {
    const json = typeof body === 'string' ? body : JSON.stringify(body);
    return this.request('POST', '/api/push', { body: json, ...options });
  }

  /* The sum of a counter over all lines of that name whose labels hold `labels` ("reason=\"low\""). A name that the
   * broker does not have is an error: else "none of it was counted" would be true of any misspelt one. */
  async metric(name, labels = '') {
    const { text } = await this.request('GET', '/metrics');
    const family = name.replace(/_(count|sum)$/, ''); // of a histogram
    if (!text.includes(`# TYPE ${family} `)) throw new Error(`there is no metric ${name}`);
    let sum = 0;
    for (const line of text.split('\n')) {
      const m = /^([a-z_]+)(?:\{([^}]*)\})? (\S+)$/.exec(line);
      if (m && m[1] === name && (m[2] || '').includes(labels)) sum += Number(m[3]);
    }
    return sum;
  }
}
