// Whatever happens to connections, tabs and the server while an answer is written: the reader gets the model's text, every word once.

import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { assertGrew, crash, origin, teach, visit } from './harness.js';

const SEED = Number(process.env.CHAOS_SEED ?? Date.now() % 2 ** 31);
console.log(`CHAOS_SEED=${SEED}`);

const PARTS = ['word ', 'another ', '漢字', '😀', 'né ', '\n\n', '\n\n', '- item ', '\n- ', '**bold** ', '`code` ', '\n```js\nlet a = 1;\n```\n', '> ', '| a | b |\n|---|---|\n| 1 | 2 |\n\n', '# ', '<b>', '\\', ' '];

/** Rolls the same numbers, 0 to `sides` - 1, for the same name and seed. */
function dice(name) {
  let state = [...name].reduce((sum, character) => Math.imul(sum, 31) + character.codePointAt(0), SEED);
  return (sides) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
}

/** A model that answers `question` with random text until told to end; `said` is what it wrote so far. */
function endless(question) {
  const roll = dice(question);
  const model = {
    said: '',
    isOver: false,
    end: () => (model.isOver = true),
  };
  teach(question, async function* () {
    while (!model.isOver) {
      const piece = PARTS[roll(PARTS.length)];
      model.said += piece;
      yield piece;
      await pause(5 + roll(30));
    }
  });
  return model;
}

teach('A word?', ['One ', 'word.']);

const shows = (tab, text) => tab.page.waitForFunction((wanted) => document.querySelector('#messages')?.textContent.includes(wanted), text);

visit('twenty reloads and cuts at random moments give exactly the text of the model', async (visitor) => {
  const roll = dice('when');
  const model = endless('Tell me everything');
  const proxy = await visitor.proxy();
  const tab = await visitor.open('', proxy.origin);
  await tab.ask('Tell me everything');
  await tab.watch();
  for (let count = 0; count < 20; count++) {
    await pause(roll(300));
    if (roll(5) > 1) proxy.cut();
    else {
      const seen = await tab.seen();
      assertGrew(seen, seen.at(-1));
      assert.ok(model.said.startsWith(seen.at(-1)), `${count}: what was shown is no part of what the model said`);
      await tab.page.reload();
      await tab.streamed(1);
      await tab.watch();
    }
  }
  model.end();
  await tab.ended();
  assertGrew(await tab.seen(), model.said);
  assert.equal((await visitor.agrees(tab)).content, model.said);
  assert.equal(await tab.page.locator('.message').count(), 2);
});

visit('two tabs stay equal, whoever asks and whoever loses the connection', async (visitor) => {
  const model = endless('What do both see?');
  const proxy = await visitor.proxy();
  const first = await visitor.open('', proxy.origin);
  await first.ask('A word?');
  const second = await visitor.open(`#c=${first.conversation}`);
  await Promise.all([first.ended(), second.ended()]);
  await second.ask('What do both see?');
  await shows(first, 'What do both see?');
  for (let count = 1; count <= 4; count++) {
    const [one, other] = await Promise.all([first.source(), second.source()]);
    assert.ok(one.startsWith(other) || other.startsWith(one));
    await Promise.all([first.streamed(count * 100), second.streamed(count * 100)]);
    proxy.cut();
  }
  model.end();
  await Promise.all([first.ended(), second.ended()]);
  assert.equal(await first.source(), model.said);
  assert.equal(await second.source(), model.said);
  assert.equal(await first.rendered(), await second.rendered());
  assert.equal(await first.page.locator('.message').count(), 4);
  assert.equal(await second.page.locator('.message').count(), 4);
});

visit('an answer whose server died goes on where it was cut', async (visitor) => {
  const whole = Array.from({ length: 200 }, (_, index) => `${index} and `).join('');
  let written;
  const begun = new Promise((resolve) => (written = resolve));
  teach('Count', async function* (messages) {
    const before = messages.at(-1).role === 'assistant' ? messages.at(-1).content : '';
    assert.ok(whole.startsWith(before));
    yield* whole.slice(before.length).match(/.{1,9}/gs).slice(0, before ? undefined : 100);
    if (!before) await begun; // The server dies meanwhile.
  });
  const tab = await visitor.open();
  const other = await visitor.open();
  await tab.ask('Count');
  await other.page.goto(`${origin}/#c=${tab.conversation}`);
  await Promise.all([tab.streamed(500), other.streamed(500), visitor.recorded(101)]);
  await crash();
  written();
  await Promise.all([tab.ended('interrupted'), other.ended('interrupted')]);
  const { content } = await visitor.stored(tab);
  assert.ok(content.length > 100 && whole.startsWith(content), `${content.length} characters are kept`);
  assert.equal(await tab.source(), content);
  assert.equal(await other.source(), content);
  assert.match(await tab.note.innerText(), /Interrupted/);
  await tab.page.getByRole('button', { name: 'Continue' }).click();
  await tab.page.locator('.message.assistant[data-status=completed]').waitFor();
  assert.equal(await tab.source(), whole);
  await other.page.locator('.message.assistant[data-status=completed]').waitFor();
  assert.equal(await other.source(), whole);
  assert.equal(await other.rendered(), await tab.rendered());
});

visit('eight tabs share the six connections of HTTP/1.1, and all of them work', async (visitor) => {
  const model = endless('Speak to all of us');
  const tabs = [];
  for (let count = 0; count < 8; count++) tabs.push(await visitor.open());
  await tabs[0].ask('Speak to all of us');
  const where = `${origin}/#c=${tabs[0].conversation}`;
  await Promise.all(tabs.slice(1).map(({ page }) => page.goto(where)));
  await Promise.all(tabs.map((tab) => tab.streamed(300)));
  await tabs[7].button.click(); // A request gets through beside all the streams.
  await Promise.all(tabs.map((tab) => tab.ended('stopped')));
  model.end();
  const { content } = await visitor.stored(tabs[0]);
  assert.ok(model.said.startsWith(content));
  for (const tab of tabs) assert.equal(await tab.source(), content);
  await Promise.all(tabs.map(async (tab) => {
    await tab.page.getByRole('button', { name: 'New conversation' }).click();
    await tab.ask('A word?');
    await tab.ended();
  }));
  for (const tab of tabs) assert.equal(await tab.source(), (await visitor.stored(tab)).content);
  const all = tabs.map(({ conversation }) => conversation);
  for (const tab of tabs) await tab.page.waitForFunction((ids) => ids.every((id) => document.querySelector(`#conversations [data-id="${id}"]`)), all);
});

visit('a proxy that answers 502 for ten seconds costs nothing but the wait', async (visitor) => {
  const model = endless('Go on and on');
  const proxy = await visitor.proxy();
  const tab = await visitor.open('', proxy.origin);
  await tab.ask('Go on and on');
  await tab.watch();
  await tab.streamed(100);
  const begun = Date.now();
  proxy.refuse();
  await tab.page.getByText('Reconnecting…').waitFor();
  assert.ok(Date.now() - begun >= 1000, 'it is not announced at once');
  await tab.prompt.fill('asked meanwhile');
  while (Date.now() - begun < 10_000 || proxy.refused < 5) await pause(100);
  proxy.reopen();
  await tab.page.getByText('Reconnecting…').waitFor({ state: 'hidden' });
  model.end();
  await tab.ended();
  assertGrew(await tab.seen(), model.said);
  assert.equal(await tab.prompt.inputValue(), 'asked meanwhile');
});

visit('a prompt that meets a 502 stays, and is asked once', async (visitor) => {
  const proxy = await visitor.proxy();
  const tab = await visitor.open('', proxy.origin);
  await tab.page.locator('#account:not(.away) #user:not(:empty)').waitFor();
  proxy.refuse();
  await tab.prompt.fill('A word?');
  await tab.prompt.press('Enter');
  await tab.notice.waitFor();
  assert.match(await tab.notice.innerText(), /502/);
  assert.doesNotMatch(await tab.notice.innerText(), /<h1>/);
  assert.equal(await tab.prompt.inputValue(), 'A word?');
  proxy.reopen();
  await tab.notice.getByRole('button', { name: 'Try again', exact: true }).click();
  await tab.ended();
  assert.equal(await tab.page.locator('.message').count(), 2);
  assert.equal(await tab.prompt.inputValue(), '');
});

for (const [what, paths] of Object.entries({ login: /\/api\/session/, conversation: /\/api\/(conversations|feed)/ })) {
  visit(`a page that was loaded, and then meets 502 where it asks for its ${what}, comes to itself`, async (visitor) => {
    const first = await visitor.open();
    await first.ask('A word?');
    await first.ended();
    let refusals = 0;
    await visitor.context.route(paths, (route) => {
      if (++refusals > 6) return route.fallback();
      return route.fulfill({ status: 502, contentType: 'text/html', body: '<h1>Bad Gateway</h1>' });
    });
    const tab = await visitor.open(`#c=${first.conversation}`);
    await tab.ended();
    assert.equal(await tab.source(), 'One word.');
    assert.equal(await tab.notice.isVisible(), false);
    await tab.rows.first().waitFor();
  });
}

visit('a conversation deleted in another tab while its answer streams is left, and can be brought back there', async (visitor) => {
  const model = endless('Will you be deleted?');
  const tab = await visitor.open();
  await tab.ask('Will you be deleted?');
  await tab.streamed(50);
  const id = tab.conversation;
  await tab.prompt.fill('half a thought');
  const other = await visitor.open(`#c=${id}`);
  await other.streamed(100);
  await other.page.getByRole('button', { name: 'More', exact: true }).click();
  await other.page.locator('#menu').getByText('Delete', { exact: true }).click();
  await tab.notice.waitFor();
  assert.match(await tab.notice.innerText(), /deleted|not there any more/);
  assert.equal(await tab.page.locator('.message').count(), 0);
  model.end();
  await other.page.getByRole('button', { name: 'Undo' }).click();
  await other.ended('stopped');
  const row = tab.page.locator(`#conversations li[data-id="${id}"] a`);
  await row.click();
  await tab.ended('stopped');
  assert.equal(await tab.source(), await other.source());
  assert.ok(model.said.startsWith(await tab.source()));
  assert.equal(await tab.prompt.inputValue(), 'half a thought');
});
