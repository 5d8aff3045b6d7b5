/* The console page in a real browser, on a phone's width and a desktop's. */
import { existsSync } from 'node:fs';
import { assert, DEADLINE, scaled, scenario } from './lib/harness.mjs';

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'].find((p) => existsSync(p));
const ARGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--ignore-certificate-errors'];
const skip = CHROMIUM ? false : 'there is no Chromium here to open the page with';

async function browser(ctx) {
  const { chromium } = await import('playwright-core');
  const b = await chromium.launch({ executablePath: CHROMIUM, args: ARGS, timeout: scaled(30000) });
  ctx.defer(() => b.close());
  return b;
}

/* A page whose console must stay silent: an error there (a refused resource, a CSP violation) fails the test. */
async function open(ctx, b, url, viewport, options = {}) {
  const context = await b.newContext({ viewport, ignoreHTTPSErrors: true, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(DEADLINE * 2);
  page.faults = [];
  page.on('console', (m) => m.type() === 'error' && page.faults.push(m.text()));
  page.on('pageerror', (e) => page.faults.push(e.message));
  page.foreign = [];
  const origin = new URL(url).origin;
  page.on('request', (r) => {
    if (!r.url().startsWith(origin) && !r.url().startsWith('data:')) page.foreign.push(r.url());
  });
  const answer = await page.goto(url);
  page.answer = answer;
  return page;
}

async function connect(page, user) {
  await page.getByLabel('User', { exact: true }).first().fill(user);
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.waitForSelector('#state[data-state=on]');
}

async function join(page, room) {
  await page.getByLabel('Room to join').fill(room);
  await page.getByRole('button', { name: 'Join' }).click();
  await page.waitForSelector(`.chip:not(.joining)[data-room="${room}"]`);
}

const overflow = (page) => page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

scenario('connect, join a room, see pushes arrive, send', { skip, timeout: 120000 }, async (ctx) => {
  const broker = await ctx.broker();
  const b = await browser(ctx);
  const page = await open(ctx, b, `${broker.url}/console/`, { width: 1280, height: 860 });
  assert.equal(page.answer.status(), 200);
  const csp = page.answer.headers()['content-security-policy'];
  assert.ok(csp && !csp.includes('unsafe-inline'), `a strict policy, not ${csp}`);
  await connect(page, 'alice');
  assert.match(await page.locator('#state-text').innerText(), /alice/);
  await join(page, 'lobby');

  await broker.push('{"user":"alice","data":{"big":12345678901234567890123,"html":"<img src=x onerror=alert(1)>"},"event":"greet"}');
  const direct = page.locator('.msg.user').first();
  await direct.waitFor();
  const text = await direct.innerText();
  assert.ok(text.includes('12345678901234567890123'), text);
  assert.ok(text.includes('<img src=x onerror=alert(1)>'), 'data is text, never markup');
  assert.ok(text.includes('greet'));
  assert.equal(await page.locator('.msg img').count(), 0);
  await broker.push({ room: 'lobby', data: { text: 'in the room' } });
  await page.locator('.msg.room', { hasText: 'in the room' }).waitFor();
  await broker.push({ all: true, data: 'to everyone' });
  await page.locator('.msg.all', { hasText: 'to everyone' }).waitFor();
  assert.equal(await page.locator('#n-received').innerText(), '3');

  const bob = await ctx.client(broker, { user: 'bob' });
  await page.getByLabel('User to send to').fill('bob');
  await page.getByLabel('Message data (JSON)').fill('{ "n": 1.10 , "hi": "bob" }');
  await page.getByRole('button', { name: /Send/ }).last().click();
  const got = await bob.next('message');
  assert.ok(got.raw.includes('"data":{ "n": 1.10 , "hi": "bob" }'), got.raw);
  assert.equal(got.from, 'alice');
  await page.locator('.msg.sent').waitFor();

  await page.getByRole('button', { name: 'Leave room lobby' }).click();
  await page.waitForFunction(() => document.querySelectorAll('.chip').length === 0);
  await broker.push({ room: 'lobby', data: 'unheard' });
  await broker.push({ user: 'alice', data: 'heard' });
  await page.locator('.msg.user', { hasText: 'heard' }).waitFor();
  assert.equal(await page.locator('.msg', { hasText: 'unheard' }).count(), 0);

  /* Acknowledged as shown: nothing waits when the page comes back. */
  await page.getByRole('button', { name: 'Disconnect' }).click();
  await page.waitForSelector('#state[data-state=off]');
  assert.deepEqual(page.faults, []);
  assert.deepEqual(page.foreign, []);
  await page.reload();
  await connect(page, 'alice');
  await broker.push({ user: 'alice', data: 'after the reload' });
  await page.locator('.msg.user', { hasText: 'after the reload' }).waitFor();
  assert.equal(await page.locator('.msg.user').count(), 1);
});

scenario('it reconnects by itself and joins its rooms again', { skip, timeout: 120000 }, async (ctx) => {
  const { redis } = await ctx.redis();
  const prefix = ctx.newPrefix();
  const first = await ctx.broker({ redis, prefix });
  const b = await browser(ctx);
  const page = await open(ctx, b, `${first.url}/console/?user=carol&rooms=lobby`, { width: 1280, height: 860 });
  await page.waitForSelector('#state[data-state=on]');
  await page.waitForSelector('.chip:not(.joining)[data-room="lobby"]');
  await first.stop();
  await page.waitForSelector('#state[data-state=wait]');
  const second = await ctx.broker({ redis, prefix, listen: first.plain });
  await second.push({ user: 'carol', data: 'while away' });
  await page.waitForSelector('#state[data-state=on]', { timeout: DEADLINE * 4 });
  await page.locator('.msg.user', { hasText: 'while away' }).waitFor();
  await page.waitForSelector('.chip:not(.joining)[data-room="lobby"]');
  await second.push({ room: 'lobby', data: 'room again' });
  await page.locator('.msg.room', { hasText: 'room again' }).waitFor();
  assert.ok(Number(await page.locator('#n-reconnects').innerText()) >= 1);
});

scenario('on a phone nothing overflows, in light and dark, over TLS', { skip, timeout: 120000 }, async (ctx) => {
  const broker = await ctx.broker({ tls: true });
  const b = await browser(ctx);
  for (const colorScheme of ['light', 'dark']) {
    const page = await open(ctx, b, `https://127.0.0.1:${broker.tlsPort}/console/`, { width: 360, height: 740 }, { colorScheme, isMobile: true });
    assert.equal(await overflow(page), 0, 'before connecting');
    const user = `phone-${colorScheme}`;
    await connect(page, user);
    await join(page, 'a-room-with-a-rather-long-name-that-does-not-break-anywhere-0123456789');
    await broker.push({ user, from: 'x'.repeat(128), event: 'e'.repeat(64), data: { url: `https://example.org/${'y'.repeat(300)}`, deep: { list: [...Array(40).keys()] } } });
    await broker.push({ room: 'a-room-with-a-rather-long-name-that-does-not-break-anywhere-0123456789', data: 'z'.repeat(400) });
    await page.locator('.msg.room').waitFor();
    await page.locator('.msg.user').waitFor();
    assert.equal(await overflow(page), 0, 'with messages');
    const shot = await page.screenshot({ fullPage: true });
    assert.equal(shot.readUInt32BE(16), 360, 'the picture is as wide as the screen');
    const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).slice(0, 3).reduce((a, x) => a + Number(x), 0) < 200);
    assert.equal(dark, colorScheme === 'dark');
    assert.deepEqual(page.faults, []);
    /* Every control has a name for those who do not see it. */
    const nameless = await page.evaluate(() =>
      [...document.querySelectorAll('button, input, select, textarea')]
        .filter((e) => e.offsetParent && !(e.labels?.length || e.getAttribute('aria-label') || e.textContent.trim()))
        .map((e) => e.outerHTML),
    );
    assert.deepEqual(nameless, []);
    await page.context().close();
  }
});

const recipient = (page, name) => page.locator('.recipient', { has: page.locator('.who', { hasText: name }) });
const note = (page, text) => page.locator('#delivery-note', { hasText: text }).waitFor();

scenario('a tracked message: who has got it is shown as it happens, and who has not gets it again', { skip, timeout: 120000 }, async (ctx) => {
  const broker = await ctx.broker();
  const b = await browser(ctx);
  const page = await open(ctx, b, `${broker.url}/console/`, { width: 360, height: 740 }, { isMobile: true });
  await connect(page, 'alice');
  await page.getByLabel('User to send to').fill('<b>bob</b>');
  await page.getByLabel('Message data (JSON)').fill('{ "n": 1.10 }');
  await page.getByLabel('Track', { exact: true }).check();
  await page.getByRole('button', { name: /Send/ }).last().click();
  const line = recipient(page, '<b>bob</b>');
  await line.and(page.locator('[data-state=queued]')).waitFor();
  assert.match(await line.innerText(), /stored until a device comes/);
  await note(page, '1 of 1 user has not acknowledged it');

  const bob = await ctx.client(broker, { user: '<b>bob</b>', device: 'phone', query: { ack: 'explicit' } });
  const got = await bob.next('message');
  assert.ok(got.raw.includes('"data":{ "n": 1.10 }'), got.raw);
  assert.equal(got.from, 'alice');
  await line.and(page.locator('[data-state=written]')).waitFor();
  assert.match(await line.innerText(), /phone: written/);
  await page.getByRole('button', { name: 'Retry' }).click();
  assert.equal((await bob.next('message')).id, got.id);
  bob.ack(got.seq);
  await line.and(page.locator('[data-state=acked]')).waitFor();
  assert.match(await line.innerText(), /phone: acknowledged/);
  await note(page, 'Settled');
  assert.equal(await page.getByRole('button', { name: 'Retry' }).count(), 0);
  assert.equal(await overflow(page), 0);
  assert.deepEqual(page.faults, []);

  await page.getByLabel('Id of a tracked message').fill('nobody knows it');
  await page.getByRole('button', { name: 'Look up' }).click();
  await page.locator('#delivery-note.bad').waitFor();
  assert.equal(await page.locator('.recipient').count(), 0);

  await page.getByText('Everyone', { exact: true }).click();
  await page.getByRole('button', { name: /Send/ }).last().click();
  await recipient(page, 'Everyone').and(page.locator('[data-state=written]')).waitFor();
});

scenario('where the server API wants a key, the page asks for it', { skip, timeout: 120000 }, async (ctx) => {
  const key = 'k'.repeat(24);
  const broker = await ctx.broker({ args: ['--api-key', key] });
  await broker.push({ user: 'bob', data: 1, id: 'order-9', track: true }, { headers: { authorization: `Bearer ${key}` } });
  const b = await browser(ctx);
  const page = await open(ctx, b, `${broker.url}/console/`, { width: 1280, height: 860 });
  const lookUp = async () => {
    await page.getByLabel('Id of a tracked message').fill('order-9');
    await page.getByRole('button', { name: 'Look up' }).click();
  };
  await lookUp();
  await note(page, 'wants a key');
  await page.getByLabel('Key of the server API').fill('a wrong key, long enough');
  await lookUp();
  await note(page, 'does not take this key');
  await page.getByLabel('Key of the server API').fill(key);
  await lookUp();
  await recipient(page, 'bob').waitFor();
  assert.equal(await page.evaluate((k) => JSON.stringify({ ...sessionStorage, ...localStorage }).includes(k), key), false, 'the key is not kept');
});

scenario('a wrong user or a taken-over session is explained', { skip, timeout: 120000 }, async (ctx) => {
  const broker = await ctx.broker();
  const b = await browser(ctx);
  const page = await open(ctx, b, `${broker.url}/console/`, { width: 1000, height: 800 });
  await page.getByRole('button', { name: 'Connect' }).click();
  assert.match(await page.locator('#connect-note').innerText(), /user name/);
  await connect(page, 'dave');
  const device = await page.evaluate(() => sessionStorage.getItem('crier.device'));
  await ctx.client(broker, { user: 'dave', device });
  await page.waitForSelector('#state[data-state=bad]');
  assert.match(await page.locator('#connect-note').innerText(), /took over/);
  await page.getByRole('button', { name: 'Connect' }).click();
  await page.waitForSelector('#state[data-state=on]');
});
