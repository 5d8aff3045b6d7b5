/*
 * redis.mjs - a private redis-server on a free port with a directory of its own; it can be killed -9 and come back with
 * what its append-only file holds.
 */
import { createClient } from 'redis';
import { DEADLINE } from './env.mjs';
import { Proc, freePort, removeDir, tempDir } from './proc.mjs';

export class Redis {
  /* flags: more options of redis-server, or other values; env: its environment, where it is another one. */
  static async start(flags = {}, env = undefined) {
    const r = new Redis();
    r.flags = flags;
    r.env = env;
    r.dir = tempDir('crier-redis-');
    for (let attempt = 0; ; attempt++) {
      r.port = await freePort();
      try {
        await r.up();
        return r;
      } catch (e) {
        if (attempt === 4) throw e;
      }
    }
  }

  async up() {
    const flags = { port: this.port, bind: '127.0.0.1', dir: this.dir, save: '', appendonly: 'yes', appendfsync: 'always', 'enable-debug-command': 'local', ...this.flags };
    const args = Object.entries(flags).flatMap(([k, v]) => [`--${k}`, ...[v].flat().map(String)]);
    this.proc = new Proc('redis-server', args, { name: 'redis-server', ...(this.env && { env: this.env }) });
    await this.proc.expect('stdout', /Ready to accept connections/, DEADLINE);
  }

  get url() {
    return `redis://127.0.0.1:${this.port}`;
  }

  get hostPort() {
    return `127.0.0.1:${this.port}`;
  }

  kill() {
    return this.proc.kill('SIGKILL');
  }

  /* A publishing backend. Reconnects by itself, errors while Redis is away are the test's business. */
  async client() {
    const c = createClient({ url: this.url, disableOfflineQueue: true });
    c.on('error', () => {});
    await c.connect();
    return c;
  }

  async stop() {
    await this.proc.kill('SIGKILL');
    removeDir(this.dir);
  }
}
