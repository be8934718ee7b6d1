// The renderer of answers, on the real page under its real policy, fed with what the real server sends.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tail } from '../../static/tail.js';
import { origin, visit } from './harness.js';
import { longestTask } from './trace.js';

const labels = { copy: 'Copy', copied: 'Copied', copyFailed: 'Could not copy', code: 'Code' };

/** A tab in which `mount()` makes an answer of its own, before everything else, and `shown()` tells its elements. */
async function stage(visitor) {
  await visitor.context.route('**/app.js', (route) => route.fulfill({ contentType: 'text/javascript', body: '' }));
  const { page } = await visitor.open();
  await page.evaluate(async (words) => {
    const { src } = document.querySelector('script[type="module"]');
    const { Prose } = await import(new URL('prose.js', src));
    const style = Object.assign(document.createElement('link'), { rel: 'stylesheet', href: new URL('prose.css', src) });
    const room = document.createElement('main');
    document.head.append(style);
    await new Promise((resolve) => style.addEventListener('load', resolve));
    document.documentElement.style.cssText = document.body.style.cssText = 'height: auto; overflow: auto';
    document.body.replaceChildren(room);
    window.frame = () => new Promise(requestAnimationFrame);
    window.mount = (options) => {
      window.room = document.createElement('div');
      room.append(window.room);
      return new Prose(window.room, { labels: words, ...options });
    };
    window.shown = () => window.room.innerHTML.replaceAll(' tabindex="0"', '');
  }, labels);
  return page;
}

/** The events of an answer to this prompt, as the server sends them, and the finished blocks that it keeps. */
async function recorded(visitor, prompt) {
  const { request } = visitor.context;
  const headers = { origin, 'x-session-id': `recorded-${prompt.length}` };
  const made = await (await request.post(`${origin}/api/conversations`, { headers, data: {} })).json();
  const answer = await request.post(`${origin}/api/conversations/${made.id}/messages`, { headers: { ...headers, accept: 'text/event-stream' }, data: { content: prompt }, timeout: 60_000 });
  const events = [];
  for (const frame of (await answer.text()).split('\n\n')) {
    const [, name] = /^event: ?(.+)$/m.exec(frame) ?? [];
    if (name === 'delta' || name === 'block') events.push([name, JSON.parse(/^data: ?(.+)$/m.exec(frame)[1])]);
  }
  const { messages } = await visitor.read(`/api/conversations/${made.id}?blocks=1`);
  return { events, blocks: messages.find(({ role }) => role === 'assistant').blocks };
}

/** The nodes of a text as far as it has come. */
function provisional(text) {
  const tail = new Tail();
  tail.add(text);
  return tail.nodes();
}

test('an open tail reads the same however it came, and keeps what did not change', () => {
  const parts = ['- ', '  - ', '1. ', '> ', '\n', '\n', '\n\n', '```\n', '| a ', '|--|\n', '# ', '**', '*', '`', '[x](', ')', 'word', ' ', '  ', '[ ] ', '---', '漢字', '\r\n', '\t'];
  let state = 7;
  const roll = (sides) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * sides);
  };
  for (let round = 0; round < 300; round++) {
    const tail = new Tail();
    let text = '';
    for (let piece = 0; piece < 40; piece++) {
      const part = parts[roll(parts.length)];
      text += part;
      tail.add(part);
      if (roll(2)) assert.deepEqual(tail.nodes(), provisional(text), JSON.stringify(text));
    }
  }
  const tail = new Tail();
  tail.add('one\n\n- a\n- b\n- c');
  const before = tail.nodes();
  tail.add(' goes on');
  const after = tail.nodes();
  assert.equal(after[0], before[0]);
  assert.equal(after[1][2], before[1][2]);
  assert.deepEqual(after[1][4], ['li', {}, 'c goes on']);
});

visit('an open tail is formatted before its blocks are finished', async (visitor) => {
  const page = await stage(visitor);
  const tags = await page.evaluate(async () => {
    const answer = window.mount();
    for (const text of ['# Hea', 'ding\n\n- one **bo', 'ld** and `co', 'de`\n- two\n\n```rust\nfn ma']) answer.delta(text);
    await answer.end();
    return [...window.room.querySelectorAll('h1, li, strong, code')].map(({ localName, textContent }) => `${localName} ${textContent}`);
  });
  assert.deepEqual(tags, ['h1 Heading', 'li one bold and code', 'strong bold', 'code code', 'li two', 'code fn ma']);
});

visit('however an answer arrives, it looks as if it had come at once', async (visitor) => {
  const page = await stage(visitor);
  const answers = await Promise.all(['help', 'Hello', 'a', 'bb', 'ccc', 'planets'].map((prompt) => recorded(visitor, prompt)));
  for (const { events, blocks } of answers) {
    assert.ok(events.some(([name]) => name === 'block') && blocks.length > 0);
    const { fresh, grown } = await page.evaluate(async ([all, whole]) => {
      const first = window.mount();
      first.show({ blocks: whole, tail: '' });
      await first.end();
      const fresh = window.shown();
      const grown = [];
      for (let round = 0; round < 2; round++) {
        const answer = window.mount();
        for (const [name, data] of all) {
          if (name === 'block') answer.block(data);
          else {
            const cut = Math.floor(Math.random() * data.text.length);
            answer.delta(data.text.slice(0, cut));
            if (Math.random() < 0.2) await window.frame();
            answer.delta(data.text.slice(cut));
          }
          if (Math.random() < 0.3) await window.frame();
        }
        await answer.end();
        grown.push(window.shown());
      }
      return { fresh, grown };
    }, [events, blocks]);
    for (const one of grown) assert.equal(one, fresh);
  }
});

visit('what is selected stays selected while more arrives and blocks become final', async (visitor) => {
  const page = await stage(visitor);
  const kept = await page.evaluate(async () => {
    const answer = window.mount();
    const select = (selector) => {
      const text = document.createTreeWalker(window.room.querySelector(selector), NodeFilter.SHOW_TEXT).nextNode();
      getSelection().setBaseAndExtent(text, 2, text, 8);
      return { text, was: String(getSelection()) };
    };
    const isKept = ({ text, was }) => text.isConnected && was.length === 6 && String(getSelection()) === was;
    answer.delta('A paragraph.\n\n- first item\n- second *item');
    await window.frame();
    const first = select('li');
    answer.delta('* goes on\n\n```js\nlet value = 1;\n');
    await window.frame();
    const results = [isKept(first)];
    answer.block({ index: 0, nodes: [['p', {}, 'A paragraph.'], ['ul', {}, ['li', {}, 'first item'], ['li', {}, 'second ', ['em', {}, 'item'], ' goes on']]], tail: '```js\nlet value = 1;\n' });
    await window.frame();
    results.push(isKept(first));
    const second = select('pre code');
    answer.delta('let more = 2;\n```\n\nEnd');
    await window.frame();
    results.push(isKept(second));
    answer.block({ index: 2, nodes: [['pre', { language: 'js' }, ['code', {}, 'let value = 1;\nlet more = 2;\n']], ['p', {}, 'End']], tail: '' });
    await answer.end();
    return [...results, isKept(second)];
  });
  assert.deepEqual(kept, [true, true, true, true]);
});

visit('a provisional block keeps its element when it becomes final', async (visitor) => {
  const page = await stage(visitor);
  const changes = await page.evaluate(async () => {
    const answer = window.mount();
    const tail = '## Title\n\ntext with **bold** and [link](https://a.example)\n\n1. one\n2. two\n\n| a | b |\n|---|:-:|\n| 1 | 2 |\n';
    answer.delta(tail);
    await window.frame();
    let count = 0;
    const observer = new MutationObserver((records) => { count += records.filter(({ target }) => target !== window.room).length; });
    observer.observe(window.room, { subtree: true, childList: true, characterData: true, attributes: true });
    answer.block({ index: 0, tail: '', nodes: [
      ['h2', {}, 'Title'], ['p', {}, 'text with ', ['strong', {}, 'bold'], ' and ', ['a', { href: 'https://a.example' }, 'link']],
      ['ol', {}, ['li', {}, 'one'], ['li', {}, 'two']],
      ['table', {}, ['thead', {}, ['tr', {}, ['th', {}, 'a'], ['th', { align: 'center' }, 'b']]], ['tbody', {}, ['tr', {}, ['td', {}, '1'], ['td', { align: 'center' }, '2']]]],
    ] });
    await window.frame();
    await window.frame();
    return count;
  });
  assert.equal(changes, 0);
});

visit('a wrong guess is put right', async (visitor) => {
  const page = await stage(visitor);
  const pairs = await page.evaluate(async () => {
    const guesses = ['| no | table', '- a\n- b\n- c', '# a\n\nb\n\nc\n\nd', '> a\n> > b', '```js\na\n\nb', '**a', '[a](b'];
    const truths = [[['p', {}, '| no | table']], [['p', {}, 'a'], ['ol', { start: 3 }, ['li', {}, 'b']]], [], [['pre', { language: 'py' }, ['code', {}, 'x\n']]], [['blockquote', {}, ['h1', {}, 'x']]]];
    const pairs = [];
    for (const guess of guesses) {
      for (const nodes of truths) {
        const answer = window.mount();
        answer.delta(guess);
        await window.frame();
        answer.block({ index: 0, nodes, tail: '' });
        await answer.end();
        const shown = window.shown();
        await window.mount().show({ blocks: nodes, tail: '' });
        pairs.push([shown, window.shown()]);
      }
    }
    return pairs;
  });
  for (const [shown, fresh] of pairs) assert.equal(shown, fresh);
});

visit('nothing in a node tree runs, loads or styles', async (visitor) => {
  const page = await stage(visitor);
  const found = await page.evaluate(async () => {
    const answer = window.mount();
    const script = '<img src=x onerror=alert(1)><script>alert(1)</script>';
    answer.show({ blocks: [
      ['script', {}, 'window.hit = 1'], ['style', {}, '* { display: none }'], ['iframe', { src: '/' }], ['img', { src: '/api/session', onerror: 'window.hit = 1' }],
      ['p', { onclick: 'window.hit = 1', style: 'position: fixed', id: 'send', class: 'x', dir: 'x' }, script],
      ['a', { href: 'javascript:window.hit=1' }, 'one'], ['a', { href: ' javascript:window.hit=1' }, 'two'], ['a', { href: 'data:text/html,x' }, 'three'],
      ['a', { href: '//evil.example' }, 'four'], ['a', { href: { toString: 1 } }, 'five'], ['a', { href: 'https://a.example/?q', onclick: 'window.hit = 1', target: '_self', download: '' }, 'six'],
      ['ol', { start: 'x' }], ['td', { align: 'x"' }, 'cell'], ['pre', { language: script }, ['code', {}, script]], ['input', { type: 'image', src: '/x', checked: 'x' }],
      ['constructor', {}, 'a'], ['__proto__', {}, 'b'], [], [null], null, 7, ['p'], ['p', null, 'text'], [['p']],
    ], tail: `${script}\n\n[a](javascript:window.hit=1) <javascript:window.hit=1> ![b](data:x) [c](java\tscript:x)\n\n<iframe src=/ onload=alert(1)>` });
    await answer.end();
    for (const element of window.room.querySelectorAll('*')) if (!element.href) element.click();
    const all = [...window.room.querySelectorAll('*')];
    return {
      hit: window.hit,
      tags: [...new Set(all.map(({ localName }) => localName))].sort(),
      attributes: [...new Set(all.flatMap((element) => element.getAttributeNames()))].sort(),
      links: all.filter((element) => element.hasAttribute('href')).map(({ href, target, rel }) => [href, target, rel]),
    };
  });
  assert.equal(found.hit, undefined);
  assert.deepEqual(found.tags, ['a', 'button', 'code', 'figcaption', 'figure', 'input', 'ol', 'p', 'pre', 'span', 'td']);
  assert.deepEqual(found.attributes.filter((name) => !/^(aria|data)-/.test(name)), ['class', 'dir', 'disabled', 'href', 'rel', 'role', 'target', 'title', 'type']);
  assert.deepEqual(found.links, [['https://a.example/?q', '_blank', 'noopener noreferrer nofollow']]);
});

visit('an image is a link to it, and a link tells its host', async (visitor) => {
  const page = await stage(visitor);
  const links = await page.evaluate(async () => {
    const answer = window.mount();
    answer.show({ blocks: [['p', {}, ['a', { href: 'mailto:me@example.org' }, 'me']]], tail: '![A cup](https://img.example/cup.png?track=1) and [a page](https://www.example.org/x "Read it")' });
    await answer.end();
    return [...window.room.querySelectorAll('a')].map(({ className, title, textContent }) => [className, title, textContent]);
  });
  assert.deepEqual(links, [['', 'me@example.org', 'me'], ['image', 'img.example', 'A cup'], ['', 'Read it · www.example.org', 'a page']]);
});

visit('code is copied, with and without a clipboard API', async (visitor) => {
  const page = await stage(visitor);
  await page.evaluate(() => window.mount().show({ blocks: [['pre', { language: 'rust' }, ['code', {}, 'fn a() {\n\tlet b = "ä漢";\n}\n']]], tail: '' }));
  await page.getByRole('button', { name: 'Copy' }).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), 'fn a() {\n\tlet b = "ä漢";\n}\n');
  await page.getByRole('button', { name: 'Copy' }).waitFor();
  await page.evaluate(() => navigator.clipboard.writeText('something else'));
  await page.evaluate(() => {
    window.read = navigator.clipboard.readText.bind(navigator.clipboard);
    Object.defineProperty(navigator, 'clipboard', { value: undefined });
  });
  await page.getByRole('button', { name: 'Copy' }).click();
  await page.getByRole('button', { name: 'Copied' }).waitFor();
  assert.equal((await page.evaluate(() => window.read())).trim(), 'fn a() {\n\tlet b = "ä漢";\n}');
  await page.evaluate(() => { document.execCommand = () => false; });
  await page.getByRole('button', { name: 'Copied' }).click();
  await page.getByRole('button', { name: 'Could not copy' }).waitFor();
  assert.equal(await page.evaluate(() => String(getSelection()).trim()), 'fn a() {\n\tlet b = "ä漢";\n}', 'it is selected, to be copied by hand');
}, { permissions: ['clipboard-read', 'clipboard-write'] });

visit('code is one text node, and its colours go with it', async (visitor) => {
  const page = await stage(visitor);
  const { nodes, painted, left } = await page.evaluate(async () => {
    const ranges = () => [...CSS.highlights.values()].reduce((sum, highlight) => sum + highlight.size, 0);
    const settled = async (is) => {
      while (!is()) await window.frame();
    };
    const answer = window.mount();
    answer.delta('```rust\nfn main() {\n');
    await settled(() => ranges() > 0);
    const few = ranges();
    answer.delta('    let a = "text"; // note\n}\n'.repeat(5000));
    await answer.end();
    await settled(() => ranges() > few);
    const code = window.room.querySelector('pre code');
    const nodes = code.childNodes.length;
    const first = ranges();
    window.scrollTo(0, code.offsetHeight / 3);
    for (let count = 0; count < 60; count++) await window.frame();
    const painted = Math.max(first, ranges());
    answer.destroy();
    return { nodes, painted, left: ranges() };
  });
  assert.equal(nodes, 1);
  assert.ok(painted > 10 && painted < 2000, `${painted} ranges`);
  assert.equal(left, 0);
});

visit('deep nesting is bounded', async (visitor) => {
  const page = await stage(visitor);
  const { text, overflow } = await page.evaluate(async () => {
    let node = 'deep';
    for (let level = 0; level < 5000; level++) node = [level % 2 ? 'blockquote' : 'ul', {}, node];
    const answer = window.mount();
    answer.show({ blocks: [node], tail: `${'> '.repeat(1000)}quote\n\n${Array.from({ length: 500 }, (_, level) => `${'  '.repeat(level)}- x\n`).join('')}\n\n${'*a '.repeat(2000)}${'['.repeat(2000)}` });
    await answer.end();
    return { text: window.room.textContent, overflow: document.documentElement.scrollWidth - innerWidth };
  });
  assert.ok(text.startsWith('deep') && text.includes('quote'));
  assert.ok(overflow <= 0, `${overflow} px too wide`);
}, { viewport: { width: 390, height: 800 } });

visit('what the tail was guessed to be never throws and stays in proportion', async (visitor) => {
  const page = await stage(visitor);
  const seconds = await page.evaluate(async () => {
    const parts = ['*', '**', '_', '`', '```', '~~', '[', ']', '(', ')', '!', '<', '>', '&', '\\', '\n', '\n\n', '- ', '1. ', '> ', '#', '|', '---', ' ', '    ', '\t', 'a', 'word ', 'https://', 'http://a.b', '漢', '&amp;', '[x] ', '=', ':', '"', '\r\n', '\0'];
    const started = performance.now();
    for (let round = 0; round < 60; round++) {
      const answer = window.mount();
      for (let piece = 0; piece < 40; piece++) {
        answer.delta(Array.from({ length: 10 }, () => parts[Math.floor(Math.random() * parts.length)]).join(''));
        if (Math.random() < 0.1) await window.frame();
      }
      await answer.end();
      answer.destroy();
    }
    for (const part of parts) {
      const answer = window.mount();
      answer.delta(part.repeat(100_000 / part.length));
      await answer.end();
      answer.destroy();
    }
    return (performance.now() - started) / 1000;
  });
  assert.ok(seconds < 45, `${seconds} s`);
});

visit('each block is told once when it becomes final, and history is not', async (visitor) => {
  const page = await stage(visitor);
  const told = await page.evaluate(async () => {
    const all = [];
    const answer = window.mount({ finished: (text) => all.push(text) });
    answer.show({ blocks: [['p', {}, 'before']], tail: 'on' });
    answer.delta('e\n\ntwo');
    answer.block({ index: 1, nodes: [['p', {}, 'one']], tail: 'two' });
    await window.frame();
    await window.frame();
    answer.block({ index: 0, nodes: [['p', {}, 'before'], ['p', {}, 'one'], ['p', {}, 'two ', ['em', {}, 'more']]], tail: '' });
    await answer.end();
    return all;
  });
  assert.deepEqual(told, ['one', 'two more']);
});

visit('a page that is not seen has the whole text when its answer ends', async (visitor) => {
  const page = await stage(visitor);
  const text = await page.evaluate(() => {
    Object.defineProperty(document, 'hidden', { value: true, configurable: true });
    window.requestAnimationFrame = () => 1;
    const answer = window.mount();
    for (let count = 0; count < 3000; count++) answer.delta('a few words more. ');
    answer.block({ index: 0, nodes: [['p', {}, 'all of it. '.repeat(10_000)]], tail: '' });
    answer.end();
    return window.room.textContent;
  });
  assert.equal(text, 'all of it. '.repeat(10_000));
});

visit('right-to-left text runs so, code in it does not', async (visitor) => {
  const page = await stage(visitor);
  const sides = await page.evaluate(async () => {
    const answer = window.mount();
    answer.show({ blocks: [], tail: 'שלום `f(1)`\n\n- מים\n- תה\n\n> ציטוט\n\nleft\n\n- left\n' });
    await answer.end();
    return ['p', 'p code', 'ul', 'ul li', 'blockquote', 'p:nth-of-type(2)', 'ul:last-child'].map((selector) => getComputedStyle(window.room.querySelector(selector)).direction);
  });
  assert.deepEqual(sides, ['rtl', 'ltr', 'rtl', 'rtl', 'rtl', 'ltr', 'ltr']);
});

const sample = '## A heading\n\nA paragraph with **bold** and *soft* words, `code` and a [link](https://a.example/), long enough to wrap into a second line of the page.\n\n- one\n- two\n  - three\n\n```js\nfunction f(a) {\n  return a + "text"; // note\n}\n```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n';

for (const [name, text, step] of [
  ['a 64 kB answer', sample.repeat(Math.ceil(65_536 / sample.length)), 500],
  ['a 64 kB list', '- an item **of** a list that is one block from its beginning to its end\n'.repeat(900), 500],
  ['a 200 kB fence', `\`\`\`js\n${'  const value = compute(index, "text") + 0x1f; // note\n'.repeat(3600)}`, 2000],
]) {
  visit(`${name} causes no task over 50 ms`, async (visitor) => {
    const page = await stage(visitor);
    const runs = [];
    for (let round = 0; round < 3; round++) {
      runs.push(await longestTask(page, () => page.evaluate(async ([all, size]) => {
        const answer = window.mount();
        for (let at = 0; at < all.length; at += size) {
          answer.delta(all.slice(at, at + size));
          window.scrollTo(0, document.documentElement.scrollHeight);
          await window.frame();
        }
        await answer.end();
        answer.destroy();
        const history = window.mount();
        history.show({ blocks: [], tail: all });
        await history.end();
        await window.frame();
        history.destroy();
      }, [text, step])));
    }
    const [, median] = runs.sort((a, b) => a - b);
    console.log(`${name}: ${runs.map((run) => run.toFixed(1)).join(', ')} ms`);
    assert.ok(median <= 50, `${median} ms`);
  });
}
