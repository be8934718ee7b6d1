// Colours for code: a lexer driven by the tables of languages.js, line by line, so that code which grows is read on from where it was,
// and the CSS Custom Highlight API, which leaves the code one text node. Only lines near the view are read and painted: a browser goes
// through all painted ranges whenever anything on the page changes.

import { BACK, languageOf } from './languages.js';

const LONGEST_LINE = 4_000; // Characters; what is behind them stays plain.
const LIMIT = 100_000; // Of one piece of code.
const DEPTH = 40; // States within each other.
const BUDGET = 20_000; // Characters read in one frame.

const patterns = new Map();

/** Reads one line from the states `stack` on, which it changes; `put(kind, from, to)` gets the parts. */
function readLine(line, stack, put) {
  for (let at = 0; at < line.length; ) {
    const outer = stack.findIndex(({ until }) => until);
    const { until } = stack[outer] ?? {};
    if (until) until.lastIndex = at;
    const end = until?.exec(line)?.index ?? line.length;
    at = readPart(line.slice(0, end), at, stack, put);
    if (at === end && end < line.length) stack.length = outer;
  }
}

function readPart(line, from, stack, put) {
  for (let at = from; at < line.length; ) {
    const { fill, rules } = stack.at(-1);
    if (!patterns.has(rules)) patterns.set(rules, new RegExp(rules.map(([, pattern]) => `(${pattern})`).join('|'), 'gu'));
    const pattern = patterns.get(rules);
    pattern.lastIndex = at;
    const found = pattern.exec(line);
    put(fill, at, found?.index ?? line.length);
    if (!found) break;
    const [kind, , next] = rules[found.indexOf(found[0], 1) - 1];
    at = found.index + found[0].length;
    put(kind.call ? kind(found[0], line, at) : kind, found.index, at);
    if (next === BACK) stack.pop();
    else if (next?.until) {
      stack.splice(-1, 1, next);
      return at;
    } else if (next && stack.length < DEPTH) stack.push(next);
  }
  return line.length;
}

/** Code that grows, as lines: { at, end, tokens: [kind, from, to, …], after: the states behind it }. */
export class Lexer {
  #start;
  #code = '';
  lines = [];
  steps = 0; // What reading has cost so far, in parts of lines.

  constructor(language) {
    this.#start = languageOf(language);
    this.isKnown = this.#start !== undefined;
  }

  /** The code as it is now. Lines that are the same and have ended stay. */
  update(code) {
    const old = this.#code;
    if (code === old) return;
    let same = old.length;
    if (!code.startsWith(old)) for (same = 0; code[same] === old[same]; same++);
    this.#code = code;
    const { lines } = this;
    while (lines.length && (lines.at(-1).end > same || old[lines.at(-1).end - 1] !== '\n')) lines.pop();
  }

  /** Reads until there are so many lines, or so many characters were read; returns how many. */
  read(count, budget = Infinity) {
    const { lines } = this;
    const code = this.#code;
    let used = 0;
    while (lines.length < count && used < budget) {
      const { end: at = 0, after = [this.#start] } = lines.at(-1) ?? {};
      if (at >= Math.min(code.length, LIMIT)) break;
      const end = code.indexOf('\n', at) + 1 || code.length;
      const tokens = [];
      const stack = [...after];
      readLine(code.slice(at, Math.min(end, at + LONGEST_LINE)).replace(/\r?\n$/, ''), stack, (kind, from, to) => {
        this.steps++;
        if (!kind || to === from) return;
        if (tokens.at(-1) === at + from && tokens.at(-3) === kind) tokens[tokens.length - 1] = at + to;
        else tokens.push(kind, at + from, at + to);
      });
      lines.push({ at, end, tokens, after: stack });
      used += end - at;
    }
    return used;
  }
}

/** The whole of a code, as [kind, text]; '' is the kind of what has no colour. */
export function tokens(language, code) {
  const lexer = new Lexer(language);
  if (lexer.isKnown) lexer.update(code);
  lexer.read(Infinity);
  const all = [];
  let done = 0;
  const put = (kind, to) => {
    if (to > done) all.push([kind, code.slice(done, to)]);
    done = to;
  };
  for (const line of lexer.lines) {
    for (let index = 0; index < line.tokens.length; index += 3) {
      put('', line.tokens[index + 1]);
      put(line.tokens[index], line.tokens[index + 2]);
    }
  }
  put('', code.length);
  return all;
}

// --- Painting

const near = new Map(); // Elements with code near the view, and their paint.
const paints = new WeakMap();
let sight;
let forced; // Colours that somebody chose for all pages: a browser paints ranges as if they were selected then.
let frame = 0;

function plan() {
  if (near.size) frame ||= requestAnimationFrame(work);
}

function work() {
  frame = 0;
  let budget = BUDGET;
  for (const paint of near.values()) budget -= paint.work(budget);
  if (budget <= 0) plan();
}

function watch(element) {
  if (!sight) {
    sight = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) near.set(target, paints.get(target));
        else near.delete(target);
      }
      plan();
    }, { rootMargin: '50%', scrollMargin: '50%' });
    forced = matchMedia('(forced-colors: active)');
    forced.addEventListener('change', plan);
    addEventListener('resize', plan);
    document.addEventListener('scroll', plan, { capture: true, passive: true });
  }
  sight.observe(element);
}

function highlightOf(kind) {
  const name = `code-${kind}`;
  if (!CSS.highlights.has(name)) CSS.highlights.set(name, new Highlight());
  return CSS.highlights.get(name);
}

/** The colours of one `code` element with one text node. */
export class Paint {
  #element;
  #language;
  #lexer;
  #painted = new Map(); // Lines and their ranges: [highlight, range].

  constructor(element) {
    this.#element = element;
    paints.set(element, this);
  }

  /** After its text or its language changed. */
  update(language) {
    if (!this.#lexer || language !== this.#language) {
      this.destroy();
      this.#language = language;
      this.#lexer = new Lexer(language);
      if (globalThis.CSS?.highlights && this.#lexer.isKnown) watch(this.#element);
    }
    plan();
  }

  destroy() {
    near.delete(this.#element);
    sight?.unobserve(this.#element);
    this.#keep([]);
  }

  /** Paints the lines near the view as far as it may read them; returns how many characters it read. */
  work(budget) {
    this.#lexer.update(this.#element.textContent);
    const { top } = this.#element.getBoundingClientRect();
    const lineOf = (y) => Math.max(0, Math.ceil((y - top) / parseFloat(getComputedStyle(this.#element).lineHeight)));
    const last = lineOf(innerHeight * 1.5);
    const used = this.#lexer.read(last, budget);
    this.#keep(forced.matches ? [] : this.#lexer.lines.slice(lineOf(-innerHeight / 2), last));
    return used;
  }

  #keep(lines) {
    const kept = new Set(lines);
    for (const [line, ranges] of this.#painted) {
      if (kept.has(line)) continue;
      for (const [highlight, range] of ranges) highlight.delete(range);
      this.#painted.delete(line);
    }
    const node = this.#element.firstChild;
    for (const line of kept) {
      if (this.#painted.has(line)) continue;
      const ranges = [];
      for (let index = 0; index < line.tokens.length; index += 3) {
        const [kind, startOffset, endOffset] = line.tokens.slice(index, index + 3);
        ranges.push([highlightOf(kind), new StaticRange({ startContainer: node, startOffset, endContainer: node, endOffset })]);
      }
      for (const [highlight, range] of ranges) highlight.add(range);
      this.#painted.set(line, ranges);
    }
  }
}
