// Requests to the server, and its problems.

import { words } from './words.js';

const REQUEST_LIMIT = 30_000;
const FIRST_DELAY = 250;
const LAST_DELAY = 4_000;

/** Names this document to the server. In memory only: a duplicated tab must not take over the streams of the first. */
export const session = uuid();

let ahead = 0; // How far the server's clock is before ours.

/** The time as the server has it: its dates compare with nothing else. */
export const serverNow = () => Date.now() + ahead;

/** A name that nobody else has. `crypto.randomUUID` exists in secure contexts only, and plain HTTP on a LAN is none. */
export function uuid() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** What the server refused, as RFC 9457 says it; status 0 when it could not be reached. */
export class Problem extends Error {
  constructor(told) {
    super(told.title);
    Object.assign(this, told);
  }

  /** A sentence or two for a person. */
  get text() {
    return sentence(this);
  }
}

/** A problem as one sentence: in the reader's language, and in the server's own words where they say more than its type. */
export function sentence({ type, status, title, detail }) {
  const text = [title, detail].filter(Boolean).join(': ');
  const told = text.charAt(0).toUpperCase() + text.slice(1) + (/[\w)"'`]$/.test(text) ? '.' : '');
  if (!words.problems || !type) return told;
  const known = words.problems[type.split('/').pop()];
  if (!known) return words.unexpected(status) + told;
  return known.endsWith('：') ? known + detail : known;
}

/**
 * Sends JSON and returns JSON (null for 204). `once` is the idempotency key of an effect that must not happen twice. What only reads is
 * tried again for some seconds while the server is away.
 */
export async function request(method, path, options) {
  for (let delay = FIRST_DELAY; ; delay *= 2) {
    try {
      return await attempt(method, path, options);
    } catch (problem) {
      if (method !== 'GET' || delay > LAST_DELAY || ![0, 502, 503, 504].includes(problem.status)) throw problem;
    }
    await new Promise((resolve) => setTimeout(resolve, delay));
  }
}

async function attempt(method, path, { body, once, version, signal } = {}) {
  const headers = { Accept: 'application/json', 'X-Session-Id': session };
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  if (once) headers['Idempotency-Key'] = once;
  if (version !== undefined) headers['If-Match'] = `"${version}"`;
  const limit = AbortSignal.timeout(REQUEST_LIMIT);
  let response;
  let answer;
  try {
    response = (method === 'GET' && await askedEarly(path)) || await fetch(path, {
      method,
      headers,
      body: body === undefined || typeof body === 'string' ? body : JSON.stringify(body),
      cache: 'no-store',
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
    });
    answer = await response.text();
  } catch (cause) {
    if (signal?.aborted) throw cause;
    throw new Problem({ status: 0, title: words.unreachable });
  }
  ahead = Date.parse(response.headers.get('Date')) - Date.now() || 0;
  try {
    if (response.ok) return answer ? JSON.parse(answer) : null;
  } catch { /* A portal or proxy speaks in the server's name. */ }
  throw problemOf(response, answer);
}

/** What first.js has asked for is not asked again if all went well. */
async function askedEarly(path) {
  const asked = early.get(path);
  early.delete(path);
  const response = await asked;
  return response?.ok && response;
}

function problemOf({ status, headers }, answer) {
  const told = { title: words.unexpected(status), retry_after: Number(headers.get('Retry-After')) || undefined };
  try {
    Object.assign(told, JSON.parse(answer));
  } catch { /* A proxy's error page says nothing to a person. */ }
  return new Problem({ ...told, status });
}
