/*
 * console.js - the console page: one WebSocket in the plain protocol of docs/protocol.md, and a view of what it brings.
 *
 * The connection (section "connection") knows nothing of the page but the functions it calls; it reconnects with a
 * jittered back-off, joins its rooms again, drops what it has seen (seq <= last) and acknowledges what it has shown.
 * Device and last seq live in sessionStorage, so a reload of the tab resumes where it was.
 *
 * Data of a message is shown as it was sent: the frame's text is re-indented, never parsed into numbers and printed
 * again. Nothing that came from outside ever becomes markup: textContent alone.
 */

import { pushTracked } from './delivery.js';

const $ = (id) => document.getElementById(id);

/* ---------------------------------------------------------------- JSON text, untouched */

const TOKEN = /\s*(?:("[^"\\]*(?:\\.[^"\\]*)*")|([-+.\dEe]+)|(true|false|null)|([{}[\],:]))/y;

/* The tokens of a JSON text: [kind, text], kind one of "s" string, "n" number, "l" literal, "p" punctuation. */
function* tokens(text) {
  TOKEN.lastIndex = 0;
  let at = 0;
  while (at < text.length) {
    TOKEN.lastIndex = at;
    const m = TOKEN.exec(text);
    if (!m) return;
    at = TOKEN.lastIndex;
    const kind = m[1] !== undefined ? 's' : m[2] !== undefined ? 'n' : m[3] !== undefined ? 'l' : 'p';
    yield [kind, m[1] ?? m[2] ?? m[3] ?? m[4], at];
  }
}

/* The raw text of one member of a JSON object, as the bytes came; undefined when it is not there. */
function rawMember(text, name) {
  let depth = 0;
  let key = null;
  let start = -1;
  let wantKey = false;
  for (const [kind, tok, end] of tokens(text)) {
    if (depth === 1 && wantKey && kind === 's') {
      key = JSON.parse(tok);
      wantKey = false;
      continue;
    }
    if (depth === 1 && tok === ':' && kind === 'p' && start < 0) {
      if (key === name) start = end;
      continue;
    }
    if (kind !== 'p') continue;
    if (depth === 1 && (tok === ',' || tok === '}')) {
      if (start >= 0) return text.slice(start, end - 1).trim();
      wantKey = true;
    }
    if (tok === '{' || tok === '[') {
      depth += 1;
      if (depth === 1) wantKey = true;
    } else if (tok === '}' || tok === ']') {
      depth -= 1;
    }
  }
  return undefined;
}

const LINE = 64; // a container this short stays on one line

/* For each opening bracket of a token list: is the container short enough for one line? */
function shortContainers(list) {
  const short = new Set();
  const open = [];
  let width = 0;
  list.forEach(([kind, tok], i) => {
    if (kind === 'p' && (tok === '{' || tok === '[')) open.push([i, width]);
    width += tok.length + (tok === ',' || tok === ':' ? 1 : 0);
    if (kind === 'p' && (tok === '}' || tok === ']') && open.length) {
      const [at, before] = open.pop();
      if (width - before <= LINE) short.add(at);
    }
  });
  return short;
}

/* Re-indents a JSON text into `into`, coloured; every number and string stays exactly what it was. */
function showJson(text, into) {
  const put = (cls, s) => {
    if (!cls) {
      into.append(s);
      return;
    }
    const span = document.createElement('span');
    span.className = cls;
    span.textContent = s;
    into.append(span);
  };
  const list = [...tokens(text)];
  const short = shortContainers(list);
  const inline = []; // one entry a container we are in: is it on one line?
  let depth = 0;
  const newline = () => (inline.at(-1) ? '' : '\n' + '  '.repeat(depth));
  list.forEach(([kind, tok], i) => {
    if (kind === 's') {
      const next = list[i + 1];
      put(next && next[0] === 'p' && next[1] === ':' ? 'k' : 's', tok);
    } else if (kind !== 'p') {
      put(kind, tok);
    } else if (tok === '{' || tok === '[') {
      inline.push(short.has(i));
      depth += 1;
      put('', tok + newline());
    } else if (tok === '}' || tok === ']') {
      depth -= 1;
      const before = newline();
      inline.pop();
      put('', before + tok);
    } else {
      put('', tok === ',' && !inline.at(-1) ? tok + newline() : tok + ' ');
    }
  });
}

/* What the data box holds: {raw, note} to send, or {error}. Text that does not look like JSON goes as a JSON string. */
function readData(text) {
  const t = text.trim();
  if (t === '') return { error: 'Write some data first.' };
  try {
    const v = JSON.parse(t);
    const what = v === null ? 'null' : Array.isArray(v) ? 'array' : typeof v;
    return { raw: t, note: what === 'null' ? 'JSON null' : `JSON ${what}` };
  } catch (e) {
    if (/^[{["]/.test(t)) return { error: `Not valid JSON: ${e.message}` };
    return { raw: JSON.stringify(t), note: 'Plain text, sent as a JSON string' };
  }
}

/* ---------------------------------------------------------------- what is kept across reloads */

const memory = {
  get(key) {
    try {
      return sessionStorage.getItem(`crier.${key}`);
    } catch {
      return null;
    }
  },
  set(key, value) {
    try {
      if (value === null) sessionStorage.removeItem(`crier.${key}`);
      else sessionStorage.setItem(`crier.${key}`, value);
    } catch {
      /* a browser without storage forgets; nothing else changes */
    }
  },
};

function newDevice() {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  return 'console-' + Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
}

/* ---------------------------------------------------------------- connection */

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 30000;
/* After these a new attempt by itself would end the same way; the person decides. */
const FINAL = {
  4001: 'The server does not accept this user or token.',
  4002: 'The token has expired. Paste a new one.',
  4003: 'This user may not connect here.',
  4009: 'The server disconnected this session.',
  4010: 'Another connection of this user took over, perhaps a second tab.',
};
const REASONS = {
  1001: 'the server is stopping',
  1006: 'the connection was lost',
  1008: 'refused by policy',
  1009: 'a message was too big',
  1011: 'an error in the server',
  1012: 'the server restarts',
  1013: 'the server is overloaded',
  4004: 'protocol error',
  4008: 'this page was too slow',
  4029: 'too many messages',
};

const link = {
  socket: null,
  user: '',
  token: '',
  device: '',
  last: 0, // highest stored seq shown
  acked: 0,
  wanted: false, // the person wants a connection
  welcomed: false,
  attempt: 0,
  retryAfter: 0, // ms the server asked for
  retryAt: 0,
  retryTimer: 0,
  ackTimer: 0,
  watchdog: 0,
  silence: 65000, // ms without a word after which the connection counts as dead
  nextRef: 1,
  waiting: new Map(), // ref -> function(answer)
  rooms: new Map(), // room -> {joined, count}
};

function linkUrl() {
  const q = new URLSearchParams({ ping: 'message', ack: 'explicit', device: link.device });
  if (!link.token) q.set('user', link.user);
  if (link.last > 0) q.set('since', String(link.last));
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  return `${scheme}//${location.host}/ws?${q}`;
}

function linkOpen() {
  clearTimeout(link.retryTimer);
  link.retryTimer = 0;
  link.retryAt = 0;
  link.retryAfter = 0;
  link.welcomed = false;
  showState('wait', 'Connecting…');
  const protocols = ['crier.v1.json'];
  if (link.token) protocols.push(`bearer.${link.token}`);
  let socket;
  try {
    socket = new WebSocket(linkUrl(), protocols);
  } catch (e) {
    link.wanted = false;
    showStopped(`Cannot connect: ${e.message}`);
    return;
  }
  link.socket = socket;
  socket.onmessage = (e) => {
    if (link.socket === socket) linkFrame(e.data);
  };
  socket.onclose = (e) => {
    if (link.socket === socket) linkClosed(e.code, e.reason);
  };
  linkHeard(15000);
}

/* Something came: the connection is alive for another while. */
function linkHeard(ms = link.silence) {
  clearTimeout(link.watchdog);
  const socket = link.socket;
  link.watchdog = setTimeout(() => {
    if (link.socket !== socket) return;
    socket.close();
    linkClosed(1006, '');
  }, ms);
}

function linkFrame(text) {
  if (typeof text !== 'string') return;
  stats.bytes += text.length;
  linkHeard();
  let m;
  try {
    m = JSON.parse(text);
  } catch {
    stats.errors += 1;
    return;
  }
  if (m.type === 'welcome') linkWelcome(m);
  else if (m.type === 'message') linkMessage(m, text);
  else if (m.type === 'ping') linkWrite('{"type":"pong"}');
  else if (m.type === 'ok' || m.type === 'error') linkAnswer(m);
  else if (m.type === 'gap') addNotice(`Messages ${m.from} to ${m.to} are gone: the inbox was full or they expired.`);
  else if (m.type === 'expiring') toast(`The token expires in ${m.in} s. Reconnect with a new one.`, true);
  else if (m.type === 'closing' && m.retry_after > 0) link.retryAfter = m.retry_after * 1000;
  showCounters();
}

function linkWelcome(m) {
  link.welcomed = true;
  link.attempt = 0;
  if (m.device) {
    link.device = m.device;
    memory.set('device', m.device);
  }
  if (m.ping > 0) link.silence = m.ping * 2500 + 5000;
  linkHeard();
  showState('on', m.user ? `Connected as ${m.user}` : 'Connected');
  showWelcome(m);
  for (const room of link.rooms.keys()) joinRoom(room);
}

function linkMessage(m, text) {
  const stored = typeof m.seq === 'number' && m.room === undefined;
  if (stored) {
    if (m.seq <= link.last) return;
    link.last = m.seq;
    memory.set('last', String(m.seq));
    if (!link.ackTimer) link.ackTimer = setTimeout(linkAck, 50);
  }
  stats.received += 1;
  const joined = link.rooms.get(m.room);
  if (joined) joined.count += 1;
  addMessage({
    kind: m.room !== undefined ? 'room' : m.all ? 'all' : 'user',
    room: m.room,
    from: m.from,
    event: m.event,
    seq: m.seq,
    ts: m.ts,
    id: m.id,
    raw: rawMember(text, 'data') ?? 'null',
  });
}

/* Acks are cumulative, so one for all that came in a burst. */
function linkAck() {
  link.ackTimer = 0;
  if (link.last <= link.acked || !linkReady()) return;
  if (!linkWrite(`{"type":"ack","seq":${link.last}}`)) return;
  link.acked = link.last;
  stats.acked += 1;
  showCounters();
}

function linkAnswer(m) {
  const then = link.waiting.get(m.ref);
  link.waiting.delete(m.ref);
  if (m.type === 'error') {
    stats.errors += 1;
    if (!then) toast(m.message || m.code, true);
  }
  if (then) then(m);
}

function linkReady() {
  return link.socket !== null && link.socket.readyState === WebSocket.OPEN && link.welcomed;
}

function linkWrite(text) {
  if (!link.socket || link.socket.readyState !== WebSocket.OPEN) return false;
  link.socket.send(text);
  return true;
}

/* Sends a command of ready-made JSON members (so that data passes untouched); `then` gets the ok or error. */
function linkCommand(members, then) {
  const ref = link.nextRef++;
  link.waiting.set(ref, then);
  if (linkWrite(`{"ref":${ref},${members}}`)) return true;
  link.waiting.delete(ref);
  return false;
}

function linkClosed(code, reason) {
  link.socket = null;
  clearTimeout(link.watchdog);
  clearTimeout(link.ackTimer);
  link.ackTimer = 0;
  link.acked = 0;
  link.waiting.clear();
  for (const room of link.rooms.values()) room.joined = false;
  showRooms();
  if (!link.wanted) {
    showStopped('');
    return;
  }
  if (FINAL[code]) {
    link.wanted = false;
    if (code === 4010) memory.set('device', null);
    showStopped(FINAL[code]);
    return;
  }
  linkRetry(reason || REASONS[code] || `closed with ${code}`);
}

function linkRetry(why) {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** link.attempt);
  const wait = Math.max(link.retryAfter, ceiling / 2 + Math.random() * (ceiling / 2));
  if (link.attempt >= 1 && !link.welcomed) explainRefusal();
  link.welcomed = false;
  link.attempt += 1;
  stats.reconnects += 1;
  link.retryAt = Date.now() + wait;
  link.retryTimer = setTimeout(linkOpen, wait);
  showWaiting(why);
  showCounters();
}

/* A browser is not told why a handshake failed; whether the server is there at all can be asked. */
async function explainRefusal() {
  let up = false;
  try {
    up = (await fetch('/healthz', { cache: 'no-store' })).ok;
  } catch {
    /* not reachable */
  }
  if (!link.wanted || link.welcomed) return;
  showNote(up ? 'The server is there but refuses the connection: check the user or the token.' : 'The server cannot be reached.');
}

function linkStart(user, token) {
  if (user !== memory.get('user') || token) {
    memory.set('last', null); // another person's inbox has its own numbers
    memory.set('user', user);
  }
  link.user = user;
  link.token = token;
  link.device = memory.get('device') || newDevice();
  memory.set('device', link.device);
  link.last = Number(memory.get('last')) || 0;
  link.acked = 0;
  link.attempt = 0;
  link.wanted = true;
  linkOpen();
}

function linkStop() {
  link.wanted = false;
  clearTimeout(link.retryTimer);
  const socket = link.socket;
  linkAck();
  linkClosed(1000, '');
  if (socket) socket.close(1000);
}

/* ---------------------------------------------------------------- rooms */

function joinRoom(room) {
  const entry = link.rooms.get(room) ?? { joined: false, count: 0 };
  link.rooms.set(room, entry);
  memory.set('rooms', JSON.stringify([...link.rooms.keys()]));
  showRooms();
  if (!linkReady()) return;
  linkCommand(`"type":"subscribe","room":${JSON.stringify(room)}`, (answer) => {
    if (answer.type === 'ok') {
      entry.joined = true;
    } else {
      forgetRoom(room);
      toast(`Cannot join ${room}: ${answer.message || answer.code}`, true);
    }
    showRooms();
  });
}

function leaveRoom(room) {
  if (linkReady()) {
    linkCommand(`"type":"unsubscribe","room":${JSON.stringify(room)}`, (answer) => {
      if (answer.type === 'error') toast(`Leaving ${room}: ${answer.message || answer.code}`, true);
    });
  }
  forgetRoom(room);
}

function forgetRoom(room) {
  link.rooms.delete(room);
  memory.set('rooms', JSON.stringify([...link.rooms.keys()]));
  showRooms();
}

/* ---------------------------------------------------------------- the page: state */

const stats = { received: 0, sent: 0, acked: 0, reconnects: 0, bytes: 0, errors: 0 };

function formatBytes(n) {
  if (n < 1024) return `${n} B`;
  if (n < 1024 * 1024) return `${(n / 1024).toFixed(1)} K`;
  return `${(n / 1024 / 1024).toFixed(1)} M`;
}

function showCounters() {
  for (const [name, value] of Object.entries(stats)) {
    $(`n-${name}`).textContent = name === 'bytes' ? formatBytes(value) : value.toLocaleString('en');
  }
  for (const chip of $('rooms').children) {
    const entry = link.rooms.get(chip.dataset.room);
    if (entry) chip.querySelector('.count').textContent = entry.count ? String(entry.count) : '';
  }
}

function showState(kind, text) {
  $('state').dataset.state = kind;
  $('state-text').textContent = text;
  $('send').disabled = kind !== 'on';
  $('connect-form').hidden = kind === 'on';
  $('facts-box').hidden = kind !== 'on';
  $('disconnect').hidden = !link.wanted;
  $('connect').textContent = link.wanted && kind === 'wait' ? 'Connect now' : 'Connect';
}

function showNote(text) {
  $('connect-note').textContent = text;
  $('connect-note').hidden = text === '';
}

function showStopped(why) {
  showState(why ? 'bad' : 'off', 'Not connected');
  showNote(why);
}

let waitingWhy = '';
function showWaiting(why) {
  waitingWhy = why;
  tickWaiting();
}

function tickWaiting() {
  if (!link.retryAt) return;
  const s = Math.max(0, Math.ceil((link.retryAt - Date.now()) / 1000));
  showState('wait', `Reconnecting in ${s} s: ${waitingWhy}`);
}

function showWelcome(m) {
  showNote('');
  const facts = [
    ['User', m.user ?? 'anonymous'],
    ['Device', m.device ?? '-'],
    ['Node', m.node],
    ['Connection', m.conn],
    ['Cursor', m.cursor ?? 0],
    ['Pending', m.pending ?? 0],
    ['Heartbeat', `${m.ping} s`],
  ];
  if (m.limits?.payload) facts.push(['Payload limit', formatBytes(m.limits.payload)]);
  $('facts').replaceChildren(
    ...facts.flatMap(([name, value]) => {
      const dt = document.createElement('dt');
      const dd = document.createElement('dd');
      dt.textContent = name;
      dd.textContent = String(value);
      return [dt, dd];
    }),
  );
  if (m.user) showExample(m.user);
}

function showRooms() {
  const button = (cls, text, label, click) => {
    const b = document.createElement('button');
    b.type = 'button';
    b.className = cls;
    b.textContent = text;
    b.setAttribute('aria-label', label);
    b.onclick = click;
    return b;
  };
  const chips = [...link.rooms].map(([room, entry]) => {
    const li = document.createElement('li');
    li.className = entry.joined ? 'chip' : 'chip joining';
    li.dataset.room = room;
    const name = button('name', room, `Send to room ${room}`, () => aimAt('room', room));
    const count = document.createElement('span');
    count.className = 'count';
    count.textContent = entry.count ? String(entry.count) : '';
    name.append(count);
    li.append(name, button('leave', '✕', `Leave room ${room}`, () => leaveRoom(room)));
    return li;
  });
  $('rooms').replaceChildren(...chips);
  $('rooms-empty').hidden = chips.length > 0;
  $('room-names').replaceChildren();
  if (sendKind() === 'room') fillRoomNames();
  fillFilter();
}

/* The filter offers each joined room besides the kinds. */
function fillFilter() {
  const select = $('filter');
  const chosen = select.value;
  for (const option of [...select.options].slice(4)) option.remove();
  for (const room of link.rooms.keys()) {
    const option = document.createElement('option');
    option.value = `room:${room}`;
    option.textContent = `Room ${room}`;
    select.append(option);
  }
  select.value = [...select.options].some((o) => o.value === chosen) ? chosen : '';
  applyFilter();
}

function showExample(user) {
  const quoted = JSON.stringify({ user, data: { text: 'hello' } }).replaceAll("'", "'\\''");
  const insecure = location.protocol === 'https:' ? '-k ' : '';
  $('curl').textContent = `curl ${insecure}${location.origin}/api/push -H 'content-type: application/json' -d '${quoted}'`;
}

function toast(text, bad = false) {
  const div = document.createElement('div');
  div.className = bad ? 'toast bad' : 'toast';
  div.textContent = text;
  $('toasts').append(div);
  while ($('toasts').children.length > 3) $('toasts').firstChild.remove();
  setTimeout(() => div.remove(), bad ? 6000 : 3000);
}

/* ---------------------------------------------------------------- the page: messages */

const LOG_MAX = 300; // cards kept in the page
let held = []; // messages that came since the last frame, or while paused
let heldMore = 0; // and those beyond LOG_MAX, counted alone
let drawScheduled = false;

function addMessage(m) {
  m.at = Date.now();
  held.push(m);
  if (held.length > LOG_MAX) {
    held.shift();
    heldMore += 1;
  }
  if (isPaused()) showHeld();
  else scheduleDraw();
}

function addNotice(text) {
  addMessage({ kind: 'notice', ts: Date.now(), text });
}

/* A burst is drawn once a frame; a hidden tab, which gets no frames, now and then. */
function scheduleDraw() {
  if (drawScheduled) return;
  drawScheduled = true;
  if (document.hidden) setTimeout(draw, 500);
  else requestAnimationFrame(draw);
}

function draw() {
  drawScheduled = false;
  const batch = held;
  held = [];
  heldMore = 0;
  showHeld();
  const cards = batch.reverse().map((m) => card(m, batch.length <= 10));
  const log = $('log');
  log.prepend(...cards);
  while (log.children.length > LOG_MAX) log.lastChild.remove();
  applyFilter();
}

function card(m, fresh) {
  const li = document.createElement('li');
  li.className = fresh ? `msg ${m.kind} fresh` : `msg ${m.kind}`;
  li.dataset.kind = m.kind;
  if (m.room !== undefined) li.dataset.room = m.room;
  const meta = document.createElement('div');
  meta.className = 'meta';
  const tail = document.createElement('span');
  tail.className = 'tail';
  const put = (parent, cls, text) => {
    const span = document.createElement('span');
    span.className = cls;
    span.textContent = text;
    parent.append(span);
    return span;
  };
  put(meta, 'badge', badge(m));
  if (m.from) put(meta, 'from', `from ${m.from}`);
  if (m.event) put(meta, 'event', m.event);
  if (m.note) put(tail, 'note-text', m.note);
  if (m.seq) put(tail, 'seq', `#${m.seq}`);
  const time = document.createElement('time');
  const when = new Date(m.ts ?? m.at);
  if (!Number.isNaN(when.getTime())) {
    time.dateTime = when.toISOString();
    time.title = when.toLocaleString();
    time.textContent = clockText(when);
  }
  tail.append(time);
  meta.append(tail);
  const body = document.createElement('div');
  body.className = 'json';
  if (m.kind === 'notice') body.textContent = m.text;
  else showJson(m.raw, body);
  li.append(meta, body);
  return li;
}

function badge(m) {
  if (m.kind === 'room') return `Room ${m.room}`;
  if (m.kind === 'all') return 'Everyone';
  if (m.kind === 'sent') return `Sent to ${m.to}`;
  if (m.kind === 'notice') return 'Notice';
  return 'Direct';
}

function clockText(d) {
  const two = (n) => String(n).padStart(2, '0');
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, '0')}`;
}

function applyFilter() {
  const want = $('filter').value;
  let shown = 0;
  for (const li of $('log').children) {
    const kind = li.dataset.kind;
    const fits = want === '' || kind === 'notice' || want === kind || (kind === 'room' && want === `room:${li.dataset.room}`);
    li.hidden = !fits;
    if (fits) shown += 1;
  }
  $('empty').hidden = shown > 0;
}

function isPaused() {
  return $('pause').getAttribute('aria-pressed') === 'true';
}

function showHeld() {
  const n = isPaused() ? held.length + heldMore : 0;
  $('held').hidden = n === 0;
  $('held').textContent = n ? `Paused: ${n} new ${n === 1 ? 'message' : 'messages'} waiting${heldMore ? `, the newest ${LOG_MAX} kept` : ''}.` : '';
}

/* ---------------------------------------------------------------- the page: sending */

function sendKind() {
  return document.querySelector('input[name=kind]:checked').value;
}

function fillRoomNames() {
  const options = [...link.rooms.keys()].map((room) => {
    const o = document.createElement('option');
    o.value = room;
    return o;
  });
  $('room-names').replaceChildren(...options);
}

function aimAt(kind, name) {
  $(`to-${kind}`).checked = true;
  showTarget();
  $('target').value = name;
  $('data').focus();
}

function showTarget() {
  const kind = sendKind();
  $('target-box').hidden = kind === 'all';
  $('target-label').textContent = kind === 'room' ? 'Room to send to' : 'User to send to';
  $('target').placeholder = kind === 'room' ? 'lobby' : 'bob';
  $('room-names').replaceChildren();
  if (kind === 'room') fillRoomNames();
}

function showDataHint() {
  const d = readData($('data').value);
  $('data-hint').textContent = d.error ?? d.note;
  $('data-hint').classList.toggle('bad', d.error !== undefined && $('data').value.trim() !== '');
}

function send() {
  const kind = sendKind();
  const name = $('target').value.trim();
  const d = readData($('data').value);
  if (d.error) {
    toast(d.error, true);
    $('data').focus();
    return;
  }
  if (kind !== 'all' && name === '') {
    toast(`Which ${kind}?`, true);
    $('target').focus();
    return;
  }
  const target = kind === 'all' ? '"all":true' : `"${kind}":${JSON.stringify(name)}`;
  const ts = Date.now();
  if ($('track').checked) {
    sendTracked(target, d.raw);
    return;
  }
  const fine = linkCommand(`"type":"send",${target},"data":${d.raw}`, (answer) => {
    if (answer.type === 'error') {
      toast(`Not sent: ${answer.message || answer.code}`, true);
      showCounters();
      return;
    }
    stats.sent += 1;
    showCounters();
    sentCard(kind, name, d.raw, ts, answer);
  });
  if (!fine) toast('Not connected: nothing was sent.', true);
}

/* Clients cannot have their messages tracked: it is pushed as a backend would. */
async function sendTracked(target, raw) {
  const from = link.user ? `"from":${JSON.stringify(link.user)},` : '';
  try {
    await pushTracked(`${from}${target},"data":${raw}`);
    stats.sent += 1;
    toast('Sent.');
  } catch (e) {
    stats.errors += 1;
    toast(`Not sent: ${e.message}`, true);
  }
  showCounters();
}

/* What comes back by itself (to everyone, to me, to a room I am in) needs no second card. */
function sentCard(kind, name, raw, ts, answer) {
  const comesBack = kind === 'all' || (kind === 'room' && link.rooms.has(name)) || (kind === 'user' && name === link.user);
  if (comesBack) {
    toast('Sent.');
    return;
  }
  const note = answer.seq && !answer.online ? 'stored, not online' : '';
  addMessage({ kind: 'sent', to: kind === 'room' ? `room ${name}` : name, seq: answer.seq, ts, raw, note });
}

/* ---------------------------------------------------------------- start */

function start() {
  const query = new URLSearchParams(location.search);
  $('user').value = query.get('user') ?? memory.get('user') ?? '';
  const kept = query.has('rooms') ? query.get('rooms').split(',').filter(Boolean) : JSON.parse(memory.get('rooms') || '[]');
  for (const room of kept) link.rooms.set(room, { joined: false, count: 0 });
  showRooms();
  showExample($('user').value || 'alice');
  showDataHint();
  showCounters();

  $('connect-form').onsubmit = (e) => {
    e.preventDefault();
    const user = $('user').value.trim();
    const token = $('token-box').open ? $('token').value.trim() : '';
    if (!user && !token) {
      showNote('Enter a user name, or open the token box and paste a token.');
      $('user').focus();
      return;
    }
    showNote('');
    if (link.socket) {
      const old = link.socket;
      link.socket = null;
      old.close();
    }
    linkStart(user, token);
  };
  $('disconnect').onclick = linkStop;
  $('room-form').onsubmit = (e) => {
    e.preventDefault();
    const room = $('room').value.trim();
    if (!room) return;
    $('room').value = '';
    joinRoom(room);
  };
  $('send-form').onsubmit = (e) => {
    e.preventDefault();
    send();
  };
  $('data').oninput = showDataHint;
  $('data').onkeydown = (e) => {
    if (e.key === 'Enter' && (e.ctrlKey || e.metaKey)) {
      e.preventDefault();
      send();
    }
  };
  for (const radio of document.querySelectorAll('input[name=kind]')) radio.onchange = showTarget;
  $('filter').onchange = applyFilter;
  $('user').oninput = () => showExample($('user').value.trim() || 'alice');
  $('pause').onclick = () => {
    const now = !isPaused();
    $('pause').setAttribute('aria-pressed', String(now));
    $('pause').textContent = now ? 'Resume' : 'Pause';
    if (!now) scheduleDraw();
    showHeld();
  };
  $('clear').onclick = () => {
    held = [];
    heldMore = 0;
    $('log').replaceChildren();
    showHeld();
    applyFilter();
  };
  $('copy').onclick = async () => {
    try {
      await navigator.clipboard.writeText($('curl').textContent);
      toast('Copied.');
    } catch {
      getSelection().selectAllChildren($('curl'));
    }
  };
  addEventListener('online', () => {
    if (link.retryTimer) linkOpen();
  });
  $('facts-box').open = matchMedia('(min-width: 900px)').matches;
  setInterval(tickWaiting, 1000);
  /* A link that names the user, or a reload of a connected tab, goes straight in. */
  if (query.get('user')) linkStart(query.get('user'), '');
}

start();
