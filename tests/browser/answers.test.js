import assert from 'node:assert/strict';
import { assertGrew, gate, startAnother, teach, visit } from './harness.js';

visit('an answer streams and equals the stored one', async (visitor) => {
  const tab = await visitor.open();
  await tab.watch();
  await tab.ask('help');
  assert.equal(await tab.prompt.inputValue(), '', 'an accepted prompt leaves the composer');
  await tab.ended();
  const { content, status } = await visitor.stored(tab);
  assert.equal(status, 'completed');
  const seen = await tab.seen();
  assertGrew(seen, content);
  assert.ok(seen.length > 3, `it came at once: ${seen.length} steps`);
});

visit('a growing answer is followed until its reader turns upwards', async (visitor) => {
  const tab = await visitor.open();
  const { page } = tab;
  await tab.ask('long');
  const place = () => page.evaluate(() => {
    const { scrollTop, scrollHeight, clientHeight } = document.querySelector('#transcript');
    return { scrollTop, overflow: scrollHeight - clientHeight };
  });
  const outgrows = (pixels) => page.waitForFunction((n) => {
    const { scrollHeight, clientHeight } = document.querySelector('#transcript');
    return scrollHeight - clientHeight > n;
  }, pixels);
  await outgrows(100);
  const { scrollTop, overflow } = await place();
  assert.ok(overflow - scrollTop < 64, `${overflow - scrollTop} px from the bottom`);
  await page.locator('#transcript').hover();
  await page.mouse.wheel(0, -50);
  await page.locator('#latest').waitFor();
  const left = await place();
  await outgrows(left.overflow + 100);
  assert.ok((await place()).scrollTop <= left.scrollTop, 'it went down by itself');
  await page.locator('#latest').click();
  await page.locator('#latest').waitFor({ state: 'hidden' });
  const back = await place();
  assert.ok(back.overflow - back.scrollTop < 64);
  await tab.button.click();
  await tab.ended('stopped');
  assert.equal(await tab.source(), (await visitor.stored(tab)).content);
}, { viewport: { width: 800, height: 420 } });

visit('thinking is folded away and equals the stored one', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('think');
  const thoughts = tab.answer.locator('details.reasoning');
  await thoughts.waitFor();
  assert.equal(await thoughts.getAttribute('open'), null);
  await tab.ended();
  const { content, reasoning } = await visitor.stored(tab);
  assert.equal(await thoughts.locator('.text').textContent(), reasoning);
  assert.equal(await tab.source(), content);
});

visit('how long it thought is told wherever the answer is read', async (visitor) => {
  const { open, opened } = gate();
  teach('thinking for two', [{ reasoning_content: 'Hm.' }, { reasoning_content: ' Well.' }, 'So.', ' And so.'], { pause: 30, until: { at: 3, open: opened } });
  const tab = await visitor.open();
  await tab.ask('thinking for two');
  await tab.prose.getByText('So.').waitFor();
  const other = await visitor.open(`#c=${tab.conversation}`);
  await other.prose.getByText('So.').waitFor();
  open();
  await other.ended();
  await tab.ended();
  const told = (one) => one.answer.locator('details.reasoning summary').innerText();
  const { timings } = await visitor.stored(tab);
  assert.ok(timings.thinking_ms > 0 && timings.thinking_ms < timings.total_ms, JSON.stringify(timings));
  assert.match(await told(tab), /^Thought for [\d.]+ s$/);
  assert.equal(await told(other), await told(tab));
  await other.page.reload();
  await other.prose.getByText('And so.').waitFor();
  assert.equal(await told(other), await told(tab));
});

visit('the tools that an answer calls are shown folded, while they come and afterwards', async (visitor) => {
  const { open, opened } = gate();
  const call = (index, name, given) => ({ tool_calls: [{ index, ...(name && { id: `call_${index}`, type: 'function' }), function: { ...(name && { name }), arguments: given } }] });
  teach('Which tools?', ['Let me look.', call(0, 'weather', '{"city": '), call(1, 'clock', '{}'), call(0, undefined, '"格拉茨"'), call(0, undefined, '}')], { until: { at: 4, open: opened } });
  const tab = await visitor.open();
  await tab.ask('Which tools?');
  const shown = (one) => one.answer.locator('.calls details').evaluateAll((calls) => calls.map(({ open: isOpen, children: [name, given] }) => [isOpen, name.textContent, given.textContent]));
  await tab.page.getByText('{"city": "格拉茨"', { exact: true }).waitFor({ state: 'attached' });
  assert.deepEqual(await shown(tab), [[false, 'Tool call: weather', '{"city": "格拉茨"'], [false, 'Tool call: clock', '{}']]);
  const other = await visitor.open(`#c=${tab.conversation}`);
  await other.prose.getByText('Let me look.').waitFor();
  assert.deepEqual(await shown(other), await shown(tab), 'who comes later sees the same');
  open();
  await tab.ended();
  await other.ended();
  const whole = [[false, 'Tool call: weather', '{\n  "city": "格拉茨"\n}'], [false, 'Tool call: clock', '{}']];
  assert.deepEqual(await shown(tab), whole);
  assert.deepEqual(await shown(other), whole);
  await other.page.reload();
  await other.prose.getByText('Let me look.').waitFor();
  assert.deepEqual(await shown(other), whole);
  await tab.page.getByText('Tool call: weather').click();
  await tab.page.getByText('"格拉茨"').waitFor();
  assert.equal(await tab.answer.locator('.more').isVisible(), false);
});

visit('stop keeps what was written', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('slow');
  await tab.streamed(10);
  assert.equal(await tab.button.getAttribute('aria-label'), 'Stop');
  await tab.button.click();
  await tab.ended('stopped');
  const { content, status } = await visitor.stored(tab);
  assert.equal(status, 'stopped');
  assert.equal(await tab.source(), content);
  assert.match(await tab.note.innerText(), /^Stopped$/);
  assert.equal(await tab.button.getAttribute('aria-label'), 'Send');
});

visit('escape stops an answer that fell silent', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('silent');
  await tab.streamed(1);
  await tab.page.keyboard.press('Escape');
  await tab.ended('stopped');
  assert.equal((await visitor.stored(tab)).status, 'stopped');
});

visit('an answer that failed says why', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('fail');
  await tab.ended('failed');
  const { problem } = await visitor.stored(tab);
  assert.ok((await tab.note.innerText()).includes(problem.detail), problem.detail);
  await tab.page.reload();
  await tab.note.waitFor();
  assert.ok((await tab.note.innerText()).includes(problem.detail));
});

visit('an answer that was cut off is marked, and can be asked for again', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('cut');
  await tab.ended('truncated');
  const first = await visitor.stored(tab);
  await tab.page.getByRole('button', { name: 'Answer again' }).click();
  await tab.page.waitForFunction((id) => !document.querySelector(`[data-id="${id}"]`), first.id);
  await tab.ended('truncated');
  const second = await visitor.stored(tab);
  assert.equal(second.parent_id, first.parent_id);
  assert.equal(await tab.page.locator('.message').count(), 2);
});

visit('enter within an input method does not send', async (visitor) => {
  const tab = await visitor.open();
  await tab.prompt.fill('にほん');
  const sent = await tab.prompt.evaluate((prompt) => [{ isComposing: true }, { keyCode: 229 }].map((how) => {
    const enter = new KeyboardEvent('keydown', { key: 'Enter', bubbles: true, cancelable: true, ...how });
    return !prompt.dispatchEvent(enter);
  }));
  assert.deepEqual(sent, [false, false]);
  assert.equal(await tab.prompt.inputValue(), 'にほん');
  assert.equal(await tab.prompt.getAttribute('readonly'), null);
});

visit('a refused prompt stays, with the reason and the time to wait', async (visitor) => {
  const tab = await visitor.open();
  await tab.page.route('**/messages', (route) => {
    const problem = { type: '/problems/full', title: 'Too many answers at once', status: 429, detail: 'stop one or wait', retry_after: 7 };
    route.fulfill({ status: 429, contentType: 'application/problem+json', headers: { 'Retry-After': '7' }, body: JSON.stringify(problem) });
  }, { times: 1 });
  await tab.prompt.fill('help');
  await tab.prompt.press('Enter');
  await tab.notice.waitFor();
  assert.match(await tab.notice.innerText(), /^Too many answers at once: stop one or wait. Try again in [67] s$/);
  assert.equal(await tab.prompt.inputValue(), 'help');
  await tab.notice.getByRole('button', { name: 'Try again', exact: true }).click();
  await tab.ended();
  assert.equal(await tab.notice.isVisible(), false);
});

visit('stop ends the reading at the model server too', async (visitor) => {
  const { opened } = gate();
  const over = teach('never ends', ['Once', ' upon a time'], { until: { at: 1, open: opened } });
  const tab = await visitor.open();
  await tab.ask('never ends');
  await tab.streamed(1);
  await tab.page.keyboard.press('Escape');
  await tab.ended('stopped');
  assert.equal(await over, true, 'its reader left');
  assert.equal(await tab.source(), 'Once');
});

visit('an answer that was cut off is carried on', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('cut');
  await tab.ended('truncated');
  const begun = await tab.source();
  await tab.page.getByRole('button', { name: 'Continue' }).click();
  await tab.page.locator('.message.assistant[data-status=completed]').waitFor();
  const { content } = await visitor.agrees(tab);
  assert.ok(content.startsWith(begun) && content.length > begun.length);
  assert.equal(await tab.page.getByRole('button', { name: 'Continue' }).isVisible(), false);
});

visit('code has its language, a copy button and a scroll of its own, while it grows', async (visitor) => {
  const { open, opened } = gate();
  teach('code please', ['```rust\n', `fn main() { /* ${'long '.repeat(60)} */ }\n`, '```\n'], { until: { at: 2, open: opened } });
  const tab = await visitor.open();
  await tab.ask('code please');
  await tab.prose.locator('pre').getByText('fn main').waitFor();
  assert.equal(await tab.prose.locator('figcaption').getAttribute('data-language'), 'rust');
  await tab.prose.getByRole('button', { name: 'Copy' }).waitFor();
  const [inner, outer] = await tab.prose.locator('pre').evaluate((pre) => [pre.scrollWidth > pre.clientWidth, document.querySelector('#transcript').scrollWidth <= document.querySelector('#transcript').clientWidth]);
  assert.deepEqual([inner, outer], [true, true]);
  open();
  await tab.ended();
  await visitor.agrees(tab);
});

visit('a model server that refuses is told in place, and can be asked again', async (visitor) => {
  const tab = await visitor.open();
  await tab.ask('error 503');
  await tab.ended('failed');
  assert.match(await tab.note.innerText(), /Failed .*503/);
  await tab.page.getByRole('button', { name: 'Answer again' }).waitFor();
  await tab.ask('help');
  await tab.ended();
});

visit('a server that is about to end says so, keeps the prompt, and the answer is interrupted', async (visitor) => {
  const { opened } = gate();
  teach('goes on', ['It goes', ' on'], { until: { at: 1, open: opened } });
  const server = await startAnother();
  const page = await visitor.context.newPage();
  visitor.allow(server.origin);
  await page.goto(server.link);
  const tab = visitor.tab(page);
  await tab.prompt.waitFor();
  await tab.ask('goes on');
  await tab.streamed(1);
  const over = server.close();
  await page.getByRole('button', { name: 'New conversation' }).click();
  while ((await visitor.context.request.get(`${server.origin}/readyz`)).status() !== 503);
  await tab.prompt.fill('one more');
  await tab.prompt.press('Enter');
  await tab.notice.waitFor();
  assert.match(await tab.notice.innerText(), /shut|drain|restart|ending|stopp/i);
  assert.equal(await tab.prompt.inputValue(), 'one more');
  server.hurry();
  await over;
}, { signedIn: false });
