import assert from 'node:assert/strict';
import { assertGrew, crash, gate, teach, visit } from './harness.js';

visit('a reload in the middle of an answer loses nothing and doubles nothing', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('help');
  for (const characters of [100, 300, 500]) {
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
  await first.ask('help');
  await first.streamed(100);
  const second = await visitor.open(`#c=${first.conversation}`);
  await second.streamed(100);
  await Promise.all([first.ended(), second.ended()]);
  const { content } = await visitor.stored(first);
  assert.equal(await first.source(), content);
  assert.equal(await second.source(), content);
});

visit('an answer resumes exactly after its connection was cut', async (visitor) => {
  const proxy = await visitor.proxy();
  const tab = await visitor.open('', proxy.origin);
  await tab.watch();
  await tab.ask('help');
  for (const characters of [100, 300, 500]) {
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
  await tab.ask('help');
  await tab.streamed(100);
  proxy.shut();
  await tab.page.getByText('Reconnecting…').waitFor();
  proxy.reopen();
  await tab.page.getByText('Reconnecting…').waitFor({ state: 'hidden' });
  await tab.ended();
  assert.equal(await tab.source(), (await visitor.stored(tab)).content);
});

visit('an answer whose server died is marked, and the next one comes', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('help');
  await Promise.all([tab.streamed(300), visitor.recorded(101)]);
  await crash();
  await tab.ended('interrupted');
  const { content, problem } = await visitor.stored(tab);
  assert.equal(await tab.source(), content);
  assert.ok(content.length > 100, `what was written is kept, ${content.length} characters`);
  assert.ok((await tab.note.innerText()).includes(problem.detail));
  await tab.page.getByRole('button', { name: 'Continue' }).click();
  await tab.page.locator('.message.assistant[data-status=completed]').waitFor();
  const whole = (await visitor.stored(tab)).content;
  assert.ok(whole.startsWith(content) && whole.length > content.length);
  assert.equal(await tab.source(), whole);
  await tab.ask('help');
  await tab.ended();
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

visit('a position that is gone is made good by a snapshot', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('help');
  await tab.streamed(100);
  await tab.page.route('**/events', (route) => {
    route.continue({ headers: { ...route.request().headers(), 'last-event-id': '999999' } });
  }, { times: 1 });
  await tab.page.reload();
  await tab.ended();
  assert.equal(await tab.source(), (await visitor.stored(tab)).content);
});

visit('a stream that cannot be served now is asked for again', async (visitor) => {
  const tab = await visitor.open();
  await tab.page.route('**/events', (route) => {
    const problem = { type: '/problems/full', title: 'No room', status: 503, detail: 'too many readers; wait a little' };
    const body = `retry: 300\n\nevent: unavailable\ndata: ${JSON.stringify(problem)}\n\n`;
    route.fulfill({ contentType: 'text/event-stream', body });
  }, { times: 1 });
  await tab.ask('help');
  await tab.page.getByText('No room: too many readers; wait a little.').waitFor();
  await tab.ended();
  assert.equal(await tab.page.locator('#connection').textContent(), '');
  assert.equal(await tab.source(), (await visitor.stored(tab)).content);
});

visit('events are read whatever way their bytes are cut', async (visitor) => {
  const { page } = await visitor.open();
  const differing = await page.evaluate(async () => {
    const { Parser } = await import(new URL('stream.js', document.querySelector('script').src));
    const text = ': hello\n\nretry: 1500\n\nevent: delta\nid: 7\ndata: {"text":"漢😀"}\n\nevent:ping\r\ndata: {}\r\n\r\nid: 8\rdata: a\rdata: b\r\rdata: cut off';
    const bytes = new TextEncoder().encode(text);
    const whole = JSON.stringify(new Parser().push(bytes));
    const wrong = [];
    for (let first = 0; first <= bytes.length; first++) {
      for (const second of [first, first + 1, bytes.length]) {
        const parser = new Parser();
        const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)];
        const events = pieces.flatMap((piece) => parser.push(piece));
        if (JSON.stringify(events) !== whole || parser.retry !== 1500) wrong.push([first, second, events]);
      }
    }
    return { whole: JSON.parse(whole), wrong };
  });
  assert.deepEqual(differing, {
    whole: [{ name: 'delta', data: '{"text":"漢😀"}', id: '7' }, { name: 'ping', data: '{}' }, { name: 'message', data: 'a\nb', id: '8' }],
    wrong: [],
  });
});

visit('the line is dotted while the connection is away, and the receipt says what was made good', async (visitor) => {
  teach('mend', Array.from({ length: 400 }, (_, index) => `word${index} `), { pause: 20 });
  const proxy = await visitor.proxy();
  const tab = await visitor.open('', proxy.origin);
  await tab.ask('mend');
  await tab.streamed(200);
  proxy.shut();
  await tab.answer.getByText('Reconnecting… the server is still writing.').waitFor();
  proxy.reopen();
  await tab.answer.getByText('Reconnecting…').waitFor({ state: 'hidden' });
  await tab.ended();
  assert.match(await tab.receipt.innerText(), /reconnected [1-9]/);
  await tab.receipt.click();
  const facts = Object.fromEntries(await tab.answer.locator('.receipt dl > div').evaluateAll((rows) => rows.map((row) => [...row.children].map((cell) => cell.textContent))));
  const { generation_id: generation } = await visitor.stored(tab);
  const { seq, timings } = await visitor.read(`/api/generations/${generation}`);
  assert.equal(facts.Outcome, 'Complete');
  assert.equal(facts['Last event'].replace(',', ''), String(seq));
  assert.ok(Number(facts['Events replayed']) > 20, facts['Events replayed']);
  assert.ok(Number(facts.Reconnects) >= 1);
  assert.equal(facts['First token'], `${timings.first_token_ms} ms`);
  await visitor.agrees(tab);
});

visit('a tab that nobody sees lets go of its streams, and resumes when it is seen', async (visitor) => {
  const { open: goOn, opened } = gate();
  teach('unseen', Array.from({ length: 300 }, (_, index) => `word${index} `), { until: { at: 100, open: opened } });
  const tab = await visitor.open();
  await tab.page.clock.install();
  await tab.page.reload();
  await tab.ask('unseen');
  await tab.streamed(50);
  const look = (hidden) => tab.page.evaluate((isHidden) => {
    Object.defineProperty(document, 'hidden', { value: isHidden, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  const attached = async (count) => {
    while ((await visitor.read('/api/operator/emitters')).items.length !== count);
  };
  await attached(2); // The feed's and the answer's: those of tabs before this one have left.
  await look(true);
  await tab.page.clock.fastForward(21_000);
  await attached(0);
  goOn();
  await look(false);
  await tab.ended();
  await visitor.agrees(tab);
});
