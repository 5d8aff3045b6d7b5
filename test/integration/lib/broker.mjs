/*
 * broker.mjs - the real broker as a child process: options in, readiness line out, and the proof at its end that it
 * stopped cleanly and no sanitizer had anything to say.
 */
import { BIN, DEADLINE, requireBroker, scaled } from './env.mjs';
import { request } from './http.mjs';
import { Proc } from './proc.mjs';
import { certificate } from './tls.mjs';

const READY = /^crier ready node=(\S+) plain=(\S+)(?: tls=(\S+))? store=(redis|memory) shards=(\d+)(?: tcp=(\S+))?(?: tcp-tls=(\S+))?\n/m;
const REPORT = /ERROR: (?:Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:|Assertion .* failed/;

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

export class Broker {
  static async start(options = {}) {
    const b = new Broker();
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

  get log() {
    return this.proc.stderr;
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

  /* SIGTERM; resolves with the exit when the broker went cleanly, rejects with the reason when not. */
  async stop(signal = 'SIGTERM') {
    if (!this.proc.exited) this.proc.child.kill(signal);
    let timer;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, scaled(30000), 'late');
    });
    const how = await Promise.race([this.proc.exit, late]);
    clearTimeout(timer);
    if (how === 'late') {
      await this.proc.kill('SIGKILL');
      throw new Error('the broker did not stop within 30 s of SIGTERM');
    }
    this.checkEnd();
    return how;
  }

  checkEnd() {
    if (this.checked) return;
    this.checked = true;
    const { code, signal } = this.proc.result;
    if (this.killed && signal === 'SIGKILL') return;
    const report = REPORT.exec(this.log);
    if (report) throw new Error(`the broker reported: ${report[0]}`);
    if (code !== 0) throw new Error(`the broker ended with code ${code}, signal ${signal}`);
  }

  /* kill -9: a crash on purpose. */
  async crash() {
    this.killed = true;
    await this.proc.kill('SIGKILL');
  }
}
