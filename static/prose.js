// An answer's Markdown as elements: the server's finished blocks and a reading of the text still open behind them, as one list of node
// trees (src/markdown.rs) that the page's elements are made to follow, with as little change as possible and at most once a frame.

import { Paint } from './highlight.js';
import { Tail } from './tail.js';

const ELEMENTS = new Set('p h1 h2 h3 h4 h5 h6 blockquote hr br ul ol li em strong del code table thead tbody tr th td pre a input'.split(' '));
const CONTAINERS = new Set(['blockquote', 'ul', 'ol', 'li', 'table']);
const LINES = new Set(['p', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'th', 'td']);
const DEPTH = 100; // Deeper elements are their text.
const INDENTED = 8; // Deeper lists and quotes are not moved in any more.
/** What one frame may build in all: characters, and so many for an element. A longer text takes several. */
const BUDGET = 16_000;
const ELEMENT_COST = 25;

// --- Frames

const waiting = new Set();
let budget = BUDGET;
let frame = 0;

function work() {
  frame = 0;
  budget = document.hidden ? Infinity : BUDGET;
  // The latest first: it is where somebody reads.
  for (const prose of [...waiting].reverse()) {
    if (budget <= 0) break;
    prose.work();
  }
  plan();
}

function plan() {
  if (waiting.size || budget < BUDGET) frame ||= requestAnimationFrame(work);
}

document.addEventListener('visibilitychange', () => waiting.size && work());

// --- An answer

/** The Markdown of one answer. The element has the class `growing` while more may come. */
export class Prose {
  #element;
  #on;
  #blocks = [];
  #tail = new Tail();
  #shown; // What the elements show: a tree of { node, element, inside, kids }.
  #sizes = []; // Characters of each block.
  #finished = []; // Texts of blocks that are to be told when they are there.
  #told = 0;
  #ends = [];

  /**
   * `element`: an empty container. `grown()` is called after something became visible, `finished(text)` with each block that became
   * final while it was watched. `labels`: { copy, copied, copyFailed, code }.
   */
  constructor(element, { grown = () => {}, finished = () => {}, labels }) {
    this.#element = element;
    this.#on = { grown, finished, labels };
    this.#shown = { inside: element, kids: [] };
    element.classList.add('prose');
  }

  /** The whole. What one frame cannot build follows in the next ones. */
  show({ blocks = [], tail = '' }) {
    this.#replace(0, blocks, tail);
    this.#told = blocks.length;
    this.#finished = [];
    waiting.add(this);
    if (document.hidden) budget = Infinity;
    if (budget > 0) this.work();
    plan();
  }

  /** The blocks from `index` on, and the tail behind them. */
  block({ index, nodes, tail }) {
    this.#replace(index, nodes, tail);
    for (; this.#told < this.#blocks.length; this.#told++) this.#finished.push(plain(this.#blocks[this.#told]));
    this.#wait();
  }

  /** More of the tail. */
  delta(text) {
    this.#tail.add(text);
    this.#wait();
  }

  /** Nothing more comes. Resolves when all of it is visible; usually it is at once. */
  end() {
    if (document.hidden) budget = Infinity;
    waiting.add(this);
    const all = new Promise((resolve) => this.#ends.push(resolve));
    this.work();
    plan();
    this.#element.classList.remove('growing');
    return all;
  }

  /** Lets go of everything that outlives the elements. */
  destroy() {
    waiting.delete(this);
    for (const kid of this.#shown.kids) release(kid);
    this.#shown.kids = [];
    this.#element.replaceChildren();
    for (const resolve of this.#ends.splice(0)) resolve();
  }

  /** About how many characters there are. */
  get length() {
    return this.#sizes.reduce((sum, size) => sum + size, 0) + this.#tail.length;
  }

  get text() {
    return this.#element.textContent;
  }

  #replace(index, nodes, tail) {
    this.#blocks.splice(index, Infinity, ...nodes);
    this.#sizes.splice(index, Infinity, ...nodes.map((node) => plain(node).length));
    this.#tail = new Tail();
    this.#tail.add(tail);
  }

  #wait() {
    this.#element.classList.add('growing');
    waiting.delete(this);
    waiting.add(this);
    plan();
  }

  /** Builds what the frame allows. */
  work() {
    const before = budget;
    const isWhole = this.#children(this.#shown, [...this.#blocks, ...this.#tail.nodes()], 0, 0);
    if (budget !== before) this.#on.grown();
    if (!isWhole) return;
    waiting.delete(this);
    for (const text of this.#finished.splice(0)) this.#on.finished(text);
    for (const resolve of this.#ends.splice(0)) resolve();
  }

  /** Makes the children of `parent` follow `nodes` from `start` on. False when the budget did not suffice. */
  #children(parent, nodes, start, depth) {
    const { kids, inside } = parent;
    let count = 0;
    for (let index = start; index < nodes.length; index++, count++) {
      const node = nodes[index];
      let kid = kids[count];
      if (kid && kid.node === node) continue;
      if (budget <= 0) return false;
      const name = nameOf(node, depth);
      if (kid?.name !== name) {
        const made = make(name, this.#on.labels);
        if (kid) {
          release(kid);
          kid.element.replaceWith(made.element);
        } else inside.append(made.element);
        kid = kids[count] = made;
      }
      if (!this.#update(kid, node, depth)) return false;
      kid.node = node;
    }
    for (const kid of kids.splice(count)) {
      release(kid);
      kid.element.remove();
      budget--;
    }
    return true;
  }

  #update(kid, node, depth) {
    kid.node = undefined;
    if (kid.name === '#text') return write(kid, typeof node === 'string' ? node : plain(node));
    const attributes = node[1] ?? {};
    kid.set?.(attributes, node, depth);
    if (kid.name === 'hr' || kid.name === 'br' || kid.name === 'input') return true;
    if (kid.name !== 'pre') return this.#children(kid, node, 2, depth + 1);
    const code = [plain(node)];
    const isWhole = this.#children(kid, code[0] ? code : [], 0, depth + 1);
    if (kid.kids[0]) {
      kid.paint ??= new Paint(kid.kids[0].element, attributes.language);
      kid.paint.update(attributes.language);
    }
    return isWhole;
  }
}

function nameOf(node, depth) {
  if (!Array.isArray(node)) return '#text';
  if (depth > DEPTH) return '#text';
  return ELEMENTS.has(node[0]) ? node[0] : 'span';
}

/** Changes a text node only where it differs, so that what is selected in it stays selected. */
function write(kid, text) {
  const { element } = kid;
  const old = element.data;
  let same = 0;
  if (text.startsWith(old)) same = old.length;
  else while (same < old.length && old[same] === text[same]) same++;
  let end = text.length;
  let isWhole = true;
  if (end - same > Math.max(budget, 1000)) {
    end = same + Math.max(budget, 1000);
    if (/[\ud800-\udbff]/.test(text[end - 1])) end--;
    isWhole = false;
  }
  budget -= end - same;
  if (same === old.length) {
    if (end > same) element.appendData(text.slice(same, end));
  } else if (isWhole) {
    let tail = 0;
    const limit = Math.min(old.length, text.length) - same;
    while (tail < limit && old[old.length - 1 - tail] === text[text.length - 1 - tail]) tail++;
    element.replaceData(same, old.length - same - tail, text.slice(same, text.length - tail));
    budget--;
  } else element.replaceData(same, old.length - same, text.slice(same, end));
  return isWhole;
}

// --- Elements

function make(name, labels) {
  if (name === '#text') return { name, element: document.createTextNode('') };
  budget -= ELEMENT_COST;
  if (name === 'pre') return makeCode(labels);
  const element = document.createElement(name);
  const made = { name, element, inside: element, kids: [] };
  if (LINES.has(name)) element.dir = 'auto';
  if (name === 'table') {
    made.element = build('div', { className: 'table' });
    made.element.append(element);
    scrolls(made.element, element, labels.table ?? '');
  }
  const setters = { a: setLink, ol: setStart, th: setAlign, td: setAlign, input: setBox };
  if (setters[name]) made.set = (attributes) => setters[name](element, attributes);
  if (CONTAINERS.has(name)) made.set = setContainer(made, made.set);
  return made;
}

function setContainer({ element, inside, name }, also) {
  return (attributes, node, depth) => {
    also?.(attributes);
    const direction = isRightToLeft(node) ? 'rtl' : 'ltr';
    if (element.dir !== direction) element.dir = direction;
    inside.classList.toggle('deep', depth > INDENTED);
    if (name !== 'li') return;
    const content = node[2]?.[0] === 'p' ? node[2] : node;
    const isTask = content[2]?.[0] === 'input';
    inside.classList.toggle('task', isTask);
    const box = isTask && inside.querySelector('input');
    if (box) box.ariaLabel = plain(content).slice(0, 100).trim();
  };
}

function setLink(element, { href, title }) {
  const target = String(href);
  if (!/^(?:https?:\/\/|mailto:)/i.test(target)) return element.removeAttribute('href');
  if (element.getAttribute('href') === target) return;
  Object.assign(element, { href: target, target: '_blank', rel: 'noopener noreferrer nofollow' });
  const { host, pathname } = URL.canParse(target) ? new URL(target) : {};
  element.title = [title, host || target.replace(/^mailto:/i, '')].filter(Boolean).join(' · ');
  element.classList.toggle('image', /\.(?:png|jpe?g|gif|webp|svg|avif)$/i.test(pathname));
}

function setStart(element, { start }) {
  element.start = Number.isInteger(start) ? start : 1;
}

function setAlign(element, { align }) {
  if (['left', 'center', 'right'].includes(align)) element.dataset.align = align;
  else delete element.dataset.align;
}

function setBox(element, { checked }) {
  Object.assign(element, { type: 'checkbox', disabled: true, checked: checked === true });
}

function makeCode(labels) {
  const code = build('code', {});
  const pre = build('pre', {}, code);
  const button = build('button', { type: 'button', className: 'copy' });
  const head = build('figcaption', {}, button);
  const element = build('figure', { className: 'code', dir: 'ltr' }, head, pre);
  const say = (what) => {
    button.ariaLabel = labels[what];
    button.dataset.state = what;
  };
  let timer;
  button.addEventListener('click', async () => {
    const isCopied = await copy(code);
    say(isCopied ? 'copied' : 'copyFailed');
    clearTimeout(timer);
    timer = setTimeout(say, 2000, 'copy');
  });
  say('copy');
  scrolls(pre, code, labels.code);
  return {
    name: 'pre',
    element,
    inside: code,
    kids: [],
    set({ language }) {
      if (head.dataset.language === (language ?? '')) return;
      head.dataset.language = language ?? '';
      pre.ariaLabel = [labels.code, language].filter(Boolean).join(' ');
    },
  };
}

function build(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

/** The clipboard, also where there is no API for it: on plain HTTP. */
async function copy(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    const selection = getSelection();
    const before = Array.from({ length: selection.rangeCount }, (_, index) => selection.getRangeAt(index));
    selection.selectAllChildren(code);
    const isCopied = document.execCommand('copy');
    if (isCopied) {
      selection.removeAllRanges();
      before.forEach((range) => selection.addRange(range));
    }
    return isCopied;
  }
}

// A box that can be scrolled is reached with the keyboard, one that has no need to be is no stop on the way.
const widths = new ResizeObserver((entries) => {
  for (const { target: { parentElement: box } } of entries) {
    if (!box) continue;
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute('tabindex');
  }
});

function scrolls(box, content, label) {
  box.role = 'group';
  if (label) box.ariaLabel = label;
  widths.observe(content);
}

function release(shown) {
  shown.paint?.destroy();
  if (shown.name === 'pre' || shown.name === 'table') widths.unobserve(shown.inside);
  for (const kid of shown.kids ?? []) release(kid);
}

// --- Nodes

/** The text of a node. */
function plain(node) {
  let text = '';
  const open = [node];
  while (open.length) {
    const next = open.pop();
    if (typeof next === 'string') text += next;
    else if (Array.isArray(next)) for (let index = next.length - 1; index >= 2; index--) open.push(next[index]);
  }
  return text;
}

/** Whether its first letter is of a script that runs so. */
function isRightToLeft(node) {
  for (let index = 2; index < node.length; index++) {
    const text = plain(node[index]).slice(0, 1000);
    const letter = /\p{L}/u.exec(text)?.[0];
    if (letter) return /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u.test(letter);
  }
  return false;
}
