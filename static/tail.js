// What the open end of an answer looks like until the server's blocks replace it: a quick reading of Markdown, line by line, as node trees
// (src/markdown.rs). It leaves out what answers seldom have (underlined headings, indented code, references, entities).

const DEPTH = 48; // Containers within each other; deeper ones stay text.
const LONG = 8192; // A longer paragraph is read again only when it has grown by an eighth.
const NEAR = 80; // A single mark waits for its partner over so many characters.
const MARKS = 100; // So many may wait.

/** Text that grows. Nodes that did not change stay the same objects. */
export class Tail {
  #stack = [{ name: '', kids: [] }]; // The containers that are open.
  #leaf = null; // What the next line may belong to: a paragraph, code, a table.
  #partial = ''; // The last line, still without its end.

  add(text) {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop();
    for (const line of lines) this.#line(line.replace(/\r$/, ''));
  }

  nodes() {
    const line = this.#partial;
    const stack = this.#stack;
    const leaf = this.#leaf;
    if (!line || isUnclear(line, leaf?.fence)) return nodes(stack[0], leaf);
    // The last line is read for the moment only.
    if (leaf?.rows) tableNode(leaf);
    const before = [...stack, ...(leaf ? [leaf] : [])].map((block) => [block, { ...block }, block.kids?.length]);
    this.#stack = [...stack];
    this.#line(line, '');
    const all = nodes(stack[0], this.#leaf);
    for (const [block, was, count] of before) {
      for (const key in block) delete block[key];
      Object.assign(block, was, { node: null });
      if (count !== undefined) block.kids.length = count;
    }
    this.#stack = stack;
    this.#leaf = leaf;
    return all;
  }

  #line(line, end = '\n') {
    const stack = this.#stack;
    for (const block of stack) block.node = null;
    if (this.#leaf) this.#leaf.node = null;
    let rest = line;
    let depth = 1;
    for (; depth < stack.length; depth++) {
      const { name, indent } = stack[depth];
      if (name === 'blockquote') {
        const mark = /^ {0,3}> ?/.exec(rest);
        if (!mark) break;
        rest = rest.slice(mark[0].length);
      } else if (name === 'li' && rest.trim()) {
        if (indentOf(rest) < indent) break;
        rest = cut(rest, indent);
      }
    }
    const isInside = depth === stack.length;
    const { fence } = this.#leaf ?? {};
    if (isInside && fence) {
      const isEnd = rest.trim().startsWith(fence) && /^ {0,3}(`+|~+)\s*$/.test(rest);
      if (isEnd) this.#leaf = null;
      else this.#leaf.text += cut(rest, this.#leaf.indent) + end;
    } else if (rest.trim()) this.#content(rest, depth, isInside);
    else {
      this.#leaf = null;
      stack.length = depth;
      for (const block of stack) block.isAfterBlank = true;
    }
  }

  /** A line with something in it, behind the marks of the containers that go on. */
  #content(line, level, wasInside) {
    const stack = this.#stack;
    let [rest, depth, isInside] = [line, level, wasInside];
    const close = () => {
      stack.length = depth;
      this.#leaf = null;
    };
    const isRule = () => /^ {0,3}([-*_])([ \t]*\1){2,}[ \t]*$/.test(rest);
    while (stack.length < DEPTH) {
      const quote = /^ {0,3}> ?/.exec(rest);
      const item = !isRule() && /^( {0,3})([-*+]|(\d{1,9})[.)])(?=[ \t]|$)/.exec(rest);
      if (quote) {
        close();
        this.#open({ name: 'blockquote', kids: [] });
        rest = rest.slice(quote[0].length);
      } else if (item) {
        const [marker, , sign, start] = item;
        const after = rest.slice(marker.length);
        let list = stack[depth - 1];
        if (this.#leaf?.text && !list.sort && (!after.trim() || (start ?? '1') !== '1')) break;
        if (list.sort && list.sort !== sign.at(-1)) list = stack[--depth - 1];
        close();
        if (!list.sort) this.#open({ name: start ? 'ol' : 'ul', kids: [], sort: sign.at(-1), start: Number(start) });
        const gap = after.trim() && indentOf(after) < 5 ? indentOf(after) : 1;
        const task = /^\s+\[([ xX])\](?=\s+\S)/.exec(after);
        this.#open({ name: 'li', kids: [], indent: marker.length + gap, task: task?.[1] });
        rest = task ? after.slice(task[0].length) : cut(after, gap);
      } else break;
      depth = stack.length;
      isInside = true;
      if (!rest.trim()) return;
    }
    const text = rest.trim();
    const heading = /^(#{1,6})(?:\s+|$)/.exec(text);
    const fence = /^(`{3,}(?!.*`)|~{3,})\s*([^\s,{]*)/.exec(text);
    const leaf = isInside ? this.#leaf : null;
    const marks = leaf?.name === 'p' && !leaf.text.includes('\n') && /^[-:| \t]*[|:][-:| \t]*$/.test(text) && cells(text);
    if (heading || isRule()) {
      close();
      this.#add(heading ? { name: `h${heading[1].length}`, text: text.slice(heading[0].length).replace(/(?<!\S)#{1,99}$/, '') } : { name: 'hr' });
      this.#leaf = null;
    } else if (fence) {
      close();
      this.#add({ name: 'pre', text: '', fence: fence[1], language: fence[2], indent: indentOf(rest) });
    } else if (marks && marks.length === cells(leaf.text).length && marks.every((mark) => /^:?-+:?$/.test(mark))) {
      const align = marks.map((mark) => ['', 'left', 'right', 'center'][(mark[0] === ':') + 2 * mark.endsWith(':')]);
      Object.assign(leaf, { name: 'table', align, rows: [], head: leaf.text, text: '' });
    } else if (leaf?.rows) leaf.text += `\n${text}`;
    else if (this.#leaf) this.#leaf.text = `${this.#leaf.text.trimEnd()}${this.#leaf.text.endsWith('  ') ? '\\' : ''}\n${rest.trimStart()}`;
    else {
      close();
      this.#add({ name: 'p', text: rest.trimStart() });
    }
  }

  #add(block) {
    const stack = this.#stack;
    if (stack.at(-1).sort && block.name !== 'li') stack.pop();
    const parent = stack.at(-1);
    const list = parent.sort ? parent : stack.at(-2);
    if (parent.isAfterBlank && parent.kids.length && list?.sort && !list.isLoose) {
      list.isLoose = true;
      for (const item of list.kids) item.node = null;
    }
    for (const open of stack) open.isAfterBlank = false;
    parent.kids.push(block);
    this.#leaf = block;
  }

  #open(block) {
    this.#add(block);
    this.#leaf = null;
    this.#stack.push(block);
  }
}

/** A line that may become several things waits for its next character. */
function isUnclear(line, fence) {
  if (fence) return /^[\s>]*(`+|~+)$/.test(line);
  return /^[\s>]*(([-+*]|\d{1,9}[.)])[ \t]+){0,9}([-+*=_#|:~`.<>[\s]*|\d{1,9}[.)]?|\[[ xX]?\]?\s*|(`{3}|~{3}).*)$/.test(line);
}

// --- From blocks to nodes

function nodes(block, leaf, isTight) {
  const all = block.kids.flatMap((kid) => (isTight && kid.name === 'p' ? inlines(kid, leaf) : [(kid.node ??= nodeOf(kid, leaf, block))]));
  if (block.task === undefined) return all;
  const box = ['input', { type: 'checkbox', disabled: true, checked: block.task !== ' ' }];
  if (all[0]?.[0] === 'p') all[0] = ['p', {}, box, ...all[0].slice(2)];
  else all.unshift(box);
  return all;
}

function nodeOf(block, leaf, { isLoose }) {
  const { name, text, kids, start, language } = block;
  if (kids) return [name, start > 1 || start === 0 ? { start } : {}, ...nodes(block, leaf, name === 'li' && !isLoose)];
  if (name === 'pre') return ['pre', language ? { language } : {}, ['code', {}, ...(text ? [text] : [])]];
  if (name === 'hr') return ['hr', {}];
  if (name === 'table') return tableNode(block);
  // The first line of a table, most likely.
  if (block === leaf && /^\|[^\n]*$/.test(text)) return tableNode({ head: text, align: [], text: '', rows: [] });
  return [name, {}, ...inlines(block, leaf)];
}

function tableNode({ head, align, rows, text }) {
  const row = (line, name) => ['tr', {}, ...cells(line).slice(0, align.length || 99).map((cell, index) => [name, align[index] ? { align: align[index] } : {}, ...inline(cell)])];
  const lines = text.split('\n').slice(1);
  const last = lines.pop();
  while (rows.length < lines.length) rows.push(row(lines[rows.length], 'td'));
  return ['table', {}, ['thead', {}, row(head, 'th')], ...(last === undefined ? [] : [['tbody', {}, ...rows, row(last, 'td')]])];
}

function cells(line) {
  return line.trim().replace(/^\|/, '').replace(/(?<!\\)\|$/, '').split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

function inlines(block, leaf) {
  const text = block.text.trimEnd();
  const isOpen = block === leaf;
  if (text.length < LONG) return inline(text, isOpen);
  if (!(block.begun?.length > text.length / 1.125)) block.begun = { length: text.length, nodes: inline(text, isOpen) };
  return [...block.begun.nodes, text.slice(block.begun.length)];
}

const NAMES = { '**': 'strong', __: 'strong', '*': 'em', _: 'em', '~~': 'del' };

/** The marks of a paragraph. Where it may go on, a mark without its partner is believed to get one. */
function inline(text, isOpen = false) {
  const frames = [{ nodes: [] }]; // Of marks that wait for their partners, innermost last.
  const single = new Set(); // Runs of backticks that have none.
  let at = 0;
  const put = (node) => {
    const list = frames.at(-1).nodes;
    if (typeof node === 'string' && typeof list.at(-1) === 'string') list.push(list.pop() + node);
    else if (node) list.push(node);
  };
  const match = (pattern) => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };
  const open = (mark) => (frames.length < MARKS ? frames.push({ mark, at, nodes: [] }) : put(mark));
  /** The marks within are text after all. */
  const collapse = (size) => {
    while (frames.length > size) {
      const { mark, nodes } = frames.pop();
      [mark, ...nodes].forEach(put);
    }
  };
  const enclose = (index) => {
    collapse(index + 1);
    const { mark, nodes } = frames.pop();
    put([NAMES[mark], {}, ...nodes]);
  };

  const emphasis = (run) => {
    const [sign] = run;
    const before = text[at - run.length - 1] ?? ' ';
    const after = text[at] ?? ' ';
    const isWord = (character) => sign === '_' && /[\p{L}\p{N}]/u.test(character);
    let { length } = run;
    while (length && /\S/.test(before) && !isWord(after)) {
      const index = frames.findLastIndex(({ mark }) => mark?.[0] === sign && mark.length <= length);
      if (index < 0) break;
      length -= frames[index].mark.length;
      enclose(index);
    }
    const opens = length && length < 4 && /\S/.test(after) && !isWord(before) && (sign !== '~' || length === 2);
    if (opens && length !== 2) open(sign);
    if (opens && length > 1) open(sign + sign);
    if (!opens && (at < text.length || !isOpen)) put(sign.repeat(length));
  };
  const code = (mark) => {
    let end = single.has(mark) ? -1 : at;
    while (end >= 0 && (end = text.indexOf(mark, end)) >= 0 && (text[end - 1] === '`' || text[end + mark.length] === '`')) end += mark.length;
    if (end < 0) {
      single.add(mark);
      if (!isOpen || mark.length > 2) return put(mark);
      end = text.length;
    }
    const inner = text.slice(at, end).replaceAll('\n', ' ');
    if (inner) put(['code', {}, /^ .*\S.* $/.test(inner) ? inner.slice(1, -1) : inner]);
    at = end + mark.length;
  };
  const link = () => {
    const index = frames.findLastIndex(({ mark }) => mark?.endsWith('['));
    const target = index > 0 && match(/\(\s{0,9}(?:<([^<>\n]{0,2000})>|((?:[^\s()]|\([^\s()]{0,500}\)){0,2000}))(?:\s{1,9}("[^"]{0,500}"|'[^']{0,500}'))?\s{0,9}\)/y);
    const isCut = !target && index > 0 && isOpen && match(/\(\S{0,2000}$/y);
    if (target || isCut) {
      const href = target?.[1] ?? target?.[2];
      const title = target?.[3]?.slice(1, -1);
      collapse(index + 1);
      const { nodes } = frames.pop();
      const inner = nodes.length || isCut ? nodes.flatMap((node) => (node[1]?.href ? node.slice(2) : [node])) : [href];
      if (/^(https?:\/\/|mailto:)/i.test(href)) put(['a', title ? { href, title } : { href }, ...inner]);
      else inner.forEach(put);
      at = target ? at + target[0].length : text.length;
    } else {
      if (index > 0) collapse(index);
      put(']');
    }
  };

  for (let next; (next = match(/\\([!-/:-@[-`{-~])|(\*+|_+|~+)|(`+)|(!?\[)|(\])|(\\\n)|[^\\`*_~[\]!]+|./gs)); ) {
    const [part, escaped, run, ticks, bracket, end, hardBreak] = next;
    at = next.index + part.length;
    if (run) emphasis(run);
    else if (ticks) code(ticks);
    else if (bracket) open(bracket);
    else if (end) link();
    else put(hardBreak ? ['br', {}] : (escaped ?? part));
  }
  while (frames.length > 1) {
    const { mark, at: from, nodes: inner } = frames.at(-1);
    if (!isOpen || !NAMES[mark] || (mark.length < 2 && text.length - from > NEAR)) collapse(frames.length - 1);
    else if (inner.length) enclose(frames.length - 1);
    else frames.pop();
  }
  return frames[0].nodes;
}

// --- Lines

/** Columns of white space before a line; a tab counts as four. */
function indentOf(line) {
  return /^[ \t]*/.exec(line)[0].replaceAll('\t', '    ').length;
}

/** Without so many columns of white space. */
function cut(line, columns) {
  let left = columns;
  let index = 0;
  for (; left > 0 && (line[index] === ' ' || line[index] === '\t'); index++) left -= line[index] === ' ' ? 1 : 4;
  return line.slice(index);
}
