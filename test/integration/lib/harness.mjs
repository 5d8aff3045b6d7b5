/*
 * harness.mjs - scenario(): a node:test test whose brokers, clients and servers are cleaned up whatever happens, which
 * shows the brokers' logs when it fails, and fails when a broker did not end cleanly.
 */
import { readFileSync, readdirSync } from 'node:fs';
import { after, test } from 'node:test';
import { Broker } from './broker.mjs';
import { Client } from './client.mjs';
import { CORE_ONLY, scaled, until } from './env.mjs';
import { Raw } from './raw.mjs';
import { Redis } from './redis.mjs';
import { Relay } from './relay.mjs';

export { default as assert } from 'node:assert/strict';
export * from './env.mjs';
export { CommandError, RefusedError } from './client.mjs';

let shared; // one redis-server a test file; scenarios differ by prefix
let prefixes = 0;

after(async () => {
  if (shared) await (await shared).stop();
});

function sharedRedis() {
  shared ??= Redis.start();
  return shared;
}

class Context {
  constructor(t) {
    this.t = t;
    this.cleanups = [];
    this.brokers = [];
    this.relays = [];
  }

  defer(fn) {
    this.cleanups.push(fn);
  }

  async broker(options = {}) {
    const b = await Broker.start(options);
    this.brokers.push(b);
    this.defer(async () => {
      if (!b.proc.exited) await b.stop();
      b.checkEnd();
    });
    return b;
  }

  async relay(options) {
    const r = await Relay.start(options);
    this.relays.push(r);
    this.defer(async () => {
      if (!r.proc.exited) await r.stop();
      r.checkEnd();
    });
    return r;
  }

  /* A broker on either store, by its name. */
  async brokerOn(store, options = {}) {
    if (store === 'memory') return this.broker(options);
    const redis = await sharedRedis();
    return this.broker({ redis, prefix: this.newPrefix(), ...options });
  }

  newPrefix() {
    this.prefix = `t${process.pid}x${++prefixes}:`;
    return this.prefix;
  }

  /* The file's own redis-server and a publishing client. */
  async redis() {
    const r = await sharedRedis();
    return { redis: r, backend: await this.backend(r) };
  }

  /* A redis-server that this scenario may kill. */
  async ownRedis(flags, env) {
    const r = await Redis.start(flags, env);
    this.defer(() => r.stop());
    return r;
  }

  async backend(redis) {
    const c = await redis.client();
    this.defer(() => c.disconnect().catch(() => {}));
    return c;
  }

  async client(broker, options = {}) {
    const c = await Client.connect(broker, options);
    this.defer(() => c.terminate());
    return c;
  }

  /* Not waiting for anything: for handshakes that are refused. */
  attempt(broker, options = {}) {
    const c = new Client(broker, options);
    this.defer(() => c.terminate());
    return c;
  }

  async raw(broker, options) {
    const r = await Raw.open(broker, options);
    this.defer(() => r.destroy());
    return r;
  }

  async websocket(broker, path, options) {
    const r = await Raw.websocket(broker, path, options);
    this.defer(() => r.destroy());
    return r;
  }

  async cleanup() {
    const faults = [];
    while (this.cleanups.length) {
      try {
        await this.cleanups.pop()();
      } catch (e) {
        faults.push(e);
      }
    }
    if (faults.length) throw faults[0];
  }

  showLogs() {
    for (const b of [...this.brokers, ...this.relays]) {
      const log = b.log.length > 20000 ? `...${b.log.slice(-20000)}` : b.log;
      console.error(`---- log of ${b instanceof Relay ? b.node : `broker ${b.node}`} (pid ${b.proc.pid})\n${log}----`);
    }
  }
}

/* Stops a process of a test, all of its threads: a signal that was sent is not yet one that was taken. */
export async function freeze(child) {
  child.kill('SIGSTOP');
  const tasks = `/proc/${child.pid}/task`;
  const stopped = (tid) => / T /.test(readFileSync(`${tasks}/${tid}/stat`, 'utf8').replace(/^.*\)/s, ''));
  await until(() => readdirSync(tasks).every(stopped), 'all threads stand still');
}

/* options: core (part of the quick suite), timeout (ms, scaled), skip (a sentence). */
export function scenario(name, options, fn) {
  if (typeof options === 'function') return scenario(name, {}, options);
  if (CORE_ONLY && !options.core) return undefined;
  const timeout = scaled(options.timeout ?? 60000);
  return test(name, { timeout, skip: options.skip }, async (t) => {
    const ctx = new Context(t);
    let fault;
    try {
      await fn(ctx);
    } catch (e) {
      fault = e;
    }
    try {
      await ctx.cleanup();
    } catch (e) {
      fault ??= e;
    }
    if (fault) {
      ctx.showLogs();
      throw fault;
    }
  });
}
