/*
 * proc.mjs - child processes that never outlive the tests: each is known by its pid and killed when this process ends,
 * however it ends.
 */
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { within } from './env.mjs';

const alive = new Set();
const folders = new Set();

process.on('exit', () => {
  for (const p of alive) p.child.kill('SIGKILL');
  for (const dir of folders) rmSync(dir, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(130));

export function tempDir(name = 'crier-test-') {
  const dir = mkdtempSync(join(tmpdir(), name));
  folders.add(dir);
  return dir;
}

export function removeDir(dir) {
  folders.delete(dir);
  rmSync(dir, { recursive: true, force: true });
}

export class Proc {
  constructor(command, args, options = {}) {
    this.name = options.name || command;
    this.stdout = '';
    this.stderr = '';
    this.exited = false;
    this.watchers = new Set();
    this.child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
    alive.add(this);
    this.exit = new Promise((done) => {
      this.child.once('error', (error) => {
        this.stderr += `${error.message}\n`;
        this.#ended(done, { code: -1, signal: null });
      });
      this.child.once('close', (code, signal) => this.#ended(done, { code, signal }));
    });
    for (const stream of ['stdout', 'stderr']) {
      this.child[stream].setEncoding('utf8').on('data', (text) => {
        this[stream] += text;
        for (const w of this.watchers) w();
      });
    }
  }

  #ended(done, result) {
    if (this.exited) return;
    this.exited = true;
    this.result = result;
    alive.delete(this);
    for (const w of this.watchers) w();
    done(result);
  }

  get pid() {
    return this.child.pid;
  }

  /* Resolves with the match once a stream shows it; rejects when the process ends without. */
  expect(stream, pattern, ms) {
    let watcher;
    const found = new Promise((resolve, reject) => {
      watcher = () => {
        const m = pattern.exec(this[stream]);
        if (m) resolve(m);
        else if (this.exited) reject(new Error(`${this.name} ended (${JSON.stringify(this.result)}) without ${pattern}\n${this.stderr}`));
      };
      this.watchers.add(watcher);
      watcher();
    });
    return within(found, () => `${this.name}: ${pattern}\n${this.stderr}`, ms).finally(() => this.watchers.delete(watcher));
  }

  kill(signal = 'SIGKILL') {
    if (!this.exited) this.child.kill(signal);
    return this.exit;
  }
}

/* A port nobody has right now. Whoever uses it must be ready to try another one. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const s = createServer();
    s.once('error', reject);
    s.listen(0, '127.0.0.1', () => {
      const { port } = s.address();
      s.close(() => resolve(port));
    });
  });
}
