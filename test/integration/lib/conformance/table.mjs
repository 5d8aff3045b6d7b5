/*
 * table.mjs - runs the rows of the conformance tables, and writes them down as docs/conformance.md. What is in the document
 * is what is run: a test holds one against the other.
 *
 *   node test/integration/lib/conformance/table.mjs > docs/conformance.md
 */
import { constants, inflateRawSync } from 'node:zlib';
import { pathToFileURL } from 'node:url';
import { OP, Raw, frame } from '../raw.mjs';
import * as deflate from './rfc7692.mjs';
import * as ws from './rfc6455.mjs';
import * as http from './rfc9112.mjs';
import * as sse from './whatwg_sse.mjs';

const KINDS = { [OP.TEXT]: 'text', [OP.BINARY]: 'binary', [OP.PING]: 'ping', [OP.PONG]: 'pong', [OP.CLOSE]: 'close' };

/* Section 7.2.2 of RFC 7692, with a window of so many bits: in small steps, because zlib takes distances as far back as its
 * present output goes, whatever the window. */
export function inflate(payload, windowBits = 15) {
  return inflateRawSync(Buffer.concat([payload, Buffer.from([0, 0, 0xff, 0xff])]), { finishFlush: constants.Z_SYNC_FLUSH, windowBits, chunkSize: 64 });
}

/* A frame in words, after what sections 5.1 and 5.2 of RFC 6455 ask of a server: no mask, no reserved bits, shortest length. */
export function told(f, squeezed) {
  if (f.masked) throw new Error('a masked frame from the server');
  if (!f.fin) throw new Error('a fragment from the server');
  if (f.rsv && !(squeezed && f.rsv === 4 && (f.opcode === OP.TEXT || f.opcode === OP.BINARY))) throw new Error(`reserved bits ${f.rsv} on opcode ${f.opcode}`);
  const kind = KINDS[f.opcode] ?? `opcode ${f.opcode}`;
  if (kind === 'close') return `close ${f.payload.length ? f.payload.readUInt16BE(0) : 1005}`;
  const payload = f.rsv ? inflate(f.payload) : f.payload;
  if (kind === 'binary') return `binary ${payload.length}`;
  return `${kind} ${payload.toString(kind === 'text' ? 'utf8' : 'latin1')}`;
}

/* One row of frames on /echo; returns what came back, in words. `step` bytes are written at a time (0: all). */
export async function runFrames(broker, [, , bytes, ...want], { headers, step = 0, useTls = false } = {}) {
  const r = await Raw.websocket(broker, '/echo', { headers, useTls });
  const got = [];
  try {
    await write(r, bytes, step);
    for (const w of want) {
      if (w === 'nothing') {
        r.write(frame(OP.TEXT, 'still here'));
        const next = told(await r.nextFrame(), headers);
        got.push(next === 'text still here' ? w : next);
      } else {
        got.push(told(await r.nextFrame(), headers));
      }
    }
    if (got.at(-1).startsWith('close')) {
      await r.gone(); // section 7.1.1: the server ends the TCP connection, first
      if (r.bytes.length) got.push(`and ${r.bytes.length} bytes behind the close frame`);
    } else {
      r.write(frame(OP.PING, 'well?'));
      const pong = told(await r.nextFrame(), headers);
      if (pong !== 'pong well?') got.push(pong);
    }
  } catch (e) {
    got.push(e.message);
  }
  r.destroy();
  return got;
}

async function write(r, bytes, step) {
  const b = Buffer.from(bytes, typeof bytes === 'string' ? 'latin1' : undefined);
  if (!step) return r.write(b);
  for (let at = 0; at < b.length && !r.isClosed; at += step) {
    await new Promise((done) => r.socket.write(b.subarray(at, at + step), done));
  }
  return undefined;
}

/* One row of requests: [what came back, what was wanted], both in words. */
export async function runRequest(broker, [, , bytes, ...rest], { step = 0, useTls = false } = {}) {
  const end = rest.pop();
  const r = await Raw.open(broker, { useTls });
  const got = [];
  try {
    await write(r, bytes, step);
    for (const w of rest) {
      const [status, body] = [w].flat();
      const read = () => (body === null || status === 204 ? headAlone(r) : r.answer());
      let a = await read();
      if (a.status === 100 && /Expect: 100-continue/.test(bytes) && !/HTTP\/1\.0/.test(bytes)) a = await read(); // asked for before the body came
      got.push(inWords(Array.isArray(w) ? [a.status, body === null ? null : a.body] : a.status));
      checkAnswer(a);
    }
    if (end === 'open') {
      r.write('GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n');
      const a = await r.answer();
      got.push(a.status === 200 ? 'open' : `then ${a.status}`);
    } else {
      await r.gone();
      got.push(r.bytes.length ? `and then ${JSON.stringify(r.bytes.toString('latin1').slice(0, 80))}` : 'closed');
    }
  } catch (e) {
    got.push(e.message);
  }
  r.destroy();
  return [got, [...rest.map(inWords), end]];
}

async function headAlone(r) {
  const head = await r.head();
  return { status: Number(head.split(' ')[1]), head, body: '' };
}

/* What every answer owes (RFC 9112 sections 4 and 6, RFC 9110 sections 6.6.1, 7.8, 10.2.1 and 15): a status line, Date, one
 * length or none where there can be no body, the methods with a 405, the scheme with a 401, what to upgrade to with a 426, a
 * reason with an error. */
function checkAnswer({ status, head, body }) {
  if (!/^HTTP\/1\.1 \d{3} [ -~]+\r\n(?:[!#-'*+\-.0-9A-Z^-z|~]+: [^\r\n]*\r\n)+\r\n$/.test(head)) throw new Error(`a malformed head: ${head}`);
  if (!/^date: \w{3}, \d{2} \w{3} \d{4} \d{2}:\d{2}:\d{2} GMT\r$/im.test(head)) throw new Error('no Date');
  const lengths = head.match(/^content-length:/gim)?.length ?? 0;
  if (lengths !== (status === 204 ? 0 : 1)) throw new Error(`${lengths} Content-Lengths with ${status}`);
  if (status === 405 && !/^allow: [A-Z, ]+\r$/im.test(head)) throw new Error('no Allow with 405');
  if (status === 401 && !/^www-authenticate: Bearer realm=/im.test(head)) throw new Error('no WWW-Authenticate with 401');
  if (status === 426 && !(/^upgrade: websocket\r$/im.test(head) && /^connection: upgrade\r$/im.test(head))) throw new Error('no Upgrade with 426');
  if (status >= 400 && body && !JSON.parse(body).error.message) throw new Error('no reason with an error');
}

const inWords = (w) => (Array.isArray(w) ? `${w[0]}${w[1] ? ` ${JSON.stringify(w[1])}` : ''}` : String(w));

/* ---- the document ---- */

const clip = (s, n = 60) => (s.length > n ? `${s.slice(0, n - 20)} … (${s.length} characters)` : s);
const cell = (s) => clip(String(s)).replace(/[\x00-\x1f\x7f-\u009f\ufeff\ufffe\uffff]/g, (c) => `\\u{${c.charCodeAt(0).toString(16)}}`).replaceAll('|', '\\|').replaceAll('<', '&lt;').replaceAll('*', '\\*').replaceAll('`', '\\`');
const table = (head, rows) => [`| ${head.join(' | ')} |`, `|${'---|'.repeat(head.length)}`, ...rows.map((r) => `| ${r.map(cell).join(' | ')} |`)].join('\n');
const frames = (rows) => table(['section', 'sent', 'comes back'], rows.map(([s, what, , ...want]) => [s, what, want.map((w) => clip(w, 40)).join(', ')]));
const requests = (rows) => table(['section', 'sent', 'comes back'], rows.map(([s, what, , ...want]) => [s, what, want.map((w) => clip(inWords(w), 40)).join(', ')]));
const ANSWERS = { 400: 'handshake refused (400)', null: 'declined' };

export function document() {
  const combos = [...deflate.combinations()];
  return `# Conformance

What the specifications ask of a server, row by row: each is sent to a real broker over a bare socket and has to come back as it says here
(\`test/integration/conformance.test.mjs\`). The tables are written from the specifications, in
\`test/integration/lib/conformance/\`; this file is printed by \`node test/integration/lib/conformance/table.mjs\` and a test holds it
against the tables. Rows are sent whole, the short ones a byte at a time
as well, and all of them over TLS too. Where a specification leaves a choice, the row says what the
broker does.

| specification | rows |
|---|---|
| RFC 6455, The WebSocket Protocol | ${ws.HANDSHAKES.length} handshakes, ${ws.FRAMES.length} sequences of frames |
| RFC 7692, Compression Extensions for WebSocket | ${deflate.OFFERS.length} offers, ${combos.length} combinations of parameters twice, ${deflate.FRAMES.length} sequences of frames, every window in both directions |
| RFC 9112, HTTP/1.1 (and RFC 9110 where it is named) | ${http.REQUESTS.length} and ${http.STRANGERS.length} |
| WHATWG HTML, server-sent events | ${sse.STREAMS.length} streams for the parser, ${sse.MESSAGES.length} messages |

## RFC 6455: handshakes
${table(['section', 'what is special', 'answer'], ws.HANDSHAKES.map(([s, what, , status]) => [s, what, status]))}

## RFC 6455: frames
Sent to \`/echo\`, which returns each message. Of every frame of the broker it is checked, too, that it is not masked, sets no reserved bit and is
no fragment; after its close frame the broker sends nothing and ends the TCP connection by itself.

${frames(ws.FRAMES)}

## RFC 7692: offers
${table(['section', 'offer', 'answer'], deflate.OFFERS.map(([s, what, , answer]) => [s, what, ANSWERS[answer] ?? answer.replace(/^permessage-deflate; /, '')]))}

Beside these, all ${combos.length} combinations that section 7.1 allows (either takeover or not, windows of 8 to 15 bits or none named, both orders), with and
without the option \`deflate-takeover\`: what asks for a server window of 8 bits is declined, the rest is agreed to and answered with the
terms that were asked for, and both \`no_context_takeover\` unless the option is on. With each window of 9 to 15 bits the broker's messages can be
inflated in a window of that size, and messages made for the client's window come through.

## RFC 7692: frames
${frames(deflate.FRAMES)}

## RFC 9112
"open": the connection answers another request; "closed": it ends, and nothing that was sent behind is answered. Of every answer its status line,
\`Date\`, its one \`Content-Length\` (none with 204), \`Allow\` with 405, \`WWW-Authenticate\` with 401, \`Upgrade\` with 426 and the reason with
an error are checked.

${requests(http.REQUESTS)}

From those who have neither token nor key, on a broker without \`--dev\`:

${requests(http.STRANGERS)}

## Server-sent events
The broker's streams are read by a parser written line by line from the specification's "Parsing an event stream" and "Interpreting an event
stream", which is itself tried on these streams, among them all examples of the specification:

${table(['stream', 'events'], sse.STREAMS.map(([what, , events]) => [what, events.map((e) => `${e.type}${e.id ? ` (id ${e.id})` : ''}`).join(', ') || 'none']))}

Then these messages are published, and the parser has to find each as an event with that data, name and id, from the stream whole and cut anywhere.
The bytes are UTF-8 without a byte order mark, no \`id\` holds a NUL or a line end, \`retry\` is digits, and between messages there are comments.

${table(['message'], sse.MESSAGES.map(([what]) => [what]))}
`;
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) process.stdout.write(document());
