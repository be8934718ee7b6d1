// An answer's Markdown as elements: the server's finished blocks and a reading of the text still open behind them make one list of node
// trees (src/markdown.rs), which the elements follow with as little change as possible, at most once a frame.

import { copy } from './dom.js';
import { Paint } from './highlight.js';
import { Tail } from './tail.js';

const ELEMENTS = new Set('p h1 h2 h3 h4 h5 h6 blockquote hr br ul ol li em strong del code table thead tbody tr th td pre a input'.split(' '));
const DEPTH = 100; // Deeper elements are their text.
const INDENTED = 12; // Deeper lists and quotes are not moved in any more.
// What one frame may build in all: characters, and so many for an element. A longer text takes several frames.
const BUDGET = 10_000;
const ELEMENT_COST = 50;

const waiting = new Set();
let budget = BUDGET;
let frame = 0;

function work() {
  frame = 0;
  budget = document.hidden ? Infinity : BUDGET;
  // The latest first: it is where somebody reads.
  for (const prose of [...waiting].reverse()) if (budget > 0) prose.work();
  plan();
}

function plan() {
  if (waiting.size || budget !== BUDGET) frame ||= requestAnimationFrame(work);
}

/** The Markdown of one answer. Its element has the class `growing` while more may come. */
export class Prose {
  #element;
  #on;
  #blocks = [];
  #tail = new Tail();
  #shown; // What the elements show: a tree of { name, node, element, inside, kids }.
  #unsaid = []; // Texts of blocks that are to be told when they are there.
  #told = 0;
  #ends = [];

  /**
   * `element`: an empty container. `finished(text)` is called with each block that became final while it was watched.
   * `labels`: { copy, copied, copyFailed, code }.
   */
  constructor(element, { finished, labels }) {
    this.#element = element;
    this.#on = { finished, labels };
    this.#shown = { inside: element, kids: [] };
    element.classList.add('prose');
  }

  /** The whole. What one frame cannot build follows in the next ones. */
  show({ blocks = [], tail = '' }) {
    this.#replace(0, blocks, tail);
    this.#told = blocks.length;
    this.#unsaid = [];
    this.#now();
  }

  /** The blocks from `index` on, and the tail behind them. */
  block({ index, nodes, tail }) {
    this.#replace(index, nodes, tail);
    for (; this.#told < this.#blocks.length; this.#told++) this.#unsaid.push(plain(this.#blocks[this.#told]));
    this.#soon();
  }

  /** More of the tail. */
  delta(text) {
    this.#tail.add(text);
    this.#soon();
  }

  /** Nothing more comes. Resolves when all of it is there; mostly it is at once. */
  end() {
    const all = new Promise((resolve) => this.#ends.push(resolve));
    this.#now();
    this.#element.classList.remove('growing');
    return all;
  }

  /** Lets go of what outlives the elements. */
  destroy() {
    waiting.delete(this);
    this.#shown.kids.splice(0).forEach(remove);
    for (const resolve of this.#ends.splice(0)) resolve();
  }

  #replace(index, nodes, tail) {
    this.#blocks.splice(index, Infinity, ...nodes);
    this.#tail = new Tail();
    this.#tail.add(tail);
  }

  #soon() {
    this.#element.classList.add('growing');
    waiting.delete(this);
    waiting.add(this);
    plan();
  }

  #now() {
    waiting.add(this);
    if (document.hidden) budget = Infinity; // No frame comes.
    if (budget > 0) this.work();
    plan();
  }

  /** Builds what this frame allows. */
  work() {
    const isWhole = this.#children(this.#shown, [...this.#blocks, ...this.#tail.nodes()], 0, 0);
    if (!isWhole) return;
    waiting.delete(this);
    for (const text of this.#unsaid.splice(0)) this.#on.finished?.(text);
    for (const resolve of this.#ends.splice(0)) resolve();
  }

  /** Makes the children of `parent` follow `nodes` from `start` on. False when the budget did not suffice. */
  #children({ kids, inside }, nodes, start, depth) {
    let count = 0;
    for (let index = start; index < nodes.length; index++, count++) {
      const node = nodes[index];
      let kid = kids[count];
      if (kid && kid.node === node) continue;
      if (budget <= 0) return false;
      const name = depth > DEPTH || !Array.isArray(node) ? '#text' : ELEMENTS.has(node[0]) ? node[0] : 'span';
      if (kid?.name !== name) {
        const made = make(name, this.#on.labels);
        inside.insertBefore(made.element, kid?.element ?? null);
        if (kid) remove(kid);
        kid = kids[count] = made;
      }
      kid.node = undefined;
      if (!this.#update(kid, node, depth)) return false;
      kid.node = node;
    }
    kids.splice(count).forEach(remove);
    return true;
  }

  #update(kid, node, depth) {
    if (kid.name === '#text') return write(kid.element, typeof node === 'string' ? node : plain(node));
    const given = node[1] ?? {};
    dress(kid, given, node, depth, this.#on.labels);
    if (/^([hb]r|input)$/.test(kid.name)) return true;
    const isCode = kid.name === 'pre';
    const isWhole = this.#children(kid, isCode ? [plain(node)] : node, isCode ? 0 : 2, depth + 1);
    if (isCode) (kid.paint ??= new Paint(kid.inside)).update(given.language);
    // What the box in front of a task is called.
    if (node[2]?.[0] === 'input') set(kid.kids[0].element, { 'aria-label': plain(node, 100).trim() });
    return isWhole;
  }
}

/** Changes a text node only where it differs, so that what is selected in it stays selected. */
function write(element, text) {
  const old = element.data;
  let same = 0;
  if (text.startsWith(old)) same = old.length;
  else while (same < old.length && old[same] === text[same]) same++;
  let end = Math.min(text.length, same + Math.max(budget, 1000));
  if (end < text.length && /[\ud800-\udbff]/.test(text[end - 1])) end--;
  budget -= 1 + end - same;
  let tail = 0;
  if (end === text.length) while (tail < Math.min(old.length, end) - same && old.at(-1 - tail) === text.at(-1 - tail)) tail++;
  if (old.length > same + tail || end > same + tail) element.replaceData(same, old.length - same - tail, text.slice(same, end - tail));
  return end === text.length;
}

// --- Elements

function set(element, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null) element.removeAttribute(name);
    else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
  }
}

function build(name, attributes, ...children) {
  const element = document.createElement(name);
  set(element, attributes);
  element.append(...children);
  return element;
}

function make(name, labels) {
  if (name === '#text') return { name, element: document.createTextNode('') };
  budget -= ELEMENT_COST;
  const inside = build(name === 'pre' ? 'code' : name, {});
  let element = inside;
  if (name === 'table') element = build('div', { class: 'table' }, inside);
  if (name === 'pre') element = build('figure', { class: 'code', dir: 'ltr' }, build('figcaption', {}, copier(inside, labels)), build('pre', { role: 'group' }, inside));
  if (element !== inside) widths.observe(inside);
  return { name, element, inside, kids: [] };
}

/** The attributes of an element, of those that a node may give. */
function dress({ name, element, inside }, { language, href, title, start, align, checked }, node, depth, labels) {
  if (/^(p|h\d|t[hd])$/.test(name)) set(element, { dir: 'auto' });
  if (/^([ou]l|li|blockquote|table)$/.test(name)) set(element, { dir: direction(node), ...(depth > INDENTED && { class: 'deep' }) });
  if (name === 'table') set(element, { role: 'group', 'aria-label': [node[2]?.[2] ?? []].flat().slice(2).map((cell) => plain(cell)).join(', ') });
  if (name === 'ol') set(element, { start: Number.isInteger(start) ? start : null });
  if (/^t[hd]$/.test(name)) set(element, { 'data-align': /^(left|center|right)$/.test(align) ? align : null });
  if (name === 'input') set(element, { type: 'checkbox', disabled: '', checked: checked === true ? '' : null });
  if (name === 'a' && typeof href === 'string' && /^(https?:\/\/|mailto:)/i.test(href)) {
    const { host, pathname } = URL.canParse(href) ? new URL(href) : {};
    const told = [title, host || href.replace(/^mailto:/i, '')].filter(Boolean).join(' · ');
    set(element, { href, target: '_blank', rel: 'noopener noreferrer nofollow', title: told, class: /\.(png|jpe?g|gif|webp|svg|avif)$/i.test(pathname) ? 'image' : null });
  } else if (name === 'a') set(element, { href: null });
  if (name !== 'pre') return;
  set(element.firstChild, { 'data-language': language ?? '' });
  set(inside.parentElement, { 'aria-label': [labels.code, language].join(' ').trim() });
}

function remove({ name, element, inside, paint, kids }) {
  paint?.destroy();
  if (name === 'pre' || name === 'table') widths.unobserve(inside);
  kids?.forEach(remove);
  element.remove();
  budget--;
}

// A box that can be scrolled is reached with the keyboard; one that has no need to be is no stop on the way.
const widths = new ResizeObserver((entries) => {
  for (const { target: { parentElement: box } } of entries) {
    if (box) set(box, { tabindex: box.scrollWidth > box.clientWidth ? 0 : null });
  }
});

function copier(code, labels) {
  const say = (state) => set(button, { 'aria-label': labels[state], 'data-state': state });
  const button = build('button', { type: 'button', class: 'copy' });
  let timer;
  button.addEventListener('click', async () => {
    const isCopied = await copy(code.textContent);
    if (!isCopied) getSelection().selectAllChildren(code); // To be copied by hand.
    say(isCopied ? 'copied' : 'copyFailed');
    clearTimeout(timer);
    timer = setTimeout(say, 2000, 'copy');
  });
  say('copy');
  return button;
}

// --- Nodes

/** The text of a node, or its beginning. */
function plain(node, limit = Infinity) {
  let text = '';
  const open = [node];
  while (open.length && text.length < limit) {
    const next = open.pop();
    if (typeof next === 'string') text += next;
    else if (Array.isArray(next)) open.push(...next.slice(2).reverse());
  }
  return text.slice(0, limit);
}

/** Where the script of the first letter runs to. */
export function direction(node) {
  const letter = /\p{L}/u.exec(plain(node, 200))?.[0] ?? '';
  return /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u.test(letter) ? 'rtl' : 'ltr';
}

document.addEventListener('visibilitychange', () => waiting.size && work());
