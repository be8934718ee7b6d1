// One server with a data directory of its own, one browser, and visitors whose every fault fails the test.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { chromium } from 'playwright-core';
import { startUpstream } from './upstream.js';

const BINARY = process.env.CONTINUO_BIN ?? fileURLToPath(new URL('../../target/debug/continuo', import.meta.url));
const BROWSER = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium-headless-shell';
const PATIENCE = 20_000;
const TEST_LIMIT = 90_000;

// Prints what is recorded of the answer that was asked for last: a line an event, its name, a space, its JSON.
const RECORDED = `
import sqlite3, sys
from pathlib import Path
database = sqlite3.connect(Path(sys.argv[1]).as_uri() + "?mode=ro", uri=True)
rows = database.execute("SELECT frames FROM generation_events WHERE generation_id = (SELECT max(id) FROM generations) ORDER BY first_seq")
print("".join(frames for (frames,) in rows), end="")
`;

// A page that asks for anything outside gets no answer at all.
const BROWSER_FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--host-resolver-rules=MAP continuo.test 127.0.0.1, MAP * ~NOTFOUND, EXCLUDE 127.0.0.1',
];

const demo = await serve(['demo-upstream', '--bind', '127.0.0.1:0']);
const upstream = await startUpstream(demo.address);
const server = await startServer('127.0.0.1:0');
const browser = await chromium.launch({ executablePath: BROWSER, args: BROWSER_FLAGS });
const login = await signIn();

after(async () => {
  await browser.close();
  await server.close();
  upstream.close();
  demo.child.kill();
});

export const { origin, crash } = server;

/** What the model answers to a question from now on; see `upstream.js`. */
export const { teach, asked } = upstream;

/** A promise and what opens it. */
export function gate() {
  let open;
  const opened = new Promise((resolve) => (open = resolve));
  return { open, opened };
}

/** Another server of its own. */
export const startAnother = () => startServer('127.0.0.1:0');

/** Another server, which others on the network reach too: by a name that is not this machine's own, without TLS. */
export async function startOnNetwork() {
  const { origin: address, link, close } = await startServer('0.0.0.0:0');
  const named = (url) => url.replace(/\/\/[^/:]+/, '//continuo.test');
  return { origin: named(address), link: named(link), close };
}

/** A new login link, as an operator makes it beside the running server. */
export async function newLink() {
  const child = run(['login', '--data-dir', server.directory]);
  for await (const line of createInterface(child.stdout)) {
    const link = /http\S+#login=\S+/.exec(line)?.[0];
    if (link) return link;
  }
  throw new Error('`continuo login` printed no link');
}

/** The link printed at the start: it has been used. */
export const { link: usedLink } = server;

/**
 * A test with a visitor of its own, signed in unless told otherwise. It fails on an error in the page or its console, on a
 * violation of the content security policy, and on a request that leaves the server.
 */
export function visit(name, body, { signedIn = true, ...options } = {}) {
  test(name, { timeout: TEST_LIMIT }, async () => {
    const context = await browser.newContext({ locale: 'en-US', ...options, storageState: signedIn ? login : undefined });
    context.setDefaultTimeout(PATIENCE);
    const faults = [];
    const proxies = [];
    const others = [origin, options.baseURL];
    const isOurs = (url) => /^(data|blob):/.test(url) || [...others, ...proxies.map((proxy) => proxy.origin)].includes(new URL(url).origin);
    context.on('request', (request) => {
      if (!isOurs(request.url())) faults.push(`a request left the server: ${request.url()}`);
    });
    context.on('response', (response) => {
      const { pathname } = new URL(response.url());
      if (response.status() >= 400 && !pathname.startsWith('/api/')) faults.push(`${response.status()} ${pathname}`);
    });
    context.on('console', (message) => {
      // The browser's own line about a refused or cut request is no fault of the page.
      if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) faults.push(message.text());
    });
    context.on('weberror', (error) => faults.push(String(error.error().stack)));
    try {
      await body(new Visitor(context, proxies, others));
      assert.deepEqual(faults, []);
    } finally {
      await context.close();
      for (const proxy of proxies) proxy.close();
    }
  });
}

class Visitor {
  #proxies;
  #others;

  constructor(context, proxies, others) {
    this.context = context;
    this.#proxies = proxies;
    this.#others = others;
  }

  /** Requests to this server are no fault. */
  allow(other) {
    this.#others.push(other);
  }

  /** A new tab, at a path or fragment of the server's or of another origin. */
  async open(where = '', from = origin) {
    const page = await this.context.newPage();
    await page.goto(`${from}/${where}`);
    return this.tab(page);
  }

  tab(page) {
    return new Tab(page);
  }

  /** A way to the server that can be cut. */
  async proxy(to = origin) {
    const proxy = await startProxy(Number(new URL(to).port));
    this.#proxies.push(proxy);
    return proxy;
  }

  /** What the server says. */
  read(path) {
    return this.call('GET', path);
  }

  /** A request beside the page. */
  async call(method, path, data) {
    const response = await this.context.request.fetch(origin + path, { method, data, headers: { origin } });
    assert.ok(response.ok(), `${method} ${path}: ${response.status()} ${await response.text()}`);
    return response.status() === 204 ? null : response.json();
  }

  /** A conversation of so many taught turns, made beside the page. */
  async converse(turns) {
    const { id } = await this.call('POST', '/api/conversations', {});
    for (let turn = 1; turn <= turns; turn++) {
      teach(`question ${turn}`, [`answer ${turn}\n\n`, 'and a second paragraph of it.']);
      const { generation_id: generation } = await this.call('POST', `/api/conversations/${id}/messages`, { content: `question ${turn}` });
      while ((await this.read(`/api/generations/${generation}`)).status === 'running');
    }
    return id;
  }

  /** The latest answer of a tab's conversation, as it is stored. */
  async stored(tab) {
    const { messages, head_id: head } = await this.read(`/api/conversations/${tab.conversation}`);
    return messages.find((message) => message.id === head);
  }

  /** Until at least this much of the answer that was asked for last would outlive a crash: what a tab has seen may not be recorded yet. */
  async recorded(characters) {
    for (let length = 0; length < characters;) {
      const { stdout } = await promisify(execFile)('python3', ['-c', RECORDED, path.join(server.directory, 'continuo.sqlite3')]);
      const deltas = stdout.split('\n').filter((line) => line.startsWith('delta '));
      length = deltas.reduce((sum, line) => sum + JSON.parse(line.slice('delta '.length)).text.length, 0);
    }
  }

  /** The latest answer in a tab is the stored one, and looks as it does to somebody who opens it now. */
  async agrees(tab) {
    const stored = await this.stored(tab);
    assertSame(await tab.source(), stored.content);
    const page = await this.context.newPage();
    await page.goto(tab.page.url());
    const other = new Tab(page);
    await other.answer.waitFor();
    await other.built();
    assertSame(await tab.rendered(), await other.rendered());
    await page.close();
    return stored;
  }
}

class Tab {
  constructor(page) {
    this.page = page;
    this.answer = page.locator('.message.assistant').last();
    this.prose = this.answer.locator('.prose');
    this.note = this.answer.locator('.note');
    this.button = page.locator('#send');
    this.prompt = page.locator('#prompt');
    this.notice = page.locator('#notice');
    this.rows = page.locator('#conversations a');
    this.transcript = page.locator('#transcript');
    this.receipt = this.answer.locator('.receipt summary');
  }

  row(id) {
    return this.page.locator(`#conversations li[data-id="${id}"]`);
  }

  /** Chooses an entry of the menu of a conversation's row. */
  async choose(id, name) {
    await this.row(id).hover();
    await this.row(id).getByRole('button').click();
    await this.page.locator('#menu').getByText(name, { exact: true }).click();
  }

  /** The latest answer as the model wrote it. */
  source() {
    return this.answer.evaluate((answer) => answer.view.message.content);
  }

  /** The elements of the latest answer and their text. */
  rendered() {
    return this.prose.evaluate((prose) => `${[...prose.querySelectorAll('*')].map((element) => element.localName).join(' ')}\n${prose.textContent}`);
  }

  get conversation() {
    return /#c=(.+)$/.exec(this.page.url())[1];
  }

  /** Types a prompt, sends it, and returns when its answer has begun. */
  async ask(prompt) {
    const before = await this.page.locator('.message').count();
    await this.prompt.fill(prompt);
    await this.prompt.press('Enter');
    await this.page.waitForFunction((n) => document.querySelectorAll('.message').length >= n + 2, before);
  }

  /** Until at least this much of the answer is there, and it goes on. */
  async streamed(characters) {
    await this.page.waitForFunction((n) => {
      const answer = [...document.querySelectorAll('.message.assistant')].at(-1);
      return answer?.dataset.status === 'streaming' && answer.view.message.content.length >= n;
    }, characters);
  }

  /** Until the answer has ended this way. */
  async ended(outcome = 'completed') {
    await this.page.waitForFunction(() => {
      const status = [...document.querySelectorAll('.message.assistant')].at(-1)?.dataset.status;
      return status && status !== 'streaming';
    }, undefined, { timeout: 2 * PATIENCE });
    assert.equal(await this.answer.getAttribute('data-status'), outcome);
  }

  /** Until all of the latest answer is built: a long one takes several frames. */
  async built() {
    const length = () => this.prose.evaluate((prose) => new Promise((resolve) => requestAnimationFrame(() => resolve(prose.textContent.length))));
    for (let before = -1, now; (now = await length()) !== before; before = now);
  }

  /** Keeps every text that the latest answer showed, from now on. */
  async watch() {
    await this.page.evaluate(() => {
      window.seen = [];
      const look = () => {
        const text = [...document.querySelectorAll('.message.assistant')].at(-1)?.view.message.content;
        if (text !== undefined && text !== window.seen.at(-1)) window.seen.push(text);
      };
      new MutationObserver(look).observe(document.body, { subtree: true, childList: true, characterData: true });
      look();
    });
  }

  seen() {
    return this.page.evaluate(() => window.seen);
  }
}

/** The texts only ever grew into the last one: nothing came twice, nothing was taken back. */
export function assertGrew(texts, final) {
  assert.equal(texts.at(-1), final);
  for (const [index, text] of texts.entries()) {
    assert.ok(final.startsWith(text), `what was shown is no part of the answer: ${JSON.stringify(text.slice(-80))}`);
    if (index) assert.ok(text.length >= texts[index - 1].length, 'the answer became shorter');
  }
}

/** The two long texts are one; else the place where they part. */
export function assertSame(actual, expected) {
  if (actual === expected) return;
  const length = Math.min(actual.length, expected.length);
  let at = 0;
  while (at < length && actual[at] === expected[at]) at++;
  const piece = (text) => text.slice(Math.max(0, at - 60), at + 60);
  assert.equal(piece(actual), piece(expected), `different from character ${at} on, of ${actual.length} and ${expected.length}`);
}

async function signIn() {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(server.link);
  await page.locator('#prompt').waitFor();
  const state = await context.storageState();
  await context.close();
  return state;
}

function run(parameters) {
  const { PATH, HOME } = process.env; // Whatever else configures a server here is not ours.
  return spawn(BINARY, parameters, { env: { PATH, HOME, RUST_LOG: 'warn' }, stdio: ['ignore', 'pipe', 'inherit'] });
}

async function startServer(bind) {
  const directory = await mkdtemp(path.join(os.tmpdir(), 'continuo-browser-'));
  const start = (where) => serve(['--bind', where, '--data-dir', directory, '--upstream-url', upstream.url]);
  let { child, address, link, ended } = await start(bind);
  process.on('exit', () => {
    child.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  });
  const end = (signal) => {
    child.kill(signal);
    return ended;
  };
  return {
    origin: address,
    link,
    directory,
    close: () => end('SIGTERM'),
    /** The second signal: answers that still run are interrupted. */
    hurry: () => child.kill('SIGTERM'),
    /** Ends the process without warning and starts another in its place. */
    async crash() {
      await end('SIGKILL');
      ({ child, ended } = await start(new URL(address).host));
    },
  };
}

/** Until the process says where it listens; a server also prints a login link. */
async function serve(parameters) {
  const child = run(parameters);
  process.on('exit', () => child.kill('SIGKILL'));
  const ended = new Promise((resolve) => child.on('exit', resolve));
  let address;
  for await (const line of createInterface(child.stdout)) {
    address ??= /(http:\/\/[\d.]+:\d+)/.exec(line)?.[1];
    const link = /http\S+#login=\S+/.exec(line)?.[0];
    if (!address || !(link || parameters[0] === 'demo-upstream')) continue;
    child.stdout.resume();
    return { child, address, link, ended };
  }
  throw new Error(`${BINARY} ${parameters.join(' ')} ended before it listened`);
}

/** Passes bytes on until told to cut. */
async function startProxy(port) {
  const sockets = new Set();
  let open = true;
  let refused = 0;
  const listener = net.createServer((client) => {
    if (!open) return client.destroy();
    if (open === 'refusing') {
      client.on('error', () => {});
      return client.once('data', () => {
        refused++;
        client.end('HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 20\r\nConnection: close\r\n\r\n<h1>Bad Gateway</h1>');
      });
    }
    const upstream = net.connect(port, '127.0.0.1');
    for (const [one, other] of [[client, upstream], [upstream, client]]) {
      sockets.add(one);
      one.setNoDelay(true);
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        sockets.delete(one);
        other.destroy();
      });
    }
  });
  await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    origin: `http://127.0.0.1:${listener.address().port}`,
    /** Ends every connection; new ones are taken. */
    cut,
    /** Ends every connection and takes no new one. */
    shut() {
      open = false;
      cut();
    },
    /** Ends every connection and answers 502 to every request. */
    refuse() {
      open = 'refusing';
      cut();
    },
    /** So many requests were answered 502. */
    get refused() {
      return refused;
    },
    reopen() {
      open = true;
    },
    close() {
      cut();
      listener.close();
    },
  };
}
