/*
 * whatwg_sse.mjs - the event stream format of the WHATWG HTML standard (section 9.2): a parser that takes its steps in the
 * standard's order, streams to try the parser on ([what, text, events]), and messages whose way through a stream is tried
 * ([what, the `data` as JSON text, more members of the push]).
 */

/* Bytes in any pieces; `events` grows. */
export class EventStream {
  constructor() {
    this.events = [];
    this.lines = []; // as they were, for what the parser does not tell
    this.lastEventId = '';
    this.retry = undefined;
    this.decoder = new TextDecoder('utf-8'); // "UTF-8 decode": replaces what is wrong, and takes one leading BOM away
    this.data = '';
    this.type = '';
    this.idBuffer = '';
    this.line = '';
    this.afterCr = false;
  }

  feed(bytes) {
    for (const c of this.decoder.decode(bytes, { stream: true })) {
      if (c === '\n' && this.afterCr) {
        this.afterCr = false; // CRLF is one end
        continue;
      }
      this.afterCr = c === '\r';
      if (c !== '\n' && c !== '\r') {
        this.line += c;
        continue;
      }
      this.lines.push(this.line);
      this.#process(this.line);
      this.line = '';
    }
    return this;
  }

  #process(line) {
    if (line === '') this.#dispatch();
    else if (line[0] === ':') return;
    else if (line.includes(':')) {
      const at = line.indexOf(':');
      let value = line.slice(at + 1);
      if (value[0] === ' ') value = value.slice(1);
      this.#field(line.slice(0, at), value);
    } else this.#field(line, '');
  }

  #field(name, value) {
    if (name === 'event') this.type = value;
    else if (name === 'data') this.data += `${value}\n`;
    else if (name === 'id' && !value.includes('\0')) this.idBuffer = value;
    else if (name === 'retry' && /^[0-9]+$/.test(value)) this.retry = parseInt(value, 10);
  }

  #dispatch() {
    this.lastEventId = this.idBuffer;
    if (this.data === '') {
      this.type = '';
      return;
    }
    this.events.push({ type: this.type || 'message', data: this.data.slice(0, -1), id: this.lastEventId });
    this.data = '';
    this.type = '';
  }
}

const event = (data, type = 'message', id = '') => ({ type, data, id });

export const STREAMS = [
  ['the standard: three messages', 'data: This is the first message.\n\ndata: This is the second message, it\ndata: has two lines.\n\ndata: This is the third message.\n\n',
    [event('This is the first message.'), event('This is the second message, it\nhas two lines.'), event('This is the third message.')]],
  ['the standard: named events', 'event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n', [event('73857293', 'add'), event('2153', 'remove'), event('113411', 'add')]],
  ['the standard: a stock', 'data: YHOO\ndata: +2\ndata: 10\n\n', [event('YHOO\n+2\n10')]],
  ['the standard: a comment, ids, an id taken back', ': test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n', [event('first event', 'message', '1'), event('second event'), event(' third event')]],
  ['the standard: empty data, and an event that never ends', 'data\n\ndata\ndata\n\ndata:', [event(''), event('\n')]],
  ['the standard: with a space and without', 'data:test\n\ndata: test\n\n', [event('test'), event('test')]],
  ['ends of lines: LF, CR, CRLF', 'data: a\ndata: b\rdata: c\r\n\r\ndata: d\r\rdata: e\n\n', [event('a\nb\nc'), event('d'), event('e')]],
  ['a byte order mark in front is taken away', '\ufeffdata: a\n\n', [event('a')]],
  ['a second one is not', '\ufeff\ufeffdata: a\n\ndata: b\n\n', [event('b')]],
  ['an id with a NUL is passed over', 'id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n', [event('a', 'message', '1'), event('b', 'message', '1')]],
  ['an id without data counts for the next event', 'id: 7\n\ndata: a\n\n', [event('a', 'message', '7')]],
  ['an event name without data is forgotten', 'event: x\n\ndata: a\n\n', [event('a')]],
  ['field names are case-sensitive', 'DATA: a\nData: b\ndata: c\n\n', [event('c')]],
  ['a space in front of a field name', ' data: a\ndata: b\n\n', [event('b')]],
  ['fields that nobody knows', 'foo: 1\ndata: a\n\n', [event('a')]],
  ['colons in a value', 'data: a:b: c\n\n', [event('a:b: c')]],
  ['a retry that is not digits', 'retry: 1s\nretry: -1\nretry:\ndata: a\n\n', [event('a')]],
  ['line separators of Unicode end no line', 'data: a\u2028b\u2029c\u0085d\u000be\n\n', [event('a\u2028b\u2029c\u0085d\u000be')]],
  ['comments in the middle of an event', 'data: a\n: x\n:\ndata: b\n\n', [event('a\nb')]],
];

export const MESSAGES = [
  ['a number', '7'],
  ['null', 'null'],
  ['an empty string', '""'],
  ['a string with a line feed, escaped as JSON has it', JSON.stringify('a\nb')],
  ['a string with CRLF and CR, escaped', JSON.stringify('a\r\nb\rc')],
  ['an object with line feeds between its members', '{\n "a": 1,\n\n "b": 2\n}'],
  ['the same with CRLF', '{\r\n "a": 1,\r\n\r\n "b": 2\r\n}'],
  ['the same with CR', '{\r "a": 1,\r\r "b": 2\r}'],
  ['ends of lines of all kinds, mixed', '[1,\n2,\r3,\r\n4,\n\r5,\r\r\n6]'],
  ['spaces in front of lines', '{\n  "a":\n    1}'],
  ['lines that look like fields', '{\n"id: 9":\n1,"data: x":\n2}'],
  ['a line that begins with a colon', '{"a"\n: 1}'],
  ['line separators of Unicode, raw', '"a\u2028b\u2029c\u0085d"'],
  ['a byte order mark, raw', '"\ufeffa\ufeff"'],
  ['an escaped NUL', '"a\\u0000b"'],
  ['characters of one to four bytes', '"aäß€中🙂\u{10ffff}"'],
  ['60,000 bytes', JSON.stringify('x€'.repeat(15000))],
  ['4,000 lines', `[${'1,\n'.repeat(4000)}1]`],
  ['a name of its own', '1', { event: 'paid' }],
  ['a name with spaces around it', '1', { event: ' paid ' }],
  ['a name that looks like a field', '1', { event: 'data: x' }],
  ['a name that begins with a colon', '1', { event: ':x' }],
  ['a name with characters of four bytes', '1', { event: '🙂' }],
  ['a name of 64 bytes', '1', { event: 'e'.repeat(64) }],
  ['an id with spaces', '1', { id: ' a b ' }],
  ['a live message, which has no place and no id', '1', { ttl: 0 }],
];
