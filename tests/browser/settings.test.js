// What a conversation asks of its model.

import assert from 'node:assert/strict';
import { asked, teach, visit } from './harness.js';

async function set(page, values) {
  await page.locator('#tune').click();
  for (const [name, value] of Object.entries(values)) await page.locator(`#settings [name=${name}]`).fill(value);
  await page.locator('#settings').getByRole('button', { name: 'Save' }).click();
}

visit('model, system prompt and sampling are the conversation’s own', async (visitor) => {
  teach('as set', ['done']);
  const tab = await visitor.open();
  await tab.page.locator('#tune').click();
  await tab.page.waitForFunction(() => document.querySelector('#models').options.length > 0);
  assert.deepEqual(await tab.page.locator('#models option').evaluateAll((options) => options.map(({ value }) => value)), ['continuo-demo']);
  await tab.page.keyboard.press('Escape');
  await set(tab.page, { model: 'another-model', system: 'Be brief.', temperature: '0.5', max_tokens: '200' });
  assert.equal(await tab.page.locator('#model-name').innerText(), 'another-model');
  await tab.ask('as set');
  await tab.ended();
  const { model, messages, temperature, max_tokens: most } = asked.findLast(({ messages: all }) => all?.at(-1).content === 'as set');
  assert.deepEqual([model, messages[0], temperature, most], ['another-model', { role: 'system', content: 'Be brief.' }, 0.5, 200]);
  await tab.page.reload();
  await tab.page.locator('#model-name').getByText('another-model').waitFor();
  await set(tab.page, { model: '', system: '', temperature: '', max_tokens: '' });
  await tab.page.waitForFunction(() => !document.querySelector('#settings').open);
  const read = await visitor.read(`/api/conversations/${tab.conversation}`);
  assert.deepEqual([read.model, read.system, read.sampling], [null, null, {}]);
});

visit('settings that somebody changed meanwhile are shown anew, with what was typed', async (visitor) => {
  teach('two hands', ['done']);
  const tab = await visitor.open();
  await tab.ask('two hands');
  await tab.ended();
  const path = `/api/conversations/${tab.conversation}`;
  const form = tab.page.locator('#settings');
  const values = () => form.evaluate((dialog) => Object.fromEntries([...dialog.querySelectorAll('[name]')].map(({ name, value }) => [name, value])));
  await tab.page.locator('#tune').click();
  await form.locator('[name=temperature]').fill('0.5');
  await visitor.call('PATCH', path, { model: 'theirs', system: 'Theirs.', sampling: { temperature: 1, max_tokens: 7, seed: 3 } });
  await tab.page.locator('#model-name').getByText('theirs').waitFor(); // The page has heard of it, the form is the person's.
  assert.equal((await values()).model, '');
  await form.getByRole('button', { name: 'Save' }).click();
  await form.getByText('Somebody changed these settings meanwhile.').waitFor();
  assert.deepEqual(await values(), { model: 'theirs', system: 'Theirs.', temperature: '0.5', top_p: '', max_tokens: '7' });
  assert.equal((await visitor.read(path)).system, 'Theirs.', 'nothing was overwritten');
  await form.getByRole('button', { name: 'Save' }).click();
  await form.waitFor({ state: 'hidden' });
  const { model, system, sampling } = await visitor.read(path);
  assert.deepEqual([model, system, sampling], ['theirs', 'Theirs.', { temperature: 0.5, max_tokens: 7, seed: 3 }]);
});
