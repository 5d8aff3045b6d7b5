/*
 * delivery.js - the card "Delivery" of the console: what the ledger says of one tracked message, asked of the server API
 * again and again until everybody has it, and the retry for those who have not.
 *
 * Asks GET /api/messages/{id} (docs/protocol.md). The API key, where the broker wants one, stays in this module and is
 * sent to this server alone. Nothing that came from outside ever becomes markup: textContent alone.
 */

const $ = (id) => document.getElementById(id);

const LOOK_MS = 1000; // between two looks at a message that somebody still has not got
const LOOK_FOR_MS = 10 * 60 * 1000; // then it is left alone until somebody asks
const LINES_MAX = 200; // recipients asked for; what is beyond is said, not shown

const WORDS = {
  queued: 'waiting',
  written: 'written',
  acked: 'delivered',
  relayed: 'relayed',
  expired: 'expired',
  dropped: 'dropped',
  unknown: 'unknown',
};
/* Nothing more is going to happen to these by themselves. What is written to a room, or to all, nobody acknowledges. */
const isSettled = (r) => r.state === 'acked' || r.state === 'expired' || (r.user === undefined && r.state === 'written');
const isOpen = (r) => r.user !== undefined && r.state !== 'acked' && r.state !== 'expired';

let key = '';
let shown = ''; // the message's id; '': none
let timer = 0;
let until = 0;
let serial = 0; // of the look under way: an older one's answer is thrown away

/* One call of the API: its JSON, or an Error with a sentence for people. */
async function call(method, path, body) {
  const headers = key ? { authorization: `Bearer ${key}` } : {};
  if (body) headers['content-type'] = 'application/json';
  let answer;
  try {
    answer = await fetch(path, { method, headers, body });
  } catch {
    throw new Error('The broker cannot be reached.');
  }
  const json = await answer.json().catch(() => null);
  if (answer.ok && json) return json;
  if (answer.status === 401) {
    $('key-box').hidden = false;
    $('key-box').open = true;
    $('api-key').focus();
    throw new Error(key ? 'The server API does not take this key.' : 'The server API wants a key: enter it below.');
  }
  throw new Error(json?.error?.message ?? `The broker answered ${answer.status}.`);
}

/* Pushes a message with `track` and shows what becomes of it. body: the members of the push but track, as JSON text. */
export async function pushTracked(body) {
  try {
    const pushed = await call('POST', '/api/push', `{"track":true,${body}}`);
    showDelivery(pushed.results[0].id);
  } catch (e) {
    say(e.message, true);
    throw e;
  }
}

export function showDelivery(id) {
  shown = id;
  $('message-id').value = id;
  $('recipients').replaceChildren();
  until = Date.now() + LOOK_FOR_MS;
  return look();
}

async function look() {
  const mine = ++serial;
  clearTimeout(timer);
  let ledger;
  try {
    ledger = await call('GET', `/api/messages/${encodeURIComponent(shown)}?limit=${LINES_MAX}`);
  } catch (e) {
    if (mine !== serial) return;
    $('recipients').replaceChildren();
    $('retry').hidden = true;
    say(e.message, true);
    return;
  }
  if (mine !== serial) return;
  draw(ledger);
  if (!ledger.recipients.every(isSettled) && Date.now() < until) timer = setTimeout(look, LOOK_MS);
}

function draw(ledger) {
  const all = ledger.recipients;
  const users = all.filter((r) => r.user !== undefined);
  const open = users.filter(isOpen);
  $('recipients').replaceChildren(...all.map(line));
  $('retry').hidden = open.length === 0;
  const more = ledger.more ? `, the first ${LINES_MAX} shown` : '';
  if (users.length === 0) say('Rooms and everyone are counted, not named.');
  else if (open.length === 0) say(users.length === 1 ? `Settled.` : `All ${users.length} users are settled${more}.`);
  else say(`${open.length} of ${users.length} ${users.length === 1 ? 'user has' : 'users have'} not acknowledged it${more}.`);
}

function put(parent, tag, cls, text) {
  const e = document.createElement(tag);
  e.className = cls;
  e.textContent = text;
  parent.append(e);
  return e;
}

function line(r) {
  const li = document.createElement('li');
  li.className = 'recipient';
  li.dataset.state = r.state;
  put(li, 'span', 'who', r.user ?? (r.room !== undefined ? `Room ${r.room}` : 'Everyone'));
  put(li, 'span', 'what', WORDS[r.state] ?? r.state);
  for (const text of details(r)) put(li, 'span', 'detail', text);
  return li;
}

const clock = (ms) => new Date(ms).toLocaleTimeString();
const times = (n) => (n === 1 ? 'once' : `${n} times`);

/* What is known besides: a text for each device, for each drop and for each channel of the relay. */
function* details(r) {
  if (r.user === undefined && r.written !== undefined) yield `written to ${r.written} ${r.written === 1 ? 'connection' : 'connections'}`;
  for (const d of r.devices ?? []) yield device(d);
  for (const d of r.dropped ?? []) yield `dropped ${times(d.count)}: ${d.reason}`;
  if (r.state === 'queued' && !(r.devices ?? []).length) yield r.online ? 'handed to a connected node' : 'stored until a device comes';
  if (r.attempts > 1) yield `sent ${times(r.attempts)}`;
  for (const c of r.relayed ?? []) yield `${c.channel}: ${c.state}${c.detail ? ` (${c.detail})` : ''}, ${clock(c.at)}`;
  if (r.escalate && !r.relayed && isOpen(r)) yield `goes to ${r.escalate.to.join(', then ')} at ${clock(r.escalate.at)}`;
}

function device(d) {
  const name = d.device || 'unnamed device';
  if (d.acked) return `${name}: acknowledged ${clock(d.acked)}`;
  if (d.dropped) return `${name}: dropped ${clock(d.dropped)}${d.reason ? `, ${d.reason}` : ''}`;
  if (d.written) return `${name}: written ${d.times > 1 ? `${times(d.times)}, last ` : ''}${clock(d.written)}`;
  return `${name}: ${WORDS[d.state] ?? d.state}`;
}

function say(text, bad = false) {
  $('delivery-note').textContent = text;
  $('delivery-note').classList.toggle('bad', bad);
}

async function retry() {
  $('retry').disabled = true;
  try {
    const done = await call('POST', `/api/messages/${encodeURIComponent(shown)}/retry?limit=${LINES_MAX}`);
    until = Date.now() + LOOK_FOR_MS;
    await look();
    const sent = done.results.filter((x) => x.result === 'sent').length;
    if (sent === 0) say('Nobody could be sent it again just now: it stays stored for those who are away.');
  } catch (e) {
    say(e.message, true);
  } finally {
    $('retry').disabled = false;
  }
}

$('delivery-form').onsubmit = (e) => {
  e.preventDefault();
  const id = $('message-id').value.trim();
  key = $('api-key').value.trim();
  if (id) showDelivery(id);
  else $('message-id').focus();
};
$('retry').onclick = retry;
$('api-key').onchange = () => {
  key = $('api-key').value.trim();
};
