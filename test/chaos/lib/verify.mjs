/*
 * verify.mjs - compares each device's log with what was accepted. Each function returns {bad: [sentence], ...} where an
 * empty `bad` means that the promise held.
 */
import { createHash } from 'node:crypto';
import { httpGet } from './world.mjs';

const part = (user) => createHash('sha1').update(user).digest('hex').slice(0, 2);
export const key = (world, kind, user) => `${world.prefix}{${part(user)}}:${kind}:${user}`;

/* How long after a bare PUBLISH a node that heard it has to live for the others' share to be sure, and how long what was
 * published needs to be read. */
const SURVIVE_MS = 12000;
const READ_MS = 700;

/* token -> seq, from the devices' logs; a token that has two was stored twice. all: token -> [seq], for questions of when
 * it was stored. */
export function seqsSeen(devices) {
  const seqs = new Map();
  const twice = new Map();
  const all = new Map();
  for (const d of devices) {
    for (const { token, seq } of d.log) {
      const before = seqs.get(token);
      if (!all.has(token)) all.set(token, []);
      if (before !== seq) all.get(token).push(seq);
      if (before === undefined) seqs.set(token, seq);
      else if (before !== seq) twice.set(token, [before, seq]);
    }
  }
  return { seqs, twice, all };
}

const storable = (e) => e.kind !== 'live';
const keepable = (e) => e.kind === 'stored' || e.kind === 'large';

/* What each user's devices must have: entries with their seq. */
function owed(book, seen) {
  const users = new Map();
  for (const e of book.entries.values()) {
    const seq = e.seq || seen.seqs.get(e.token);
    if (!storable(e) || !seq) continue;
    if (!users.has(e.user)) users.set(e.user, []);
    users.get(e.user).push({ e, seq });
  }
  for (const list of users.values()) list.sort((a, b) => a.seq - b.seq);
  return users;
}

/* Accepted, after the device's beginning, in no log and in no gap; and gaps where the inbox had room. */
export function missing(world, book, devices, cap = world.cap) {
  const seen = seqsSeen(devices);
  const users = owed(book, seen);
  const maybes = new Map(); // never answered and never seen: they may have taken room in the inbox
  for (const e of book.entries.values()) if (!e.seq && !seen.seqs.has(e.token) && storable(e)) maybes.set(e.user, (maybes.get(e.user) || 0) + 1);
  const bad = [];
  const badGaps = [];
  let checked = 0;
  let dropped = 0;
  for (const d of devices) {
    const has = new Set(d.log.map((l) => l.token));
    const list = users.get(d.user) || [];
    const unsure = maybes.get(d.user) || 0;
    for (const [i, { e, seq }] of list.entries()) {
      if (d.base === undefined || seq <= d.base || !keepable(e) || world.perhapsLost(e, [seq])) continue;
      checked++;
      if (has.has(e.token)) continue;
      const gap = d.gaps.find((g) => g.from <= seq && seq <= g.to);
      const newer = list.length - 1 - i + unsure;
      if (gap && newer >= cap) dropped++;
      else if (gap) badGaps.push(`${d.user}/${d.name}: told of a gap ${gap.from}-${gap.to} that holds ${e.token} (${seq}), with ${newer} newer ones and room for ${cap}`);
      else bad.push(`${d.user}/${d.name}: ${e.token} by ${e.via} (${e.state}, seq ${seq}, at ${world.clock(e.t0)}-${world.clock(e.t1)} ms, ${e.tries} tries) is missing; base ${d.base}, last ${d.last}`);
    }
  }
  return { bad, badGaps, checked, dropped };
}

export function doubles(world, book, devices) {
  const bad = [];
  const seen = seqsSeen(devices);
  const excused = (token) => world.perhapsLost(book.entries.get(token), seen.all.get(token)) || world.perhapsTwice(book.entries.get(token));
  for (const d of devices) {
    const times = new Map();
    for (const { token, seq } of d.log) times.set(token, [...(times.get(token) || []), seq]);
    for (const [token, seqs] of times) if (seqs.length > 1 && !excused(token)) bad.push(`${d.user}/${d.name}: ${token} came ${seqs.length} times: seq ${seqs.join(', ')}`);
  }
  for (const [token, seqs] of seen.twice) if (!excused(token)) bad.push(`${token} has two seqs: ${seqs.join(' and ')}`);
  return { bad };
}

/* What one publisher sent to one user, each after the answer to the one before, has growing seqs; and the seq that the
 * publisher was told is the one that came. */
export function order(world, book, devices) {
  const bad = [];
  const { seqs, all } = seqsSeen(devices);
  let checked = 0;
  for (const [who, list] of book.order) {
    for (const [i, e] of list.entries()) {
      if (world.perhapsLost(e, all.get(e.token))) continue;
      checked++;
      if (i && e.kind !== 'live' && list[i - 1].seq >= e.seq && !who.startsWith('flood')) bad.push(`${who}: ${e.token} has seq ${e.seq}, ${list[i - 1].token} before it ${list[i - 1].seq}`);
      const came = seqs.get(e.token);
      if (came && came !== e.seq) bad.push(`${e.token}: its publisher was told seq ${e.seq}, it came as ${came}`);
    }
  }
  for (const d of devices) bad.push(...d.faults.filter((f) => f.includes('on one connection')));
  return { bad, checked };
}

/* Bare PUBLISH: in nobody's log although a node surely heard it and lived on. */
export function published(world, book, devices) {
  const { seqs } = seqsSeen(devices);
  const bad = [];
  let all = 0;
  let lost = 0;
  let sure = 0;
  const listening = new Set(devices.map((d) => d.user));
  for (const e of book.entries.values()) {
    if (e.state !== 'published' || !keepable(e) || !listening.has(e.user) || world.perhapsLost(e)) continue;
    all++;
    const ears = world.nodes.filter((n) => n.heardFor(e.t0, e.t1, SURVIVE_MS, READ_MS));
    if (ears.length) sure++;
    if (seqs.has(e.token)) continue;
    lost++;
    if (ears.length) bad.push(`${e.token} to ${e.user}, at ${world.clock(e.t0)} ms, ${e.receivers} receivers: lost, though ${ears.map((n) => n.name).join(', ')} heard it and lived on`);
  }
  return { bad, all, lost, sure };
}

/* Live-only messages, rooms, all: at most once for each connection. */
export function liveTwice(world, book, devices) {
  const bad = [];
  let came = 0;
  let moved = 0;
  for (const d of allOf(devices)) {
    for (const map of [d.live, d.rooms]) {
      for (const [token, list] of map) {
        came++;
        const again = list.find((x, i) => list.findIndex((y) => y.conn === x.conn) !== i);
        if (again && !world.perhapsTwice(book.entries.get(token))) bad.push(`${d.user}/${d.name}: live-only ${token} came ${list.length} times: ${list.map((x) => `${x.at} ms on ${x.on} by ${x.by}`).join(', ')}`);
        else if (list.length > 1) moved++;
      }
    }
  }
  return { bad, came, moved };
}

const allOf = (devices) => devices.flatMap((d) => (d.place ? [d, d.place] : [d]));
export const strangers = (devices) => ({ bad: allOf(devices).flatMap((d) => d.faults.filter((f) => !f.includes('on one connection'))) });
export const edges = (devices) => ({ bad: devices.flatMap((d) => d.place?.faults.filter((f) => f.includes('was said to')) || []) });

/* The name under which a running node is known now: it took a new one if it was taken for dead meanwhile. */
async function liveNames(world) {
  const live = await world.redisCall(['HKEYS', `${world.prefix}{c}:nodes`]);
  return new Map(world.nodes.map((n) => [n.full, live.find((l) => l === n.full || l.startsWith(`${n.full}-`))]));
}

/* Redis' view of who is where against where the devices are. */
export async function presence(world, devices) {
  const bad = [];
  const names = await liveNames(world);
  const truth = new Map();
  const lingers = (user, on) => devices.some((d) => d.user === user && [...d.polledAt.keys()].some((full) => names.get(full) === on));
  const byNode = new Map();
  for (const d of devices) {
    if (!truth.has(d.user)) truth.set(d.user, new Set());
    const on = d.on && names.get(d.conn.node.full);
    if (!on) continue;
    truth.get(d.user).add(on);
    if (!byNode.has(on)) byNode.set(on, new Set());
    byNode.get(on).add(d.user);
  }
  for (const [user, nodes] of truth) {
    const n = await world.redisCall(['HGET', key(world, 'm', user), 'n']);
    const there = (n || '').split(' ').filter((on) => on && (nodes.has(on) || !lingers(user, on))).sort().join(' ');
    const should = [...nodes].sort().join(' ');
    if (there !== should) bad.push(`${user}: Redis says "${there}", the devices are on "${should}"`);
  }
  const found = new Map();
  for (const k of await scan(world, `${world.prefix}{??}:o:*`)) {
    const node = k.slice(k.indexOf(':o:') + 3);
    if (!found.has(node)) found.set(node, new Set());
    for (const u of await world.redisCall(['SMEMBERS', k])) found.get(node).add(u);
  }
  for (const [node, users] of found) {
    const should = byNode.get(node) || new Set();
    const extra = [...users].filter((u) => !should.has(u) && !lingers(u, node));
    if (extra.length) bad.push(`the set of ${node} holds ${extra.slice(0, 5).join(', ')}${extra.length > 5 ? ` and ${extra.length - 5} more` : ''}, who are not there`);
  }
  for (const [node, users] of byNode) {
    const lost = [...users].filter((u) => !found.get(node)?.has(u));
    if (lost.length) bad.push(`the set of ${node} lacks ${lost.slice(0, 5).join(', ')}`);
  }
  return { bad };
}

export async function scan(world, pattern) {
  const keys = [];
  let at = '0';
  do {
    const [next, some] = await world.redisCall(['SCAN', at, 'MATCH', pattern, 'COUNT', 1000]);
    at = String(next);
    keys.push(...some);
  } while (at !== '0');
  return keys;
}

/* How many entries of a list have not expired: what has, no device can acknowledge. */
const ALIVE = `local n, now = 0, tonumber(redis.call('TIME')[1])
for _, e in ipairs(redis.call('LRANGE', KEYS[1], 0, -1)) do
  if select(3, struct.unpack('>I8I8I4', e)) > now then n = n + 1 end
end
return n`;

export async function leftovers(world) {
  const bad = [];
  for (const k of await scan(world, `${world.prefix}{??}:q:*`)) {
    const n = await world.redisCall(['EVAL', ALIVE, 1, k]);
    if (!n) continue;
    const user = k.slice(k.indexOf(':q:') + 3);
    const m = await world.redisCall(['HGETALL', key(world, 'm', user)]);
    bad.push(`${k} holds ${n} entries; ${Array.isArray(m) ? m.join(' ') : JSON.stringify(m)}`);
  }
  return { bad };
}

/* Who the watchers of rooms believe to be there, against who is. */
export function roomPresence(devices) {
  const bad = [];
  const truth = new Map();
  for (const d of devices) {
    if (!d.conn?.view?.joined || d.conn.code !== undefined) continue;
    if (!truth.has(d.place.room)) truth.set(d.place.room, new Set());
    truth.get(d.place.room).add(d.user);
  }
  let watchers = 0;
  for (const d of devices) {
    const view = d.conn?.code === undefined ? d.conn?.view : undefined;
    if (!view) continue;
    watchers++;
    const should = truth.get(d.place.room) || new Set();
    const extra = [...(view.users || [])].filter((u) => !should.has(u));
    const lost = [...should].filter((u) => !view.users?.has(u));
    if (extra.length || lost.length) bad.push(`${d.user}/${d.name} on ${d.on} thinks of ${d.place.room}: ${extra.length ? `${extra.join(', ')} there, who are not; ` : ''}${lost.length ? `${lost.join(', ')} away, who are not` : ''}`);
  }
  return { bad, watchers };
}

/* ---- the ledger ---- */

async function ask(world, path) {
  const r = await httpGet(world.nodes[Math.floor(Math.random() * world.nodes.length)], path, 5000);
  return { status: r.status, recipient: r.status === 200 ? JSON.parse(r.text).recipients[0] : undefined };
}

/* What is wrong with one tracked message: what the ledger says, against what the devices have. All of them have said by
 * now what they took, so what somebody took is acknowledged. */
async function ledgerOf(world, e, seq, devices) {
  const bad = [];
  const path = `/api/messages/${encodeURIComponent(e.id)}`;
  const of = `?user=${encodeURIComponent(e.user)}`;
  const { status, recipient: r } = await ask(world, path + of);
  const open = await ask(world, `${path}/undelivered`);
  const say = (text) => bad.push(`${e.token} by ${e.via} to ${e.user} (${e.kind}, seq ${seq}): ${text}`);
  const takers = devices.filter((d) => d.has.has(e.token));
  if (status === 404 && e.state !== 'accepted' && !takers.length) return bad;
  if (!r || r.state === 'unknown' || open.status !== 200) {
    say(`the ledger answers ${status}, ${open.status}, ${JSON.stringify(r)}`);
    return bad;
  }
  if (seq && r.seq !== seq) say(`the ledger has seq ${r.seq}`);
  for (const l of r.devices) {
    if (l.state !== 'acked') continue;
    const d = devices.find((x) => x.id === l.device);
    const over = e.kind === 'short' && d?.last > seq; // it expired on the way; an ack is of everything up to its seq
    if (!d) say(`acked by ${l.device}, who is nobody`);
    else if (!over && !d.has.has(e.token) && !(d.base >= seq) && !d.gaps.some((g) => g.from <= seq && seq <= g.to)) say(`acked by ${l.device}, which never had it`);
    else if (l.acked && d.has.has(e.token) && l.acked + 5 < world.t0 + d.has.get(e.token)) say(`acked by ${l.device} at ${world.clock(l.acked)} ms, which had it at ${d.has.get(e.token)} ms`);
  }
  if (r.state === 'acked' && !takers.length && e.kind !== 'short') say('acked, and nobody had it');
  if (takers.length && keepable(e) && !e.user.startsWith('flood') && r.state !== 'acked') say(`${r.state}, though ${takers.map((d) => d.id).join(', ')} had it`);
  if (seq && (r.state === 'acked') === (open.recipient !== undefined)) say(`${r.state}, and ${open.recipient ? '' : 'not '}among the undelivered`);
  return bad;
}

export async function ledger(world, book, devices) {
  const { seqs, all } = seqsSeen(devices);
  const tracked = [...book.entries.values()].filter((e) => e.track && e.state !== 'maybe' && !world.perhapsLost(e, all.get(e.token)) && !world.perhapsTwice(e));
  const known = new Map();
  for (const d of devices) {
    if (!known.has(d.user)) known.set(d.user, []);
    known.get(d.user).push({ id: d.id, base: d.base, last: d.last, gaps: d.gaps, has: new Map(d.log.map((l) => [l.token, l.at])) });
  }
  const bad = [];
  const left = [...tracked];
  const work = async () => {
    for (let e; (e = left.pop()); ) bad.push(...(await ledgerOf(world, e, e.seq || seqs.get(e.token), known.get(e.user) || [])));
  };
  await Promise.all(Array.from({ length: 8 }, work));
  return { bad, all: tracked.length };
}
