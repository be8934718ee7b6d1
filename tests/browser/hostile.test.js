// What is pasted, answered, imported or forbidden to harm the page: it says so, or does not notice.

import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { assertSame, newLink, origin, teach, visit } from './harness.js';

teach('A word?', ['One ', 'word.']);

const DAY = 86_400_000;
const MEGABYTE = 1024 * 1024;
const asUser = { origin, 'x-session-id': 'beside-the-page' };

/** What a person who pastes does. */
async function paste({ page, prompt }, text) {
  await page.evaluate((copied) => navigator.clipboard.writeText(copied), text);
  await prompt.focus();
  await page.keyboard.press('ControlOrMeta+V');
}

const overflow = ({ page }) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

visit('a pasted megabyte is sent as it is, and folded away', async (visitor) => {
  const tab = await visitor.open();
  const text = `${'lorem ipsum dolor sit amet, consetetur sadipscing elitr, sed diam nonumy 漢字\n'.repeat(MEGABYTE / 160)}${'in one line '.repeat(MEGABYTE / 24)}.`;
  teach(text, ['It is ', 'long.']);
  await paste(tab, text);
  await tab.page.waitForFunction((length) => document.querySelector('#prompt').value.length === length, text.length);
  const { height } = await tab.prompt.boundingBox();
  assert.ok(height <= 0.4 * 720 + 1, `the composer is ${height} px high`);
  await tab.page.reload();
  await tab.page.waitForFunction((length) => document.querySelector('#prompt').value.length === length, text.length);
  await tab.prompt.press('Enter');
  await tab.ended();
  const { messages } = await visitor.read(`/api/conversations/${tab.conversation}`);
  assertSame(messages[0].content, text);
  const question = tab.page.locator('.message.user .text');
  assert.ok((await question.textContent()).length <= 3000);
  await tab.page.getByRole('button', { name: /^Show all 1,0\d\d,\d\d\d characters/ }).click();
  assertSame(await question.textContent(), text);
  await tab.page.getByRole('button', { name: 'Show less' }).click();
  assert.ok((await question.textContent()).length <= 3000);
}, { permissions: ['clipboard-read', 'clipboard-write'] });

visit('a long prompt is not gone through again for what it does not change', async (visitor) => {
  const tab = await visitor.open();
  const text = '漢a한あ'.repeat(10_000);
  teach(`${text}x`, ['There.']);
  await tab.prompt.fill('short');
  assert.equal(await tab.prompt.getAttribute('dir'), 'auto');
  await tab.prompt.fill('');
  await tab.prompt.evaluate((prompt, all) => document.execCommand('insertText', false, all), text);
  await tab.prompt.evaluate((prompt) => {
    window.turns = 0;
    new MutationObserver((records) => { window.turns += records.length; }).observe(prompt, { attributes: true, attributeFilter: ['dir', 'class', 'style'] });
  });
  // A height that follows the text, and a direction that the browser looks for, are each a layout of the whole.
  assert.deepEqual(await tab.prompt.evaluate((prompt) => [prompt.dir, getComputedStyle(prompt).fieldSizing]), ['ltr', 'fixed']);
  await tab.page.keyboard.type('x');
  assert.equal(await tab.page.evaluate(() => window.turns), 0);
  await tab.prompt.press('Enter');
  await tab.ended();
  assert.deepEqual(await tab.prompt.evaluate((prompt) => [prompt.value, prompt.dir, getComputedStyle(prompt).fieldSizing]), ['', 'auto', 'content']);
  await tab.prompt.fill(`שלום ${text}`);
  assert.equal(await tab.prompt.getAttribute('dir'), 'rtl');
});

visit('a prompt that is too long is refused in place and stays', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('A word?');
  await tab.ended();
  // No text box takes more than the server does without holding the browser up: the prompt grows on its way.
  await tab.page.route('**/messages', (route) => route.continue({ postData: JSON.stringify({ content: 'x'.repeat(5 * MEGABYTE) }) }), { times: 1 });
  await tab.prompt.fill('much too long');
  await tab.button.click();
  await tab.notice.waitFor();
  assert.match(await tab.notice.innerText(), /too (long|large)|4194304|4,194,304/i);
  assert.equal(await tab.prompt.inputValue(), 'much too long');
  assert.equal(await tab.page.locator('.message').count(), 2);
  await tab.ask('A word?');
  await tab.ended();
  assert.equal(await tab.notice.isVisible(), false);
});

visit('a title of 10,000 characters widens nothing', async (visitor) => {
  const tab = await visitor.open();
  const endless = 'W'.repeat(10_000);
  teach(endless, ['So ', 'long.']);
  await tab.ask(endless);
  await tab.ended();
  assert.ok((await tab.page.title()).length < 300);
  const row = tab.page.locator(`#conversations li[data-id="${tab.conversation}"]`);
  await row.hover();
  await row.getByRole('button').click();
  await tab.page.locator('#menu').getByText('Rename', { exact: true }).click();
  await tab.page.keyboard.insertText(endless);
  await tab.page.keyboard.press('Enter');
  await tab.page.waitForFunction(() => document.querySelector('#title').textContent.length === 500);
  const { title } = await visitor.read(`/api/conversations/${tab.conversation}`);
  assert.equal(title, 'W'.repeat(500));
  assert.ok((await overflow(tab)) <= 0);
  const { height } = await row.boundingBox();
  assert.ok(height < 60, `the row is ${height} px high`);
  await tab.page.setViewportSize({ width: 390, height: 760 });
  assert.ok((await overflow(tab)) <= 0);
  const refused = await visitor.context.request.patch(`${origin}/api/conversations/${tab.conversation}`, { headers: asUser, data: { title: endless } });
  assert.equal(refused.status(), 422);
});

visit('text from right to left runs so everywhere, and does not turn the page', async (visitor) => {
  const question = 'ما هو الشاي؟';
  teach(question, ['الشاي مشروب ', '`tea()` ', 'ساخن.\n\n- أخضر\n', '- أسود\n\nEnglish again.\n']);
  const tab = await visitor.open();
  await tab.prompt.fill(question);
  const direction = (selector) => tab.page.locator(selector).first().evaluate((element) => getComputedStyle(element).direction);
  assert.equal(await direction('#prompt'), 'rtl');
  await tab.prompt.press('Enter');
  await tab.ended();
  await tab.page.waitForFunction((title) => document.querySelector('#title').textContent.length > 0 && document.querySelector('#conversations .clip'), question);
  for (const selector of ['.message.user .text', '.prose p', '.prose ul']) assert.equal(await direction(selector), 'rtl', selector);
  for (const selector of ['.prose p code', '.prose p:last-child', 'html', '.receipt']) assert.equal(await direction(selector), 'ltr', selector);
  assert.equal((await visitor.agrees(tab)).content, 'الشاي مشروب `tea()` ساخن.\n\n- أخضر\n- أسود\n\nEnglish again.\n');
});

visit('nothing in an answer, a question or a title runs, loads or leads to a script', async (visitor) => {
  const hostile = [
    '<script>window.hit = 1</script>\n\n',
    '<img src="https://track.example/a.png" onerror="window.hit = 2">\n\n',
    '![a tracker](https://track.example/pixel.png?user=7) and ![none](//track.example/b.gif) and ![data](data:image/png;base64,AAAA)\n\n',
    '[one](javascript:window.hit=3) [two](JaVaScRiPt:window.hit=3) [three](java&#115;cript:window.hit=3) [four](&#x6A;avascript:window.hit=3) [five](<java\tscript:window.hit=3>)\n\n',
    '<javascript:window.hit=4> [six](data:text/html,<script>top.hit=4</script>) [seven](vbscript:x) [eight](file:///etc/passwd) [nine](//evil.example) [ten](/api/session)\n\n',
    '[a][ref] ![b][ref]\n\n[ref]: javascript:window.hit=5 "onmouseover=window.hit=5"\n\n',
    '<iframe srcdoc="<script>top.hit=6</script>"></iframe><svg onload=window.hit=6><style>* { display: none }</style><base href=//evil.example>\n\n',
    '```html"><script>window.hit=7</script>\n<script>window.hit=7</script>\n```\n\n',
    '[good](https://good.example/ "a \\" onclick=window.hit=8")\n\n<a href="javascript:window.hit=9" onclick="window.hit=9">inline</a>\n\n<form action=//evil.example><input name=token autofocus onfocus=window.hit=10></form>\n',
  ].join('');
  const question = '<img src=https://track.example/q.png onerror=window.hit=11><script>window.hit=11</script> zebra';
  teach(question, hostile.match(/.{1,37}/gs), { pause: 2 });
  const tab = await visitor.open();
  await tab.page.evaluate(() => {
    window.led = new Set(); // Wherever a link led, if only for a frame.
    new MutationObserver(() => {
      for (const { href } of document.querySelectorAll('#messages [href]')) window.led.add(href);
    }).observe(document.querySelector('#messages'), { subtree: true, childList: true, attributeFilter: ['href'] });
  });
  await tab.ask(question);
  await tab.ended();
  const led = await tab.page.evaluate(() => [...window.led]);
  assert.ok(led.length >= 2);
  for (const href of led) assert.match(href, /^https:\/\/(good|track)\.example\//);
  const check = async () => {
    const links = await tab.page.evaluate(() => {
      for (const element of document.querySelectorAll('#messages .prose *, #messages .text')) if (!element.hasAttribute('href')) element.click();
      return [...document.querySelectorAll('#messages [href]')].map(({ href, rel, target }) => [href, rel, target]);
    });
    assert.ok(links.length >= 2);
    for (const [href, rel, target] of links) {
      assert.match(href, /^https:\/\/(good|track)\.example\//);
      assert.equal(target, '_blank');
      assert.match(rel, /noopener noreferrer/);
    }
    const tags = await tab.page.evaluate(() => [...document.querySelectorAll('#messages *')].map(({ localName }) => localName));
    for (const tag of ['img', 'script', 'iframe', 'style', 'base', 'form', 'object', 'embed', 'link', 'video', 'audio']) assert.ok(!tags.includes(tag), tag);
    const attributes = await tab.page.evaluate(() => [...document.querySelectorAll('#messages *')].flatMap((element) => element.getAttributeNames()));
    assert.deepEqual(attributes.filter((name) => /^on|^src|^style$|^action$/.test(name)), []);
    assert.equal(await tab.page.evaluate(() => window.hit), undefined);
  };
  await check();
  await tab.page.locator('.prose a.image').first().waitFor();
  assert.equal((await visitor.agrees(tab)).content, hostile);
  await tab.page.reload();
  await tab.ended();
  await check();
  await tab.page.getByRole('searchbox').fill('zebra');
  await tab.rows.locator('mark').first().waitFor();
  await check();
  assert.equal(await tab.page.locator('#sidebar img[src*=track]').count(), 0);
});

visit('a list nested a hundred deep and a fence of 200 kB are shown whole', async (visitor) => {
  const deep = Array.from({ length: 100 }, (_, level) => `${'  '.repeat(level)}- level ${level}\n`).join('');
  const fence = `\`\`\`js\n${'const value = compute(index, "text"); // note\n'.repeat(4500)}\`\`\`\n`;
  teach('Everything at once', [deep, '\n\n', fence, '\nThe end.']);
  const tab = await visitor.open();
  await tab.ask('Everything at once');
  await tab.ended();
  await tab.prose.getByText('The end.').waitFor();
  const { content } = await visitor.agrees(tab);
  assertSame(content, `${deep}\n\n${fence}\nThe end.`);
  assert.ok((await tab.prose.textContent()).includes('level 99'));
  assert.equal(await tab.prose.locator('pre code').evaluate((code) => code.textContent.length), fence.length - 10);
  assert.ok((await overflow(tab)) <= 0);
}, { viewport: { width: 390, height: 760 } });

visit('the page works where storage, channels and random names are forbidden', async (visitor) => {
  await visitor.context.addInitScript(() => {
    const refuse = () => { throw new DOMException('The operation is insecure.', 'SecurityError'); };
    for (const name of ['localStorage', 'sessionStorage', 'indexedDB', 'caches']) Object.defineProperty(window, name, { get: refuse });
    window.BroadcastChannel = class { constructor() { refuse(); } };
    delete Navigator.prototype.locks;
  });
  const tab = await visitor.open();
  await tab.ask('A word?');
  await tab.ended();
  await tab.prompt.fill('half a thought');
  await tab.page.getByRole('button', { name: 'New conversation' }).click();
  assert.equal(await tab.prompt.inputValue(), '');
  await tab.page.goBack();
  await tab.page.waitForFunction(() => document.querySelector('#prompt').value === 'half a thought');
  await tab.page.getByRole('button', { name: 'Preferences' }).click();
  await tab.page.locator('#menu').getByText('Dark').click();
  assert.equal(await tab.page.evaluate(() => getComputedStyle(document.documentElement).colorScheme), 'dark');
  await tab.page.reload();
  await tab.ended();
  assert.equal(await tab.source(), 'One word.');
});

visit('a full storage costs a draft its reload and nothing else', async (visitor) => {
  await visitor.context.addInitScript(() => {
    Storage.prototype.setItem = () => { throw new DOMException('full', 'QuotaExceededError'); };
  });
  const tab = await visitor.open();
  await tab.ask('A word?');
  await tab.ended();
  await tab.prompt.fill('half a thought');
  await tab.page.getByRole('button', { name: 'New conversation' }).click();
  await tab.page.goBack();
  await tab.page.waitForFunction(() => document.querySelector('#prompt').value === 'half a thought');
});

for (const [name, days] of [['behind', -1], ['ahead', 1]]) {
  visit(`a clock that is a day ${name} changes no date and no waiting`, async (visitor) => {
    await visitor.context.addInitScript((skew) => {
      const Real = Date;
      window.Date = class extends Real {
        constructor(...parts) {
          if (parts.length) super(...parts);
          else super(Real.now() + skew);
        }

        static now() {
          return Real.now() + skew;
        }
      };
    }, days * DAY);
    const groups = {};
    for (const [name, time] of [['Yesterday', Date.now() - DAY], ['Previous 7 days', Date.now() - 4 * DAY], ['March 2020', Date.UTC(2020, 2, 15)]]) {
      const at = new Date(time).toISOString();
      const file = { format: 'continuo.conversation', format_version: 1, title: name, created_at: at, updated_at: at, messages: [{ id: 'a', parent_id: null, role: 'user', status: 'completed', content: 'x', created_at: at }] };
      const made = await visitor.context.request.post(`${origin}/api/conversations/import`, { headers: asUser, data: file });
      groups[name] = (await made.json()).id;
    }
    const tab = await visitor.open();
    await tab.ask('A word?');
    await tab.ended();
    groups.Today = tab.conversation;
    for (const [name, id] of Object.entries(groups)) {
      const group = tab.page.locator('#conversations > li').filter({ has: tab.page.locator(`[data-id="${id}"]`) });
      assert.equal(await group.locator('h2').textContent(), name);
    }
    assert.equal(await tab.page.locator('#conversations li[data-id]').first().getAttribute('data-id'), tab.conversation);
    await tab.page.route('**/messages', (route) => route.fulfill({ status: 429, contentType: 'application/problem+json', body: JSON.stringify({ title: 'Too many', status: 429, retry_after: 2 }) }), { times: 1 });
    await tab.prompt.fill('A word?');
    await tab.prompt.press('Enter');
    await tab.notice.getByRole('button', { name: 'Try again', exact: true }).click();
    await tab.page.waitForFunction(() => document.querySelectorAll('.message').length === 4);
    await tab.ended();
  });
}

visit('an exported conversation is imported as it was; a foreign, huge or damaged file says why not', async (visitor) => {
  const folder = await mkdtemp(path.join(os.tmpdir(), 'continuo-import-'));
  try {
    const tab = await visitor.open();
    await tab.ask('A word?');
    await tab.ended();
    const exported = async (name) => {
      await tab.page.getByRole('button', { name: 'More', exact: true }).click();
      const [download] = await Promise.all([tab.page.waitForEvent('download'), tab.page.locator('#menu').getByText(name).click()]);
      return readFile(await download.path(), 'utf8');
    };
    assert.match(await exported('Export as Markdown'), /## You\n\nA word\?\n\n## Answer[^\n]*\n\nOne word\./);
    const whole = JSON.parse(await exported('Export as JSON'));
    const importFile = async (content) => {
      const file = path.join(folder, 'file.json');
      await writeFile(file, content);
      await tab.page.locator('#file').setInputFiles(file);
    };
    const first = tab.conversation;
    const count = async () => (await visitor.read('/api/conversations?limit=100')).items.length;
    const before = await count();
    const damaged = structuredClone(whole);
    damaged.messages[1].parent_id = 'nobody';
    for (const [content, reason] of [
      ['not JSON at all {', /JSON/],
      [Buffer.from([0xff, 0xd8, 0xff, 0x00]), /JSON|UTF-8/],
      [JSON.stringify({ mapping: {}, title: 'from elsewhere' }), /format/],
      ['[]', /./],
      [JSON.stringify({ ...whole, format_version: 99 }), /version/],
      [JSON.stringify(damaged), /messages\[1\]\.parent_id/],
      [JSON.stringify(whole).slice(0, -20), /JSON/],
      [JSON.stringify({ ...whole, system: 'x'.repeat(9 * MEGABYTE) }), /large|long|8388608|8,388,608/i],
      [JSON.stringify({ ...whole, title: 'W'.repeat(10_000) }), /title/],
    ]) {
      await importFile(content);
      await tab.page.waitForFunction((source) => new RegExp(source, 'i').test(document.querySelector('#notice:not([hidden])')?.textContent), reason.source);
      assert.equal(tab.conversation, first);
      await tab.page.evaluate(() => document.querySelector('#notice').replaceChildren());
    }
    assert.equal(await count(), before);
    await importFile(JSON.stringify(whole));
    await tab.page.waitForFunction((id) => location.hash !== `#c=${id}`, first);
    await tab.ended();
    assert.equal(await tab.source(), 'One word.');
    assert.equal(await tab.notice.isVisible(), false);
    assert.equal(await count(), before + 1);
  } finally {
    await rm(folder, { recursive: true });
  }
});

visit('a login that expires while a draft is typed costs no letter of it', async (visitor) => {
  const tab = await visitor.open((await newLink()).slice(origin.length + 1));
  await tab.ask('A word?');
  await tab.ended();
  const where = tab.page.url();
  await tab.prompt.pressSequentially('half a ');
  const gone = await visitor.context.request.delete(`${origin}/api/session`, { headers: asUser });
  assert.ok(gone.ok());
  await tab.prompt.pressSequentially('thought').catch(() => {});
  await tab.page.getByText('Your login has expired').waitFor();
  const kept = await tab.prompt.inputValue();
  assert.ok(kept.startsWith('half a '));
  await tab.page.getByLabel('Or paste the link').fill(await newLink());
  await tab.page.getByRole('button', { name: 'Sign in' }).click();
  await tab.prompt.waitFor();
  assert.equal(await tab.prompt.inputValue(), kept);
  assert.equal(tab.page.url(), where);
  await tab.ended();
  assert.equal(await tab.source(), 'One word.');
}, { signedIn: false });
