// Themes, the phone's keyboard, keys, and both languages. What assistive tools see is judged in access.test.js.

import assert from 'node:assert/strict';
import { gate, teach, visit } from './harness.js';

const phone = { viewport: { width: 390, height: 760 }, hasTouch: true, isMobile: true };

visit('the theme that was chosen is there before anything is painted', async (visitor) => {
  await visitor.context.addInitScript(() => {
    new MutationObserver((_, observer) => {
      if (!document.body) return;
      window.themeAtFirst = document.documentElement.dataset.theme;
      observer.disconnect();
    }).observe(document, { childList: true, subtree: true });
  });
  const { page } = await visitor.open();
  const paper = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const light = await paper();
  await page.getByRole('button', { name: 'Preferences' }).click();
  await page.locator('#menu').getByText('Dark').click();
  const dark = await paper();
  assert.notEqual(dark, light);
  await page.reload();
  assert.equal(await page.evaluate(() => window.themeAtFirst), 'dark');
  assert.equal(await paper(), dark);
  await page.getByRole('button', { name: 'Preferences' }).click();
  await page.locator('#menu').getByText('System').click();
  assert.equal(await paper(), light);
});

visit('a phone whose keyboard opens shows the prompt and the end of the answer', async (visitor) => {
  teach('tall', Array.from({ length: 30 }, (_, index) => `Paragraph ${index}.\n\n`));
  const tab = await visitor.open();
  await tab.ask('tall');
  await tab.ended();
  await tab.page.setViewportSize({ width: 390, height: 380 });
  const prompt = await tab.prompt.boundingBox();
  assert.ok(prompt.y + prompt.height <= 380, 'the prompt is above the keyboard');
  assert.ok(Number.parseFloat(await tab.prompt.evaluate((one) => getComputedStyle(one).fontSize)) >= 16, 'or the phone zooms in');
  await tab.page.waitForFunction(() => {
    const { scrollHeight, scrollTop, clientHeight } = document.querySelector('#transcript');
    return scrollHeight - scrollTop - clientHeight < 2;
  });
}, phone);

visit('a menu at the edge of a phone has its entries on a line each', async (visitor) => {
  const tab = await visitor.open();
  const { page } = tab;
  await tab.ask('help');
  await tab.ended();
  await page.locator('#actions').click();
  await page.keyboard.press('Escape');
  await page.locator('#open-sidebar').click();
  await page.locator('#preferences').click();
  const { heights, right } = await page.locator('#menu').evaluate((menu) => ({ heights: [...menu.children].map(({ offsetHeight }) => offsetHeight), right: innerWidth - menu.getBoundingClientRect().right }));
  assert.equal(new Set(heights).size, 1, heights.join());
  assert.ok(right >= 4, `${right} px from the edge`);
}, phone);

visit('everything has its key', async (visitor) => {
  teach('keys', ['pressed']);
  const { page, prompt, ...tab } = await visitor.open();
  await prompt.fill('first line');
  await prompt.press('Shift+Enter');
  await page.keyboard.type('second line');
  assert.equal(await prompt.inputValue(), 'first line\nsecond line');
  assert.equal(await page.locator('.message').count(), 0);
  await page.keyboard.press('Control+k');
  assert.ok(await page.getByRole('searchbox').evaluate((search) => search === document.activeElement));
  await page.keyboard.press('Control+/');
  await page.locator('#keys').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('#keys').waitFor({ state: 'hidden' });
  await page.keyboard.press('Control+Shift+O');
  assert.ok(await prompt.evaluate((one) => one === document.activeElement));
  assert.equal(await prompt.inputValue(), 'first line\nsecond line', 'it is still the new conversation');
  assert.ok(tab);
});

visit('send and stop are one button, and it keeps the focus', async (visitor) => {
  const { open, opened } = gate();
  teach('one button', ['some', ' more'], { until: { at: 1, open: opened } });
  const tab = await visitor.open();
  await tab.prompt.fill('one button');
  await tab.button.click();
  await tab.streamed(1);
  const has = () => tab.button.evaluate((button) => button === document.activeElement && button.getAttribute('aria-label'));
  assert.equal(await has(), 'Stop');
  open();
  await tab.ended();
  assert.equal(await has(), 'Send');
});

visit('the language can be switched, and stays', async (visitor) => {
  const { page } = await visitor.open();
  await page.getByRole('heading', { name: 'What is on your mind?' }).waitFor();
  await page.getByRole('button', { name: 'Preferences' }).click();
  await page.locator('#menu').getByText('中文').click();
  await page.getByRole('heading', { name: '想聊点什么？' }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: '想聊点什么？' }).waitFor();
  assert.equal(await page.locator('html').getAttribute('lang'), 'zh-CN');
});

const CHINESE = { locale: 'zh-CN' };

visit('a Chinese reader is told in Chinese what went wrong, and the facts in the server’s words', async (visitor) => {
  const tab = await visitor.open();
  const refuse = (problem) => tab.page.route('**/messages', (route) => route.fulfill({ status: problem.status, contentType: 'application/problem+json', body: JSON.stringify(problem) }), { times: 1 });
  const told = async (problem) => {
    await refuse({ title: 'A title', ...problem });
    await tab.prompt.press('Enter');
    await tab.notice.waitFor();
    const text = await tab.notice.evaluate((notice) => notice.firstChild.data);
    await tab.prompt.press('End');
    return text;
  };
  await tab.prompt.fill('demo:fail');
  assert.equal(await told({ status: 429, type: '/problems/too-many', detail: 'you have 3 running answers already' }), '同时进行的太多：you have 3 running answers already');
  assert.equal(await told({ status: 503, type: '/problems/draining', detail: 'answers that are running may finish' }), '服务器正在关闭，请稍后再试。');
  assert.equal(await told({ status: 418, type: '/problems/of-tomorrow', detail: 'no tea' }), '服务器返回错误（418）。A title: no tea.');
  await tab.prompt.press('Enter');
  await tab.ended('failed');
  assert.match(await tab.note.innerText(), /^失败 模型服务器报告错误：.*as you wished/);
}, CHINESE);

visit('a Chinese reader is told in Chinese that a link does not work', async (visitor) => {
  const { page } = await visitor.open('#login=wrong');
  await page.getByRole('alert').getByText('登录链接无效').waitFor();
}, { ...CHINESE, signedIn: false });

visit('a conversation is printed whole, in ink, without what can be pressed, and its code wraps', async (visitor) => {
  teach('On paper', [`${'A paragraph of it.\n\n'.repeat(60)}\`\`\`js\nlet a = [${'1234567890, '.repeat(60)}];\n\`\`\`\n\n| ${'a wide column | '.repeat(9)}\n|${'---|'.repeat(9)}\n| ${'words of it | '.repeat(9)}\n`]);
  const tab = await visitor.open();
  const { page } = tab;
  await page.getByRole('button', { name: 'Preferences' }).click();
  await page.locator('#menu').getByText('Dark').click();
  await tab.ask('On paper');
  await tab.ended();
  await page.emulateMedia({ media: 'print' });
  await page.setViewportSize({ width: 640, height: 900 });
  assert.deepEqual(await page.locator('button, input, textarea').evaluateAll((all) => all.filter((one) => one.checkVisibility()).map(({ id, className }) => id || className)), []);
  const { ink, code, table, high } = await page.evaluate(() => {
    const wide = (selector) => document.querySelector(selector).scrollWidth - document.querySelector(selector).clientWidth;
    const luminance = (colour) => colour.match(/[\d.]+/g).slice(0, 3).reduce((sum, part) => sum + Number(part), 0);
    return { ink: luminance(getComputedStyle(document.body).color), code: wide('.prose pre'), table: wide('.prose .table'), high: document.documentElement.scrollHeight };
  });
  assert.ok(ink < 200, `the ink is dark: ${ink}`);
  assert.deepEqual([code, table], [0, 0]);
  assert.ok(high > 1800, `${high} px of 60 paragraphs`);
  const pdf = (await page.pdf({ format: 'A4' })).toString('latin1');
  assert.ok(pdf.match(/\/Type\s*\/Page\b/g).length > 1, 'it goes on on the next page');
});
