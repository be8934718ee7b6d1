// What the open end of an answer looks like while the server waits for its blocks to finish: a quick reading of Markdown, line by line,
// whose wrong guesses are put right by the server's own blocks. The node trees are those of src/markdown.rs.

const DEPTH = 48; // Containers within each other; deeper ones stay text.
const LONG = 8192; // A paragraph longer than this is read anew only when it has grown by an eighth.
const NEAR = 80; // A single mark without its partner counts for so many characters.
const MARKS = 100; // So many may be open at once.

/** The trees of a text as far as it has come. */
export function provisional(text) {
  const tail = new Tail();
  tail.add(text);
  return tail.nodes();
}

/** Text that grows. Trees of parts that did not change stay the same objects. */
export class Tail {
  #root = { kind: 'root', kids: [] };
  #stack = [this.#root]; // The containers that are open.
  #leaf = null; // What takes the next line of text: a paragraph, code, a table.
  #partial = ''; // The last line, still without its end.
  length = 0;

  add(text) {
    this.length += text.length;
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop();
    for (const line of lines) this.#line(line.replace(/\r$/, ''));
  }

  nodes() {
    const line = this.#partial;
    if (!line || this.#isUnclear(line)) return children(this.#root, this.#leaf);
    const leaf = this.#leaf;
    const stack = this.#stack;
    if (leaf?.rows) table(leaf);
    const kept = (leaf ? [...stack, leaf] : stack).map((block) => [block, { ...block }, block.kids?.length]);
    this.#stack = [...stack];
    this.#line(line);
    if (this.#leaf?.kind === 'pre') this.#leaf.text = this.#leaf.text.slice(0, -1); // Its line has not ended.
    const nodes = children(this.#root, this.#leaf);
    for (const [block, before, kids] of kept) {
      for (const key of Object.keys(block)) delete block[key];
      Object.assign(block, before, { node: null });
      if (kids !== undefined) block.kids.length = kids;
    }
    this.#stack = stack;
    this.#leaf = leaf;
    return nodes;
  }

  /** A line that begins like several things waits for its next character. */
  #isUnclear(line) {
    if (this.#leaf?.fence) return /^[\s>]*(`+|~+)$/.test(line) || !line.trim();
    return /^[\s>]*(?:(?:[-+*][ \t]+|\d{1,9}[.)][ \t]+)*(?:[-+*=_#|:~`.<[\s]*|\d{1,9}[.)]?|\[[ xX]?\]?)|(`{3}|~{3}).*)$/.test(line);
  }

  #line(line) {
    const stack = this.#stack;
    for (const block of stack) block.node = null;
    if (this.#leaf) this.#leaf.node = null;
    let rest = line;
    let depth = 1;
    for (; depth < stack.length; depth++) {
      const block = stack[depth];
      if (block.kind === 'blockquote') {
        const mark = /^ {0,3}> ?/.exec(rest);
        if (!mark) break;
        rest = rest.slice(mark[0].length);
      } else if (block.kind === 'li') {
        if (isBlank(rest)) {
          if (!block.kids.length && !block.isNew) break;
        } else if (indent(rest) < block.indent) break;
        else rest = cut(rest, block.indent);
        block.isNew = false;
      }
    }
    const isInside = depth === stack.length;
    const { fence, kind } = this.#leaf ?? {};
    if (isInside && fence) {
      const end = /^ {0,3}(`{3,}|~{3,})\s*$/.exec(rest)?.[1];
      if (end?.startsWith(fence)) this.#leaf = null;
      else this.#leaf.text += `${cut(rest, this.#leaf.indent)}\n`;
      return;
    }
    if (isBlank(rest)) {
      if (!isInside || kind !== 'pre') this.#leaf = null;
      else this.#leaf.blanks += '\n';
      stack.length = depth;
      for (const block of stack) block.isAfterBlank = true;
      return;
    }
    this.#open(rest, depth, isInside);
  }

  /** A line with something in it, behind the marks of the containers that go on. */
  #open(rest, depth, isInside) {
    const stack = this.#stack;
    let isParagraph = this.#leaf?.kind === 'p';
    const close = () => {
      stack.length = depth;
      this.#leaf = null;
      isParagraph = false;
    };
    const isRule = () => /^ {0,3}([-*_])(?:[ \t]*\1){2,}[ \t]*$/.test(rest);
    if (isInside && this.#leaf?.kind === 'pre') {
      if (indent(rest) >= 4) {
        this.#leaf.text += `${this.#leaf.blanks}${cut(rest, 4)}\n`;
        this.#leaf.blanks = '';
        return;
      }
      this.#leaf = null;
    }
    if (isInside && isParagraph && this.#underline(rest)) return;
    while (indent(rest) < 4 && stack.length < DEPTH) {
      const quote = /^ {0,3}> ?/.exec(rest);
      if (quote) {
        close();
        this.#push({ kind: 'blockquote', kids: [] });
        rest = rest.slice(quote[0].length);
      } else {
        const item = !isRule() && /^( {0,3})([-*+]|(\d{1,9})[.)])([ \t]+|$)/.exec(rest);
        if (!item) break;
        const isEmpty = isBlank(rest.slice(item[0].length));
        const list = stack[depth - 1];
        if (isParagraph && list.kind !== 'list' && (isEmpty || (item[3] && item[3] !== '1'))) break;
        const sort = item[2].at(-1);
        if (list.kind !== 'list') {
          close();
          this.#push({ kind: 'list', kids: [], sort, start: item[3] });
        } else if (list.sort !== sort) {
          depth--;
          close();
          this.#push({ kind: 'list', kids: [], sort, start: item[3] });
        } else close();
        const gap = indent(item[4]);
        const marker = item[1].length + item[2].length;
        this.#push({ kind: 'li', kids: [], isNew: true, indent: marker + (isEmpty || gap > 4 ? 1 : gap) });
        rest = isEmpty ? '' : cut(rest.slice(marker), gap > 4 ? 1 : gap);
        const task = /^\[([ xX])\](?=\s+\S)/.exec(rest);
        if (task) {
          stack.at(-1).task = task[1] !== ' ';
          rest = rest.slice(3);
        }
      }
      depth = stack.length;
      isInside = true;
      if (isBlank(rest)) return;
    }
    const shallow = rest.trimStart();
    if (indent(rest) >= 4 && !isParagraph) {
      close();
      this.#add({ kind: 'pre', text: `${cut(rest, 4)}\n`, blanks: '', indent: 0 });
    } else if (indent(rest) < 4 && this.#start(shallow, rest, isRule, close, isParagraph));
    else if (this.#leaf && (isInside || isParagraph)) this.#leaf.text += `\n${shallow}`;
    else {
      close();
      this.#add({ kind: 'p', text: shallow });
    }
  }

  /** Blocks that their first line tells. */
  #start(line, rest, isRule, close, isParagraph) {
    const heading = /^(#{1,6})(?:[ \t]|$)/.exec(line);
    const fence = /^(`{3,}|~{3,})(.*)$/.exec(line);
    if (heading) {
      close();
      this.#add({ kind: `h${heading[1].length}`, text: unhashed(line.slice(heading[0].length).trim()) });
      this.#leaf = null;
    } else if (fence && !(fence[1][0] === '`' && fence[2].includes('`'))) {
      close();
      this.#add({ kind: 'pre', text: '', fence: fence[1], indent: indent(rest), language: /^[^\s,{]*/.exec(fence[2].trim())[0] });
    } else if (isRule()) {
      close();
      this.#add({ kind: 'hr' });
      this.#leaf = null;
    } else if (!isParagraph && /^\[[^\]]{1,200}\]:[ \t]*\S/.test(line)) close();
    else return false;
    return true;
  }

  /** What makes a paragraph's lines a heading or the head of a table. */
  #underline(rest) {
    const leaf = this.#leaf;
    const line = rest.trim();
    if (indent(rest) < 4 && /^(?:=+|-+)$/.test(line)) {
      leaf.kind = line[0] === '=' ? 'h1' : 'h2';
      this.#leaf = null;
      return true;
    }
    if (leaf.text.includes('\n') || !/^[-:| \t]*$/.test(line) || !/[|:]/.test(line)) return false;
    const marks = cells(line);
    if (!marks.every((mark) => /^:?-+:?$/.test(mark)) || marks.length !== cells(leaf.text).length) return false;
    leaf.kind = 'table';
    leaf.align = marks.map((mark) => ['', 'left', 'right', 'center'][(mark[0] === ':') + 2 * (mark.at(-1) === ':')]);
    leaf.rows = [];
    leaf.head = leaf.text;
    leaf.text = '';
    return true;
  }

  #add(block) {
    while (this.#stack.at(-1).kind === 'list' && block.kind !== 'li') this.#stack.pop();
    const parent = this.#stack.at(-1);
    const list = parent.kind === 'list' ? parent : this.#stack.at(-2);
    if (parent.isAfterBlank && parent.kids.length && list?.kind === 'list' && !list.isLoose) {
      list.isLoose = true;
      for (const item of list.kids) item.node = null;
    }
    for (const open of this.#stack) open.isAfterBlank = false;
    parent.kids.push(block);
    if (!block.kids) this.#leaf = block;
  }

  #push(block) {
    this.#add(block);
    this.#leaf = null;
    this.#stack.push(block);
  }
}

// --- From blocks to nodes

function children(block, leaf, isLoose = true) {
  const nodes = [];
  for (const kid of block.kids) {
    if (kid.kind === 'p' && !isLoose) nodes.push(...inlines(kid, leaf));
    else nodes.push((kid.node ??= node(kid, leaf, block)));
  }
  if (block.task !== undefined) {
    const box = ['input', { type: 'checkbox', disabled: true, checked: block.task }];
    if (isLoose && nodes[0]?.[0] === 'p') nodes[0] = ['p', {}, box, ...nodes[0].slice(2)];
    else nodes.unshift(box);
  }
  return nodes;
}

function node(block, leaf, parent) {
  const { kind } = block;
  if (kind === 'list') {
    const isOrdered = block.start !== undefined;
    return [isOrdered ? 'ol' : 'ul', isOrdered && Number(block.start) !== 1 ? { start: Number(block.start) } : {}, ...children(block, leaf)];
  }
  if (kind === 'pre') return ['pre', block.language ? { language: block.language } : {}, block.text ? ['code', {}, block.text] : ['code', {}]];
  if (kind === 'hr') return ['hr', {}];
  if (kind === 'table') return table(block);
  if (block.kids) return [kind, {}, ...children(block, leaf, kind !== 'li' || Boolean(parent.isLoose))];
  // The first line of a table, most likely.
  if (block === leaf && /^\|[^\n]*$/.test(block.text)) return table({ head: block.text, align: [], text: '', rows: [] });
  return [kind, {}, ...inlines(block, leaf)];
}

function table(block) {
  const { head, align, rows } = block;
  const row = (line, name) => ['tr', {}, ...cells(line).slice(0, align.length || undefined).map((cell, index) => {
    return [name, align[index] ? { align: align[index] } : {}, ...inline(cell)];
  })];
  const lines = block.text.split('\n').slice(1);
  const last = lines.pop();
  while (rows.length < lines.length) rows.push(row(lines[rows.length], 'td'));
  const body = last === undefined ? [] : [['tbody', {}, ...rows, row(last, 'td')]];
  return ['table', {}, ['thead', {}, row(head, 'th')], ...body];
}

function inlines(block, leaf) {
  const text = block.text.trimEnd();
  const isOpen = block === leaf;
  if (text.length < LONG) return inline(text, isOpen);
  if (!block.begun || text.length > block.begun.length * 1.125) block.begun = { length: text.length, nodes: inline(text, isOpen) };
  const rest = text.slice(block.begun.length);
  return rest ? [...block.begun.nodes, rest] : block.begun.nodes;
}

/** The marks of one paragraph. Where it may go on, a mark without its partner is believed to get one. */
export function inline(text, isOpen = false) {
  const special = /[\\`*_~[\]!<&\n]/g;
  const frames = [{ nodes: [] }]; // Open emphasis, innermost last.
  const brackets = []; // Where links may begin: frames, too.
  let ticks;
  let at = 0;
  const put = (node) => join(frames.at(-1).nodes, node);
  const match = (pattern) => {
    pattern.lastIndex = at;
    return pattern.exec(text);
  };
  /** Innermost frames that stay without partner become what they were: text. */
  const collapse = (to) => {
    while (frames.length > to) {
      const { mark, count, nodes, bracket } = frames.pop();
      put(bracket ?? mark.repeat(count));
      for (const node of nodes) put(node);
      if (bracket) brackets.pop();
    }
  };
  const run = (mark) => {
    let count = 1;
    while (text[at + count] === mark) count++;
    const before = text[at - 1] ?? ' ';
    at += count;
    const after = text[at] ?? ' ';
    const [gapBefore, gapAfter] = [before, after].map((c) => /\s/.test(c));
    const [markBefore, markAfter] = [before, after].map((c) => /[\p{P}\p{S}]/u.test(c));
    const isLeft = !gapAfter && (!markAfter || gapBefore || markBefore);
    const isRight = !gapBefore && (!markBefore || gapAfter || markAfter);
    const opens = isLeft && (mark !== '_' || !isRight || markBefore);
    const closes = isRight && (mark !== '_' || !isLeft || markAfter);
    const floor = (brackets.at(-1) ?? 0) + 1;
    while (closes && count) {
      let index = frames.length - 1;
      const fits = (frame) => frame.mark === mark && (mark === '~' ? frame.count === count : !((frame.closes || opens) && (frame.whole + count) % 3 === 0 && (frame.whole % 3 || count % 3)));
      while (index >= floor && !fits(frames[index])) index--;
      if (index < floor) break;
      collapse(index + 1);
      const frame = frames[index];
      const used = mark === '~' ? count : Math.min(frame.count, count, 2);
      const made = [mark === '~' ? 'del' : used === 2 ? 'strong' : 'em', {}, ...frame.nodes];
      frame.count -= used;
      count -= used;
      if (frame.count) frame.nodes = [made];
      else {
        frames.pop();
        put(made);
      }
    }
    if (!count) return;
    if (opens && count < 3 + (mark !== '~') && frames.length < MARKS) frames.push({ mark, count, whole: count, closes, nodes: [], at });
    else if (!isOpen || at < text.length) put(mark.repeat(count));
  };
  const code = () => {
    const [mark] = match(/`+/y);
    if (!ticks) {
      ticks = {};
      for (const found of text.matchAll(/`+/g)) (ticks[found[0].length] ??= []).push(found.index);
      for (const places of Object.values(ticks)) places.reverse();
    }
    at += mark.length;
    const places = ticks[mark.length];
    while (places.at(-1) < at) places.pop();
    let end = places.at(-1);
    if (end === undefined) {
      if (!isOpen || mark.length > 2) return put(mark);
      end = text.length;
    }
    const inner = text.slice(at, end).replaceAll('\n', ' ');
    if (inner) put(['code', {}, /^ .*\S.* $/.test(inner) ? inner.slice(1, -1) : inner]);
    at = end + mark.length;
  };
  const link = () => {
    const index = brackets.at(-1);
    at++;
    if (index === undefined) return put(']');
    const target = match(/\(\s{0,9}(?:<([^<>\n]{0,2000})>|((?:[^\s()\\]|\\.|\([^\s()]{0,500}\)){0,2000}))(?:\s{1,9}("[^"]{0,500}"|'[^']{0,500}'|\([^)]{0,500}\)))?\s{0,9}\)/y);
    const isCut = !target && isOpen && match(/\(\S{0,2000}$/y);
    if (!target && !isCut) {
      collapse(index);
      return put(']');
    }
    collapse(index + 1);
    const { nodes, bracket } = frames.pop();
    brackets.pop();
    const href = target && address(unescaped(target[1] ?? target[2]));
    const title = target?.[3] && unescaped(target[3].slice(1, -1));
    if (href) put(['a', { href, ...(title && { title }) }, ...(nodes.length ? nodes : [href])]);
    else nodes.forEach(put);
    at = target ? at + target[0].length : text.length;
    // There is no link in a link.
    if (bracket === '[') for (const outer of brackets.splice(0)) frames[outer].isDead = true;
  };

  while (at < text.length) {
    special.lastIndex = at;
    const next = special.exec(text)?.index ?? text.length;
    if (next > at) put(text.slice(at, next));
    at = next;
    const character = text[at];
    if (character === undefined) break;
    if (character === '`') code();
    else if (character === '*' || character === '_' || character === '~') run(character);
    else if (character === ']') link();
    else if (character === '[' || (character === '!' && text[at + 1] === '[')) {
      const bracket = character === '[' ? '[' : '![';
      at += bracket.length;
      if (frames.length < MARKS) {
        brackets.push(frames.length);
        frames.push({ bracket, nodes: [] });
      } else put(bracket);
    } else if (character === '\\') {
      const escaped = /[!-/:-@[-`{-~]/.test(text[at + 1] ?? '');
      if (text[at + 1] === '\n') put(['br', {}]);
      else put(escaped ? text[at + 1] : character);
      at += escaped || text[at + 1] === '\n' ? 2 : 1;
    } else if (character === '\n') {
      const { nodes } = frames.at(-1);
      const before = typeof nodes.at(-1) === 'string' ? nodes.pop() : '';
      if (before.trimEnd()) put(before.replace(/ {1,999}$/, ''));
      put(before.endsWith('  ') ? ['br', {}] : '\n');
      at++;
    } else {
      const found = character === '<' ? match(/<([a-z][a-z\d+.-]{1,31}:[^\s<>]{0,2000}|[\w.+-]{1,64}@[\w.-]{1,255})>/iy) : match(/&(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z]{2,8});/iy);
      const href = found?.[1] && address(found[1].includes(':') ? found[1] : `mailto:${found[1]}`);
      put(href ? ['a', { href }, found[1]] : found && !found[1] ? entity(found[0]) : character);
      at += (href || (found && !found[1]) ? found[0].length : 1);
    }
  }
  for (let index = isOpen ? 1 : frames.length; index < frames.length; index++) {
    const { mark, at: from } = frames[index];
    if (!mark || (frames[index].count === 1 && text.length - from > NEAR)) continue;
    frames[index].isBelieved = true;
  }
  while (frames.length > 1) {
    const frame = frames.at(-1);
    if (!frame.isBelieved) {
      collapse(frames.length - 1);
      continue;
    }
    frames.pop();
    const { mark, count, nodes } = frame;
    if (!nodes.length) continue;
    const name = mark === '~' ? 'del' : count === 1 ? 'em' : 'strong';
    put([name, {}, ...nodes]);
  }
  return frames[0].nodes;
}

function join(nodes, node) {
  if (typeof node === 'string' && typeof nodes.at(-1) === 'string') nodes.push(nodes.pop() + node);
  else nodes.push(node);
}

function address(target) {
  return /^(?:https?:\/\/|mailto:)/i.test(target) && !/[\0-\x1f\x7f]/.test(target) ? target.replaceAll(' ', '%20') : null;
}

function unescaped(text) {
  return text.replace(/\\([!-/:-@[-`{-~])/g, '$1').replace(/&(?:#\d{1,7}|#x[\da-f]{1,6}|[a-z]{2,8});/gi, entity);
}

const ENTITIES = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'", nbsp: '\u00a0', copy: '©', hellip: '…', mdash: '—', ndash: '–', times: '×', rarr: '→' };

function entity(source) {
  const name = source.slice(1, -1);
  if (name[0] !== '#') return ENTITIES[name] ?? source;
  const code = name[1].toLowerCase() === 'x' ? parseInt(name.slice(2), 16) : Number(name.slice(1));
  return code && code < 0x110000 && (code < 0xd800 || code > 0xdfff) ? String.fromCodePoint(code) : '\ufffd';
}

/** The cells of a table's line. */
function cells(line) {
  const inner = line.trim().replace(/^\|/, '').replace(/(^|[^\\])\|$/, '$1');
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll('\\|', '|'));
}

// --- Lines

function isBlank(line) {
  return !/\S/.test(line);
}

/** Columns of white space before a line; a tab counts as four. */
function indent(line) {
  let columns = 0;
  for (let index = 0; line[index] === ' ' || line[index] === '\t'; index++) columns += line[index] === ' ' ? 1 : 4 - (columns % 4);
  return columns;
}

/** Without so many columns of white space. */
function cut(line, columns) {
  let index = 0;
  let left = columns;
  for (; left > 0 && (line[index] === ' ' || line[index] === '\t'); index++) left -= line[index] === ' ' ? 1 : 4;
  return ' '.repeat(Math.max(-left, 0)) + line.slice(index);
}

/** A heading's text without the marks at its end. */
function unhashed(text) {
  let end = text.length;
  while (text[end - 1] === '#') end--;
  return end === 0 || /\s/.test(text[end - 1]) ? text.slice(0, end).trimEnd() : text;
}
