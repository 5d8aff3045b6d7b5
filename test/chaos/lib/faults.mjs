/*
 * faults.mjs - what is done to the cluster, when, and to whom: all of it decided by the seed before the run starts.
 */
import { Rng, sleep } from './rng.mjs';
import { OURS } from './world.mjs';

/* How often each kind comes, beside the others. */
const KINDS = { 'kill a broker': 8, 'cut a subscription': 7, 'cut a command connection': 6, 'kill redis': 3, 'freeze a broker': 5, 'cut a link': 4 };
const EVENTS_A_MINUTE = 40;
const KILLS = ['kill a broker', 'cut a subscription', 'cut a command connection', 'kill redis', 'fail over'];
const FIRST_MS = 1500;

/* [{at, kind, node, ms}]: some 28 kills a minute, and each kind at least once. */
export function schedule(seed, seconds, nodes, links) {
  const rng = new Rng(seed, 'faults');
  const kinds = Object.fromEntries(Object.entries(KINDS).filter(([k]) => links || k !== 'cut a link'));
  const count = ((seconds * 1000 - FIRST_MS) / 60000) * EVENTS_A_MINUTE;
  const whole = Object.values(kinds).reduce((x, y) => x + y, 0);
  const bag = Object.entries(kinds).flatMap(([k, w]) => Array(Math.max(1, Math.round((count * w) / whole))).fill(k));
  for (let i = bag.length - 1; i > 0; i--) {
    const j = rng.int(0, i);
    [bag[i], bag[j]] = [bag[j], bag[i]];
  }
  const step = (seconds * 1000 - FIRST_MS) / bag.length;
  return bag.map((kind, i) => ({ at: Math.round(FIRST_MS + step * (i + rng.next() * 0.8)), kind, node: rng.int(0, nodes - 1), ms: duration(rng, kind) }));
}

function duration(rng, kind) {
  if (kind === 'freeze a broker') return rng.int(1000, 5000);
  if (kind === 'cut a link') return rng.int(500, 5000);
  return rng.int(100, 1500);
}

export class Faults {
  constructor(world, plan) {
    Object.assign(this, { world, plan });
    this.done = {};
    this.busy = new Set(); // nodes something is being done to
    this.running = new Set();
  }

  get kills() {
    return KILLS.reduce((sum, k) => sum + (this.done[k] || 0), 0);
  }

  /* Another node, where this one is down already. */
  #free(i) {
    const { nodes } = this.world;
    for (let k = 0; k < nodes.length; k++) {
      const n = nodes[(i + k) % nodes.length];
      if (!this.busy.has(n)) return n;
    }
    return undefined;
  }

  async run() {
    const start = Date.now();
    for (const f of this.plan) {
      await sleep(Math.max(0, start + f.at - Date.now()));
      const p = this.#one(f).catch((e) => this.world.fault(`the fault "${f.kind}" could not be done: ${e.message}`));
      this.running.add(p);
      p.finally(() => this.running.delete(p));
    }
    await Promise.all(this.running);
  }

  async #one(f) {
    if (f.kind === 'kill redis') return this.#redis(f);
    if (f.kind.endsWith('subscription') || f.kind.endsWith('connection')) return this.#cutConnection(f);
    const node = this.#free(f.node);
    if (!node) return undefined;
    this.busy.add(node);
    this.done[f.kind] = (this.done[f.kind] || 0) + 1;
    this.world.note(`${f.kind}: ${node.name}, ${f.ms} ms`);
    try {
      if (f.kind === 'kill a broker') await this.#kill(node, f.ms);
      else if (f.kind === 'freeze a broker') await this.#freeze(node, f.ms);
      else await this.#link(node, f.ms);
    } finally {
      this.busy.delete(node);
    }
    return undefined;
  }

  async #kill(node, ms) {
    await node.down();
    await sleep(ms);
    await node.up();
  }

  async #freeze(node, ms) {
    node.disturbed();
    if (ms > 2000) node.ends.push(Date.now());
    node.proc.child.kill('SIGSTOP');
    await sleep(ms);
    node.disturbed();
    node.proc.child.kill('SIGCONT');
  }

  async #link(node, ms) {
    node.disturbed();
    if (ms > 2000) node.ends.push(Date.now());
    node.link.set(false);
    await sleep(ms);
    node.link.set(true);
    node.cutOff();
  }

  async #redis(f) {
    const { world } = this;
    if (this.redisBusy) return;
    this.redisBusy = true;
    const kind = world.failover ? 'fail over' : f.kind;
    this.done[kind] = (this.done[kind] || 0) + 1;
    world.note(`${kind}, ${f.ms} ms`);
    world.nodes.forEach((n) => n.disturbed());
    await world.crashRedis(f.ms);
    world.nodes.forEach((n) => n.disturbed());
    this.redisBusy = false;
  }

  async #cutConnection(f) {
    const { world } = this;
    const subscriptions = f.kind === 'cut a subscription';
    let list;
    try {
      list = await world.redisCall(['CLIENT', 'LIST']);
    } catch {
      return; // Redis is away: its connections are gone already
    }
    const found = list
      .split('\n')
      .filter((l) => l.includes('id=') && !l.includes(` name=${OURS} `))
      .filter((l) => (/ psub=(\d+)/.exec(l)?.[1] !== '0') === subscriptions);
    if (!found.length) return;
    const line = found[f.node % found.length];
    const addr = / addr=([^ ]*):\d+/.exec(line)[1];
    const hit = world.nodes.filter((n) => !n.link || n.host === addr);
    if (subscriptions) hit.forEach((n) => n.disturbed());
    await world.redisCall(['CLIENT', 'KILL', 'ID', /id=(\d+)/.exec(line)[1]]).catch(() => {});
    this.done[f.kind] = (this.done[f.kind] || 0) + 1;
    world.note(`${f.kind}: ${hit.map((n) => n.name).join(' or ')}`);
  }
}
