// Other answers, other questions, and the way between them.

import assert from 'node:assert/strict';
import { teach, visit } from './harness.js';

const place = (tab, role) => tab.page.locator(`.message.${role} .branch:visible`).last();

visit('an answer is asked for again, and both are kept to switch between', async (visitor) => {
  teach('which?', ['the first one']);
  const tab = await visitor.open();
  await tab.ask('which?');
  await tab.ended();
  const first = await visitor.stored(tab);
  teach('which?', ['the second one']);
  await tab.page.getByRole('button', { name: 'Answer again' }).click();
  await tab.page.locator('.prose').getByText('the second one').waitFor();
  await tab.ended();
  assert.equal(await place(tab, 'assistant').innerText(), '2/2');
  await tab.page.getByRole('button', { name: 'Previous version' }).click();
  await tab.page.locator('.prose').getByText('the first one').waitFor();
  assert.equal(await place(tab, 'assistant').innerText(), '1/2');
  assert.equal((await visitor.stored(tab)).id, first.id, 'the next question continues what is shown');
  assert.ok(await tab.page.getByRole('button', { name: 'Next version' }).evaluate((button) => button === document.activeElement), 'the focus stays');
  await tab.page.reload();
  await tab.page.locator('.prose').getByText('the first one').waitFor();
  assert.equal(await place(tab, 'assistant').innerText(), '1/2');
});

visit('an edited question begins a branch of its own', async (visitor) => {
  teach('Bern?', ['about Bern']);
  teach('more?', ['more of Bern']);
  teach('Basel?', ['about Basel']);
  const tab = await visitor.open();
  await tab.ask('Bern?');
  await tab.ended();
  await tab.ask('more?');
  await tab.ended();
  const question = tab.page.locator('.message.user').first();
  await question.hover();
  await question.getByRole('button', { name: 'Edit' }).click();
  const editor = question.locator('textarea');
  assert.equal(await editor.inputValue(), 'Bern?');
  await editor.fill('Basel?');
  await editor.press('Enter');
  await tab.page.locator('.prose').getByText('about Basel').waitFor();
  await tab.ended();
  assert.equal(await tab.page.locator('.message').count(), 2, 'what came after the old question is on its branch');
  await question.hover();
  assert.equal(await place(tab, 'user').innerText(), '2/2');
  await question.getByRole('button', { name: 'Previous version' }).click();
  await tab.page.locator('.prose').getByText('more of Bern').waitFor();
  assert.equal(await tab.page.locator('.message').count(), 4);
});

visit('an edit that is refused stays where it is, with the reason', async (visitor) => {
  teach('one?', ['one']);
  const tab = await visitor.open();
  await tab.ask('one?');
  await tab.ended();
  const question = tab.page.locator('.message.user').first();
  await question.hover();
  await question.getByRole('button', { name: 'Edit' }).click();
  await tab.page.route('**/messages', (route) => route.fulfill({ status: 502, body: '<html>' }), { times: 1 });
  await question.locator('textarea').fill('two?');
  await question.getByRole('button', { name: 'Send' }).click();
  await question.getByRole('alert').getByText('502').waitFor();
  assert.equal(await question.locator('textarea').inputValue(), 'two?');
  await tab.page.keyboard.press('Escape');
  assert.equal(await question.locator('.bubble').innerText(), 'one?');
});

visit('a branch that another tab turned to is shown here too', async (visitor) => {
  teach('left or right?', ['left']);
  const here = await visitor.open();
  await here.ask('left or right?');
  await here.ended();
  const there = await visitor.open(`#c=${here.conversation}`);
  await there.prose.getByText('left').waitFor();
  teach('left or right?', ['right']);
  await there.page.getByRole('button', { name: 'Answer again' }).click();
  await here.page.locator('.prose').getByText('right').waitFor();
  await there.ended();
  await there.page.getByRole('button', { name: 'Previous version' }).click();
  await here.page.locator('.prose').getByText('left').waitFor();
});
