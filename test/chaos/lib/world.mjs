/*
 * world.mjs - one real redis-server and the brokers, each in its own process and, where that is allowed, in a network
 * namespace of its own whose link can be cut. Remembers from when to when each node surely heard what was published.
 */
import { execFileSync } from 'node:child_process';
import { appendFileSync, mkdirSync, readdirSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { BIN, until } from '../../integration/lib/env.mjs';
import { Proc } from '../../integration/lib/proc.mjs';
import { Redis } from '../../integration/lib/redis.mjs';
import { SECRET } from '../../integration/lib/tokens.mjs';
import { sleep } from './rng.mjs';

const { createClient } = createRequire(new URL('../../integration/package.json', import.meta.url))('redis');
const READY = /^crier ready node=(\S+) plain=\S+?:(\d+) .*tcp=\S+?:(\d+)/m;
export const API_KEY = 'an-api-key-of-the-chaos-test';
export const OURS = 'the-test';
const POLL_MS = 150;
const SETTLE_MS = 300;
const WINDOW_MS = 10000; // ingest nodes keep what others own for so long
/* The broker probes its subscription every second and says how long ago a probe came back. */
const PROBE_MS = 1500;

const ip = (...args) => execFileSync('ip', args, { stdio: 'pipe' });

/* A namespace with one link to this one: 10.<net>.<i>.1 here, 10.<net>.<i>.2 there. */
class Link {
  static supported() {
    if (process.getuid?.() !== 0) return 'needs root';
    const l = new Link(250, 250);
    try {
      l.make();
      return true;
    } catch (e) {
      return String(e.stderr || e.message).trim().split('\n')[0];
    } finally {
      l.remove();
    }
  }

  constructor(net, i) {
    this.ns = `crier-${process.pid}-${i}`;
    this.dev = `cr${process.pid % 100000}x${i}`;
    this.here = `10.${net}.${i}.1`;
    this.there = `10.${net}.${i}.2`;
  }

  make() {
    ip('netns', 'add', this.ns);
    ip('link', 'add', this.dev, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', this.ns);
    ip('addr', 'add', `${this.here}/30`, 'dev', this.dev);
    ip('link', 'set', this.dev, 'up');
    ip('-n', this.ns, 'addr', 'add', `${this.there}/30`, 'dev', 'eth0');
    ip('-n', this.ns, 'link', 'set', 'eth0', 'up');
    ip('-n', this.ns, 'link', 'set', 'lo', 'up');
  }

  set(up) {
    ip('link', 'set', this.dev, up ? 'up' : 'down');
  }

  remove() {
    for (const args of [['link', 'del', this.dev], ['netns', 'del', this.ns]]) {
      try {
        ip(...args);
      } catch {
        /* it was not there */
      }
    }
  }
}

export class Node {
  constructor(world, index, link) {
    this.world = world;
    this.index = index;
    this.name = `n${index}`;
    this.link = link;
    this.host = link ? link.there : '127.0.0.1';
    this.heard = []; // [from, to]: it was a reader, /readyz was green, and nothing was done to the node
    this.ends = []; // when it was killed, or frozen for so long that the others take it for dead
    this.starts = 0;
  }

  /* Starts the process and waits for its line. */
  async up() {
    const { world, link } = this;
    const redis = `redis://${link ? link.here : '127.0.0.1'}:${world.redis.port}`;
    const args = ['--listen', `${this.host}:0`, '--tcp-listen', `${this.host}:0`, '--shards', '2', '--node', this.name, '--redis', redis, '--prefix', world.prefix];
    args.push('--jwt-key', `HS256:${SECRET}`, '--api-key', API_KEY, '--drain-timeout', '1s', ...world.brokerArgs);
    const env = Object.fromEntries(Object.entries(process.env).filter(([k]) => !k.startsWith('CRIER_')));
    this.proc = link ? new Proc('ip', ['netns', 'exec', link.ns, BIN, ...args], { name: this.name, env }) : new Proc(BIN, args, { name: this.name, env });
    const { proc } = this;
    this.starts++;
    const file = join(world.logs, `${this.name}.log`);
    appendFileSync(file, `==== start ${this.starts} of ${this.name}, pid ${proc.pid}, at ${world.clock()} ms\n`);
    proc.child.stderr.on('data', (text) => appendFileSync(file, text));
    const [, full, port, tcpPort] = await proc.expect('stdout', READY, 20000);
    this.full = full;
    this.port = Number(port);
    this.tcpPort = Number(tcpPort);
    this.running = true;
    this.stalled = false;
  }

  /* kill -9. */
  async down() {
    this.running = false;
    this.disturbed();
    this.ends.push(Date.now());
    this.proc.expected = true;
    await this.proc.kill('SIGKILL');
  }

  /* Nothing heard from here on is sure to be heard, until /readyz is seen green again. */
  disturbed() {
    const now = Date.now();
    this.quietSince = now;
    if (this.since) this.heard.push([this.since, now]);
    this.since = undefined;
  }

  /* Did it surely hear what was published between t0 and t1, and did it live on for `ms`? */
  heardFor(t0, t1, ms, settle) {
    const spans = this.since ? [...this.heard, [this.since, Infinity]] : this.heard;
    return spans.some(([from, to]) => from <= t0 && t1 + settle <= to) && !this.ends.some((t) => t >= t0 && t <= t1 + ms);
  }

  /* Its link was cut: TCP may take seconds more until it tries again, so its subscription has to be seen to deliver. */
  cutOff() {
    this.disturbed();
    this.stalled = true;
  }

  /* A probe came back after `time`: what the metric says is at most a second old. */
  async #delivers(asked, time) {
    if (asked < time + PROBE_MS + 1100) return false;
    const age = /^crier_redis_probe_age_milliseconds\S* (\d+)/m.exec((await httpGet(this, '/metrics', 1000)).text)?.[1];
    return age !== undefined && Number(age) < PROBE_MS;
  }

  async #poll() {
    const asked = Date.now();
    const quiet = this.quietSince || 0;
    const reads = await this.world.readers();
    const good = this.running && reads.some((r) => r === this.full || r.startsWith(`${this.full}-`)) && (await httpGet(this, '/readyz', 1000)).status === 200;
    if (good && this.stalled && (await this.#delivers(asked, quiet)) && this.quietSince === quiet) this.stalled = false;
    if (good && !this.since && !this.stalled && this.quietSince === (quiet || undefined) && asked > quiet + SETTLE_MS) this.since = asked;
    if (!good && this.since) this.disturbed();
    this.ready = good;
  }

  async watch() {
    while (!this.world.over) {
      await this.#poll();
      await sleep(POLL_MS);
    }
  }
}

/* {status: 0} where there is no answer. */
export function httpGet(node, path, timeout) {
  return new Promise((resolve) => {
    const req = http.get({ host: node.host, port: node.port, path, timeout, agent: false, headers: { authorization: `Bearer ${API_KEY}` } }, (res) => {
      let text = '';
      res.setEncoding('utf8');
      res.on('data', (d) => {
        text += d;
      });
      res.on('end', () => resolve({ status: res.statusCode, text }));
      res.on('error', () => resolve({ status: 0, text: '' }));
    });
    req.on('timeout', () => req.destroy());
    req.on('error', () => resolve({ status: 0, text: '' }));
    req.on('close', () => resolve({ status: 0, text: '' }));
  });
}

export class World {
  /* options: nodeCount, seed, logs (folder), cap, brokerArgs, links (use namespaces if possible), fsync, failover. */
  constructor(options) {
    Object.assign(this, options);
    this.prefix = 'chaos:';
    this.t0 = Date.now();
    this.nodes = [];
    this.lost = [];
    mkdirSync(this.logs, { recursive: true });
  }

  /* Milliseconds since the start. */
  clock(t = Date.now()) {
    return t - this.t0;
  }

  note(text) {
    const line = `${String(this.clock()).padStart(7)} ms  ${text}`;
    (this.history ||= []).push(line);
    if (process.env.VERBOSE) console.log(`# ${line}`);
  }

  async start(prepare) {
    this.linksWhy = this.links ? Link.supported() : 'not asked for';
    const net = 100 + (process.pid % 100);
    const links = this.linksWhy === true ? Array.from({ length: this.nodeCount }, (_, i) => new Link(net, i)) : [];
    process.on('exit', () => links.forEach((l) => l.remove()));
    links.forEach((l) => l.make());
    this.redis = await Redis.start({ bind: ['127.0.0.1', ...links.map((l) => l.here)], 'protected-mode': 'no', appendfsync: this.fsync });
    if (this.failover) this.replica = await this.#newReplica();
    else if (this.fsync !== 'always') this.sampler = this.#sample();
    this.control = await this.client();
    await prepare?.(this);
    this.nodes = Array.from({ length: this.nodeCount }, (_, i) => new Node(this, i, links[i]));
    await Promise.all(this.nodes.map((n) => n.up()));
    this.watches = this.nodes.map((n) => n.watch());
    await until(() => this.nodes.every((n) => n.ready), 'all brokers are ready', 20000);
  }

  /* A Redis connection of the test, that faults leave alone. */
  async client() {
    const socket = { reconnectStrategy: () => 50, connectTimeout: 2000 };
    const c = createClient({ url: this.redis.url, name: OURS, disableOfflineQueue: true, socket });
    c.on('error', () => {});
    await c.connect();
    return c;
  }

  async redisCall(args) {
    return this.control.sendCommand(args.map(String));
  }

  /* The nodes that read what is published to users, by the last marker. */
  async readers() {
    const names = await this.redisCall(['HGET', `${this.prefix}{c}:mark`, 'nodes']).catch(() => '');
    return (names || '').split(' ');
  }

  /* The append-only file that grows now, and its size. */
  #aof() {
    const dir = join(this.redis.dir, 'appendonlydir');
    const name = readdirSync(dir).find((f) => f.endsWith('.incr.aof'));
    return { path: join(dir, name), size: statSync(join(dir, name)).size };
  }

  /* With appendfsync everysec a machine that dies loses up to a second. Killing the process alone does not show that, so
   * the file's size is written down now and then, and its end is cut off after the kill. */
  async #sample() {
    this.sizes = [];
    while (!this.over) {
      if (!this.redis.proc.exited) this.sizes.push({ at: Date.now(), size: this.#aof().size });
      if (this.sizes.length > 40) this.sizes.shift();
      await sleep(50);
    }
  }

  /* kill -9 of Redis, which is away for `ms`. */
  async crashRedis(ms) {
    if (this.replica) {
      await this.#failOver(ms);
      return;
    }
    await this.redis.kill();
    if (this.fsync !== 'always') this.#loseTail();
    await sleep(ms);
    await this.redis.up();
  }

  /* What was written within [from, to] may be gone. */
  #loseTail() {
    const now = Date.now();
    const last = this.sizes.filter((s) => s.at > now - 1000)[0];
    if (!last) return;
    truncateSync(this.#aof().path, last.size);
    this.lost.push({ from: last.at - 100, to: now });
    this.note(`the last ${now - last.at} ms of the append-only file are gone`);
  }

  /* A replica that stopped hearing `lag` ms ago takes the master's place, at its address. */
  async #failOver(lag) {
    const old = this.redis;
    const { replica } = this;
    const say = async (...args) => {
      const c = await replica.client();
      try {
        return await c.sendCommand(args);
      } finally {
        await c.disconnect();
      }
    };
    await until(async () => (await say('INFO', 'replication')).includes('master_link_status:up'), 'the replica has caught up', 20000);
    const from = Date.now() - 100;
    await say('REPLICAOF', 'NO', 'ONE');
    await sleep(lag);
    await old.stop();
    await say('CONFIG', 'SET', 'port', String(old.port));
    this.lost.push({ from, to: Date.now() });
    this.note(`a replica took over that lacks the last ${Date.now() - from - 100} ms`);
    replica.port = old.port;
    this.redis = replica;
    this.replica = await this.#newReplica();
  }

  #newReplica() {
    return Redis.start({ bind: this.redis.flags.bind, 'protected-mode': 'no', appendfsync: this.fsync, replicaof: ['127.0.0.1', this.redis.port] });
  }

  /* Can Redis lose anything in this run? */
  get lossy() {
    return this.fsync !== 'always' || Boolean(this.failover);
  }

  /* Was it under way, just answered, or just stored (seqs are microseconds) when Redis lost its last second, or its
   * replica lacked the last that it did? */
  perhapsLost(e, seqs = []) {
    return this.lost.some((l) => (e.t0 <= l.to && (e.t1 ?? Infinity) >= l.from) || seqs.some((q) => q / 1000 >= l.from && q / 1000 <= l.to));
  }

  /* A bare PUBLISH whose claim Redis may have lost: another node stores it once more. */
  perhapsTwice(e) {
    return e?.via.startsWith('publish') && this.lost.some((l) => e.t0 <= l.to && e.t0 >= l.from - WINDOW_MS);
  }

  async stop() {
    this.over = true;
    await Promise.all([...(this.watches || []), this.sampler]);
    for (const n of this.nodes) {
      n.proc.child.kill('SIGCONT');
      await n.proc.kill('SIGKILL');
    }
    await this.control?.disconnect().catch(() => {});
    await this.redis?.stop();
    await this.replica?.stop();
    this.nodes.forEach((n) => n.link?.remove());
  }

  write(name, text) {
    const path = join(this.logs, name);
    writeFileSync(path, text);
    return path;
  }
}
