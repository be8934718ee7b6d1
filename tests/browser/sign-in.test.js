import assert from 'node:assert/strict';
import { newLink, origin, usedLink, visit } from './harness.js';

visit('a visitor who is not signed in is told how to', async (visitor) => {
  const { page } = await visitor.open();
  await page.getByRole('heading', { name: 'Sign in to Continuo' }).waitFor();
  assert.match(await page.locator('#sign-in').innerText(), /continuo login/);
  assert.equal(await page.locator('#app').isVisible(), false);
}, { signedIn: false });

visit('the link signs in and leaves no token in the address', async (visitor) => {
  const link = await newLink();
  const { page, prompt } = await visitor.open(link.slice(origin.length + 1));
  await prompt.waitFor();
  assert.equal(page.url(), `${origin}/`);
  await page.reload();
  await prompt.waitFor();
}, { signedIn: false });

visit('a used link says so, and a pasted fresh one signs in', async (visitor) => {
  const { page, prompt } = await visitor.open(usedLink.slice(origin.length + 1));
  await page.locator('#sign-in [role=alert]').waitFor();
  assert.equal(page.url(), `${origin}/`);
  await page.getByLabel('Or paste the link').fill(await newLink());
  await page.getByRole('button', { name: 'Sign in' }).click();
  await prompt.waitFor();
}, { signedIn: false });

visit('an expired login keeps the draft', async (visitor) => {
  const tab = await visitor.open();
  await tab.prompt.fill('do not lose this');
  await visitor.context.clearCookies();
  await tab.prompt.press('Enter');
  await tab.page.getByText('Your login has expired').waitFor();
  await tab.page.getByLabel('Or paste the link').fill(await newLink());
  await tab.page.getByRole('button', { name: 'Sign in' }).click();
  await tab.prompt.waitFor();
  assert.equal(await tab.prompt.inputValue(), 'do not lose this');
}, { signedIn: true });

visit('signing out ends the login', async (visitor) => {
  const { page, prompt } = await visitor.open((await newLink()).slice(origin.length + 1));
  await prompt.waitFor();
  await page.getByRole('button', { name: 'Preferences' }).click();
  await page.getByRole('menuitem', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in to Continuo' }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'Sign in to Continuo' }).waitFor();
}, { signedIn: false });

visit('the page speaks Chinese to whoever reads Chinese', async (visitor) => {
  const { page } = await visitor.open();
  await page.getByRole('heading', { name: '登录 Continuo' }).waitFor();
  assert.equal(await page.locator('html').getAttribute('lang'), 'zh-CN');
}, { signedIn: false, locale: 'zh-CN' });
