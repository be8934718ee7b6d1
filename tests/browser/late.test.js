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

visit('a draft that another tab has sent does not come back', async (visitor) => {
  const tab = await openOne(visitor);
  const [here, there] = [tab.conversation, await visitor.converse(1)];
  await tab.prompt.fill('A word?');
  await tab.row(there).locator('a').click();
  await tab.page.waitForFunction(() => document.querySelector('#prompt').value === '');
  const other = await visitor.open(`#c=${here}`);
  await other.ended();
  assert.equal(await other.prompt.inputValue(), 'A word?');
  await other.prompt.press('Enter');
  await other.page.waitForFunction(() => document.querySelectorAll('.message').length === 4);
  await tab.row(here).locator('a').click();
  await tab.page.waitForFunction(() => document.querySelectorAll('.message').length === 4);
  assert.equal(await tab.prompt.inputValue(), '');
});

visit('a list from before the end of an answer shows no dot for ever', async (visitor) => {
  const end = endless('Until when?');
  const tab = await visitor.open();
  await tab.ask('Until when?');
  const list = await hold(tab, /api\/conversations\?limit/);
  await tab.page.locator('#search').fill('x');
  await tab.page.locator('#search').fill('');
  await list.taken;
  end();
  await tab.ended();
  const row = tab.row(tab.conversation);
  await row.locator('.dot').waitFor({ state: 'detached' });
  const arrived = tab.page.waitForResponse(/api\/conversations\?limit/);
  list.release();
  await (await arrived).finished();
  await tab.page.evaluate(() => new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted))));
  assert.equal(await row.locator('.dot').count(), 0);
});

visit('what was read in one tab is read in all', async (visitor) => {
  const id = await visitor.converse(1);
  const [tab, other] = [await visitor.open(), await visitor.open()];
  for (const { page } of [tab, other]) await page.locator('#places').getByText('2').waitFor();
  await visitor.call('POST', `/api/conversations/${id}/messages`, { content: 'A word?' });
  for (const each of [tab, other]) await each.row(id).locator('.dot.unseen').waitFor();
  await tab.row(id).locator('a').click();
  for (const each of [tab, other]) await each.row(id).locator('.dot').waitFor({ state: 'detached' });
});

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

visit('what others keep in the same storage does no harm', async (visitor) => {
  await visitor.context.addInitScript(() => {
    if (location.protocol === 'http:') for (const [key, value] of Object.entries({ unseen: 5, 'draft.new': 7, language: {}, theme: 'pink' })) localStorage.setItem(`continuo.${key}`, JSON.stringify(value));
  });
  const tab = await visitor.open();
  await tab.prompt.waitFor();
  await tab.ask('A word?');
  await tab.ended();
});

visit('a long name of a model widens nothing', async (visitor) => {
  const at = '2024-01-01T00:00:00Z';
  const answer = { id: 'b', parent_id: 'a', role: 'assistant', status: 'completed', content: 'x', created_at: at, model: 'W'.repeat(200) };
  const { id } = await visitor.call('POST', '/api/conversations/import', {
    format: 'continuo.conversation', format_version: 1, title: '', created_at: at, updated_at: at, messages: [{ ...answer, id: 'a', parent_id: null, role: 'user', model: undefined }, answer],
  });
  const tab = await visitor.open(`#c=${id}`);
  await tab.ended();
  await tab.receipt.click();
  assert.equal(await tab.transcript.evaluate((box) => box.scrollWidth - box.clientWidth), 0);
});
