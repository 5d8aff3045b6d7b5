/*
 * A message to a user over HTTP, from Node (18 or newer; nothing to install).
 *
 *   node push.mjs USER TEXT      CRIER_URL (default http://localhost:8080), CRIER_KEY: an API key, unless with --dev
 *
 * fetch keeps its connections, so a server that calls push() often pays for one handshake.
 */
import { randomUUID } from 'node:crypto';
import { pathToFileURL } from 'node:url';

const { CRIER_URL = 'http://localhost:8080', CRIER_KEY } = process.env;
const sleep = (s) => new Promise((done) => setTimeout(done, s * 1000));

/* Resolves with {id, seq, online} once the broker has stored the message; throws when it will not take it. */
export async function push(user, data, { id = randomUUID(), ...options } = {}) {
  const body = JSON.stringify({ user, data, id, ...options });
  const headers = { 'content-type': 'application/json', ...(CRIER_KEY ? { authorization: `Bearer ${CRIER_KEY}` } : {}) };
  for (let attempt = 1; ; attempt++) {
    let answer;
    try {
      answer = await fetch(new URL('/api/push', CRIER_URL), { method: 'POST', headers, body, signal: AbortSignal.timeout(10_000) });
    } catch (e) {
      if (attempt === 5) throw e; // no answer: perhaps stored, perhaps not; with the same id asking again is safe
      await sleep(attempt * 0.3);
      continue;
    }
    const json = await answer.json();
    if (answer.ok) return json.results[0];
    if ((answer.status !== 503 && answer.status !== 429) || attempt === 5) throw new Error(`${answer.status} ${json.error.code}: ${json.error.message}`);
    await sleep(Number(answer.headers.get('retry-after') ?? 1));
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) {
  const [user, text] = process.argv.slice(2);
  console.log(JSON.stringify(await push(user, { text }, { event: 'note' })));
}
