// Where the reader looks, the page stays.

import assert from 'node:assert/strict';
import { visit } from './harness.js';

const small = { viewport: { width: 900, height: 500 } };

/** Ninety messages of very different heights. */
async function long(visitor) {
  const messages = Array.from({ length: 90 }, (_, index) => ({
    id: `m${index}`,
    parent_id: index ? `m${index - 1}` : null,
    role: index % 2 ? 'assistant' : 'user',
    status: 'completed',
    content: index % 2 ? `Answer ${index}.\n\n${'A paragraph of it, `with code`.\n\n'.repeat((index * 7) % 30)}` : `Question ${index}?`,
    created_at: '2026-01-01T00:00:00Z',
  }));
  const times = { created_at: '2026-01-01T00:00:00Z', updated_at: '2026-01-01T00:00:00Z' };
  return (await visitor.call('POST', '/api/conversations/import', { format: 'continuo.conversation', format_version: 1, title: 'Long', head_id: 'm89', ...times, messages })).id;
}

for (const anchoring of ['auto', 'none']) {
  visit(`earlier messages come when they are near, and nothing jumps, in a browser whose own anchoring is “${anchoring}”`, async (visitor) => {
    const tab = await visitor.open(`#c=${await long(visitor)}`);
    await tab.prose.getByText('Answer 89.').waitFor();
    await tab.page.evaluate((value) => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(`* { overflow-anchor: ${value} !important; }`);
      document.adoptedStyleSheets.push(sheet);
    }, anchoring);
    const { distance } = await tab.transcript.evaluate((box) => ({ distance: box.scrollHeight - box.scrollTop - box.clientHeight }));
    assert.ok(distance < 2, `it opens at its end, ${distance} px from it`);
    const { jumps, steps, messages } = await tab.page.evaluate(async () => {
      const box = document.querySelector('#transcript');
      const frame = () => new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
      const jumps = [];
      let steps = 0;
      for (; box.scrollTop > 0 && steps < 900; steps++) {
        const edge = box.getBoundingClientRect().top;
        const held = [...document.querySelectorAll('.bubble, .prose > *')].find((part) => part.checkVisibility({ contentVisibilityAuto: true }) && part.getBoundingClientRect().bottom > edge);
        const before = box.scrollTop;
        const { top } = held.getBoundingClientRect();
        box.scrollTop -= 300;
        const way = before - box.scrollTop;
        for (let frames = 0; frames < 3; frames++) {
          await frame();
          const moved = held.getBoundingClientRect().top - top - way;
          if (Math.abs(moved) > 1.5) jumps.push(moved);
        }
      }
      return { jumps, steps, messages: document.querySelectorAll('.message').length };
    });
    assert.deepEqual(jumps, []);
    assert.ok(steps > 20, `${steps} steps`);
    assert.equal(messages, 90);
    assert.equal(await tab.page.locator('.message.user .text').first().textContent(), 'Question 0?');
    assert.equal(await tab.page.locator('#earlier').isVisible(), false);
  }, small);
}

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
