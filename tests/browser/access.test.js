// The page for whoever uses it without a mouse, without sight, with large type, in other colours, or in another script.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { teach, visit } from './harness.js';

const axe = await readFile(fileURLToPath(import.meta.resolve('axe-core/axe.min.js')), 'utf8');

const RICH = '# A heading\n\nA paragraph with **bold**, *soft*, `code`, ~~old~~ and a [link](https://a.example/).\n\n- one\n- [x] two\n- [ ] three\n\n'
  + '> quoted\n\n```js\nconst value = compute("a rather long line of code that is wider than a phone", 0x1f); // note\n```\n\n'
  + '| name | value |\n|---|--:|\n| first | 1 |\n| second | 2 |\n\n![A cup](https://img.example/cup.png)\n\nThe end.\n';
teach('Show me everything', RICH.match(/.{1,40}/gs));
teach('A word?', ['One ', 'word.']);

/** What axe finds wrong, in words. */
async function faults({ page }) {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ['violations'], rules: { 'target-size': { enabled: true } } });
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id}: ${target.join(' ')}: ${failureSummary}`));
  });
}

const clean = async (tab, where) => assert.deepEqual(await faults(tab), [], where);

/** A stream of words that goes on until told to end. */
function endless(question) {
  const model = { isOver: false, end: () => (model.isOver = true) };
  teach(question, async function* () {
    for (let count = 0; !model.isOver; count++) {
      yield count % 10 ? 'word ' : '\n\n';
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
  });
  return model;
}

const looks = {
  light: { colorScheme: 'light' },
  dark: { colorScheme: 'dark' },
  'on a phone': { viewport: { width: 390, height: 760 }, hasTouch: true, isMobile: true },
};

for (const [look, options] of Object.entries(looks)) {
  visit(`axe finds nothing wrong before the login, ${look}`, async (visitor) => {
    const tab = await visitor.open();
    await tab.page.getByRole('heading', { name: 'Sign in to Continuo' }).waitFor();
    await clean(tab, 'sign-in');
    await tab.page.getByLabel('Or paste the link').fill('no-such-token');
    await tab.page.getByRole('button', { name: 'Sign in' }).click();
    await tab.page.locator('#sign-in [role=alert]').waitFor();
    await clean(tab, 'a refused login');
  }, { ...options, signedIn: false, reducedMotion: 'reduce' });

  visit(`axe finds nothing wrong in any state of the page, ${look}`, async (visitor) => {
    const tab = await visitor.open();
    const { page } = tab;
    const isNarrow = look === 'on a phone';
    await page.locator('#tries button').first().waitFor();
    await clean(tab, 'empty');
    await tab.ask('Show me everything');
    await tab.ended();
    await tab.answer.locator('.receipt summary').click();
    await clean(tab, 'a long answer and its receipt');

    const model = endless(`Go on, ${look}`);
    await tab.ask(`Go on, ${look}`);
    await tab.streamed(100);
    await clean(tab, 'streaming');
    model.end();
    await tab.ended();

    await page.getByRole('button', { name: 'Settings of this conversation' }).click();
    await page.getByLabel('System prompt').waitFor();
    await clean(tab, 'settings');
    await page.keyboard.press('Escape');
    await page.keyboard.press('Control+/');
    await page.locator('#keys[open]').waitFor();
    await clean(tab, 'keys');
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'More', exact: true }).click();
    await clean(tab, 'menu');
    await page.keyboard.press('Escape');
    await page.locator('.message.user').last().hover();
    await page.getByRole('button', { name: 'Edit and send anew' }).last().click();
    await clean(tab, 'editing');
    await page.keyboard.press('Escape');

    await page.route('**/messages', (route) => route.fulfill({ status: 429, contentType: 'application/problem+json', body: JSON.stringify({ title: 'Too many', status: 429, retry_after: 60 }) }), { times: 1 });
    await tab.prompt.fill('A word?');
    await tab.prompt.press('Enter');
    await tab.notice.waitFor();
    await clean(tab, 'an error');

    if (isNarrow) await page.getByRole('button', { name: 'Show conversations' }).click();
    await page.getByRole('searchbox').fill('heading');
    await page.locator('#conversations mark').first().waitFor();
    await clean(tab, 'search');
    await page.getByRole('searchbox').fill('no such words anywhere');
    await page.getByText('Nothing found.').waitFor();
    await clean(tab, 'nothing found');
  }, { ...options, reducedMotion: 'reduce' });
}

visit('every stop on the way of the Tab key has a name and shows that it has the focus', async (visitor) => {
  const tab = await visitor.open();
  const { page } = tab;
  await tab.ask('Show me everything');
  await tab.ended();
  await tab.rows.first().waitFor();
  await page.evaluate(() => {
    window.look = (element) => {
      const styles = [];
      for (let at = element, count = 0; at && count < 4; at = at.parentElement, count++) {
        const { outline, outlineStyle, borderColor, boxShadow, backgroundColor } = getComputedStyle(at);
        styles.push(outlineStyle === 'none' ? '' : outline, borderColor, boxShadow, backgroundColor);
      }
      return styles.join(';');
    };
  });
  await tab.prompt.focus();
  const stops = [];
  for (let count = 0; count < 60; count++) {
    await page.keyboard.press('Tab');
    const stop = await page.evaluate(() => {
      const { activeElement: at } = document;
      if (at === document.body) return null;
      const focused = window.look(at);
      at.blur();
      const shows = window.look(at) !== focused;
      at.focus();
      return { name: at.ariaLabel || at.textContent.trim() || at.labels?.[0]?.textContent || at.title, tag: at.localName, id: at.id, isVisible: at.checkVisibility({ opacityProperty: true, visibilityProperty: true }), shows };
    });
    if (stops.length && stop?.id === 'prompt') break;
    if (stop) stops.push(stop);
  }
  for (const stop of stops) {
    assert.ok(stop.name || stop.id === 'transcript', JSON.stringify(stop));
    assert.ok(stop.isVisible, `not to be seen: ${JSON.stringify(stop)}`);
    assert.ok(stop.shows, `does not show its focus: ${JSON.stringify(stop)}`);
  }
  const names = stops.map(({ name }) => name);
  for (const name of ['Send', 'New conversation', 'Search', 'Preferences', 'Settings of this conversation', 'More', 'Copy', 'Answer again', 'Edit and send anew']) {
    assert.ok(names.includes(name), `${name} is not reached: ${names.join(' | ')}`);
  }
  assert.ok(stops.some(({ tag }) => tag === 'summary'), 'the receipt is reached');
});

visit('asking, stopping, renaming, deleting and undoing need no mouse', async (visitor) => {
  const model = endless('Without a mouse');
  const tab = await visitor.open();
  const { page } = tab;
  const focused = () => page.evaluate(() => document.activeElement.ariaLabel || document.activeElement.id || document.activeElement.textContent);
  await page.waitForFunction(() => document.activeElement.id === 'prompt');
  await page.keyboard.type('Without a mouse');
  await page.keyboard.press('Shift+Enter');
  assert.equal(await tab.prompt.inputValue(), 'Without a mouse\n');
  await page.keyboard.press('Backspace');
  await page.keyboard.press('Enter');
  await tab.streamed(20);
  assert.equal(await focused(), 'Ask anything', 'the focus stays where the person is');
  await page.keyboard.press('Tab');
  assert.equal(await focused(), 'Stop');
  await page.keyboard.press('Enter');
  await tab.ended('stopped');
  model.end();
  assert.equal(await focused(), 'Send', 'Send and Stop are one button');

  const id = tab.conversation;
  await page.keyboard.press('Control+k');
  assert.equal(await focused(), 'Search');
  await page.keyboard.press('ArrowDown');
  await page.waitForFunction((href) => document.activeElement.getAttribute('href') === href, `#c=${id}`);
  await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.activeElement.textContent === 'Rename');
  await page.keyboard.press('Escape');
  assert.match(await focused(), /^More: /, 'a menu gives the focus back');
  await page.keyboard.press('Enter');
  await page.keyboard.press('Enter');
  await page.keyboard.type('Of mice');
  await page.keyboard.press('Enter');
  await page.locator('#title').getByText('Of mice').waitFor();
  assert.equal((await visitor.read(`/api/conversations/${id}`)).title, 'Of mice');

  const actions = page.getByRole('button', { name: 'More', exact: true });
  await actions.focus();
  await page.keyboard.press('Enter');
  await page.waitForFunction(() => document.activeElement.textContent === 'Rename');
  while ((await focused()) !== 'Delete') await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  const undo = page.getByRole('button', { name: 'Undo' });
  await undo.waitFor();
  assert.equal(await page.locator('#toast').getAttribute('role'), 'status', 'it is told');
  await undo.focus();
  await page.keyboard.press('Enter');
  await tab.ended('stopped');
  assert.equal(tab.conversation, id);

  await page.keyboard.press('Control+/');
  await page.locator('#keys[open]').waitFor();
  await page.keyboard.press('Escape');
  await page.locator('#keys:not([open])').waitFor({ state: 'attached' });
  await page.keyboard.press('Control+Shift+O');
  await page.waitForFunction(() => !location.hash);
  assert.equal(await focused(), 'Ask anything');
});

visit('a menu is gone through with the arrow keys and gives the focus back', async (visitor) => {
  const tab = await visitor.open();
  const { page } = tab;
  await tab.ask('help');
  await tab.ended();
  const menu = page.locator('#menu');
  const press = async (key) => {
    await page.keyboard.press(key);
    return page.evaluate(() => document.activeElement.textContent || document.activeElement.ariaLabel);
  };
  for (const [opener, role, name, first, second, last] of [
    [page.locator('#preferences'), 'menuitemradio', 'Preferences', 'System', 'Light', 'Sign out'],
    [page.locator('#actions'), 'menuitem', 'More', 'Rename', 'Pin', 'Delete'],
    [tab.row(tab.conversation).getByRole('button'), 'menuitem', /^More: /, 'Rename', 'Pin', 'Delete'],
  ]) {
    await opener.focus();
    assert.equal(await opener.getAttribute('aria-haspopup'), 'menu');
    assert.equal(await press('Enter'), first);
    assert.equal(await opener.getAttribute('aria-expanded'), 'true');
    assert.equal(await page.getByRole('menu', { name }).getByRole(role, { name: first }).count(), 1);
    assert.equal(await press('ArrowDown'), second);
    assert.equal(await press('ArrowUp'), first);
    assert.equal(await press('ArrowUp'), last, 'it goes round');
    assert.equal(await press('ArrowDown'), first);
    assert.equal(await press('End'), last);
    assert.equal(await press('Home'), first);
    // Meanwhile the list is told something.
    await visitor.call('PATCH', `/api/conversations/${tab.conversation}`, { title: `Told of ${first} ${name}` });
    await page.waitForFunction((title) => document.title.startsWith(title), `Told of ${first} ${name}`);
    await page.keyboard.press('Escape');
    await menu.waitFor({ state: 'hidden' });
    // The row may be made anew meanwhile.
    await page.waitForFunction((label) => new RegExp(label).test(document.activeElement.ariaLabel), name.source ?? `^${name}$`);
    assert.notEqual(await opener.getAttribute('aria-expanded'), 'true');
  }
  await page.locator('#preferences').focus();
  await press('Enter');
  await press('ArrowDown');
  await press('ArrowDown');
  await press(' ');
  assert.equal(await page.locator('html').getAttribute('data-theme'), 'dark');
  await press('Enter');
  assert.equal(await page.getByRole('menuitemradio', { name: 'Dark' }).getAttribute('aria-checked'), 'true');
  await press('Tab');
  await menu.waitFor({ state: 'hidden' });
  assert.equal(await page.locator('#preferences').getAttribute('aria-expanded'), 'false');
  await page.locator('#actions').click();
  await page.mouse.click(400, 300);
  await menu.waitFor({ state: 'hidden' });
  assert.equal(await page.locator('#actions').getAttribute('aria-expanded'), 'false');
});

visit('an input method has Enter for itself until its text is there', async (visitor) => {
  const tab = await visitor.open();
  const method = await visitor.context.newCDPSession(tab.page);
  await tab.prompt.focus();
  await method.send('Input.imeSetComposition', { text: 'にほん', selectionStart: 3, selectionEnd: 3 });
  await method.send('Input.dispatchKeyEvent', { type: 'rawKeyDown', key: 'Enter', code: 'Enter', windowsVirtualKeyCode: 229 });
  await method.send('Input.dispatchKeyEvent', { type: 'keyUp', key: 'Enter', code: 'Enter', windowsVirtualKeyCode: 229 });
  await method.send('Input.insertText', { text: '日本' });
  assert.equal(await tab.prompt.inputValue(), '日本');
  assert.equal(await tab.page.locator('.message').count(), 0);
  teach('日本', ['はい。']);
  await tab.page.keyboard.press('Enter');
  await tab.ended();
  assert.equal((await visitor.read(`/api/conversations/${tab.conversation}`)).messages[0].content, '日本');
});

visit('whoever listens is told each finished block once, and the transcript is silent', async (visitor) => {
  const tab = await visitor.open();
  let open;
  const gate = new Promise((resolve) => (open = resolve));
  teach('Read to me', ['First paragraph.\n\n', 'Second *one*.\n\n', 'Third.'], { until: { at: 2, open: gate } });
  await tab.page.evaluate(() => {
    window.told = [];
    new MutationObserver((records) => {
      for (const { addedNodes } of records) window.told.push(...[...addedNodes].map(({ textContent }) => textContent));
    }).observe(document.querySelector('#announcer'), { childList: true });
  });
  await tab.ask('Read to me');
  await tab.page.waitForFunction(() => window.told.length > 0);
  open();
  await tab.ended();
  await tab.page.waitForFunction(() => window.told.at(-1) === 'The answer is complete.');
  const told = await tab.page.evaluate(() => window.told);
  assert.deepEqual(told, ['First paragraph.', 'Second one.', 'Third.', 'The answer is complete.']);
  const live = await tab.page.evaluate(() => Boolean(document.querySelector('#messages').closest('[aria-live]:not([aria-live=off]), [role=log], [role=status], [role=alert]')));
  assert.equal(live, false);
  assert.equal(await tab.page.locator('#messages .message > :is(h2, h3)').count(), await tab.page.locator('.message').count(), 'a heading for each message');
});

for (const [look, options] of Object.entries({ 'on a desk': {}, 'on a phone': looks['on a phone'] })) {
  visit(`whatever can be pressed is 24 pixels wide and high, ${look}`, async (visitor) => {
    const tab = await visitor.open();
    const small = () => tab.page.evaluate(() => [...document.querySelectorAll('button, a, input, textarea, summary, select, [tabindex="0"]')]
      .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest('.prose p, .prose li') && !element.matches('.prose a'))
      .map((element) => [element.className, element.ariaLabel || element.textContent.slice(0, 30), element.getBoundingClientRect()])
      .filter(([, , { width, height }]) => width < 24 || height < 24)
      .map(([kind, name, { width, height }]) => `${kind} “${name}” ${width.toFixed(1)} × ${height.toFixed(1)}`));
    await tab.page.locator('#tries button').first().waitFor();
    assert.deepEqual(await small(), []);
    await tab.ask('Show me everything');
    await tab.ended();
    await tab.page.getByRole('button', { name: 'Answer again' }).click();
    await tab.page.locator('.branch button').first().waitFor();
    await tab.ended();
    assert.deepEqual(await small(), []);
    await tab.page.getByRole('button', { name: 'Preferences' }).or(tab.page.getByRole('button', { name: 'Show conversations' })).first().click();
    assert.deepEqual(await small(), []);
    await tab.page.keyboard.press('Escape');
  }, options);
}

visit('a view of 320 pixels shows everything without scrolling sideways', async (visitor) => {
  const tab = await visitor.open();
  const { page } = tab;
  const fits = async (where) => {
    const wide = await page.evaluate(() => ['html', '#transcript', '#dock', '#chat > header', '#sidebar', '#messages', 'dialog[open]']
      .map((selector) => [selector, document.querySelector(selector)])
      .filter(([, element]) => element && element.scrollWidth > element.clientWidth)
      .map(([selector, { scrollWidth, clientWidth }]) => `${selector}: ${scrollWidth} > ${clientWidth}`));
    assert.deepEqual(wide, [], where);
    const outside = await page.evaluate(() => [...document.querySelectorAll('button, input, textarea, summary')]
      .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest('.code, .unseen'))
      .filter((element) => element.getBoundingClientRect().right > innerWidth + 1 || element.getBoundingClientRect().left < -1)
      .map((element) => element.ariaLabel || element.textContent));
    assert.deepEqual(outside, [], where);
  };
  await page.locator('#tries button').first().waitFor();
  await fits('empty');
  await tab.ask('Show me everything');
  await tab.ended();
  await tab.answer.locator('.receipt summary').click();
  await fits('conversation');
  await page.getByRole('button', { name: 'Settings of this conversation' }).click();
  await fits('settings');
  await page.keyboard.press('Escape');
  await page.getByRole('button', { name: 'Show conversations' }).click();
  await page.locator('#sidebar.open').waitFor();
  await fits('sidebar');
  await page.keyboard.press('Escape');
  await page.locator('#sidebar').waitFor({ state: 'hidden' });
  // The keyboard of a phone takes the lower half.
  await page.setViewportSize({ width: 320, height: 300 });
  await tab.prompt.focus();
  const { bottom, top } = await tab.prompt.evaluate((prompt) => prompt.getBoundingClientRect());
  assert.ok(top >= 0 && bottom <= 300, `the prompt is between ${top} and ${bottom}`);
  await fits('with a keyboard');
}, { viewport: { width: 320, height: 640 }, reducedMotion: 'reduce' });

for (const [motion, moves] of [['reduce', false], ['no-preference', true]]) {
  visit(`with a motion preference of “${motion}” ${moves ? 'an answer that grows shows it' : 'nothing moves'}`, async (visitor) => {
    const question = `Move, ${motion}`;
    const model = endless(question);
    const tab = await visitor.open();
    const moving = () => tab.page.evaluate(() => document.getAnimations().filter(({ playState }) => playState === 'running').length);
    await tab.page.locator('#tries button').first().waitFor();
    if (!moves) assert.equal(await moving(), 0);
    await tab.ask(question);
    await tab.streamed(50);
    assert.equal((await moving()) > 0, moves);
    await tab.page.getByRole('button', { name: 'New conversation' }).click();
    await tab.page.locator('.dot.running').first().waitFor();
    assert.equal((await moving()) > 0, moves);
    model.end();
  }, { reducedMotion: motion });
}

visit('in forced colours what is chosen, running and framed can still be told', async (visitor) => {
  const model = endless('In two colours');
  const tab = await visitor.open();
  const { page } = tab;
  await tab.ask('In two colours');
  await tab.streamed(50);
  const style = (selector, property) => page.locator(selector).first().evaluate((element, name) => getComputedStyle(element)[name], property);
  await page.locator('#conversations [aria-current]').waitFor();
  for (const selector of ['#conversations [aria-current]', '#composer', '.bubble']) assert.equal(await style(selector, 'outlineStyle'), 'solid', selector);
  await page.locator('.dot.running').waitFor();
  assert.notEqual(await style('.dot.running', 'backgroundColor'), await style('body', 'backgroundColor'));
  assert.notEqual(await style('#send i', 'backgroundColor'), await style('#send', 'backgroundColor'));
  assert.equal(await page.locator('#send i').evaluate((sign) => sign.checkVisibility()), true);
  await tab.prompt.focus();
  await page.keyboard.press('Tab');
  assert.equal(await style('#send', 'outlineStyle'), 'solid');
  model.end();
  await tab.ended();
  await clean(tab, 'forced colours');
}, { forcedColors: 'active', reducedMotion: 'reduce' });
