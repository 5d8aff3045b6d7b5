/* http.mjs - one HTTP request on a connection of its own. */
import http from 'node:http';
import https from 'node:https';
import { DEADLINE, within } from './env.mjs';
import { certificate } from './tls.mjs';

/* -> {status, headers, body (Buffer), text, json}. options: headers, body, tls. */
export function request(broker, method, path, { headers = {}, body, tls = false, agent = false } = {}) {
  const result = new Promise((resolve, reject) => {
    const req = (tls ? https : http).request(
      {
        host: '127.0.0.1',
        port: tls ? broker.tlsPort : broker.port,
        method,
        path,
        headers: { ...(body !== undefined ? { 'content-type': 'application/json', 'content-length': Buffer.byteLength(body) } : {}), ...headers },
        agent,
        ...(tls ? { ca: certificate().ca, servername: 'localhost' } : {}),
      },
      (res) => {
        const parts = [];
        res.on('data', (d) => parts.push(d));
        res.on('error', reject);
        res.on('end', () => {
          const bytes = Buffer.concat(parts);
          resolve({
            status: res.statusCode,
            headers: res.headers,
            body: bytes,
            get text() {
              return bytes.toString('utf8');
            },
            get json() {
              return JSON.parse(bytes.toString('utf8'));
            },
          });
        });
      },
    );
    req.on('upgrade', (res, socket) => {
      socket.destroy();
      resolve({ status: res.statusCode, headers: res.headers, text: '' });
    });
    req.on('error', reject);
    req.end(body);
  });
  return within(result, `${method} ${path}`, DEADLINE);
}
