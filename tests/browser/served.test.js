// What is served is less than the sources, and means the same (src/routes/page/slim.rs).

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { parse } from 'acorn';
import { origin, visit } from './harness.js';

const sources = new URL('../../static/', import.meta.url);
const filesOf = (extension) => readdirSync(sources).filter((name) => name.endsWith(extension));

async function both(name) {
  const index = await (await fetch(origin)).text();
  const served = await fetch(`${origin}${/\/assets\/\w+\//.exec(index)[0]}${name}`);
  assert.equal(served.status, 200, name);
  return [readFileSync(new URL(name, sources), 'utf8'), await served.text()];
}

/** What a script says, wherever it says it. */
function meaning(script) {
  const tree = parse(script, { ecmaVersion: 'latest', sourceType: 'module' });
  return JSON.stringify(tree, (key, value) => (key === 'start' || key === 'end' ? undefined : typeof value === 'bigint' ? String(value) : value));
}

visit('a script as served is, to a parser, its source', async () => {
  for (const name of filesOf('.js')) {
    const [source, served] = await both(name);
    assert.ok(served.length < source.length, name);
    assert.ok(meaning(served) === meaning(source), name);
  }
});

visit('a style sheet as served is, to a browser, its source', async (visitor) => {
  const { page } = await visitor.open();
  for (const name of filesOf('.css')) {
    const texts = await both(name);
    const [source, served] = await page.evaluate((all) => all.map((text) => {
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(text);
      return [...sheet.cssRules].map(({ cssText }) => cssText.replace(/([,:]) /g, '$1')); // Conditions, and what has variables in it, stay as they were written.
    }), texts);
    assert.ok(texts[1].length < texts[0].length && source.length > 9, name);
    assert.deepEqual(served, source, name);
  }
});
