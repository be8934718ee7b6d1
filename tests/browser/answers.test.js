import assert from 'node:assert/strict';
import { assertGrew, visit } from './harness.js';

visit('an answer streams and equals the stored one', async (visitor) => {
  const tab = await visitor.open();
  await tab.watch();
  await tab.ask('help');
  assert.equal(await tab.prompt.inputValue(), '', 'an accepted prompt leaves the composer');
  await tab.ended();
  const { content, status } = await visitor.stored(tab);
  assert.equal(status, 'completed');
  const seen = await tab.seen();
  assertGrew(seen, content);
  assert.ok(seen.length > 3, `it came at once: ${seen.length} steps`);
});

visit('a long answer arrives whole', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('long');
  await tab.ended();
  const { content } = await visitor.stored(tab);
  assert.ok(content.length > 5_000);
  assert.equal(await tab.text.textContent(), content);
});

visit('stop keeps what was written', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('slow');
  await tab.streamed(10);
  assert.equal(await tab.button.getAttribute('aria-label'), 'Stop');
  await tab.button.click();
  await tab.ended('stopped');
  const { content, status } = await visitor.stored(tab);
  assert.equal(status, 'stopped');
  assert.equal(await tab.text.textContent(), content);
  assert.match(await tab.note.innerText(), /You stopped this answer/);
  assert.equal(await tab.button.getAttribute('aria-label'), 'Send');
});

visit('escape stops an answer before its first word', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('silent');
  await tab.page.waitForFunction(() => document.querySelector('#send').classList.contains('stop'));
  await tab.page.keyboard.press('Escape');
  await tab.ended('stopped');
  assert.equal((await visitor.stored(tab)).status, 'stopped');
});

visit('an answer that failed says why', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('fail');
  await tab.ended('failed');
  const { problem } = await visitor.stored(tab);
  assert.ok((await tab.note.innerText()).includes(problem.detail), problem.detail);
  await tab.page.reload();
  await tab.note.waitFor();
  assert.ok((await tab.note.innerText()).includes(problem.detail));
});

visit('an answer that was cut off is marked, and can be asked for again', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('cut');
  await tab.ended('truncated');
  const first = await visitor.stored(tab);
  await tab.page.getByRole('button', { name: 'Answer again' }).click();
  await tab.page.waitForFunction((id) => !document.querySelector(`[data-id="${id}"]`), first.id);
  await tab.ended('truncated');
  const second = await visitor.stored(tab);
  assert.equal(second.parent_id, first.parent_id);
  assert.equal(await tab.page.locator('.message').count(), 2);
});

visit('enter within an input method does not send', async (visitor) => {
  const tab = await visitor.open();
  await tab.prompt.fill('にほん');
  const sent = await tab.prompt.evaluate((prompt) => [{ isComposing: true }, { keyCode: 229 }].map((how) => {
    const enter = new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true, ...how });
    return !prompt.dispatchEvent(enter);
  }));
  assert.deepEqual(sent, [false, false]);
  assert.equal(await tab.prompt.inputValue(), 'にほん');
  assert.equal(await tab.prompt.getAttribute('readonly'), null);
});

visit('a refused prompt stays, with the reason and the time to wait', async (visitor) => {
  const tab = await visitor.open();
  await tab.page.route('**/messages', (route) => {
    const problem = { type: '/problems/full', title: 'Too many answers at once', status: 429, detail: 'stop one or wait', retry_after: 7 };
    route.fulfill({ status: 429, contentType: 'application/problem+json', headers: { 'Retry-After': '7' }, body: JSON.stringify(problem) });
  }, { times: 1 });
  await tab.prompt.fill('help');
  await tab.prompt.press('Enter');
  await tab.notice.waitFor();
  assert.equal(await tab.notice.innerText(), 'Too many answers at once: stop one or wait. Try again in 7 s.');
  assert.equal(await tab.prompt.inputValue(), 'help');
  await tab.button.click();
  await tab.ended();
  assert.equal(await tab.notice.isVisible(), false);
});
