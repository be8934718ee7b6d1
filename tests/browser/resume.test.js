import assert from 'node:assert/strict';
import { assertGrew, visit } from './harness.js';

visit('a reload in the middle of an answer loses nothing and doubles nothing', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('slow');
  for (const characters of [10, 40, 80]) {
    await tab.streamed(characters);
    await tab.page.reload();
  }
  await tab.watch();
  await tab.ended();
  const { content } = await visitor.stored(tab);
  assertGrew((await tab.seen()).filter(Boolean), content);
  assert.equal(await tab.page.locator('.message').count(), 2);
});

visit('a second tab shows the same answer', async (visitor) => {
  const first = await visitor.open();
  await first.ask('slow');
  await first.streamed(10);
  const second = await visitor.open(`#c=${first.conversation}`);
  await second.streamed(20);
  await Promise.all([first.ended(), second.ended()]);
  const { content } = await visitor.stored(first);
  assert.equal(await first.text.textContent(), content);
  assert.equal(await second.text.textContent(), content);
});

visit('an answer resumes exactly after its connection was cut', async (visitor) => {
  const proxy = await visitor.proxy();
  const tab = await visitor.open('', proxy.origin);
  await tab.watch();
  await tab.ask('slow');
  for (const characters of [10, 40, 80]) {
    await tab.streamed(characters);
    proxy.cut();
  }
  await tab.ended();
  const { content } = await visitor.stored(tab);
  assertGrew(await tab.seen(), content);
});

visit('a lost server is announced, and forgotten when it is back', async (visitor) => {
  const proxy = await visitor.proxy();
  const tab = await visitor.open('', proxy.origin);
  await tab.ask('slow');
  await tab.streamed(10);
  proxy.shut();
  await tab.page.getByText('Reconnecting…').waitFor();
  proxy.reopen();
  await tab.page.getByText('Reconnecting…').waitFor({ state: 'hidden' });
  await tab.ended();
  assert.equal(await tab.text.textContent(), (await visitor.stored(tab)).content);
});

visit('a prompt that the server did not take stays, and is asked once', async (visitor) => {
  const proxy = await visitor.proxy();
  const tab = await visitor.open('', proxy.origin);
  await tab.rows.or(tab.page.locator('#list-note:not([hidden])')).first().waitFor();
  proxy.shut();
  await tab.prompt.fill('help');
  await tab.prompt.press('Enter');
  await tab.notice.waitFor();
  assert.equal(await tab.prompt.inputValue(), 'help');
  proxy.reopen();
  await tab.prompt.press('Enter');
  await tab.ended();
  assert.equal(await tab.prompt.inputValue(), '');
  assert.equal((await visitor.read(`/api/conversations/${tab.conversation}`)).messages.length, 2);
});
