// Where the reader looks, the page stays.

import assert from 'node:assert/strict';
import { visit } from './harness.js';

const small = { viewport: { width: 900, height: 500 } };

visit('earlier messages come when they are near, and nothing jumps', async (visitor) => {
  const id = await visitor.converse(45);
  const tab = await visitor.open(`#c=${id}`);
  await tab.prose.getByText('answer 45').waitFor();
  const loaded = () => tab.page.locator('.message').count();
  await tab.page.waitForFunction(() => document.querySelectorAll('.message').length >= 40);
  const { distance } = await tab.transcript.evaluate((box) => ({ distance: box.scrollHeight - box.scrollTop - box.clientHeight }));
  assert.ok(distance < 2, `it opens at its end, ${distance} px from it`);
  for (let turn = 0; (await loaded()) < 90 && turn < 200; turn++) {
    const held = await tab.page.evaluate(() => {
      const box = document.querySelector('#transcript');
      box.scrollTop -= 300;
      const edge = box.getBoundingClientRect().top;
      window.held = [...document.querySelectorAll('.message')].find((one) => one.getBoundingClientRect().bottom > edge + 60);
      return window.held.getBoundingClientRect().top;
    });
    const count = await loaded();
    await tab.page.evaluate(() => new Promise((resolve) => setTimeout(resolve, 60)));
    if ((await loaded()) === count) continue;
    const now = await tab.page.evaluate(() => window.held.getBoundingClientRect().top);
    assert.ok(Math.abs(now - held) <= 1.5, `it jumped by ${now - held} px`);
  }
  assert.equal(await loaded(), 90);
  assert.equal(await tab.page.locator('.message.user .text').first().textContent(), 'question 1');
  assert.equal(await tab.page.locator('#earlier').isVisible(), false);
}, small);

visit('the keyboard jumps from question to question', async (visitor) => {
  const id = await visitor.converse(6);
  const tab = await visitor.open(`#c=${id}`);
  await tab.prose.getByText('answer 6').waitFor();
  const shown = () => tab.page.evaluate(() => {
    const edge = document.querySelector('#transcript').getBoundingClientRect().top;
    return [...document.querySelectorAll('.message.user')].find((one) => one.getBoundingClientRect().top >= edge)?.innerText;
  });
  await tab.page.keyboard.press('Alt+ArrowUp');
  const first = await shown();
  await tab.page.keyboard.press('Alt+ArrowUp');
  assert.equal(Number(/\d+/.exec(await shown())), Number(/\d+/.exec(first)) - 1);
  await tab.page.keyboard.press('Alt+ArrowDown');
  assert.equal(await shown(), first);
}, { viewport: { width: 900, height: 320 } });
