/*
 * rfc7692.mjs - the tables of RFC 7692. OFFERS: [section, what, offer (a list: one header line each), answer], the answer
 * being the header's value, null for none, 400 for a refused handshake. combinations(): every offer that section 7.1 allows,
 * with what the broker's policy (docs/protocol.md, Compression) makes of it. FRAMES: as in rfc6455.mjs, on a connection that
 * has agreed to permessage-deflate.
 */
import { randomBytes } from 'node:crypto';
import { constants, deflateRawSync } from 'node:zlib';
import { OP, closePayload, frame } from '../raw.mjs';

const { CONT, TEXT, BINARY, CLOSE, PING, PONG } = OP;
const RSV1 = 4;
const PMD = 'permessage-deflate';
const NEITHER = `${PMD}; server_no_context_takeover; client_no_context_takeover`;

/* Section 7.2.1. */
export function squeeze(data, options = {}) {
  const z = deflateRawSync(data, { finishFlush: constants.Z_SYNC_FLUSH, ...options });
  return z.subarray(0, -4);
}

export function* combinations() {
  const bits = [undefined, 8, 9, 10, 11, 12, 13, 14, 15];
  for (const s of [false, true]) {
    for (const c of [false, true]) {
      for (const sb of bits) {
        for (const cb of [...bits, 'none']) {
          for (const backwards of [false, true]) {
            const params = [];
            if (s) params.push('server_no_context_takeover');
            if (c) params.push('client_no_context_takeover');
            if (sb) params.push(`server_max_window_bits=${sb}`);
            if (cb) params.push(cb === 'none' ? 'client_max_window_bits' : `client_max_window_bits=${cb}`);
            if (backwards) params.reverse();
            yield { offer: [PMD, ...params].join('; '), s, c, sb, cb };
          }
        }
      }
    }
  }
}

/* Sections 7.1.1 and 7.1.2: a client's hint about its own window may be repeated as it is, or narrowed; 8 bits of ours zlib
 * cannot do, so such an offer is declined; takeover is given up unless the broker was told to keep it. */
export function agreed({ s, c, sb, cb }, takeover) {
  if (sb === 8) return null;
  const list = [PMD];
  if (s || !takeover) list.push('server_no_context_takeover');
  if (c || !takeover) list.push('client_no_context_takeover');
  if (sb) list.push(`server_max_window_bits=${sb}`);
  if (cb && cb !== 'none') list.push(`client_max_window_bits=${cb}`);
  return list.join('; ');
}

const bad = (what, parameters, section = '7.1') => [section, what, [`${PMD}; ${parameters}`], null];
export const OFFERS = [
  ['7', 'the plain offer', [PMD], NEITHER],
  ['5', 'the same offer twice: the first', [`${PMD}, ${PMD}`], NEITHER],
  ['5', 'a fall-back behind an offer that cannot be met', [`${PMD}; server_max_window_bits=8, ${PMD}`], NEITHER],
  ['5', 'a fall-back in a line of its own', [`${PMD}; server_max_window_bits=8`, `${PMD}; server_max_window_bits=10`], `${NEITHER}; server_max_window_bits=10`],
  ['5', 'the first that can be met, not the best', [`${PMD}; server_max_window_bits=9, ${PMD}`], `${NEITHER}; server_max_window_bits=9`],
  ['5', 'behind an extension that nobody knows', [`x-nobody, ${PMD}`], NEITHER],
  ['5', 'another extension only', ['x-webkit-deflate-frame'], null],
  ['5', 'the name in capitals is another one', ['PERMESSAGE-DEFLATE'], null],
  ['5', 'no white space', [`${PMD};server_max_window_bits=10;client_no_context_takeover`], `${NEITHER}; server_max_window_bits=10`],
  ['5', 'much white space', [`\t${PMD} ;  server_max_window_bits  = 10 `], `${NEITHER}; server_max_window_bits=10`],
  ['5', 'a quoted value', [`${PMD}; server_max_window_bits="10"`], `${NEITHER}; server_max_window_bits=10`],
  ['5', 'a quoted value with an escape', [`${PMD}; server_max_window_bits="1\\0"`], `${NEITHER}; server_max_window_bits=10`],
  ['5', 'a quoted parameter that nobody knows, with a comma in it', [`${PMD}; a="b,c"`], 400],
  ['5', 'an empty element in the list', [`, ,${PMD},`], NEITHER],
  bad('a parameter that nobody knows', 'fast'),
  bad('a parameter of another extension', 'max_window_bits=10'),
  bad('a parameter name in capitals', 'SERVER_NO_CONTEXT_TAKEOVER'),
  bad('server_no_context_takeover twice', 'server_no_context_takeover; server_no_context_takeover'),
  bad('client_no_context_takeover twice', 'client_no_context_takeover; client_no_context_takeover'),
  bad('server_max_window_bits twice', 'server_max_window_bits=10; server_max_window_bits=10'),
  bad('client_max_window_bits twice', 'client_max_window_bits; client_max_window_bits=10'),
  bad('server_no_context_takeover with a value', 'server_no_context_takeover=true', '7.1.1.1'),
  bad('client_no_context_takeover with a value', 'client_no_context_takeover="1"', '7.1.1.2'),
  bad('server_max_window_bits without a value', 'server_max_window_bits', '7.1.2.1'),
  ...['0', '7', '16', '08', '010', '1', '15.0', 'x', '-10', '99', '151'].flatMap((v) => [
    bad(`server_max_window_bits=${v}`, `server_max_window_bits=${v}`, '7.1.2.1'),
    bad(`client_max_window_bits=${v}`, `client_max_window_bits=${v}`, '7.1.2.2'),
  ]),
  bad('a server window of 8 bits, which zlib cannot do', 'server_max_window_bits=8', '7.1.2.1'),
  ['9.1 of 6455', 'a semicolon and nothing', [`${PMD};`], 400],
  ['9.1 of 6455', 'an equals sign and nothing', [`${PMD}; server_max_window_bits=`], 400],
  ['9.1 of 6455', 'a quote that does not end', [`${PMD}; server_max_window_bits="10`], 400],
  ['9.1 of 6455', 'an empty quoted value', [`${PMD}; server_max_window_bits=""`], 400],
  ['9.1 of 6455', 'two words', [`${PMD} x`], 400],
  ['9.1 of 6455', 'nothing at all', [''], 400],
  ['9.1 of 6455', 'a good line and a bad one', [PMD, '='], 400],
];

const z = (s, rsv = RSV1) => frame(TEXT, squeeze(s), { rsv });
const cut = (op, payload, at) => [0, ...at].map((from, i) => frame(i ? CONT : op, payload.subarray(from, at[i] ?? payload.length), { fin: i === at.length, rsv: i ? 0 : RSV1 }));
const cat = (...parts) => Buffer.concat(parts);
const hello = squeeze('Hello');
const hex = (s) => frame(TEXT, Buffer.from(s.replaceAll(' ', ''), 'hex'), { rsv: RSV1 });
const noise = randomBytes(3000);
const MAX = 65536;

export const FRAMES = [
  ['6', 'RSV1 on a ping', frame(PING, hello, { rsv: RSV1 }), 'close 1002'],
  ['6', 'RSV1 on a pong', frame(PONG, hello, { rsv: RSV1 }), 'close 1002'],
  ['6', 'RSV1 on a close frame', frame(CLOSE, closePayload(1000), { rsv: RSV1 }), 'close 1002'],
  ['6.1', 'RSV1 on the second fragment too', cat(frame(TEXT, hello.subarray(0, 3), { fin: false, rsv: RSV1 }), frame(CONT, hello.subarray(3), { rsv: RSV1 })), 'close 1002'],
  ['6.1', 'RSV1 on the second fragment alone', cat(frame(TEXT, 'He', { fin: false }), frame(CONT, hello, { rsv: RSV1 })), 'close 1002'],
  ['6', 'RSV2 beside RSV1', frame(TEXT, hello, { rsv: RSV1 | 2 }), 'close 1002'],
  ['6', 'RSV3 beside RSV1', frame(TEXT, hello, { rsv: RSV1 | 1 }), 'close 1002'],
  ['6', 'a message that is not compressed', frame(TEXT, 'Hello'), 'text Hello'],
  ['6', 'compressed and plain messages in turn', cat(z('a'), frame(TEXT, 'b'), z('c'), frame(TEXT, 'd')), 'text a', 'text b', 'text c', 'text d'],
  ['7.2.3.1', 'Hello in one block', hex('f2 48 cd c9 c9 07 00'), 'text Hello'],
  ['7.2.3.1', 'Hello in two fragments', cat(...cut(TEXT, Buffer.from('f248cdc9c90700', 'hex'), [3])), 'text Hello'],
  ['7.2.3.2', 'Hello twice, without a context', cat(hex('f2 48 cd c9 c9 07 00'), hex('f2 48 cd c9 c9 07 00')), 'text Hello', 'text Hello'],
  ['7.2.3.2', 'Hello from a context that was given up', cat(hex('f2 48 cd c9 c9 07 00'), hex('f2 00 11 00 00')), 'text Hello', 'close 1007'],
  ['7.2.3.3', 'Hello in a stored block', hex('00 05 00 fa ff 48 65 6c 6c 6f 00'), 'text Hello'],
  ['7.2.3.4', 'Hello in a final block', hex('f3 48 cd c9 c9 07 00 00'), 'text Hello'],
  ['7.2.3.5', 'Hello in two blocks', hex('f2 48 05 00 00 00 ff ff ca c9 c9 07 00'), 'text Hello'],
  ['7.2.3.6', 'an empty message', hex('00'), 'text '],
  ['7.2.3.6', 'an empty message, as zlib makes it', z(''), 'text '],
  ['7.2.3.6', 'an empty message in three empty-ended fragments', cat(frame(TEXT, '', { fin: false, rsv: RSV1 }), frame(CONT, Buffer.from([0]), { fin: false }), frame(CONT, '')), 'text '],
  ['7.2.2', 'no bytes at all, which are no blocks', frame(TEXT, '', { rsv: RSV1 }), 'close 1007'],
  ['6.1', 'each byte in a fragment of its own, pings between', cat(...cut(TEXT, squeeze('Hello and hello'), [1, 2, 3]).flatMap((f, i) => (i ? [frame(PING, `${i}`), f] : [f]))), 'pong 1', 'pong 2', 'pong 3', 'text Hello and hello'],
  ['6.1', 'an empty first and last fragment', cat(frame(TEXT, '', { fin: false, rsv: RSV1 }), frame(CONT, hello, { fin: false }), frame(CONT, '')), 'text Hello'],
  ['6.1', 'a character cut by fragments and by blocks', cat(...cut(TEXT, squeeze('€'.repeat(50)), [2, 3])), `text ${'€'.repeat(50)}`],
  ['7.2.2', 'the four bytes that ought to be cut off, left on: half a block follows', frame(TEXT, cat(hello, Buffer.from([0, 0, 0xff, 0xff])), { rsv: RSV1 }), 'close 1007'],
  ['7.2.2', 'another empty block at the end', frame(TEXT, cat(hello, Buffer.from([0, 0, 0xff, 0xff, 0])), { rsv: RSV1 }), 'text Hello'],
  ['7.2.2', 'a block type that there is not', hex('06'), 'close 1007'],
  ['7.2.2', 'noise', frame(BINARY, noise.fill(0xff, 0, 3), { rsv: RSV1 }), 'close 1007'],
  ['7.2.2', 'a stored block with a wrong complement', hex('00 05 00 00 00 48 65 6c 6c 6f 00'), 'close 1007'],
  ['7.2.2', 'deflate data that stops', frame(TEXT, squeeze('Hello and more of it').subarray(0, 8), { rsv: RSV1 }), 'close 1007'],
  ['7.2.2', 'text behind a final block', frame(TEXT, cat(Buffer.from('f348cdc9c9070000', 'hex'), Buffer.from('trailing')), { rsv: RSV1 }), 'close 1007'],
  ['7.2.2', 'a zlib header, which is no raw deflate', hex('78 9c f2 48 cd c9 c9 07 00'), 'close 1007'],
  ['8.1 of 6455', 'text that is not UTF-8 once inflated', frame(TEXT, squeeze(Buffer.from([0x61, 0xff])), { rsv: RSV1 }), 'close 1007'],
  ['8.1 of 6455', 'text that ends inside a character once inflated', frame(TEXT, squeeze(Buffer.from([0xe2, 0x82])), { rsv: RSV1 }), 'close 1007'],
  ['8', 'a message of the limit', frame(BINARY, squeeze(Buffer.alloc(MAX)), { rsv: RSV1 }), `binary ${MAX}`],
  ['8', 'one byte more, once inflated', frame(BINARY, squeeze(Buffer.alloc(MAX + 1)), { rsv: RSV1 }), 'close 1009'],
  ['8', 'a bomb: 32 MiB in 32 KiB', frame(BINARY, squeeze(Buffer.alloc(32 << 20)), { rsv: RSV1 }), 'close 1009'],
  ['8', 'the same bomb in fragments', cat(...cut(BINARY, squeeze(Buffer.alloc(32 << 20)), [1, 100, 5000])), 'close 1009'],
  ['8', 'a bomb that would be the end of the line, then text', frame(TEXT, cat(squeeze(Buffer.alloc(MAX + 10, 0x20)), hello), { rsv: RSV1 }), 'close 1009'],
];
