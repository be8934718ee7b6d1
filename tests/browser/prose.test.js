import assert from 'node:assert/strict';
import { visit } from './harness.js';

const labels = { copy: 'Copy', copied: 'Copied', copyFailed: 'Could not copy', code: 'Code' };

/** A tab in which `mount()` makes an answer of its own, beside the page. */
async function stage(visitor) {
  const { page } = await visitor.open();
  await page.evaluate(async (words) => {
    const { src } = document.querySelector('script[type="module"]');
    const { Prose } = await import(new URL('prose.js', src));
    window.mount = (options) => {
      const element = document.createElement('div');
      document.body.append(element);
      return new Prose(element, { labels: words, ...options });
    };
  }, labels);
  return page;
}

visit('an open tail is formatted before its blocks are finished', async (visitor) => {
  const page = await stage(visitor);
  const tags = await page.evaluate(async () => {
    const answer = window.mount();
    for (const text of ['# Hea', 'ding\n\n- one **bo', 'ld** and `co', 'de`\n- two\n\n```rust\nfn ma']) answer.delta(text);
    await answer.end();
    return [...document.body.lastElementChild.querySelectorAll('h1, li, strong, code')].map(({ localName, textContent }) => `${localName} ${textContent}`);
  });
  assert.deepEqual(tags, ['h1 Heading', 'li one bold and code', 'strong bold', 'code code', 'li two', 'code fn ma']);
});
