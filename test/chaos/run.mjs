/*
 * run.mjs - the chaos test: three brokers, one redis-server, some 200 devices, publishers of all kinds, and a schedule
 * of faults made from a seed. Afterwards every device's log is compared with what was accepted.
 *
 *   SECONDS=40 SEED=1 node test/chaos/run.mjs
 *   BREAK=fetch: with a rule of store/crier.lua left out (lib/broken.mjs): this run has to be red
 *   FSYNC=everysec: Redis comes back without its last second; what was accepted then may be gone, nothing else
 *   FAILOVER=yes: instead of coming back, Redis is replaced by a replica that lags behind
 *   LINKS=no: no network namespaces   DEVICES, USERS: how many   LOGS: a folder   VERBOSE=1: the faults as they happen
 *
 * Prints a line for each promise in TAP, and exits with 0 when all of them held.
 */
import { join, resolve } from 'node:path';
import { tmpdir } from 'node:os';
import { mkdtempSync, rmSync } from 'node:fs';
import { requireBroker, scaled, until } from '../integration/lib/env.mjs';
import { brokenLibrary, noticed } from './lib/broken.mjs';
import { Device } from './lib/device.mjs';
import { Faults, schedule } from './lib/faults.mjs';
import { Book, ByApi, ByClient, ByFunction, ByPublish, Flooder, PublishToHistory, ToHistory, ToRooms } from './lib/publishers.mjs';
import { Rng, sleep } from './lib/rng.mjs';
import * as verify from './lib/verify.mjs';
import { World } from './lib/world.mjs';

const number = (name, otherwise) => Number(process.env[name] || otherwise);
const SECONDS = number('SECONDS', 40);
const SEED = process.env.SEED || '1';
const USERS = number('USERS', 60);
const DEVICES = number('DEVICES', 200);
const FLOODED = 4;
const CAP = 300;
const HISTORY = 200;
const NODES = 3;
const KILLS_A_MINUTE = 20;
const PRESENCE_MS = 5000;

requireBroker();
const logs = process.env.LOGS ? resolve(process.env.LOGS) : mkdtempSync(join(tmpdir(), 'crier-chaos-'));
const world = new World({
  seed: SEED,
  logs,
  cap: CAP,
  nodeCount: NODES,
  links: process.env.LINKS !== 'no',
  fsync: process.env.FSYNC || 'always',
  failover: process.env.FAILOVER === 'yes',
  brokerArgs: ['--inbox-cap', String(CAP), '--window', '32', '--ping-interval', '5s', '--idle-timeout', '15s', '--room-history', `hist/*:${HISTORY}:1h`, '--presence', 'hist/*'],
});
const oddities = [];
world.fault = (text) => oddities.length < 50 && oddities.push(`${world.clock()} ms: ${text}`);

const book = new Book();
const results = [];
/* One promise: what is wrong, and what was looked at. */
function promise(name, bad, detail) {
  results.push({ name, bad });
  console.log(`${bad.length ? 'not ok' : 'ok'} ${results.length} - ${name}${detail ? `: ${detail}` : ''}`);
  for (const b of bad.slice(0, 8)) console.log(`#   ${b}`);
  if (bad.length > 8) console.log(`#   and ${bad.length - 8} more`);
}

function makeDevices() {
  const rng = new Rng(SEED, 'crowd');
  const devices = [];
  for (let i = 0; i < DEVICES; i++) {
    const flood = i < FLOODED * 2;
    const user = flood ? `flood${i % FLOODED}` : `u${i < USERS * 2 ? i % USERS : rng.int(0, USERS - 1)}`;
    const rooms = rng.chance(0.5) ? [`u${rng.int(0, 9)}`] : [];
    devices.push(new Device(world, user, `d${i}`, { flood, polls: i % 10 === 0, place: rng.chance(0.3) ? `hist/${rng.int(0, 3)}` : undefined, guest: !flood && rng.chance(0.1), rooms }));
  }
  return devices;
}

function makePublishers() {
  const users = Array.from({ length: USERS }, (_, i) => `u${i}`);
  const flooded = Array.from({ length: FLOODED }, (_, i) => `flood${i}`);
  const list = [new Flooder(world, book, 'flood', flooded, 0), new ToRooms(world, book, 'rooms', users.slice(0, 10), 60)];
  const histories = Array.from({ length: 4 }, (_, i) => `hist/${i}`);
  list.push(new ToHistory(world, book, 'hist', histories, 80), new PublishToHistory(world, book, 'phist', histories, 120));
  for (let i = 0; i < 4; i++) {
    list.push(new ByFunction(world, book, `fn${i}`, users, 40), new ByApi(world, book, `api${i}`, users, 40));
    if (i < 3) list.push(new ByPublish(world, book, `pub${i}`, users, 50), new ByClient(world, book, `cl${i}`, users, 60));
  }
  return list;
}

async function inWaves(list, n, fn) {
  for (let i = 0; i < list.length; i += n) await Promise.all(list.slice(i, i + n).map(fn));
}

async function storm(devices, plan) {
  const publishers = makePublishers();
  const faults = new Faults(world, plan);
  await inWaves(devices, 50, (d) => d.settle());
  world.note('all devices are connected; publishing starts');
  const lives = devices.map((d) => d.roam());
  const sending = publishers.map((p) => p.run());
  await faults.run();
  world.quiet = true;
  world.note('no more faults; what is not accepted yet is repeated');
  await Promise.all(sending);
  world.calm = true;
  world.note('nothing more is published; all devices come back');
  await Promise.all(lives);
  publishers.forEach((p) => p.wire?.cut());
  await inWaves(devices, 50, (d) => d.settle());
  return faults;
}

/* Rooms and everybody, now that nothing is broken: each member once. */
async function roomsWork(devices) {
  const bad = [];
  for (const d of devices.filter((x) => !['sse', 'poll'].includes(x.conn.kind))) for (const room of d.options.rooms) d.conn.wire.write({ type: 'subscribe', room, ref: 'again' });
  await sleep(500);
  for (let r = 0; r < 10; r++) await world.redisCall(['PUBLISH', `${world.prefix}room:u${r}`, JSON.stringify({ data: { t: `calm-u${r}` } })]);
  await world.redisCall(['PUBLISH', `${world.prefix}all`, JSON.stringify({ data: { t: 'calm-all' } })]);
  const wants = (d) => ['calm-all', ...(d.conn.kind === 'poll' ? [] : d.options.rooms.map((r) => `calm-${r}`))];
  await until(() => devices.every((d) => wants(d).every((t) => d.rooms.has(t))), 'all members have it', scaled(8000)).catch(() => {});
  for (const d of devices) for (const t of wants(d)) if (d.rooms.get(t)?.length !== 1) bad.push(`${d.user}/${d.name} on ${d.on} by ${d.conn?.kind}: ${t} came ${d.rooms.get(t)?.length || 0} times`);
  return bad;
}

/* What Redis had acknowledged and has no more, as far as nobody had got it. */
function tellLoss(devices) {
  if (!world.lossy) return;
  const places = devices.filter((d) => d.place).map((d) => d.place);
  const { seqs } = verify.seqsSeen([...devices, ...places]);
  const kept = [...book.entries.values()].filter((e) => e.state === 'accepted' && ['stored', 'large'].includes(e.kind));
  const then = kept.filter((e) => world.perhapsLost(e, e.seq ? [e.seq] : []));
  const ms = world.lost.reduce((sum, l) => sum + l.to - l.from, 0);
  console.log(`# Redis lost ${world.lost.length} times what it had done last, ${ms} ms in all; accepted then: ${then.length} of ${kept.length}; came to nobody: ${then.filter((e) => !seqs.has(e.token)).length}`);
}

async function presenceWithin(devices, ms) {
  let last = { bad: ['not looked at'] };
  const t0 = Date.now();
  await until(
    async () => {
      last = await verify.presence(world, devices);
      last.bad.push(...verify.roomPresence(devices).bad);
      return last.bad.length === 0;
    },
    'presence',
    scaled(ms),
  ).catch(() => {});
  return { bad: last.bad, ms: Date.now() - t0 };
}

/* What is delivered, compared; waits for the last of it first. */
async function checkDelivery(devices) {
  await until(() => verify.missing(world, book, devices).bad.length === 0, 'everything has come', scaled(20000)).catch(() => {});
  const m = verify.missing(world, book, devices);
  promise('nothing that was accepted is missing', m.bad, `${m.checked} deliveries owed to ${devices.length} devices`);
  promise('a gap is told only where the inbox was full', m.badGaps, `${m.dropped} dropped by the cap of ${CAP} and told`);
  const dd = verify.doubles(world, book, devices);
  promise('nothing stored comes twice', dd.bad, `${devices.reduce((s, d) => s + d.log.length, 0)} taken, ${devices.reduce((s, d) => s + d.counts.again, 0)} sent again and recognised by their seq`);
  const o = verify.order(world, book, devices);
  promise('stored messages come in order', o.bad, `${o.checked} in their publishers' order, every connection in seq order`);
  const p = verify.published(world, book, devices);
  promise('bare PUBLISH is missing only where no surviving node heard it', p.bad, `${p.all} published, ${p.sure} surely heard, ${p.lost} lost`);
  const places = devices.filter((d) => d.place).map((d) => d.place);
  await until(() => verify.missing(world, book, places, HISTORY).bad.length === 0, 'everything has come to the rooms', scaled(10000)).catch(() => {});
  const h = verify.missing(world, book, places, HISTORY);
  const hd = verify.doubles(world, book, places);
  const hp = verify.published(world, book, places);
  const count = (k) => places.reduce((s, x) => s + x.counts[k], 0);
  promise('rooms with history lose nothing, double nothing, keep the order', [...h.bad, ...hd.bad, ...hp.bad, ...verify.order(world, book, places).bad.filter((t) => t.includes(': seq '))], `${h.checked} owed to ${places.length} members, ${count('recovered')} recovered; bare: ${hp.all} published, ${hp.lost} lost`);
  promise('a member is told that it could not recover only where the room had let go', h.badGaps, `${count('holes')} told, ${h.dropped} messages`);
  const l = verify.liveTwice(world, book, devices);
  promise('live-only messages come at most once', l.bad, `${l.came} came, ${l.moved} of them again on another connection`);
  promise('nobody gets what is not theirs, and no odd answers', [...verify.strangers(devices).bad, ...oddities]);
}

async function checkPresence(devices) {
  const first = await presenceWithin(devices, PRESENCE_MS);
  promise('presence is exact within 5 s', first.bad, `after ${first.ms} ms`);
  for (const d of devices) if (world.rng.chance(0.5)) d.leave(world.rng.chance(0.5));
  const half = await presenceWithin(devices, PRESENCE_MS);
  if (!world.lossy) promise('a watcher of a room hears of each join and leave once', verify.edges(devices).bad);
  promise('presence is exact after half of the devices left', half.bad, `after ${half.ms} ms`);
  const victim = world.nodes[0];
  const gone = devices.filter((d) => d.conn?.node === victim);
  await victim.down();
  gone.forEach((d) => d.leave());
  const dead = await presenceWithin(devices, PRESENCE_MS);
  promise('presence is exact within 5 s of the death of a node', dead.bad, `after ${dead.ms} ms`);
  await victim.up();
  await until(() => victim.ready, 'the broker is ready again', scaled(10000));
}

async function checkInboxes(devices) {
  await inWaves(devices, 50, (d) => (d.conn?.wire.acks && d.conn.code === undefined ? d.conn : d.settle('ws-json')));
  const deadline = Date.now() + scaled(15000);
  let left;
  do {
    devices.forEach((d) => d.ack());
    await sleep(500);
    left = await verify.leftovers(world);
  } while (left.bad.length && Date.now() < deadline);
  promise('the inboxes are empty after the acks of all devices', left.bad);
}

/* When all is delivered and acknowledged the ledger has to say so, of each message and device. */
async function checkLedger(devices) {
  const l = await verify.ledger(world, book, devices);
  promise('the ledger says of each tracked message what the devices say', l.bad, `${l.all} tracked`);
}

async function checkBrokers() {
  const bad = [];
  for (const n of world.nodes) {
    if (n.proc.exited) {
      bad.push(`${n.name} ended by itself: ${JSON.stringify(n.proc.result)}, see ${join(logs, `${n.name}.log`)}`);
      continue;
    }
    n.proc.child.kill('SIGTERM');
    await Promise.race([n.proc.exit, sleep(scaled(15000))]);
    if (!n.proc.exited || n.proc.result.code !== 0) bad.push(`${n.name} did not end cleanly: ${JSON.stringify(n.proc.result)}`);
    if (/ERROR: (?:Address|Leak)Sanitizer|WARNING: ThreadSanitizer|runtime error:/.test(n.proc.stderr)) bad.push(`${n.name}: a sanitizer reported, see ${join(logs, `${n.name}.log`)}`);
  }
  promise('no broker crashed, and all of them end when asked to', bad);
}

function save(devices, plan) {
  const path = world.write('run.json', JSON.stringify({ seed: SEED, seconds: SECONDS, plan, history: world.history, results, nodes: world.nodes.map((n) => ({ name: n.name, heard: n.heard.map((h) => h.map((t) => world.clock(t))), ends: n.ends.map((t) => world.clock(t)) })) }, null, 1));
  const book_ = world.write('accepted.json', JSON.stringify([...book.entries.values()].map((e) => ({ ...e, t0: world.clock(e.t0), t1: world.clock(e.t1) }))));
  const logs_ = world.write('devices.json', JSON.stringify(devices.map((d) => ({ user: d.user, name: d.name, base: d.base, last: d.last, gaps: d.gaps, counts: d.counts, log: d.log }))));
  console.log(`# seed ${SEED}; schedule and results: ${path}; what was accepted: ${book_}; what the devices got: ${logs_}; the brokers' logs: ${logs}/n*.log`);
}

function transports(devices) {
  const sum = {};
  for (const d of devices) for (const [k, n] of Object.entries(d.counts.transports)) sum[k] = (sum[k] || 0) + n;
  return Object.entries(sum).map(([k, n]) => `${n} ${k}`).join(', ');
}

function tally() {
  const counts = new Map();
  for (const e of book.entries.values()) counts.set(`${e.via} ${e.state}`, (counts.get(`${e.via} ${e.state}`) || 0) + 1);
  return [...counts];
}

async function main() {
  const rule = process.env.BREAK;
  await world.start(rule ? (w) => w.redisCall(['FUNCTION', 'LOAD', brokenLibrary(rule)]) : undefined);
  world.rng = new Rng(SEED, 'world');
  const links = world.linksWhy === true;
  console.log(`# chaos: SEED=${SEED} SECONDS=${SECONDS}, ${NODES} brokers, ${DEVICES} devices of ${USERS + FLOODED} users${rule ? `, BREAK=${rule}` : ''}${world.fsync === 'always' ? '' : `, FSYNC=${world.fsync}`}${world.failover ? ', FAILOVER=yes' : ''}`);
  if (!links) console.log(`# links are not cut: ${world.linksWhy}`);
  const plan = schedule(SEED, SECONDS, NODES, links);
  const devices = makeDevices();
  const faults = await storm(devices, plan);
  const minutes = SECONDS / 60;
  console.log(`# faults: ${Object.entries(faults.done).map(([k, n]) => `${n} x ${k}`).join(', ')}`);
  console.log(`# published: ${tally().map(([k, n]) => `${n} ${k}`).join(', ')}`);
  console.log(`# connections: ${transports(devices)}`);
  promise('faults came thick enough', faults.kills < KILLS_A_MINUTE * minutes ? [`${faults.kills} kills in ${SECONDS} s`] : [], `${faults.kills} kills in ${SECONDS} s`);
  await checkDelivery(devices);
  tellLoss(devices);
  promise('rooms and everybody are heard again, once', await roomsWork(devices));
  await checkPresence(devices);
  await checkInboxes(devices);
  await checkLedger(devices);
  await checkBrokers();
  const failed = results.filter((r) => r.bad.length).length;
  if (failed || process.env.LOGS) save(devices, plan);
  else rmSync(logs, { recursive: true });
  console.log(`# pass ${results.length - failed}\n# fail ${failed}\n# skipped 0`);
  if (rule) console.log(noticed(rule, results) ? `# BREAK=${rule} was noticed` : `# BREAK=${rule} was NOT noticed`);
  await world.stop();
  return failed ? 1 : 0;
}

main().then(
  (code) => process.exit(code),
  async (e) => {
    console.log(`not ok ${results.length + 1} - the test could not be carried out: ${e.stack}\n# fail 1`);
    await world.stop().catch(() => {});
    process.exit(2);
  },
);
