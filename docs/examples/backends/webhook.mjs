/*
 * Receives what crier-relay brings by webhook, in Node (18 or newer; nothing to install).
 *
 *   node webhook.mjs SECRET [PORT]      SECRET: that of [webhook] in the relay's file; PORT: 9100 when left out, 0: any
 *
 * A call counts only when Crier-Signature is right and not older than five minutes. It may come more than once: the user
 * and the id of a message tell, and what has been handled is answered 200 again.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { createServer } from 'node:http';

const [secret, port = '9100'] = process.argv.slice(2);
if (!secret) {
  console.error('usage: node webhook.mjs SECRET [PORT]');
  process.exit(2);
}
const MOST = 1 << 20; // bytes of a body
const handled = new Set(); // of a real service: in its database, in the same step as what it does

function genuine(header, body) {
  const [, t, v1] = /^t=(\d+),v1=([0-9a-f]{64})$/.exec(header ?? '') ?? [];
  if (!t || Math.abs(Date.now() / 1000 - Number(t)) > 300) return false;
  const want = createHmac('sha256', secret).update(`${t}.`).update(body).digest();
  return timingSafeEqual(want, Buffer.from(v1, 'hex'));
}

const server = createServer(async (req, res) => {
  const answer = (status) => res.writeHead(status).end();
  const parts = [];
  let bytes = 0;
  try {
    for await (const part of req) {
      bytes += part.length;
      if (bytes <= MOST) parts.push(part);
    }
  } catch {
    return undefined; // the caller went away
  }
  if (req.method !== 'POST') return answer(405);
  if (bytes > MOST) return answer(413);
  const body = Buffer.concat(parts); // the bytes as they came: the signature is over them
  if (!genuine(req.headers['crier-signature'], body)) return answer(401);
  const { user, id, text, message } = JSON.parse(body);
  const name = JSON.stringify([user, id]);
  if (!handled.has(name)) {
    handled.add(name);
    console.log(JSON.stringify({ user, id, text, data: message?.data })); // here: a text message, an e-mail, a call
  }
  return answer(200); // 503 would bring it again later, any 4xx but 408, 425 and 429 ends it
});
server.listen(Number(port), '127.0.0.1', () => console.error(`listening on http://127.0.0.1:${server.address().port}/`));
