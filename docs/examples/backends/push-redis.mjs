/*
 * A message to a user through Redis, from Node: npm install redis.
 *
 *   node push-redis.mjs USER TEXT      REDIS_URL (default redis://localhost:6379)
 *
 * A backend that has a Redis connection anyway needs nothing else: no URL of a broker, no key.
 */
import { randomUUID } from 'node:crypto';
import { createClient } from 'redis';

const redis = createClient({ url: process.env.REDIS_URL ?? 'redis://localhost:6379' });
redis.on('error', (e) => console.error(e.message)); // it reconnects by itself
await redis.connect();

const [user, text] = process.argv.slice(2);

/* Live, to whoever is there: PUBLISH, the answer to which says nothing about anybody having got it. */
await redis.publish(`crier:user:${user}`, JSON.stringify({ data: { typing: true }, event: 'hint', ttl: 0 }));

/* Stored first, then pushed: one call of a function that every broker loads into Redis. With the same id it can be
 * repeated after an error, and is stored once. */
const [seq, nodes, again] = await redis.sendCommand(['FCALL', 'crier_user', '0', user, JSON.stringify({ data: { text } }), '86400', randomUUID()]);
console.log(JSON.stringify({ seq, nodes, duplicate: Boolean(again) }));

await redis.quit();
