/*
 * rfc9112.mjs - the table of RFC 9112: requests as bytes, and the answers.
 *
 * A row: [section, what, bytes, answers..., end]. An answer is a status, or [status, body]. `end` is "open" (another
 * request is answered on the same connection) or "closed" (it ends, and nothing that followed was looked at).
 * /echo returns the body of a POST.
 */
const H = 'Host: x\r\n';
const get = (headers = H, line = 'GET /healthz HTTP/1.1') => `${line}\r\n${headers}\r\n`;
const post = (headers, body = '') => `POST /echo HTTP/1.1\r\n${H}${headers}\r\n${body}`;
const chunked = (body) => post('Transfer-Encoding: chunked\r\n', body);
const AFTER = get(); // what an attacker would like to have answered
const x = (n) => 'x'.repeat(n);

const tokens = "!#$%&'*+-.^_`|~09AZaz";
const delimiters = [...'"(),/:;<=>?@[\\]{}'].map((c) => ['5.6.2 of 9110', `the delimiter ${c} in a field name`, get(`${H}a${c === ':' ? ' ' : c}b: 1\r\n`), 400, 'closed']);
const controls = [0, 1, 8, 11, 12, 14, 31, 127].flatMap((c) => [
  ['5.5 of 9110', `the byte ${c} in a field value`, get(`${H}A: b${String.fromCharCode(c)}c\r\n`), 400, 'closed'],
  ['3.2', `the byte ${c} in the target`, get(H, `GET /he${String.fromCharCode(c)} HTTP/1.1`), 400, 'closed'],
]);
const goodHosts = ['x', 'x:80', 'x:', 'EXAMPLE.org', '127.0.0.1:8080', '[::1]', '[::1]:8080', 'a-b.c_d', 'x%41']
  .map((h) => ['3.2', `Host: ${h}`, get(`Host: ${h}\r\n`), 200, 'open']);
const badHosts = ['', 'x y', 'x/y', 'x@y', 'x:port', 'x:99999', 'x:80:80', '[::1', '::1', 'x, y', 'http://x', 'x?', 'x#', 'x\\y', '<x>', 'x%4', '[x]']
  .map((h) => ['3.2', h ? `Host: ${h}` : 'an empty Host', get(`Host: ${h}\r\n`), 400, 'closed']);
const badLengths = ['', '+4', '-1', '4.0', '0x4', '4;', '4 4', '4, 5', 'four', '١', '99999999999999999999', '9223372036854775808', '4\t4', '"4"']
  .map((v) => ['6.2', v ? `Content-Length: ${v.replace('\t', '\\t')}` : 'an empty Content-Length', post(`Content-Length: ${v}\r\n`, `abcd${AFTER}`), 400, 'closed']);
const codings = [
  ['xchunked', 501], ['chunked, gzip', 501], ['gzip, chunked', 501], ['gzip', 501], ['identity', 501], ['chunked, chunked', 400], ['chunked;a=b', 501],
  ['"chunked"', 501], ['', 400], [',', 400], ['chunked\x0b', 400], ['\x0bchunked', 400], ['chunked\0', 400], ['chun ked', 501], ['cow', 501], ['chunked, identity', 501],
].map(([v, status]) => ['6.1', `Transfer-Encoding: ${v ? JSON.stringify(v).slice(1, -1) : '(empty)'}`, post(`Transfer-Encoding: ${v}\r\n`, `0\r\n\r\n${AFTER}`), status, 'closed']);

/* Ways to hide one of two lengths from one of two readers. */
const BODY = '0\r\n\r\n';
const smuggle = [
  ['both lengths', `Content-Length: 5\r\nTransfer-Encoding: chunked\r\n`],
  ['both lengths, the other way round', `Transfer-Encoding: chunked\r\nContent-Length: 5\r\n`],
  ['both, a space before the colon', `Content-Length: 5\r\nTransfer-Encoding : chunked\r\n`],
  ['both, a tab before the colon', `Content-Length: 5\r\nTransfer-Encoding\t: chunked\r\n`],
  ['both, the second folded', `Content-Length: 5\r\nTransfer-Encoding:\r\n chunked\r\n`],
  ['both, hidden behind a bare line feed', `X: a\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n`],
  ['both, hidden behind a bare carriage return', `X: a\rTransfer-Encoding: chunked\r\nContent-Length: 5\r\n`],
  ['both, hidden behind a NUL', `X: a\0Transfer-Encoding: chunked\r\nContent-Length: 5\r\n`],
  ['both, in a line that begins with a space', `X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 5\r\n`],
  ['both, a name with a vertical tab', `Content-Length: 5\r\nTransfer-Encoding\x0b: chunked\r\n`],
  ['both, the coding in capitals', `Content-Length: 5\r\nTransfer-Encoding: CHUNKED\r\n`],
  ['both, the coding twice', `Content-Length: 5\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n`, 501],
  ['two lengths', `Content-Length: 5\r\nContent-Length: 0\r\n`],
  ['two lengths, the first in a list', `Content-Length: 5, 0\r\n`],
  ['a length with a bare line feed behind it', `Content-Length: 5\nX: a\r\n`],
  ['a length of an obsolete fold', `Content-Length:\r\n 5\r\n`],
].map(([what, headers, status = 400]) => ['11.2', what, post(headers, `${BODY}${AFTER}`), status, 'closed']);

const badChunks = [
  ['no digits', 'g\r\nx\r\n0\r\n\r\n'], ['an empty size', '\r\nx\r\n0\r\n\r\n'], ['a negative size', '-1\r\nx\r\n0\r\n\r\n'], ['a plus', '+1\r\nx\r\n0\r\n\r\n'], ['0x', '0x1\r\nx\r\n0\r\n\r\n'],
  ['white space before the size', ' 1\r\nx\r\n0\r\n\r\n'], ['white space behind it', '1 \r\nx\r\n0\r\n\r\n'], ['17 digits', '10000000000000001\r\nx\r\n0\r\n\r\n'], ['a bare LF behind it', '1\nx\r\n0\r\n\r\n'],
  ['a bare CR behind it', '1\rx\r\n0\r\n\r\n'], ['data longer than its size', '1\r\nxy\r\n0\r\n\r\n'], ['data without its CRLF', '1\r\nx0\r\n\r\n'], ['a bare LF behind the data', '1\r\nx\n0\r\n\r\n'], ['a bare CR behind the data', '1\r\nx\ry0\r\n\r\n'],
  ['a NUL in an extension', '1;\0\r\nx\r\n0\r\n\r\n'], ['a bare LF in an extension', '1;a\nb\r\nx\r\n0\r\n\r\n'], ['a bare CR in an extension', '1;a\rb\r\nx\r\n0\r\n\r\n'], ['an extension of 300 bytes', `1;${x(300)}\r\nx\r\n0\r\n\r\n`],
  ['a trailer without a colon', '0\r\nnonsense\r\n\r\n'], ['a trailer with a space before the colon', '0\r\nA : b\r\n\r\n'], ['a folded trailer', '0\r\nA: b\r\n c\r\n\r\n'], ['a trailer with a bare LF', '0\r\nA: b\nC: d\r\n\r\n'],
  ['a last chunk that ends with a bare LF', '0\r\n\n'], ['5 KiB of trailers', `0\r\n${`A: ${x(100)}\r\n`.repeat(50)}\r\n`],
].map(([what, body]) => ['7.1', `chunks: ${what}`, chunked(`${body}${AFTER}`), 400, 'closed']);
const goodChunks = [
  ['none', '0\r\n\r\n', ''], ['one', '5\r\nhello\r\n0\r\n\r\n', 'hello'], ['each byte its own', `${[...'hello'].map((c) => `1\r\n${c}\r\n`).join('')}0\r\n\r\n`, 'hello'],
  ['a size in capitals', `A\r\n${x(10)}\r\n0\r\n\r\n`, x(10)], ['a size in small letters', `a\r\n${x(10)}\r\n0\r\n\r\n`, x(10)], ['zeros in front', '0005\r\nhello\r\n000\r\n\r\n', 'hello'],
  ['CRLF in the data', '4\r\n\r\n\r\n\r\n0\r\n\r\n', '\r\n\r\n'], ['what looks like a last chunk in the data', '5\r\n0\r\n\r\n\r\n0\r\n\r\n', '0\r\n\r\n'],
  ['an extension', '5;a\r\nhello\r\n0\r\n\r\n', 'hello'], ['an extension with a value', '5;a=b\r\nhello\r\n0;c=d\r\n\r\n', 'hello'], ['an extension with a quoted value', '5;a="b;c"\r\nhello\r\n0\r\n\r\n', 'hello'],
  ['white space before an extension', '5 ; a = b\r\nhello\r\n0\r\n\r\n', 'hello'], ['a trailer', '5\r\nhello\r\n0\r\nA: b\r\n\r\n', 'hello'],
  ['trailers that may not be there mean nothing', '5\r\nhello\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: gzip\r\nHost: y\r\nConnection: close\r\n\r\n', 'hello'],
].map(([what, body, want]) => ['7.1', `chunks: ${what}`, chunked(body), [200, want], 'open']);

export const REQUESTS = [
  ['2.2', 'an empty line in front', `\r\n${get()}`, 200, 'open'],
  ['2.2', 'two empty lines in front', `\r\n\r\n${get()}`, 200, 'open'],
  ['2.2', 'three empty lines in front', `\r\n\r\n\r\n${get()}`, 400, 'closed'],
  ['2.2', 'a bare LF behind the request line', 'GET /healthz HTTP/1.1\nHost: x\r\n\r\n', 400, 'closed'],
  ['2.2', 'a bare LF behind a field', 'GET /healthz HTTP/1.1\r\nHost: x\n\r\n', 400, 'closed'],
  ['2.2', 'a bare LF as the empty line', 'GET /healthz HTTP/1.1\r\nHost: x\r\n\n', 400, 'closed'],
  ['2.2', 'bare LFs throughout', 'GET /healthz HTTP/1.1\nHost: x\n\n', 400, 'closed'],
  ['2.2', 'a bare CR in the request line', `GET /healthz\r HTTP/1.1\r\n${H}\r\n`, 400, 'closed'],
  ['2.2', 'a bare CR in a field value', get(`${H}A: b\rc\r\n`), 400, 'closed'],
  ['2.2', 'a bare CR behind a field value', get(`${H}A: b\r\r\n`), 400, 'closed'],
  ['2.2', 'a space in front of the first field', get(` A: b\r\n${H}`), 400, 'closed'],
  ['2.2', 'a space alone in front of the first field', get(` \r\n${H}`), 400, 'closed'],
  ['2.2', 'a TLS hello', Buffer.from([0x16, 3, 1, 0, 5, 1, 0, 0, 1, 3, 0x0d, 0x0a, 0x0d, 0x0a]), 400, 'closed'],
  ['2.3', 'HTTP/1.2 is read as 1.1', get(H, 'GET /healthz HTTP/1.2'), 200, 'open'],
  ['2.3', 'HTTP/1.9 is read as 1.1', get(H, 'GET /healthz HTTP/1.9'), 200, 'open'],
  ...['HTTP/0.9', 'HTTP/2.0', 'HTTP/3.0', 'HTTP/9.9'].map((v) => ['2.3', v, get(H, `GET /healthz ${v}`), 505, 'closed']),
  ...['http/1.1', 'HTTP/1', 'HTTP/1.', 'HTTP/1.10', 'HTTP/11.1', 'HTTP /1.1', 'HTTP/1.1x', 'HTTP/a.b', 'HTCPCP/1.1', 'HTTP/1,1', 'HTTP/+1.1'].map((v) => ['2.3', `the version ${v}`, get(H, `GET /healthz ${v}`), 400, 'closed']),
  ['3', 'no version', get(H, 'GET /healthz'), 400, 'closed'],
  ['3', 'no target', get(H, 'GET HTTP/1.1'), 400, 'closed'],
  ['3', 'a method alone', get(H, 'GET'), 400, 'closed'],
  ['3', 'two spaces behind the method', get(H, 'GET  /healthz HTTP/1.1'), 400, 'closed'],
  ['3', 'two spaces behind the target', get(H, 'GET /healthz  HTTP/1.1'), 400, 'closed'],
  ['3', 'a space behind the version', get(H, 'GET /healthz HTTP/1.1 '), 400, 'closed'],
  ['3', 'a tab for the space', get(H, 'GET\t/healthz HTTP/1.1'), 400, 'closed'],
  ['3', 'a space in front of the method', get(H, ' GET /healthz HTTP/1.1'), 400, 'closed'],
  ['3', 'a space in the target', get(H, 'GET /heal thz HTTP/1.1'), 400, 'closed'],
  ['3.1', 'methods are case-sensitive', get(H, 'get /healthz HTTP/1.1'), 405, 'open'],
  ['3.1', 'a method nobody knows', get(H, 'BREW /healthz HTTP/1.1'), 405, 'open'],
  ['3.1', 'a method of all token characters', get(H, `${tokens} /healthz HTTP/1.1`), 405, 'open'],
  ['3.1', 'a method that is no token', get(H, 'G@T /healthz HTTP/1.1'), 400, 'closed'],
  ['3', 'a request line past the limit', get(H, `GET /${x(9000)} HTTP/1.1`), 414, 'closed'],
  ['3', 'a request line that never ends', `GET /${x(9000)}`, 414, 'closed'],
  ['3.2.1', 'a path that is not there', get(H, 'GET /nowhere HTTP/1.1'), 404, 'open'],
  ['3.2.1', 'a query', get(H, 'GET /healthz?a=b&c HTTP/1.1'), 200, 'open'],
  ['3.2.1', 'a path without its slash', get(H, 'GET healthz HTTP/1.1'), 400, 'closed'],
  ['3.2.1', 'a fragment', get(H, 'GET /healthz#a HTTP/1.1'), 400, 'closed'],
  ['3.2.1', 'a byte past ASCII', Buffer.from(get(H, 'GET /\xe9 HTTP/1.1'), 'latin1'), 400, 'closed'],
  ['3.2.1', 'a path up and away', get(H, 'GET /console/../../etc/passwd HTTP/1.1'), 404, 'open'],
  ['3.2.2', 'absolute form', get(H, 'GET http://x/healthz HTTP/1.1'), 200, 'open'],
  ['3.2.2', 'absolute form, scheme in capitals', get(H, 'GET HTTP://x/healthz HTTP/1.1'), 200, 'open'],
  ['3.2.2', 'absolute form, another Host than in the target', get('Host: y\r\n', 'GET http://x/healthz HTTP/1.1'), 200, 'open'],
  ['3.2.2', 'absolute form without a Host', get('', 'GET http://x/healthz HTTP/1.1'), 400, 'closed'],
  ['3.2.2', 'absolute form, another scheme', get(H, 'GET ftp://x/healthz HTTP/1.1'), 400, 'closed'],
  ['3.2.2', 'absolute form without a host', get(H, 'GET http:///healthz HTTP/1.1'), 400, 'closed'],
  ['3.2.2', 'absolute form with a user', get(H, 'GET http://u@x/healthz HTTP/1.1'), 400, 'closed'],
  ['3.2.3', 'authority form', get(H, 'CONNECT x:80 HTTP/1.1'), 400, 'closed'],
  ['3.2.4', 'asterisk form with OPTIONS', get(H, 'OPTIONS * HTTP/1.1'), [204, ''], 'open'],
  ['3.2.4', 'asterisk form with GET', get(H, 'GET * HTTP/1.1'), 400, 'closed'],
  ['3.2', 'no Host', get(''), 400, 'closed'],
  ['3.2', 'two Hosts', get(`${H}Host: y\r\n`), 400, 'closed'],
  ['3.2', 'the same Host twice', get(`${H}${H}`), 400, 'closed'],
  ...goodHosts, ...badHosts,
  ['5', 'field names in any case', get('hOsT: x\r\n'), 200, 'open'],
  ['5', 'a field name of all token characters', get(`${H}${tokens}: 1\r\n`), 200, 'open'],
  ['5', 'no white space behind the colon', get('Host:x\r\n'), 200, 'open'],
  ['5', 'much white space around a value', get('Host: \t  x \t \r\n'), 200, 'open'],
  ['5', 'an empty value', get(`${H}A:\r\nB: \r\n`), 200, 'open'],
  ['5', 'bytes past ASCII in a value', Buffer.from(get(`${H}A: \x80\xff\r\n`), 'latin1'), 200, 'open'],
  ['5', 'a colon in a value', get(`${H}A: b:c\r\n`), 200, 'open'],
  ['5.1', 'a space before the colon', get(`${H}A : b\r\n`), 400, 'closed'],
  ['5.1', 'a tab before the colon', get(`${H}A\t: b\r\n`), 400, 'closed'],
  ['5.1', 'a field without a colon', get(`${H}nonsense\r\n`), 400, 'closed'],
  ['5.1', 'a field without a name', get(`${H}: b\r\n`), 400, 'closed'],
  ['5.1', 'a byte past ASCII in a field name', Buffer.from(get(`${H}\xe9: b\r\n`), 'latin1'), 400, 'closed'],
  ['5.2', 'a folded field, with a space', get(`${H}A: b\r\n c\r\n`), 400, 'closed'],
  ['5.2', 'a folded field, with a tab', get(`${H}A: b\r\n\tc\r\n`), 400, 'closed'],
  ['5.2', 'a folded Host', get('Host:\r\n x\r\n'), 400, 'closed'],
  ['5.4 of 9110', 'a head past the limit', get(`${H}A: ${x(9000)}\r\n`), 431, 'closed'],
  ['5.4 of 9110', 'a head that never ends', `GET / HTTP/1.1\r\n${H}${`A: ${x(100)}\r\n`.repeat(90)}`, 431, 'closed'],
  ['5.4 of 9110', 'more fields than the limit', get(`${H}${'A: b\r\n'.repeat(200)}`), 431, 'closed'],
  ...delimiters, ...controls,
  ['6', 'no body', post(''), [200, ''], 'open'],
  ['6.2', 'a body by its length', post('Content-Length: 5\r\n', 'hello'), [200, 'hello'], 'open'],
  ['6.2', 'a length of 0', post('Content-Length: 0\r\n'), [200, ''], 'open'],
  ['6.2', 'zeros in front of the length', post('Content-Length: 0005\r\n', 'hello'), [200, 'hello'], 'open'],
  ['6.3', 'the same length twice', post('Content-Length: 5\r\nContent-Length: 5\r\n', 'hello'), [200, 'hello'], 'open'],
  ['6.3', 'a body that looks like a request', post(`Content-Length: ${AFTER.length}\r\n`, AFTER), [200, AFTER], 'open'],
  ['6.3', 'a GET with a body where none is taken', `GET /healthz HTTP/1.1\r\n${H}Content-Length: 5\r\n\r\nhello`, 413, 'closed'],
  ...badLengths, ...codings,
  ['6.1', 'the coding in any case', post('Transfer-Encoding: ChUnKeD\r\n', '5\r\nhello\r\n0\r\n\r\n'), [200, 'hello'], 'open'],
  ['6.1', 'white space around the coding', post('Transfer-Encoding: \t chunked \t\r\n', '5\r\nhello\r\n0\r\n\r\n'), [200, 'hello'], 'open'],
  ['6.1', 'empty elements around the coding', post('Transfer-Encoding: , chunked ,\r\n', '5\r\nhello\r\n0\r\n\r\n'), [200, 'hello'], 'open'],
  ['6.1', 'chunked in two fields', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${AFTER}`), 400, 'closed'],
  ['6.1', 'chunked in an HTTP/1.0 request', `POST /echo HTTP/1.0\r\n${H}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`, 400, 'closed'],
  ...goodChunks, ...badChunks, ...smuggle,
  ['9.3', 'HTTP/1.1 stays open', get(), 200, 'open'],
  ['9.3', 'Connection: close', get(`${H}Connection: close\r\n`) + AFTER, 200, 'closed'],
  ['9.3', 'Connection: Close, in a list', get(`${H}Connection: x, Close\r\n`) + AFTER, 200, 'closed'],
  ['9.3', 'close in a second Connection field', get(`${H}Connection: keep-alive\r\nConnection: close\r\n`) + AFTER, 200, 'closed'],
  ['9.3', 'HTTP/1.0 ends', get(H, 'GET /healthz HTTP/1.0') + AFTER, 200, 'closed'],
  ['9.3', 'HTTP/1.0 without a Host', get('', 'GET /healthz HTTP/1.0'), 200, 'closed'],
  ['9.3', 'HTTP/1.0 with keep-alive stays open', get(`${H}Connection: keep-alive\r\n`, 'GET /healthz HTTP/1.0'), 200, 'open'],
  ['9.3.2', 'three requests in one segment, answered in order', get() + post('Content-Length: 1\r\n', 'b') + get(H, 'GET /nowhere HTTP/1.1'), 200, [200, 'b'], 404, 'open'],
  ['9.3.2', 'requests behind a refused one', post('Content-Length: 1\r\n', 'a') + get(`${H}A : b\r\n`) + AFTER, [200, 'a'], 400, 'closed'],
  ['9.3.2', 'chunked requests behind one another', chunked('1\r\na\r\n0\r\n\r\n') + chunked('1\r\nb\r\n0\r\n\r\n'), [200, 'a'], [200, 'b'], 'open'],
  ['9.3.2 of 9110', 'HEAD: the head of GET and no body', get(H, 'HEAD /healthz HTTP/1.1') + get(), [200, null], 200, 'open'],
  ['9.3.2 of 9110', 'HEAD of what is not there', get(H, 'HEAD /nowhere HTTP/1.1') + get(), [404, null], 200, 'open'],
  ['9.3.7 of 9110', 'OPTIONS', get(H, 'OPTIONS /healthz HTTP/1.1'), [204, ''], 'open'],
  ['15.5.6 of 9110', 'a method that this path has not', get(H, 'DELETE /healthz HTTP/1.1'), 405, 'open'],
  ['10.1.1 of 9110', 'Expect: 100-continue, the body there already', post('Content-Length: 5\r\nExpect: 100-continue\r\n', 'hello'), [200, 'hello'], 'open'],
  ['10.1.1 of 9110', 'Expect: 100-continue from HTTP/1.0', `POST /echo HTTP/1.0\r\n${H}Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello`, [200, 'hello'], 'closed'],
  ['10.1.1 of 9110', 'an expectation that nobody knows', post('Content-Length: 5\r\nExpect: miracles\r\n', 'hello'), [200, 'hello'], 'open'],
  ['8.4 of 9110', 'a Content-Encoding is the reader\'s business', post('Content-Length: 5\r\nContent-Encoding: x\r\n', 'hello'), [200, 'hello'], 'open'],
  ['7.8 of 9110', 'an Upgrade to what is not spoken here', get(`${H}Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n`), 200, 'open'],
  ['15.5.22 of 9110', 'a GET where a WebSocket is', get(H, 'GET /ws?user=c HTTP/1.1'), 426, 'open'],
  ['15.5.14 of 9110', 'a body announced beyond the limit', post('Content-Length: 500000000\r\n'), 413, 'closed'],
];

/* On a broker that lets nobody in without a token or a key. */
const bare = (line, headers = '', body = '') => `${line} HTTP/1.1\r\n${H}${headers}\r\n${body}`;
const UPGRADE = 'Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n';
export const STRANGERS = [
  ['15.5.2 of 9110', 'a WebSocket without a token', bare('GET /ws', UPGRADE), 401, 'open'],
  ['15.5.2 of 9110', 'a WebSocket with a bad token', bare('GET /ws', `${UPGRADE}Authorization: Bearer x.y.z\r\n`), 401, 'open'],
  ['15.5.2 of 9110', 'an event stream without a token', bare('GET /events'), 401, 'open'],
  ['15.5.2 of 9110', 'a poll without a token', bare('GET /poll'), 401, 'open'],
  ['15.5.2 of 9110', 'a command without a token', bare('POST /send', 'Content-Length: 15\r\n', '{"type":"send"}'), 401, 'open'],
  ['15.5.2 of 9110', 'a push without a key', bare('POST /api/push', 'Content-Length: 2\r\n', '{}'), 401, 'open'],
  ['15.5.2 of 9110', 'a push with another scheme', bare('POST /api/push', 'Authorization: Basic eDp5\r\nContent-Length: 2\r\n', '{}'), 401, 'open'],
  ['15.5.2 of 9110', 'a push without a key, its body still to come', bare('POST /api/push', 'Content-Length: 20\r\n', '{'), 401, 'closed'],
];
