// The page as others on the network see it: by a name, over plain HTTP, where a browser has no clipboard API, no random names and no
// `Sec-Fetch-Site`.

import assert from 'node:assert/strict';
import { after } from 'node:test';
import { origin as loopback, startOnNetwork, teach, visit } from './harness.js';

const network = await startOnNetwork();
after(() => network.close());
const options = { signedIn: false, baseURL: network.origin };

const CODE = 'fn tea() {\n\tlet cup = "ä漢";\n}\n';
teach('Some code', ['Here:\n\n', '```rust\n', CODE, '```\n\n', 'Done.']);

const enter = (visitor) => visitor.open(network.link.slice(network.origin.length + 1), network.origin);

visit('everything works where the browser does not trust the connection', async (visitor) => {
  const tab = await enter(visitor);
  const { page } = tab;
  await tab.prompt.waitFor();
  const lacks = await page.evaluate(() => [isSecureContext, typeof navigator.clipboard, typeof crypto.randomUUID, typeof navigator.locks]);
  assert.deepEqual(lacks, [false, 'undefined', 'undefined', 'undefined']);

  let open;
  const gate = new Promise((resolve) => (open = resolve));
  teach('Across the network', ['First part.\n\n', 'second part.'], { until: { at: 1, open: gate } });
  await tab.watch();
  await tab.ask('Across the network');
  await tab.streamed(10);
  const other = await visitor.open(`#c=${tab.conversation}`, network.origin);
  await other.streamed(10);
  await page.reload();
  await tab.streamed(10);
  open();
  await Promise.all([tab.ended(), other.ended()]);
  assert.equal(await tab.source(), 'First part.\n\nsecond part.');
  assert.equal(await other.source(), 'First part.\n\nsecond part.');

  await tab.ask('Some code');
  await tab.ended();
  const pasted = async (button) => {
    await button.click();
    await tab.prompt.fill('');
    await page.keyboard.press('ControlOrMeta+V');
    return tab.prompt.inputValue();
  };
  const copyCode = tab.prose.locator('.copy');
  assert.equal(await pasted(copyCode), CODE);
  assert.equal(await pasted(tab.answer.locator('footer').getByRole('button', { name: 'Copy' })), `Here:\n\n\`\`\`rust\n${CODE}\`\`\`\n\nDone.`);
  await tab.prompt.fill('');

  await page.getByRole('button', { name: 'Preferences' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).or(page.getByRole('button', { name: 'Sign out' })).click();
  await page.getByRole('heading', { name: 'Sign in to Continuo' }).waitFor();
}, options);

visit('a header that browsers refuse there is left out, and what guards the page is not', async (visitor) => {
  const [near, far] = await Promise.all([loopback, network.origin.replace('continuo.test', '127.0.0.1')].map((where) => visitor.context.request.get(`${where}/`)));
  assert.equal(near.headers()['cross-origin-opener-policy'], 'same-origin');
  const { page } = await visitor.open('', network.origin);
  const headers = (await page.reload()).headers();
  assert.equal(headers['cross-origin-opener-policy'], undefined);
  assert.match(headers['content-security-policy'], /default-src 'none'; script-src 'self'/);
  assert.equal(headers['content-security-policy'], far.headers()['content-security-policy']);
  for (const foreign of ['http://evil.example', 'null']) {
    const refused = await visitor.context.request.post(`${network.origin.replace('continuo.test', '127.0.0.1')}/api/session`, { headers: { origin: foreign }, data: { token: 'x' } });
    assert.equal(refused.status(), 403, foreign);
  }
}, options);
