import assert from 'node:assert/strict';
import { visit } from './harness.js';

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
  const row = tab.page.locator(`#conversations li[data-id="${id}"]`);
  const choose = async (name) => {
    await row.hover();
    await row.getByRole('button').click();
    await tab.page.locator('#menu').getByText(name, { exact: true }).click();
  };
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
