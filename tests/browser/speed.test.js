// Long answers and long conversations: what they cost, and that whoever reads in them is left in peace.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { gate, origin, teach, visit } from './harness.js';
import { longestTask } from './trace.js';

const SAMPLE = '## A heading\n\nA paragraph with **bold** and *soft* words, `code` and a [link](https://a.example/), long enough to wrap into a second line.\n\n'
  + '- one\n- two\n  - three\n\n```js\nfunction f(a) {\n  return a + "text"; // note\n}\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n';
const asUser = { origin, 'x-session-id': 'beside-the-page' };

const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

visit('an answer of 64 kB causes no task over 50 ms, while it is written and when it is opened', async (visitor) => {
  const text = SAMPLE.repeat(Math.ceil(65_536 / SAMPLE.length));
  const written = [];
  const opened = [];
  for (let round = 0; round < 3; round++) {
    teach(`64 kB, ${round}`, text.match(/.{1,400}/gs), { pause: 4 });
    const tab = await visitor.open();
    await tab.prompt.waitFor();
    written.push(await longestTask(tab.page, async () => {
      await tab.ask(`64 kB, ${round}`);
      await tab.ended();
      await tab.built();
    }));
    const { conversation } = tab;
    const length = await tab.prose.evaluate(({ textContent }) => textContent.length);
    await tab.page.getByRole('button', { name: 'New conversation' }).click();
    opened.push(await longestTask(tab.page, async () => {
      await tab.page.evaluate((id) => { location.hash = `c=${id}`; }, conversation);
      await tab.page.waitForFunction((whole) => document.querySelector('.prose')?.textContent.length === whole, length);
    }));
    if (!round) await visitor.agrees(tab);
    await tab.page.close();
  }
  const told = (values) => values.map((value) => value.toFixed(1)).join(', ');
  console.log(`64 kB on the page: written ${told(written)} ms, opened ${told(opened)} ms`);
  assert.ok(median(written) <= 50, `${median(written)} ms while it is written`);
  assert.ok(median(opened) <= 50, `${median(opened)} ms when it is opened`);
});

visit('of a conversation of a thousand messages one page is asked for and built', async (visitor) => {
  const messages = Array.from({ length: 1000 }, (_, index) => ({
    id: `m${index}`,
    parent_id: index ? `m${index - 1}` : null,
    role: index % 2 ? 'assistant' : 'user',
    status: 'completed',
    content: index % 2 ? `${SAMPLE}Answer ${index}.` : `Question ${index}?`,
    created_at: '2026-01-01T00:00:00Z',
  }));
  const file = { format: 'continuo.conversation', format_version: 1, title: 'A thousand', head_id: 'm999', created_at: '2026-01-01T00:00:00Z', updated_at: '2026-01-01T00:00:00Z', messages };
  const made = await visitor.context.request.post(`${origin}/api/conversations/import`, { headers: asUser, data: file });
  assert.equal(made.status(), 201, await made.text());
  const { id } = await made.json();
  await visitor.context.addInitScript(() => {
    new MutationObserver((_, observer) => {
      if (!document.querySelector('#messages .message')) return;
      observer.disconnect();
      requestAnimationFrame(() => setTimeout(() => { window.shownAt = performance.now(); }));
    }).observe(document, { subtree: true, childList: true });
  });
  const pages = [];
  visitor.context.on('request', (request) => {
    if (request.url().includes(`/api/conversations/${id}`)) pages.push(new URL(request.url()).search);
  });
  const cold = [];
  const warm = [];
  for (let round = 0; round < 5; round++) {
    const tab = await visitor.open(`#c=${id}`);
    await tab.page.waitForFunction(() => window.shownAt);
    cold.push(await tab.page.evaluate(() => window.shownAt));
    await tab.page.getByText('Answer 999.').waitFor();
    const { built, distance } = await tab.page.evaluate(() => {
      const { scrollHeight, scrollTop, clientHeight } = document.querySelector('#transcript');
      return { built: document.querySelectorAll('.message').length, distance: scrollHeight - scrollTop - clientHeight };
    });
    assert.ok(built <= 40, `${built} messages are built`);
    assert.ok(distance <= 64, `${distance} px from the end`);
    assert.equal(pages.length, 1, pages.join(' '));
    assert.match(pages[0], /limit=40/);
    await tab.page.getByRole('button', { name: 'New conversation' }).click();
    warm.push(await tab.page.evaluate(async (where) => {
      const begun = performance.now();
      location.hash = where;
      while (!document.querySelector('#messages .message')) await new Promise(requestAnimationFrame);
      await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
      return performance.now() - begun;
    }, `c=${id}`));
    pages.length = 0;
    if (round < 4) await tab.page.close();
    else {
      await tab.transcript.hover();
      while (!(await tab.page.getByText('Question 900?').count())) await tab.page.mouse.wheel(0, -3000);
      assert.ok(pages.length <= 6 && pages.every((search) => /limit=40/.test(search)), pages.join(' '));
    }
  }
  const told = (values) => `${values.map((value) => value.toFixed(0)).join(', ')} (median ${median(values).toFixed(0)})`;
  console.log(`1,000 messages: loaded and shown in ${told(cold)} ms, opened in the page in ${told(warm)} ms`);
});

visit('whoever reads and selects further up is not moved by a pixel while a hundred blocks arrive', async (visitor) => {
  let open;
  const gate = new Promise((resolve) => (open = resolve));
  const first = Array.from({ length: 30 }, (_, index) => `Paragraph ${index} that somebody reads.\n\n`);
  const kinds = ['### Heading\n\n', 'A paragraph of *more* words.\n\n', '- an item\n- another\n\n', '```js\nlet a = 1;\n```\n\n', '| a | b |\n|---|---|\n| 1 | 2 |\n\n'];
  const more = Array.from({ length: 100 }, (_, index) => kinds[index % kinds.length].replace('Heading', `Heading ${index}`));
  teach('A hundred blocks', [...first, ...more.flatMap((block) => block.match(/.{1,12}/gs))], { pause: 2, until: { at: first.length, open: gate } });
  const tab = await visitor.open();
  const { page } = tab;
  await tab.ask('A hundred blocks');
  await tab.prose.getByText('Paragraph 29').waitFor();
  await tab.transcript.hover();
  await page.mouse.wheel(0, -400);
  await page.locator('#latest').waitFor();
  await page.waitForFunction(async () => {
    const box = document.querySelector('#transcript');
    const before = box.scrollTop;
    await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    return box.scrollTop === before;
  });
  const read = await page.evaluateHandle(() => [...document.querySelectorAll('.prose p')].find((p) => p.getBoundingClientRect().top > 150));
  const { x, y, height } = await read.boundingBox();
  await page.mouse.move(x + 1, y + height / 2);
  await page.mouse.down();
  await page.mouse.move(x + 120, y + height / 2, { steps: 3 });
  await page.mouse.up();
  const selected = await page.evaluate(() => String(getSelection()));
  assert.ok(selected.length > 5, `“${selected}” is selected`);
  await page.evaluate((paragraph) => {
    const { top } = paragraph.getBoundingClientRect();
    const text = String(getSelection());
    window.peace = { frames: 0, moved: 0, lost: 0 };
    const look = () => {
      window.peace.frames++;
      window.peace.moved = Math.max(window.peace.moved, Math.abs(paragraph.getBoundingClientRect().top - top));
      if (String(getSelection()) !== text || !paragraph.isConnected) window.peace.lost++;
      requestAnimationFrame(look);
    };
    look();
  }, read);
  open();
  await tab.ended();
  const { frames, moved, lost } = await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(() => resolve(window.peace)))));
  assert.ok(frames > 20, `${frames} frames`);
  assert.ok(moved <= 1, `moved by ${moved} px`);
  assert.equal(lost, 0, 'the selection was lost');
  assert.ok((await tab.prose.locator('> *').count()) >= 130);
  assert.equal((await visitor.agrees(tab)).content, [...first, ...more].join(''));
}, { viewport: { width: 900, height: 600 } });

visit('the first readings and every module are asked for before the first script of the page runs', async (visitor) => {
  teach('Soon there', ['At once.']);
  const tab = await visitor.open();
  await tab.ask('Soon there');
  await tab.ended();
  const page = await visitor.context.newPage();
  const modules = new Set(['app.js']);
  for (const name of modules) {
    for (const [, imported] of readFileSync(new URL(`../../static/${name}`, import.meta.url), 'utf8').matchAll(/^import .*'\.\/(.+)'/gm)) modules.add(imported);
  }
  const wanted = [...modules, 'session', tab.conversation];
  const asked = [];
  const { open: all, opened } = gate();
  page.on('request', (request) => {
    const { pathname } = new URL(request.url());
    asked.push(pathname.split('/').pop());
    if (wanted.every((name) => asked.includes(name))) all();
  });
  await page.route('**/app.js', async (route) => {
    await opened;
    await route.continue();
  });
  const { prose } = visitor.tab(page);
  await page.goto(`${origin}/#c=${tab.conversation}`);
  await prose.getByText('At once.').waitFor();
  assert.ok(modules.size > 9);
  for (const name of wanted) assert.equal(asked.filter((path) => path === name).length, 1, `${name} is asked for once`);
});

visit('a first reading that failed is asked for again', async (visitor) => {
  teach('Second time', ['There it is.']);
  const tab = await visitor.open();
  await tab.ask('Second time');
  await tab.ended();
  const page = await visitor.context.newPage();
  for (const path of ['session', `${tab.conversation}?*`]) await page.route(`**/${path}`, (route) => route.abort(), { times: 1 });
  await page.goto(`${origin}/#c=${tab.conversation}`);
  await visitor.tab(page).prose.getByText('There it is.').waitFor();
});
