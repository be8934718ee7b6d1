import assert from 'node:assert/strict';
import { gate, teach, visit } from './harness.js';

visit('conversations are listed, found and opened', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('help');
  await tab.ended();
  const help = tab.conversation;
  await tab.page.getByRole('button', { name: 'New conversation' }).click();
  await tab.ask('demo:cut zebra');
  await tab.ended('truncated');
  await tab.rows.nth(1).waitFor();
  assert.equal(await tab.rows.first().getAttribute('href'), `#c=${tab.conversation}`, 'the newest comes first');

  await tab.page.getByRole('searchbox').fill('zebra');
  await tab.page.waitForFunction(() => document.querySelectorAll('#conversations a').length === 1);
  await tab.rows.locator('mark').first().waitFor();
  await tab.page.getByRole('searchbox').fill('no such words anywhere');
  await tab.page.getByText('Nothing found.').waitFor();
  await tab.page.getByRole('searchbox').fill('');

  await tab.page.locator(`[data-id="${help}"]`).first().click();
  await tab.page.waitForFunction(() => document.querySelector('.message.user')?.innerText.includes('help'));
  assert.equal(tab.conversation, help);
  await tab.page.goBack();
  await tab.page.waitForFunction(() => document.querySelector('.message.user')?.innerText.includes('zebra'));
});

visit('a pinned conversation leads the list, however many newer ones there are', async (visitor) => {
  const { id } = await visitor.call('POST', '/api/conversations', { title: 'An old friend' });
  await visitor.call('PATCH', `/api/conversations/${id}`, { pinned: true });
  for (let count = 0; count < 60; count++) await visitor.call('POST', '/api/conversations', { title: `Newer ${count}` });
  const tab = await visitor.open();
  await tab.rows.nth(49).waitFor();
  assert.equal(await tab.rows.first().innerText(), 'An old friend');
  await visitor.call('PATCH', `/api/conversations/${id}`, { pinned: false });
  await tab.page.getByText('Pinned', { exact: true }).waitFor({ state: 'detached' });
  await tab.page.getByRole('button', { name: 'Show more' }).click();
  await tab.rows.nth(60).waitFor();
  assert.equal(await tab.row(id).count(), 1, 'and once');
});

visit('a draft belongs to its conversation and survives a reload', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('help');
  await tab.ended();
  await tab.prompt.fill('half a thought');
  await tab.page.getByRole('button', { name: 'New conversation' }).click();
  assert.equal(await tab.prompt.inputValue(), '');
  await tab.page.goBack();
  await tab.page.waitForFunction(() => document.querySelector('#prompt').value === 'half a thought');
  await tab.page.reload();
  await tab.page.waitForFunction(() => document.querySelector('#prompt').value === 'half a thought');
});

visit('a conversation is renamed, pinned and deleted from its row', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('help');
  await tab.ended();
  const id = tab.conversation;
  const row = tab.row(id);
  const choose = (name) => tab.choose(id, name);
  await choose('Rename');
  await row.locator('input').fill('Of rivers');
  await tab.page.keyboard.press('Enter');
  await row.getByText('Of rivers').waitFor();
  await tab.page.locator('#title').getByText('Of rivers').waitFor();
  assert.equal((await visitor.read(`/api/conversations/${id}`)).title, 'Of rivers');

  await choose('Pin');
  await tab.page.locator('#conversations > li').filter({ hasText: 'Pinned' }).getByText('Of rivers').waitFor();
  assert.equal((await visitor.read(`/api/conversations/${id}`)).pinned, true);

  await choose('Delete');
  await row.waitFor({ state: 'detached' });
  assert.equal((await visitor.context.request.get(`${new URL(tab.page.url()).origin}/api/conversations/${id}`)).status(), 404);
  assert.equal(await tab.page.locator('.message').count(), 0);
});

visit('a conversation that is gone says so', async (visitor) => {
  const tab = await visitor.open('#c=01890000-0000-7000-8000-000000000000');
  await tab.notice.waitFor();
  assert.match(await tab.notice.innerText(), /not there any more/);
});

visit('a phone shows the conversation, and the list on request', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('help');
  await tab.ended();
  const { page } = tab;
  assert.equal(await page.locator('#sidebar').isVisible(), false);
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
  assert.ok(overflow <= 0, `${overflow} px too wide`);
  await page.getByRole('button', { name: 'Show conversations' }).click();
  await tab.rows.first().click();
  await page.locator('#sidebar').waitFor({ state: 'hidden' });
}, { viewport: { width: 390, height: 760 } });

visit('titles and texts are searched, also for two Chinese characters', async (visitor) => {
  teach('Of lighthouses', ['They stand where the **zircon** glows.']);
  teach('泡茶的方法', ['先把水烧开，再投茶叶。']);
  const tab = await visitor.open();
  await tab.ask('Of lighthouses');
  await tab.ended();
  const english = tab.conversation;
  await tab.page.getByRole('button', { name: 'New conversation' }).click();
  await tab.ask('泡茶的方法');
  await tab.ended();
  const chinese = tab.conversation;
  const search = tab.page.getByRole('searchbox');
  for (const [sought, id] of [['LIGHTHOUSES', english], ['zircon', english], ['茶叶', chinese]]) {
    await search.fill(sought);
    await tab.page.waitForFunction((text) => [...document.querySelectorAll('#conversations mark')].some((mark) => mark.textContent.toLowerCase() === text), sought.toLowerCase());
    assert.deepEqual(await tab.rows.evaluateAll((rows) => rows.map((row) => row.closest('li').dataset.id)), [id], sought);
  }
  await search.fill('zircon');
  await tab.row(english).waitFor();
  await search.press('Enter');
  await tab.prose.getByText('zircon').waitFor();
  await search.press('Escape');
  assert.equal(await search.inputValue(), '');
  await tab.row(chinese).waitFor();
});

visit('what was deleted comes back by undo', async (visitor) => {
  teach('keep me', ['I am here.']);
  const tab = await visitor.open();
  await tab.ask('keep me');
  await tab.ended();
  const id = tab.conversation;
  await tab.choose(id, 'Delete');
  await tab.row(id).waitFor({ state: 'detached' });
  assert.equal(await tab.page.locator('.message').count(), 0);
  await tab.page.locator('#toast').getByRole('button', { name: 'Undo' }).click();
  await tab.row(id).waitFor();
  await tab.prose.getByText('I am here.').waitFor();
});

visit('a dot tells where an answer is written, and where one was not yet read', async (visitor) => {
  const { open, opened } = gate();
  teach('elsewhere', ['some', ' more'], { until: { at: 1, open: opened } });
  const here = await visitor.open();
  await here.ask('elsewhere');
  await here.streamed(1);
  const id = here.conversation;
  const there = await visitor.open();
  await there.row(id).locator('.dot.running').waitFor();
  open();
  await there.row(id).locator('.dot.unseen').waitFor();
  await here.ended();
  await there.row(id).locator('a').click();
  await there.row(id).locator('.dot').waitFor({ state: 'detached' });
});

visit('what happens in one tab is told in the other', async (visitor) => {
  teach('told', ['yes']);
  const here = await visitor.open();
  const there = await visitor.open();
  await there.page.getByText('open in 2 places').waitFor();
  await here.ask('told');
  await here.ended();
  const id = here.conversation;
  await there.row(id).waitFor();
  await here.choose(id, 'Rename');
  await here.row(id).locator('input').fill('Told by me');
  await here.page.keyboard.press('Enter');
  await there.row(id).getByText('Told by me').waitFor();
  await here.choose(id, 'Delete');
  await there.row(id).waitFor({ state: 'detached' });
});
