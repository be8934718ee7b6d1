// The visible tabs of this browser share six connections on HTTP/1.1: which of them may hold a stream, and a way to pass events on.

import { session } from './api.js';

const BEAT = 4_000;

let channel;
try {
  channel = new BroadcastChannel('continuo');
} catch { /* There is none, or it is forbidden with the storage: this tab counts itself only. */ }
const others = new Map(); // Their session and when they last said something.
const bus = new EventTarget();
let rank = 0;
let allowed;

/** With three and more visible tabs, the first reads the feed for all, and the first three stream an answer; the others poll. */
export const mayStream = (what) => others.size < 2 || rank < (what === 'feed' ? 1 : 3);

/** `changed` is called when more or less may be streamed than before. */
export const onTabs = (changed, signal) => bus.addEventListener('changed', changed, { signal });

/** Events of the feed that another tab passes on. */
export const onPassed = (receive) => bus.addEventListener('passed', ({ detail }) => receive(detail));

export const passOn = (event) => channel?.postMessage({ event });

const say = () => channel?.postMessage({ tab: session, isHere: !document.hidden });
const leave = () => channel?.postMessage({ tab: session });

function count() {
  for (const [tab, seen] of others) if (performance.now() - seen > 3 * BEAT) others.delete(tab);
  rank = [...others.keys()].filter((tab) => tab < session).length;
  const now = `${mayStream('feed')} ${mayStream('answer')}`;
  if (now !== allowed) bus.dispatchEvent(new Event('changed'));
  allowed = now;
}

channel?.addEventListener('message', ({ data: { tab, isHere, event } }) => {
  if (event) return bus.dispatchEvent(new CustomEvent('passed', { detail: event }));
  if (isHere && !others.has(tab) && !document.hidden) say();
  if (isHere) others.set(tab, performance.now());
  else others.delete(tab);
  count();
});

setInterval(() => {
  if (!document.hidden) say();
  count();
}, BEAT);
document.addEventListener('visibilitychange', say);
addEventListener('pageshow', say);
addEventListener('pagehide', leave);
say();
