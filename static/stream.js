// Follows the events of one generation through everything that can happen to a connection.

import { session } from './api.js';

const HEARTBEAT = 10_000;
const SILENCE_LIMIT = 2.5 * HEARTBEAT;
const CONNECT_LIMIT = 10_000;
const FIRST_DELAY = 250;
const LONGEST_DELAY = 10_000;
const PATIENCE = 1_500;
const HIDDEN_LIMIT = 20_000;

/**
 * Delivers the events after `seq`, each once and in order, over as many connections as it takes.
 *
 * `on.event(name, data, seq)` gets `started`, `delta`, …, `snapshot` (replace everything) and at last `done`;
 * `on.trouble(problem | true | null)` tells when it takes longer than a moment to come back, and when it is back;
 * `on.end(status)` comes instead of `done` when there is nothing (more) to read: 204, 401, 404 or another refusal.
 * Returns a function that leaves.
 */
export function follow(generation, seq, on) {
  const left = new AbortController();
  let connection = new AbortController();
  let lastSign = 0;
  let failures = 0;
  let asleep = document.hidden;
  let wake = () => {};
  let patience;
  let hiddenTimer;
  let gapSeq;

  function rouse({ anew }) {
    asleep = false;
    failures = 0;
    clearTimeout(hiddenTimer);
    if (anew) connection.abort();
    wake();
  }
  function rest() {
    asleep = true;
    connection.abort();
  }
  const listen = { signal: left.signal };
  addEventListener('online', () => rouse({ anew: true }), listen);
  addEventListener('pageshow', (event) => event.persisted && rouse({ anew: true }), listen);
  addEventListener('pagehide', rest, listen);
  document.addEventListener('visibilitychange', () => {
    // Resuming is free, and a browser has only six connections for all its tabs.
    if (document.hidden) hiddenTimer = setTimeout(rest, HIDDEN_LIMIT);
    else rouse({ anew: performance.now() - lastSign > 1.2 * HEARTBEAT });
  }, listen);

  function lost() {
    patience ??= setTimeout(() => on.trouble(true), PATIENCE);
  }
  function found() {
    lastSign = performance.now();
    if (patience === undefined) return;
    clearTimeout(patience);
    patience = undefined;
    on.trouble(null);
  }
  function leave() {
    left.abort();
    connection.abort();
    clearTimeout(patience);
    clearTimeout(hiddenTimer);
    wake();
  }

  async function run() {
    while (!left.signal.aborted) {
      if (asleep) await new Promise((resolve) => (wake = resolve));
      const again = await read();
      if (left.signal.aborted) return;
      if (again === undefined) return leave();
      if (asleep) continue;
      lost();
      await new Promise((resolve) => {
        wake = resolve;
        setTimeout(resolve, again);
      });
    }
  }

  /** One connection: after how many milliseconds to come back, or undefined at the end. */
  async function read() {
    connection = new AbortController();
    let limit;
    const within = (time) => {
      clearTimeout(limit);
      limit = setTimeout(() => connection.abort(), time);
    };
    try {
      lost();
      within(CONNECT_LIMIT);
      const response = await fetch(`/api/generations/${generation}/events`, {
        headers: { Accept: 'text/event-stream', 'Last-Event-ID': String(seq), 'X-Session-Id': session },
        cache: 'no-store',
        signal: connection.signal,
      });
      if (response.status === 429 || response.status >= 500) {
        return Math.max(delay(), 1000 * Number(response.headers.get('Retry-After')) || 0);
      }
      if (response.status !== 200) {
        found();
        on.end(response.status);
        return undefined;
      }
      const parser = new Parser();
      for (const reader = response.body.getReader(); ;) {
        within(SILENCE_LIMIT);
        const { done, value } = await reader.read();
        if (done) return delay();
        let refusal;
        for (const event of parser.push(value)) {
          if (event.name === 'unavailable') refusal = JSON.parse(event.data);
          else if (deliver(event)) return undefined;
        }
        if (refusal) {
          clearTimeout(patience);
          on.trouble(refusal);
          return Math.max(delay(), parser.retry ?? 0);
        }
        found();
      }
    } catch {
      return delay(); // The network, or our own limit: the answer is the same.
    } finally {
      clearTimeout(limit);
      connection.abort();
    }
  }

  /** True at the terminal event. */
  function deliver({ name, data, id }) {
    if (left.signal.aborted) return true;
    failures = 0;
    // `ping` is a sign of life only; what `gap` tells us to throw away, the `snapshot` behind it replaces.
    if (name === 'gap') gapSeq = JSON.parse(data).seq;
    if (name === 'ping' || name === 'gap') return false;
    const whole = name === 'snapshot' || name === 'done';
    if (id <= seq && !whole) return false;
    seq = id ?? gapSeq ?? seq;
    if (name === 'done') found();
    on.event(name, JSON.parse(data), seq);
    return name === 'done';
  }

  function delay() {
    const longest = Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** failures++);
    return longest * (0.5 + Math.random() / 2);
  }

  run();
  return leave;
}

/** Server-Sent Events out of bytes: WHATWG HTML, section 9.2.6. */
export class Parser {
  #decoder = new TextDecoder();
  #rest = '';
  #name = '';
  #data = [];
  #id;
  retry;

  push(bytes) {
    const events = [];
    const text = this.#rest + this.#decoder.decode(bytes, { stream: true });
    const cut = text.endsWith('\r') ? text.length - 1 : text.length; // Its line feed may still come.
    const lines = text.slice(0, cut).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + text.slice(cut);
    for (const line of lines) {
      if (line === '') {
        if (this.#data.length) events.push({ name: this.#name || 'message', data: this.#data.join('\n'), id: this.#id });
        this.#name = '';
        this.#data = [];
        this.#id = undefined; // Ours mark events that have a position, so it is not carried over.
        continue;
      }
      const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
      if (field === 'event') this.#name = value;
      else if (field === 'data') this.#data.push(value);
      else if (field === 'id' && /^\d+$/.test(value)) this.#id = Number(value);
      else if (field === 'retry' && /^\d+$/.test(value)) this.retry = Number(value);
    }
    return events;
  }
}
