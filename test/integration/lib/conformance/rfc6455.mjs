/*
 * rfc6455.mjs - the table of RFC 6455: what is sent, and what the specification lets a server do about it.
 *
 * A row of FRAMES: [section, what, bytes, what must come back]. What comes back is told as the runner reads it: "text x",
 * "binary N" (its length), "pong x", "close 1002", or "nothing" (the next echo is the next thing that comes). Rows run on
 * /echo, which returns each message as one frame. A row of HANDSHAKES: [section, what, changed headers, status].
 */
import { OP, closePayload, frame } from '../raw.mjs';

const { CONT, TEXT, BINARY, CLOSE, PING, PONG } = OP;
const x = (n) => 'x'.repeat(n);
const cat = (...parts) => Buffer.concat(parts.map((p) => Buffer.from(p)));
const bytes = (...list) => Buffer.from(list);
const start = (op, s) => frame(op, s, { fin: false });
const more = (s) => frame(CONT, s, { fin: false });
const last = (s) => frame(CONT, s);
const inPieces = (op, list) => cat(...list.map((s, i) => frame(i ? CONT : op, s, { fin: i === list.length - 1 })));
const MAX = 65536; // the broker's limit of a message

/* A head by hand: the length in the form of `form` bytes (0, 2, 8), masked with zeros. */
function head(first, length, form) {
  const b = Buffer.alloc(2 + form + 4);
  b[0] = first;
  b[1] = 0x80 | (form === 2 ? 126 : form === 8 ? 127 : length);
  if (form === 2) b.writeUInt16BE(length, 2);
  if (form === 8) b.writeBigUInt64BE(BigInt(length), 2);
  return b;
}

const reserved = [];
for (const op of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) reserved.push(['5.2', `the reserved opcode ${op}`, frame(op, ''), 'close 1002']);
const rsv = [];
for (const [bits, name] of [[4, 'RSV1, nothing negotiated'], [2, 'RSV2'], [1, 'RSV3'], [7, 'all three reserved bits']]) {
  for (const [op, kind] of [[TEXT, 'a text frame'], [BINARY, 'a binary frame'], [PING, 'a ping'], [CLOSE, 'a close frame']]) rsv.push(['5.2', `${name}, on ${kind}`, frame(op, '', { rsv: bits }), 'close 1002']);
}
const lengths = [];
for (const n of [0, 1, 125, 126, 127, 128, 65535, 65536]) lengths.push(['5.2', `a binary message of ${n} bytes`, frame(BINARY, x(n)), `binary ${n}`]);
const goodCodes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
  .map((c) => ['7.4', `a close frame with ${c}`, frame(CLOSE, closePayload(c, 'bye')), `close ${c}`]);
const badCodes = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 65535]
  .map((c) => ['7.4', `a close frame with ${c}, which must not be sent`, frame(CLOSE, closePayload(c)), 'close 1002']);

/* Texts that are not UTF-8 (RFC 3629), each in one frame and cut inside the fault. */
const NOT_UTF8 = [
  ['a continuation byte alone', [0x80]],
  ['a first byte and no second', [0xc3, 0x28]],
  ['an overlong slash of two bytes', [0xc0, 0xaf]],
  ['an overlong slash of three bytes', [0xe0, 0x80, 0xaf]],
  ['an overlong slash of four bytes', [0xf0, 0x80, 0x80, 0xaf]],
  ['the largest overlong of two bytes', [0xc1, 0xbf]],
  ['a high surrogate', [0xed, 0xa0, 0x80]],
  ['a low surrogate', [0xed, 0xbf, 0xbf]],
  ['a code point past U+10FFFF', [0xf4, 0x90, 0x80, 0x80]],
  ['a first byte F5', [0xf5, 0x80, 0x80, 0x80]],
  ['a sequence of five bytes', [0xf8, 0x88, 0x80, 0x80, 0x80]],
  ['the byte FE', [0xfe]],
  ['the byte FF', [0xff]],
];
const UTF8 = [
  ['U+0000', '\u0000'], ['U+007F', '\u007f'], ['U+0080', '\u0080'], ['U+07FF', '\u07ff'], ['U+0800', '\u0800'],
  ['U+D7FF', '\ud7ff'], ['U+E000', '\ue000'], ['U+FEFF', '\ufeff'], ['U+FFFD', '\ufffd'], ['U+FFFF', '\uffff'], ['U+10000', '\u{10000}'], ['U+10FFFF', '\u{10ffff}'],
];
const byteByByte = (s) => inPieces(TEXT, [...Buffer.from(s)].map((b) => bytes(b)));
const badTexts = NOT_UTF8.flatMap(([name, list]) => [
  ['8.1', `text with ${name}`, frame(TEXT, bytes(0x61, ...list, 0x62)), 'close 1007'],
  ['8.1', `text with ${name}, each byte in a fragment of its own`, inPieces(TEXT, [...list, 0x62].map((b) => bytes(b))), 'close 1007'],
]);
const goodTexts = UTF8.flatMap(([name, s]) => [
  ['5.6', `text with ${name}`, frame(TEXT, `a${s}b`), `text a${s}b`],
  ['5.6', `text with ${name}, each byte in a fragment of its own`, byteByByte(`${s}b`), `text ${s}b`],
]);
const cutTexts = ['\u0080', '\u0800', '\u{10000}'].map((s) => [
  '8.1', `text that ends inside a character of ${Buffer.byteLength(s)} bytes`, frame(TEXT, Buffer.from(s).subarray(0, -1)), 'close 1007',
]);

export const FRAMES = [
  ['5.1', 'a frame without a mask', frame(TEXT, 'x', { mask: false }), 'close 1002'],
  ['5.1', 'a ping without a mask', frame(PING, 'x', { mask: false }), 'close 1002'],
  ['5.1', 'a close frame without a mask', frame(CLOSE, closePayload(1000), { mask: false }), 'close 1002'],
  ['5.1', 'the second fragment without a mask', cat(start(TEXT, 'a'), frame(CONT, 'b', { mask: false })), 'close 1002'],
  ['5.3', 'a mask of zeros', cat(head(0x81, 5, 0), 'Hello'), 'text Hello'],
  ['5.3', "section 5.7's masked Hello", bytes(0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58), 'text Hello'],
  ['5.3', 'another mask for each fragment', cat(start(TEXT, 'Hel'), last('lo')), 'text Hello'],
  ...reserved, ...rsv, ...lengths,
  ['5.2', 'a length of 125 in two bytes', cat(head(0x82, 125, 2), x(125)), 'close 1002'],
  ['5.2', 'a length of 0 in two bytes', head(0x82, 0, 2), 'close 1002'],
  ['5.2', 'a length of 65535 in eight bytes', cat(head(0x82, 65535, 8), x(65535)), 'close 1002'],
  ['5.2', 'a length of 5 in eight bytes', cat(head(0x82, 5, 8), x(5)), 'close 1002'],
  ['5.2', 'a length with its highest bit set', cat(bytes(0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0), 'x'), 'close 1002'],
  ['5.2', 'a length of 2^63 - 1', bytes(0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0), 'close 1009'],
  ['5.4', 'two fragments', cat(start(TEXT, 'Hel'), last('lo')), 'text Hello'],
  ['5.4', 'fragments that are all empty', inPieces(TEXT, ['', '', '']), 'text '],
  ['5.4', 'empty fragments around a full one', inPieces(BINARY, ['', 'abc', '']), 'binary 3'],
  ['5.4', 'a thousand fragments', inPieces(BINARY, Array(1000).fill('y')), 'binary 1000'],
  ['5.4', 'a ping between fragments', cat(start(TEXT, 'a'), frame(PING, 'p'), last('b')), 'pong p', 'text ab'],
  ['5.4', 'a ping between each two of five fragments', cat(start(TEXT, 'a'), frame(PING, '1'), more('b'), frame(PING, '2'), more('c'), frame(PING, '3'), last('d')), 'pong 1', 'pong 2', 'pong 3', 'text abcd'],
  ['5.4', 'a pong between fragments', cat(start(TEXT, 'a'), frame(PONG, 'p'), last('b')), 'text ab'],
  ['5.4', 'a close frame between fragments', cat(start(TEXT, 'a'), frame(CLOSE, closePayload(1000))), 'close 1000'],
  ['5.4', 'a continuation of nothing', last('x'), 'close 1002'],
  ['5.4', 'a continuation of nothing, not final', more('x'), 'close 1002'],
  ['5.4', 'a continuation after a whole message', cat(frame(TEXT, 'a'), last('b')), 'text a', 'close 1002'],
  ['5.4', 'a text inside a fragmented text', cat(start(TEXT, 'a'), frame(TEXT, 'b')), 'close 1002'],
  ['5.4', 'a binary inside a fragmented text', cat(start(TEXT, 'a'), frame(BINARY, 'b')), 'close 1002'],
  ['5.4', 'a new fragmented message inside another', cat(start(TEXT, 'a'), start(TEXT, 'b')), 'close 1002'],
  ['5.5', 'a fragmented ping', frame(PING, 'x', { fin: false }), 'close 1002'],
  ['5.5', 'a fragmented pong', frame(PONG, 'x', { fin: false }), 'close 1002'],
  ['5.5', 'a fragmented close frame', frame(CLOSE, closePayload(1000), { fin: false }), 'close 1002'],
  ['5.5', 'a ping of 126 bytes', frame(PING, x(126)), 'close 1002'],
  ['5.5', 'a pong of 126 bytes', frame(PONG, x(126)), 'close 1002'],
  ['5.5', 'a close frame of 126 bytes', frame(CLOSE, closePayload(1000, x(124))), 'close 1002'],
  ['5.5', 'a ping with its length in two bytes', cat(head(0x89, 5, 2), 'hello'), 'close 1002'],
  ['5.5.1', 'an empty close frame', frame(CLOSE, ''), 'close 1000'],
  ['5.5.1', 'a close frame of one byte', frame(CLOSE, 'x'), 'close 1002'],
  ['5.5.1', 'a close frame with the longest reason', frame(CLOSE, closePayload(1000, x(123))), 'close 1000'],
  ['5.5.1', 'a close frame with a reason that is not UTF-8', frame(CLOSE, cat(closePayload(1000), bytes(0xff))), 'close 1002'],
  ['5.5.1', 'a close frame with a reason cut inside a character', frame(CLOSE, cat(closePayload(1000), bytes(0xe2, 0x82))), 'close 1002'],
  ['5.5.1', 'a text after the close frame', cat(frame(CLOSE, closePayload(1000)), frame(TEXT, 'late')), 'close 1000'],
  ['5.5.1', 'a ping after the close frame', cat(frame(CLOSE, closePayload(1000)), frame(PING, 'late')), 'close 1000'],
  ['5.5.1', 'a second close frame', cat(frame(CLOSE, closePayload(1000)), frame(CLOSE, closePayload(1001))), 'close 1000'],
  ['5.5.2', 'a ping', frame(PING, 'Hello'), 'pong Hello'],
  ['5.5.2', 'an empty ping', frame(PING, ''), 'pong '],
  ['5.5.2', 'a ping of 125 bytes', frame(PING, x(125)), `pong ${x(125)}`],
  ['5.5.2', 'a ping of bytes that are not UTF-8', frame(PING, bytes(0xff, 0xfe)), 'pong \xff\xfe'],
  ['5.5.2', 'ten pings', cat(...[...'0123456789'].map((c) => frame(PING, c))), ...[...'0123456789'].map((c) => `pong ${c}`)],
  ['5.5.3', 'a pong nobody asked for', frame(PONG, 'x'), 'nothing'],
  ['5.5.3', 'an empty pong nobody asked for', frame(PONG, ''), 'nothing'],
  ['5.6', 'an empty text', frame(TEXT, ''), 'text '],
  ['5.6', 'an empty binary message', frame(BINARY, ''), 'binary 0'],
  ['5.6', 'a binary message that is not UTF-8', frame(BINARY, bytes(0xff, 0xfe, 0x80)), 'binary 3'],
  ['5.6', 'two messages in one segment', cat(frame(TEXT, 'a'), frame(TEXT, 'b')), 'text a', 'text b'],
  ...goodTexts, ...badTexts, ...cutTexts,
  ['8.1', 'text cut inside a character at the end of the last fragment', inPieces(TEXT, ['a', bytes(0xe2, 0x82)]), 'close 1007'],
  ['8.1', 'text that is not UTF-8 in a message that never ends', start(TEXT, bytes(0xff)), 'close 1007'],
  ...goodCodes, ...badCodes,
  ['10.4', 'a message of one byte more than the limit', frame(BINARY, x(MAX + 1)), 'close 1009'],
  ['10.4', 'the same, only announced', head(0x82, MAX + 1, 8), 'close 1009'],
  ['10.4', 'fragments that are more than the limit together', inPieces(BINARY, [x(MAX), 'y']), 'close 1009'],
  ['10.4', 'fragments that are the limit together', inPieces(BINARY, [x(MAX - 1), 'y']), `binary ${MAX}`],
];

const KEY = 'dGhlIHNhbXBsZSBub25jZQ==';
export const HANDSHAKES = [
  ['1.3', "the specification's key", { 'Sec-WebSocket-Key': KEY }, 101, /^sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=\r$/im],
  ['4.2.1', 'header names in capitals', { Upgrade: undefined, UPGRADE: 'websocket' }, 101],
  ['4.2.1', 'Upgrade: WebSocket', { Upgrade: 'WebSocket' }, 101],
  ['4.2.1', 'Upgrade: a list with websocket in it', { Upgrade: 'h2c, websocket' }, 101],
  ['4.2.1', 'Upgrade: another protocol', { Upgrade: 'h2c' }, 426],
  ['4.2.1', 'Upgrade: websockets', { Upgrade: 'websockets' }, 426],
  ['4.2.1', 'no Upgrade', { Upgrade: undefined }, 426],
  ['4.2.1', 'Connection: keep-alive, Upgrade', { Connection: 'keep-alive, Upgrade' }, 101],
  ['4.2.1', 'Connection: upgrade', { Connection: 'upgrade' }, 101],
  ['4.2.1', 'Connection: Upgrade in a second line', { Connection: 'keep-alive\r\nConnection: Upgrade' }, 101],
  ['4.2.1', 'Connection: keep-alive', { Connection: 'keep-alive' }, 426],
  ['4.2.1', 'no Connection', { Connection: undefined }, 426],
  ['4.2.1', 'no key', { 'Sec-WebSocket-Key': undefined }, 400],
  ['4.2.1', 'an empty key', { 'Sec-WebSocket-Key': '' }, 400],
  ['4.2.1', 'a key of 15 bytes', { 'Sec-WebSocket-Key': Buffer.alloc(15).toString('base64') }, 400],
  ['4.2.1', 'a key of 17 bytes', { 'Sec-WebSocket-Key': Buffer.alloc(17).toString('base64') }, 400],
  ['4.2.1', 'a key that is not base64', { 'Sec-WebSocket-Key': '!!!!!!!!!!!!!!!!!!!!!!==' }, 400],
  ['4.2.1', 'a key without its padding', { 'Sec-WebSocket-Key': KEY.slice(0, 22) }, 400],
  ['11.3.1', 'two keys', { 'Sec-WebSocket-Key': `${KEY}\r\nSec-WebSocket-Key: ${KEY}` }, 400],
  ['4.2.1', 'no version', { 'Sec-WebSocket-Version': undefined }, 426],
  ['4.4', 'version 8', { 'Sec-WebSocket-Version': '8' }, 426, /^sec-websocket-version: 13\r$/im],
  ['4.4', 'version 14', { 'Sec-WebSocket-Version': '14' }, 426, /^sec-websocket-version: 13\r$/im],
  ['4.4', 'version 013', { 'Sec-WebSocket-Version': '013' }, 426],
  ['11.3.5', 'two versions', { 'Sec-WebSocket-Version': '13\r\nSec-WebSocket-Version: 13' }, 400],
  ['4.1', 'HTTP/1.0', { http: 'HTTP/1.0' }, 426],
  ['4.1', 'POST', { method: 'POST' }, 405],
  ['4.2.1', 'no Host', { Host: undefined }, 400],
  ['4.2.2', 'no subprotocol: none is answered', { 'Sec-WebSocket-Protocol': undefined }, 101, /^(?!.*sec-websocket-protocol)/is],
  ['4.2.2', 'two subprotocols: the first that is known', { 'Sec-WebSocket-Protocol': 'soap, crier.v1.msgpack, crier.v1.json' }, 101, /^sec-websocket-protocol: crier\.v1\.msgpack\r$/im],
  ['11.3.4', 'two lines of subprotocols', { 'Sec-WebSocket-Protocol': 'soap\r\nSec-WebSocket-Protocol: crier.v1.json' }, 101, /^sec-websocket-protocol: crier\.v1\.json\r$/im],
  ['4.2.2', 'unknown subprotocols only', { 'Sec-WebSocket-Protocol': 'soap' }, 400],
  ['4.2.2', 'a subprotocol in capitals is another one', { 'Sec-WebSocket-Protocol': 'CRIER.V1.JSON' }, 400],
  ['9.1', 'an unknown extension: none is answered', { 'Sec-WebSocket-Extensions': 'x-nobody; a=b' }, 101, /^(?!.*sec-websocket-extensions)/is],
  ['9.1', 'extensions that break the grammar', { 'Sec-WebSocket-Extensions': 'a; =b' }, 400],
  ['10.2', 'an Origin that is not on the list', { Origin: 'https://evil.example' }, 403],
];
