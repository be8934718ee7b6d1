// Keeps a stream of events open through everything that can happen to a connection. Knows how to listen, not what is said.

import { session } from './api.js';
import { mayStream, onTabs } from './tabs.js';

const HEARTBEAT = 10_000;
const SILENCE_LIMIT = 2.5 * HEARTBEAT;
const CONNECT_LIMIT = 10_000;
const FIRST_DELAY = 250;
const LONGEST_DELAY = 10_000;
const PATIENCE = 1_500;
const HIDDEN_LIMIT = 20_000;
const POLL_PAUSE = 700;
const LIVE_PAUSE = 12; // A read that had to wait so long brought something new: what came before it was waiting for us.

/**
 * Delivers the events of `source.path` over as many connections as it takes.
 *
 * `source.kind`, what it is to the other tabs; `source.canPoll`, whether the path answers JSON too; `source.position()`, the last id seen;
 * `source.deliver(name, data, id)`, true at the terminal event; `source.back(waited)`, it was lost and is back, and so many events had
 * waited; `source.trouble(problem | true | null)`, it takes longer than a moment to come back, and it is back; `source.end(status)`
 * instead of a terminal event when there is nothing (more) to read: 204, 401, 404 or another refusal. Returns a function that leaves.
 */
export function follow(source) {
  const left = new AbortController();
  let connection = new AbortController();
  let lastSign = 0;
  let failures = 0;
  let connections = 0;
  let streams = true;
  let asleep = document.hidden;
  let wake = () => {};
  let patience;
  let hiding;

  function rouse(anew) {
    asleep = false;
    failures = 0;
    clearTimeout(hiding);
    if (anew) connection.abort();
    wake();
  }
  function rest() {
    asleep = true;
    connection.abort();
  }
  const listen = { signal: left.signal };
  addEventListener('online', () => asleep || rouse(true), listen);
  addEventListener('pageshow', ({ persisted }) => persisted && !document.hidden && rouse(true), listen);
  addEventListener('pagehide', rest, listen);
  document.addEventListener('visibilitychange', () => {
    // Resuming is free, and a browser has only six connections for all its tabs.
    if (document.hidden) hiding = setTimeout(rest, HIDDEN_LIMIT);
    else rouse(performance.now() - lastSign > 1.2 * HEARTBEAT);
  }, listen);
  onTabs(() => !asleep && mayStream(source.kind) !== streams && rouse(true), left.signal);

  function lost() {
    patience ??= setTimeout(() => source.trouble(true), PATIENCE);
  }
  function found() {
    lastSign = performance.now();
    if (patience) source.trouble(null);
    patience = clearTimeout(patience);
  }
  function leave() {
    left.abort();
    connection.abort();
    clearTimeout(patience);
    clearTimeout(hiding);
    wake();
  }

  async function run() {
    while (!left.signal.aborted) {
      streams = mayStream(source.kind);
      const isIdle = asleep || !(streams || source.canPoll);
      if (isIdle) found();
      const again = isIdle ? Infinity : await read();
      if (again === undefined) return leave();
      if (left.signal.aborted) return;
      await new Promise((resolve) => {
        wake = resolve;
        if (again < Infinity) setTimeout(resolve, again);
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
      const position = source.position();
      const headers = { Accept: streams ? 'text/event-stream' : 'application/json', 'X-Session-Id': session };
      if (streams && position !== undefined) headers['Last-Event-ID'] = position;
      const path = streams ? source.path : `${source.path}?wait=0&after=${position}`;
      const response = await fetch(path, { headers, cache: 'no-store', signal: connection.signal });
      const { status } = response;
      if (status === 429 || status >= 500) return Math.max(delay(), 1000 * Number(response.headers.get('Retry-After')) || 0); // A date is no number.
      const speaks = (type) => response.headers.get('Content-Type')?.startsWith(type);
      if (status === 204 || speaks('application/problem+json')) {
        found();
        return void source.end(status);
      }
      if (!streams && status === 200) return poll(await response.json());
      return status === 200 && speaks('text/event-stream') ? await listenTo(response.body.getReader(), within) : delay(); // Else somebody speaks in the server's name.
    } catch {
      return delay(); // The network, or our own limit: the answer is the same.
    } finally {
      clearTimeout(limit);
      connection.abort();
    }
  }

  async function listenTo(reader, within) {
    const parser = new Parser();
    let waited = connections++ ? 0 : undefined; // Events that had waited for us.
    const caughtUp = () => {
      if (waited !== undefined) source.back(waited);
      waited = undefined;
    };
    try {
      for (let isFirst = true; ; isFirst = false) {
        within(SILENCE_LIMIT);
        const asked = performance.now();
        const { done, value } = await reader.read();
        if (done) return delay();
        if (!isFirst && performance.now() - asked > LIVE_PAUSE) caughtUp();
        let refusal;
        for (const { name, data, id } of parser.push(value)) {
          if (name === 'unavailable') refusal = JSON.parse(data);
          else if (name === 'ping') failures = 0;
          else {
            if (waited !== undefined) waited++;
            if (name === 'done') caughtUp();
            if (deliver(name, JSON.parse(data), id)) return undefined;
          }
        }
        if (refusal) {
          clearTimeout(patience);
          source.trouble(refusal);
          return Math.max(delay(), parser.retry ?? 0);
        }
        found();
      }
    } finally {
      caughtUp();
    }
  }

  function poll({ events, closed }) {
    found();
    for (const { event, data, seq } of events) if (deliver(event, data, seq ?? undefined)) return undefined;
    return closed ? void source.end(204) : POLL_PAUSE;
  }

  function deliver(name, data, id) {
    if (left.signal.aborted) return true;
    failures = 0;
    if (name === 'done') found();
    return source.deliver(name, data, id);
  }

  function delay() {
    return Math.min(LONGEST_DELAY, FIRST_DELAY * 2 ** failures++) * (0.5 + Math.random() / 2);
  }

  run();
  return leave;
}

/** Server-Sent Events out of bytes: WHATWG HTML, section 9.2.6. An id belongs to its own event only. */
export class Parser {
  #decoder = new TextDecoder();
  #rest = '';
  #event = { data: [] };
  retry;

  push(bytes) {
    const events = [];
    const text = this.#rest + this.#decoder.decode(bytes, { stream: true });
    const cut = text.endsWith('\r') ? text.length - 1 : text.length; // Its line feed may still come.
    const lines = text.slice(0, cut).split(/\r\n|\n|\r/);
    this.#rest = lines.pop() + text.slice(cut);
    for (const line of lines) {
      const [, field, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line);
      if (!line) {
        const { event: name = 'message', data, id } = this.#event;
        if (data.length) events.push({ name, data: data.join('\n'), id });
        this.#event = { data: [] };
      } else if (field === 'data') this.#event.data.push(value);
      else if (field === 'retry') this.retry = Number(value) || 0;
      else this.#event[field] = value || undefined;
    }
    return events;
  }
}
