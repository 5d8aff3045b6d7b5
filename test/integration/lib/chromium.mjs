/*
 * chromium.mjs - a headless Chromium over its own debugging protocol. Playwright tells every page that it is in front;
 * here a tab is really hidden when another one is.
 */
import { existsSync } from 'node:fs';
import WebSocket from 'ws';
import { DEADLINE, scaled, until, within } from './env.mjs';
import { Proc, removeDir, tempDir } from './proc.mjs';

const PATH = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((p) => existsSync(p));
const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--remote-debugging-port=0'];

export const noChromium = PATH ? false : 'there is no Chromium here';

export class Chromium {
  static async start(ctx) {
    const c = new Chromium();
    c.dir = tempDir('crier-chromium-');
    c.proc = new Proc(PATH, [...ARGS, `--user-data-dir=${c.dir}`, 'about:blank'], { name: 'chromium' });
    ctx.defer(() => c.stop());
    const [, url] = await c.proc.expect('stderr', /DevTools listening on (ws:\S+)/, scaled(30000));
    c.waiting = new Map();
    c.tabs = new Map();
    c.ids = 0;
    c.socket = new WebSocket(url);
    c.socket.on('message', (text) => c.#heard(JSON.parse(text)));
    await new Promise((done, fail) => c.socket.once('open', done).once('error', fail));
    return c;
  }

  #heard(m) {
    const w = this.waiting.get(m.id);
    this.waiting.delete(m.id);
    if (w && m.error) w.reject(new Error(m.error.message));
    else if (w) w.resolve(m.result);
    else this.tabs.get(m.sessionId)?.event(m);
  }

  send(method, params = {}, sessionId = undefined) {
    const id = ++this.ids;
    const answer = new Promise((resolve, reject) => this.waiting.set(id, { resolve, reject }));
    this.socket.send(JSON.stringify({ id, method, params, sessionId }));
    return within(answer, method, DEADLINE * 2);
  }

  /* A new tab, in front. */
  async tab(url) {
    const t = new Tab();
    t.browser = this;
    t.faults = [];
    t.target = (await this.send('Target.createTarget', { url: 'about:blank' })).targetId;
    t.session = (await this.send('Target.attachToTarget', { targetId: t.target, flatten: true })).sessionId;
    this.tabs.set(t.session, t);
    for (const domain of ['Page', 'Runtime', 'Network']) await t.send(`${domain}.enable`);
    await t.toFront();
    await t.goto(url);
    return t;
  }

  async stop() {
    this.socket?.terminate();
    await this.proc.kill('SIGKILL');
    removeDir(this.dir);
  }
}

class Tab {
  send(method, params) {
    return this.browser.send(method, params, this.session);
  }

  event({ method, params }) {
    if (method === 'Runtime.exceptionThrown') this.faults.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
  }

  async goto(url) {
    await this.send('Page.navigate', { url });
    await until(() => this.run(`location.href === ${JSON.stringify(url)} && document.readyState === 'complete'`), url);
  }

  async reload() {
    await this.run('globalThis.beforeReload = true');
    await this.send('Page.reload');
    await until(() => this.run(`!globalThis.beforeReload && document.readyState === 'complete'`), 'the reload');
  }

  toFront() {
    return this.browser.send('Target.activateTarget', { targetId: this.target });
  }

  offline(offline) {
    return this.send('Network.emulateNetworkConditions', { offline, latency: 0, downloadThroughput: -1, uploadThroughput: -1 });
  }

  /* The value of an expression, or of what it promises. */
  async run(expression) {
    const r = await this.send('Runtime.evaluate', { expression, awaitPromise: true, returnByValue: true });
    if (r.exceptionDetails) throw new Error(r.exceptionDetails.exception?.description ?? r.exceptionDetails.text);
    return r.result.value;
  }

  until(expression, ms) {
    return until(() => this.run(expression), expression, ms);
  }
}
