/*
 * client.mjs - the same without HTTP in Node, with msgpack: each map behind its length in 4 bytes. npm install @msgpack/msgpack
 *
 *   node client.mjs HOST PORT USER DEVICE [TOKEN]      prints each message as a line of JSON; comes back when the connection ends
 */
import net from 'node:net';
import { decode, encode } from '@msgpack/msgpack';

const [host, port, user, device, token] = process.argv.slice(2);
const HIGHEST = 30_000; // ms between two attempts
let last; // the highest seq that was dealt with
let wait = 500;
let socket;

function write(object) {
  const body = encode(object);
  const frame = Buffer.alloc(4 + body.length);
  frame.writeUInt32BE(body.length);
  frame.set(body, 4);
  socket.write(frame);
}

function heard(m) {
  if (m.type === 'ping') return write({ type: 'pong' });
  if (m.type === 'welcome') wait = 500;
  if (m.type === 'closing' && m.code === 4010) process.exit(1); // a newer connection of this device: do not take it back
  if (m.type === 'closing' && m.retry_after) wait = m.retry_after * 1000;
  if (m.type !== 'message') return console.error(JSON.stringify(m));
  if (m.room || !m.seq) return console.log(JSON.stringify(m)); // live: nothing to acknowledge
  if (m.seq <= last) return undefined; // comes again because the ack was lost
  console.log(JSON.stringify(m)); // here the program does with it what it has to do
  last = m.seq;
  return write({ type: 'ack', seq: last });
}

function dial() {
  let bytes = Buffer.alloc(0);
  socket = net.connect(Number(port), host, () => {
    write({ type: 'hello', ack: 'explicit', device, ...(token ? { token } : { user }), ...(last ? { since: last } : {}) });
  });
  socket.on('data', (piece) => {
    bytes = Buffer.concat([bytes, piece]);
    while (bytes.length >= 4 && bytes.length >= 4 + bytes.readUInt32BE(0)) {
      const end = 4 + bytes.readUInt32BE(0);
      const m = decode(bytes.subarray(4, end));
      bytes = bytes.subarray(end);
      heard(m);
    }
  });
  socket.on('error', (e) => console.error(e.message));
  socket.on('close', () => {
    setTimeout(dial, wait * (0.5 + Math.random())); // never all at once
    wait = Math.min(wait * 2, HIGHEST);
  });
}
dial();
