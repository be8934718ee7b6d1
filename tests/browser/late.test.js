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

visit('a question asked before its conversation was read goes below its end', async (visitor) => {
  const id = await visitor.converse(2);
  const tab = await visitor.open();
  const reading = await hold(tab, readings(id));
  await tab.row(id).locator('a').click();
  await reading.taken;
  await tab.prompt.fill('A word?');
  await tab.prompt.press('Enter');
  await tab.page.waitForFunction(() => document.querySelectorAll('.message').length === 6);
  reading.release();
  await tab.ended();
  const { messages } = await visitor.read(`/api/conversations/${id}`);
  assert.equal(messages[4].parent_id, messages[3].id);
  assert.equal(await tab.prompt.inputValue(), '');
});

for (const [name, isReloaded] of [['', false], [', and that a reload', true]]) {
  visit(`a first question whose acceptance was lost${name} finds among the messages is not in the prompt`, async (visitor) => {
    const tab = await visitor.open();
    const lost = gate();
    await tab.page.route('**/messages', async (route) => {
      await route.fetch();
      await lost.opened;
      await route.abort().catch(() => {}); // It has left with its page.
    }, { times: 1 });
    await tab.prompt.fill('A word?');
    const asked = tab.page.waitForRequest('**/messages');
    await tab.prompt.press('Enter');
    await asked;
    if (isReloaded) await tab.page.reload();
    lost.open();
    await tab.ended(); // The feed told of it, or the page.
    await tab.page.waitForFunction(() => document.querySelector('#prompt').value === '');
    await tab.notice.waitFor({ state: 'hidden' });
    assert.equal((await visitor.read(`/api/conversations/${tab.conversation}`)).messages.length, 2);
  });
}

visit('a first question whose acceptance was lost is asked again with nothing changed', async (visitor) => {
  const tab = await visitor.open();
  teach('A \u0000?', ['What?']); // Kept as U+FFFD, so that the page does not find it.
  teach('A \ufffd?', ['What?']);
  await tab.page.route('**/messages', async (route) => {
    await route.fetch();
    await route.abort();
  }, { times: 1 });
  await tab.prompt.fill('A \u0000?');
  await tab.prompt.press('Enter');
  await tab.notice.waitFor();
  await tab.ended();
  await tab.notice.getByRole('button').click();
  await tab.page.waitForFunction(() => document.querySelector('#prompt').value === '');
  assert.equal(await tab.notice.isVisible(), false);
  assert.equal((await visitor.read(`/api/conversations/${tab.conversation}`)).messages.length, 2);
});

visit('a reading from before a question takes neither it nor its answer away', async (visitor) => {
  const end = endless('And now?');
  const tab = await openOne(visitor);
  const reading = await hold(tab, readings(tab.conversation));
  // A second snapshot says that something may have been missed; then the feed is away.
  await tab.page.route('**/api/feed', (route) => route.abort());
  await answerInstead(tab, '**/api/feed', { contentType: 'text/event-stream', body: 'event: snapshot\ndata: {"running":[],"sessions":1}\n\n' });
  await tab.page.evaluate(() => dispatchEvent(new Event('online')));
  await reading.taken;
  await tab.ask('And now?');
  await tab.streamed(3);
  await tab.page.evaluate(() => {
    window.fewest = Infinity;
    const count = () => (window.fewest = Math.min(window.fewest, document.querySelectorAll('.message').length));
    new MutationObserver(count).observe(document.querySelector('#messages'), { childList: true });
  });
  const again = tab.page.waitForResponse(readings(tab.conversation));
  reading.release();
  await again;
  end();
  await tab.ended();
  assert.ok((await tab.page.evaluate(() => window.fewest)) >= 4);
  assert.equal(await tab.page.locator('.message').count(), 4);
  await visitor.agrees(tab);
});

visit('what was sent does not wait in the prompt for whoever was elsewhere meanwhile', async (visitor) => {
  const tab = await openOne(visitor);
  const [here, there] = [tab.conversation, await visitor.converse(1)];
  const accepted = await hold(tab, '**/messages');
  await tab.prompt.fill('A word?');
  await tab.prompt.press('Enter');
  await accepted.taken;
  for (const id of [there, here]) {
    await tab.row(id).locator('a').click();
    await tab.page.waitForFunction((hash) => location.hash === hash, `#c=${id}`);
  }
  accepted.release();
  await tab.page.waitForFunction(() => document.querySelector('#prompt').value === '');
  await tab.ended();
});

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

visit('a reading that comes after one went elsewhere does not scroll there', async (visitor) => {
  const tab = await openOne(visitor, 8);
  const [here, there] = [tab.conversation, await visitor.converse(1)];
  const reading = await hold(tab, readings(there));
  await tab.row(there).locator('a').click();
  await reading.taken;
  await tab.row(here).locator('a').click();
  await tab.page.waitForFunction(() => document.querySelectorAll('.message').length === 16);
  await tab.transcript.hover();
  await tab.page.mouse.wheel(0, -400);
  await tab.page.locator('#latest').waitFor();
  const arrived = tab.page.waitForResponse(readings(there));
  reading.release();
  await (await arrived).finished();
  await tab.page.evaluate(() => new Promise((painted) => requestAnimationFrame(() => requestAnimationFrame(painted))));
  assert.ok(await tab.page.locator('#latest').isVisible());
});

visit('a double click asks for one answer, and the focus is not lost', async (visitor) => {
  const tab = await openOne(visitor);
  const asked = [];
  tab.page.on('request', (request) => request.url().endsWith('/regenerate') && asked.push(request));
  const accepted = await hold(tab, '**/regenerate');
  await tab.answer.hover();
  await tab.answer.getByRole('button', { name: 'Answer again' }).dblclick();
  await accepted.taken;
  accepted.release();
  await tab.page.locator('.branch').getByText('2/2').waitFor();
  await tab.ended();
  assert.equal(asked.length, 1);
  assert.equal(await tab.page.evaluate(() => document.activeElement.id), 'prompt');
});

visit('the focus is not lost when the button that had it goes late', async (visitor) => {
  const tab = await openOne(visitor);
  const { messages } = await visitor.read(`/api/conversations/${tab.conversation}`);
  const [two, three] = [gate(), gate()]; // The feed's and the click's; and one more, which overtakes both.
  const held = [];
  await tab.page.route(readings(tab.conversation), (route) => {
    held.push(route);
    if (held.length === 2) two.open();
    if (held.length === 3) three.open();
  });
  await tab.answer.hover();
  await tab.answer.getByRole('button', { name: 'Answer again' }).click();
  await two.opened;
  await visitor.call('POST', `/api/messages/${messages[1].id}/regenerate`);
  await three.opened;
  for (const route of held) {
    await Promise.all([tab.page.waitForEvent('requestfinished', (request) => request === route.request()), route.continue()]);
    await tab.page.evaluate(() => new Promise(requestAnimationFrame));
  }
  await tab.page.locator('.branch').getByText('3/3').waitFor();
  assert.equal(await tab.page.evaluate(() => document.activeElement.id), 'prompt');
});

visit('of two tabs that ask for the rest of an answer the slower one shows it too', async (visitor) => {
  const end = endless('Half?');
  const tab = await visitor.open();
  await tab.ask('Half?');
  await tab.streamed(3);
  await tab.button.click();
  await tab.ended('stopped');
  const more = tab.answer.getByRole('button', { name: 'Continue' });
  await more.waitFor();
  await tab.page.route('**/continue', async (route) => {
    await visitor.call('POST', new URL(route.request().url()).pathname); // The other one.
    await route.continue();
  }, { times: 1 });
  await more.click();
  await tab.streamed(3);
  end();
  await tab.ended();
  assert.equal(await tab.notice.isVisible(), false);
});

visit('back leads out of a conversation that is gone', async (visitor) => {
  const tab = await openOne(visitor);
  const here = tab.page.url();
  await tab.page.evaluate(() => (location.hash = '#c=019ad000-0000-7000-8000-000000000000'));
  await tab.notice.getByText('not there any more').waitFor();
  await tab.page.goBack();
  assert.equal(tab.page.url(), here);
  await tab.ended();
});

visit('an undo that failed can be tried again', async (visitor) => {
  const tab = await openOne(visitor);
  const id = tab.conversation;
  await tab.choose(id, 'Delete');
  await answerInstead(tab, '**/restore', { status: 502 });
  await tab.page.locator('#toast').getByRole('button').click();
  await tab.notice.getByRole('button').click();
  await tab.row(id).waitFor();
  await tab.ended();
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

visit('an expired login costs no letter of a question that is being edited, and one tab signs in for all', async (visitor) => {
  const tab = await visitor.open((await newLink()).slice(origin.length + 1));
  await tab.ask('A word?');
  await tab.ended();
  const other = await visitor.open();
  await other.prompt.waitFor();
  await tab.page.locator('.message.user').hover();
  await tab.page.locator('.message.user .edit').click();
  const editor = tab.page.locator('.editor textarea');
  await editor.fill('A better word?');
  await signOutEverywhere(visitor);
  for (const { page } of [tab, other]) await page.getByText('Your login has expired').waitFor();
  await other.page.evaluate(() => dispatchEvent(new Event('focus')));
  await other.page.waitForResponse('**/api/session');
  assert.ok(await other.page.getByText('Your login has expired').isVisible());
  await tab.page.getByLabel('Or paste the link').fill(await newLink());
  await tab.page.getByRole('button', { name: 'Sign in' }).click();
  await editor.waitFor();
  assert.equal(await editor.inputValue(), 'A better word?');
  await other.page.evaluate(() => dispatchEvent(new Event('focus')));
  await other.prompt.waitFor();
  teach('A better word?', ['Two ', 'words.']);
  await editor.press('Enter');
  await tab.page.locator('.branch').getByText('2/2').waitFor();
  await tab.ended();
}, { signedIn: false });

visit('a link that is damaged says so', async (visitor) => {
  const tab = await visitor.open('#login=%E0%A4%A');
  await tab.page.locator('#sign-in .problem').waitFor();
}, { signedIn: false });

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

visit('an edited question whose acceptance was lost is asked once', async (visitor) => {
  const tab = await openOne(visitor);
  const id = tab.conversation;
  await tab.page.route('**/api/feed', (route) => route.abort());
  await tab.page.evaluate(() => dispatchEvent(new Event('online')));
  await tab.page.route('**/messages', async (route) => {
    await route.fetch();
    await route.abort();
  }, { times: 1 });
  await tab.page.locator('.message.user').hover();
  await tab.page.locator('.message.user .edit').click();
  const editor = tab.page.locator('.editor textarea');
  await editor.fill('A word?');
  await editor.press('Enter');
  await tab.page.locator('.editor .problem').waitFor();
  await editor.press('Enter');
  await tab.page.locator('.branch').getByText('2/2').waitFor();
  await tab.ended();
  assert.equal((await visitor.read(`/api/conversations/${id}`)).messages.length, 4);
});

visit('whoever signs in after somebody else finds none of their drafts', async (visitor) => {
  const tab = await visitor.open((await newLink()).slice(origin.length + 1));
  await tab.prompt.fill('Between you and me');
  await signOutEverywhere(visitor);
  await tab.page.getByText('Your login has expired').waitFor();
  await tab.page.route('**/api/session', (route) => (route.request().method() === 'GET' ? route.fulfill({ json: { user: { name: 'somebody else' } } }) : route.continue()));
  await tab.page.getByLabel('Or paste the link').fill(await newLink());
  await tab.page.getByRole('button', { name: 'Sign in' }).click();
  await tab.page.locator('#user').getByText('somebody else').waitFor();
  assert.equal(await tab.prompt.inputValue(), '');
  assert.ok(!(await tab.page.evaluate(() => JSON.stringify(localStorage))).includes('Between'));
}, { signedIn: false });

visit('a receipt names the model, however late one came to read', async (visitor) => {
  const end = endless('Who?');
  const tab = await visitor.open();
  await tab.ask('Who?');
  await tab.streamed(3);
  await tab.page.reload();
  await tab.streamed(3);
  end();
  await tab.ended();
  assert.match(await tab.receipt.textContent(), /continuo-demo/);
});

visit('what failed and works by now is not told any longer', async (visitor) => {
  const tab = await openOne(visitor);
  const search = tab.page.locator('#search');
  await answerInstead(tab, /api\/conversations\?/, { status: 403 });
  await search.fill('answer');
  await tab.notice.getByText('403').waitFor();
  await search.fill('answer 1');
  await tab.notice.waitFor({ state: 'hidden' });
  await answerInstead(tab, readings(tab.conversation), { status: 403 });
  const snapshots = gate();
  let feeds = 0;
  await tab.page.route('**/api/feed', async (route) => {
    if (feeds++) await snapshots.opened;
    const missed = { contentType: 'text/event-stream', body: 'event: snapshot\ndata: {"running":[],"sessions":1}\n\n' };
    await route.fulfill(missed).catch(() => {}); // The page has waited long enough, or is gone.
  });
  await tab.page.evaluate(() => dispatchEvent(new Event('online')));
  await tab.notice.getByText('403').waitFor();
  snapshots.open();
  await tab.notice.waitFor({ state: 'hidden' });
});

visit('a view as low as a phone’s on its side shows what it is about', async (visitor) => {
  const tab = await visitor.open();
  await tab.page.getByRole('heading', { name: 'What is on your mind?' }).waitFor();
  const { top, bottom } = await tab.page.locator('#hero').evaluate((hero) => hero.getBoundingClientRect());
  assert.ok(top >= 0 && bottom <= (await tab.page.locator('#dock').boundingBox()).y + 1, `${top} ${bottom}`);
}, { viewport: { width: 700, height: 340 } });

visit('an answer that was watched in one tab is unseen in the other until the first leaves it', async (visitor) => {
  const end = endless('Who saw it?');
  const here = await visitor.open();
  await here.ask('Who saw it?');
  const there = await visitor.open();
  const id = here.conversation;
  await there.row(id).locator('.dot.running').waitFor();
  end();
  await here.ended();
  await there.row(id).locator('.dot.unseen').waitFor();
  await here.row(id).locator('.dot').waitFor({ state: 'detached' });
  await here.page.locator('#new').click();
  await there.row(id).locator('.dot').waitFor({ state: 'detached' });
  assert.equal(await here.row(id).locator('.dot').count(), 0);
});

visit('what is unseen elsewhere stays so when it ends where it is open', async (visitor) => {
  const end = endless('Who saw the end?');
  const here = await visitor.open();
  await here.ask('Who saw the end?');
  const id = here.conversation;
  await here.row(id).locator('.dot.running').waitFor();
  const other = await visitor.context.newPage(); // Heard of the end before.
  await other.goto(`${origin}/livez`);
  const told = here.page.evaluate(() => new Promise((resolve) => addEventListener('storage', () => resolve())));
  await here.page.evaluate(() => 0); // It listens.
  const stored = () => other.evaluate(() => localStorage.getItem('continuo.unseen'));
  await other.evaluate((unseen) => localStorage.setItem('continuo.unseen', unseen), JSON.stringify([id]));
  await told;
  end();
  await here.ended();
  await here.row(id).locator('.dot').waitFor({ state: 'detached' });
  assert.equal(await stored(), JSON.stringify([id]));
});
