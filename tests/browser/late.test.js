// What comes late, twice, in another order, or from somebody who speaks in the server's name: nothing is lost, doubled or stuck.

import assert from 'node:assert/strict';
import { gate, newLink, origin, teach, visit } from './harness.js';

teach('A word?', ['One ', 'word.']);

/** The next answer to such a request is held back once the server has given it: `{ taken, release }`. */
async function hold(tab, pattern) {
  const taken = gate();
  const held = gate();
  await tab.page.route(pattern, async (route) => {
    const response = await route.fetch();
    taken.open();
    await held.opened;
    await route.fulfill({ response });
  }, { times: 1 });
  return { taken: taken.opened, release: held.open };
}

/** The next request is answered by somebody else. */
const answerInstead = (tab, pattern, answer) => tab.page.route(pattern, (route) => route.fulfill({ contentType: 'text/html', body: '<h1>A portal</h1>', ...answer }), { times: 1 });

const signOutEverywhere = (visitor) => visitor.context.request.delete(`${origin}/api/session`, { headers: { origin } });

/** The page above this one is read. */
const readings = (id) => new RegExp(`/api/conversations/${id}\\?`);

async function openOne(visitor, turns = 1) {
  const id = await visitor.converse(turns);
  const tab = await visitor.open(`#c=${id}`);
  await tab.ended();
  return tab;
}

/** A model that goes on until the test opens the gate. */
function endless(question) {
  const over = gate();
  teach(question, ['It ', 'goes ', 'on ', 'and is over.'], { until: { at: 3, open: over.opened } });
  return over.open;
}

for (const [name, answer] of [
  ['a portal that refuses', { status: 403 }],
  ['a proxy that says until which date to wait', { status: 503, headers: { 'Retry-After': new Date(Date.now() + 1000).toUTCString() } }],
  ['a time to wait that is none', { contentType: 'text/event-stream', body: 'retry: soon\n\nevent: unavailable\ndata: {"title":"not now"}\n\n' }],
]) {
  visit(`${name} ends neither an answer nor the feed`, async (visitor) => {
    const end = endless(name);
    const tab = await openOne(visitor);
    await answerInstead(tab, '**/events', answer);
    await tab.ask(name);
    await tab.streamed(3);
    await answerInstead(tab, '**/api/feed', answer);
    const refused = tab.page.waitForResponse('**/api/feed');
    await tab.page.evaluate(() => dispatchEvent(new Event('online')));
    await refused;
    await tab.page.waitForResponse(async (response) => response.url().endsWith('/api/feed') && response.status() === 200);
    end();
    await tab.ended();
    await visitor.agrees(tab);
  });
}
