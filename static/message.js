// One message of the transcript: a question that can be asked anew, or an answer with the line of what is kept of it, and its receipt.

import { request, sentence } from './api.js';
import { spare } from './composer.js';
import { copy, icon, iconButton, make } from './dom.js';
import { Prose } from './prose.js';
import { number, words } from './words.js';

const LONG = 3000; // Characters; a longer question is folded.
const RECEIPT_PAUSE = 500;

class MessageView {
  /** `acts`: what messages need of whoever shows them, `{ ask(content, parent), askAgain(message, how), turnTo(view, id, button), read(text) }`. */
  constructor(message, acts, heading) {
    this.message = message;
    this.acts = acts;
    this.branch = make('span', { className: 'branch', hidden: true });
    const button = iconButton('copy', words.copy, async () => {
      const isCopied = await copy(this.message.content);
      button.replaceChildren(icon(isCopied ? 'done' : 'close'));
      acts.read(isCopied ? words.copied : words.copyFailed);
      setTimeout(() => button.replaceChildren(icon('copy')), 1500);
    });
    this.foot = make('footer', {}, this.branch, button);
    this.element = make('article', { className: `message ${message.role}` }, make('h2', { className: 'unseen', textContent: heading }));
    this.element.dataset.id = message.id;
    this.element.view = this;
  }

  /** Which of its siblings this is, and the way to them. */
  showBranch() {
    const { siblings = [], id } = this.message;
    const at = siblings.indexOf(id);
    const place = `${at + 1}/${siblings.length}`;
    this.branch.hidden = siblings.length < 2;
    if (this.branch.hidden || this.branch.textContent === place) return;
    const to = (name, label, sibling) => {
      const button = iconButton(name, label, () => this.acts.turnTo(this, sibling, name));
      button.disabled = !sibling;
      return button;
    };
    this.branch.replaceChildren(to('back', words.previousBranch, siblings[at - 1]), place, to('forth', words.nextBranch, siblings[at + 1]));
  }

  destroy() {
    this.element.remove();
  }
}

export class QuestionView extends MessageView {
  #text = make('div', { className: 'text', dir: 'auto' });
  #all = make('button', { className: 'quiet', onclick: () => this.#show(!this.element.classList.contains('folded')) });

  constructor(message, acts) {
    super(message, acts, words.you);
    this.foot.append(iconButton('edit', words.edit, () => this.#edit()));
    this.element.append(this.foot, make('div', { className: 'bubble' }, this.#text, this.#all));
    this.show(message);
  }

  show(message) {
    this.message = message;
    this.#show(true);
  }

  #show(isFolded) {
    const { content } = this.message;
    const isLong = content.length > LONG || content.split('\n', 31).length > 30;
    this.element.classList.toggle('folded', isLong && isFolded);
    this.#text.textContent = isLong && isFolded ? content.slice(0, LONG) : content;
    this.#all.hidden = !isLong;
    this.#all.textContent = isFolded ? words.showAll(number(content.length)) : words.showLess;
  }

  #edit() {
    const area = make('textarea', { ariaLabel: words.edit });
    spare(area, this.message.content);
    area.value = this.message.content;
    const problem = make('p', { className: 'problem', role: 'alert', hidden: true });
    const close = () => {
      form.remove();
      this.element.classList.remove('edited');
      this.foot.querySelector('.edit').focus();
    };
    const send = make('button', { className: 'primary', textContent: words.send });
    const cancel = make('button', { type: 'button', textContent: words.cancel, onclick: close });
    const form = make('form', { className: 'editor' }, area, problem, make('div', { className: 'actions' }, cancel, send));
    form.onkeydown = (event) => {
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === 'Escape') close();
      else if (event.key === 'Enter' && !event.shiftKey && event.target === area) form.requestSubmit();
      else return;
      event.preventDefault();
      event.stopPropagation();
    };
    form.onsubmit = async (event) => {
      event.preventDefault();
      if (!area.value.trim() || send.disabled) return;
      send.disabled = true;
      try {
        await this.acts.ask(area.value, this.message.parent_id ?? null);
        if (form.isConnected) close();
      } catch (refusal) {
        problem.textContent = refusal.text;
        problem.hidden = false;
        area.focus();
      }
      send.disabled = false;
    };
    this.element.classList.add('edited');
    this.element.append(form);
    area.focus();
  }
}

export class AnswerView extends MessageView {
  #summary = make('summary');
  #thoughts = make('div', { className: 'text', dir: 'auto' });
  #reasoning = make('details', { className: 'reasoning' }, this.#summary, this.#thoughts);
  #body = make('div');
  #calls = make('div', { className: 'calls' });
  #kept = make('div', { className: 'kept' }, this.#reasoning, this.#body, this.#calls);
  #away = make('p', { className: 'away', hidden: true });
  #note = make('p', { className: 'note' });
  #quiet = make('summary');
  #facts = make('dl');
  #receipt = make('details', { className: 'receipt', ontoggle: () => this.#lookUp() }, this.#quiet, this.#facts);
  #prose;
  #frame;
  #timer;

  constructor(message, acts) {
    super(message, acts, words.answer);
    this.#prose = new Prose(this.#body, { finished: acts.read, labels: words });
    this.again = iconButton('again', words.regenerate, () => acts.askAgain(this.message, 'regenerate'));
    this.more = make('button', { className: 'more', onclick: () => acts.askAgain(this.message, 'continue') }, icon('on'), words.carryOn);
    this.foot.prepend(this.more, this.branch, this.#receipt);
    this.foot.append(this.again);
    this.element.append(this.#kept, this.#away, this.#note, this.foot);
    this.show(message);
  }

  /** Shows the message as the server has it. */
  show(message) {
    this.message = message;
    this.#prose.show(message);
    this.#state();
  }

  /** An event of its generation, which the message has taken in already. */
  event(name, data) {
    if (name === 'delta') this.#prose.delta(data.text);
    else if (name === 'block') this.#prose.block(data);
    else if (name === 'snapshot') this.#prose.show(data);
    else if (name === 'done') return this.#state();
    this.#frame ??= requestAnimationFrame(() => this.#think());
    this.#timer ??= setTimeout(() => this.#tell(), RECEIPT_PAUSE);
  }

  /** `true` or a problem: the connection is away. `null`: it is back, and what was missed joins the line. */
  link(trouble) {
    const isAway = trouble !== null;
    if (isAway) this.#away.textContent = trouble === true ? words.reconnecting : sentence(trouble);
    if (isAway !== this.#away.hidden) return;
    this.#away.hidden = !isAway;
    this.element.classList.toggle('lost', isAway);
    const seam = make('i', { className: 'seam' });
    seam.style.top = this.lostAt;
    this.lostAt = `${this.#kept.offsetHeight}px`;
    if (isAway) return;
    this.#kept.append(seam);
    setTimeout(() => seam.remove(), 3000);
  }

  /** Whether another answer, or more of this one, may be asked for here. */
  offer(isLast, isIdle) {
    const { status, content, finish_reason: reason, tool_calls: calls } = this.message;
    this.again.hidden = !isIdle;
    this.more.hidden = !(isLast && isIdle && content && !calls && (status !== 'completed' || reason === 'length'));
  }

  destroy() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#prose.destroy();
    super.destroy();
  }

  #state() {
    const { status, problem, stored, finish_reason: reason } = this.message;
    this.element.dataset.status = status;
    const notes = [];
    if (status !== 'streaming') {
      this.#prose.end();
      if (problem) notes.push(make('strong', {}, words[status]), sentence(problem));
      else if (status !== 'completed') notes.push(words[status]);
      else if (reason === 'length') notes.push(words.lengthLimit);
      if (stored === false) notes.push(words.notStored);
    }
    this.#note.replaceChildren(...notes.flatMap((note) => [note, ' ']));
    this.#note.hidden = !notes.length;
    this.#think();
    this.#tell();
  }

  #think() {
    this.#frame = undefined;
    const { reasoning = '', content, trail, status, timings, tool_calls: calls } = this.message;
    this.#reasoning.hidden = !reasoning;
    grow(this.#thoughts, reasoning);
    const isBusy = status === 'streaming' && !content && !calls;
    this.#reasoning.classList.toggle('busy', isBusy);
    const time = timings?.thinking_ms ?? trail?.thought;
    this.#summary.textContent = isBusy ? words.thinking : time ? words.thoughtFor(seconds(time)) : words.thought;
    [...this.#calls.children].slice(calls?.length ?? 0).forEach((call) => call.remove());
    calls?.forEach(({ function: { name = '', arguments: given = '' } = {} }, index) => {
      const call = this.#calls.children[index] ?? this.#calls.appendChild(make('details', {}, make('summary'), make('div', { className: 'text', dir: 'ltr' })));
      call.firstChild.textContent = words.toolCall(name);
      grow(call.lastChild, status === 'streaming' ? given : indented(given));
    });
  }

  /** The receipt: one quiet line, and what is behind it. */
  #tell() {
    this.#timer = undefined;
    const { status, model, usage, timings, trail } = this.message;
    const isRunning = status === 'streaming';
    const first = timings?.first_token_ms;
    const tokens = usage && `${usage.estimated ? '≈ ' : ''}${number(usage.completion_tokens)}`;
    const pace = (1000 * usage?.completion_tokens) / (timings?.total_ms - first);
    const speed = pace > 0 && pace < Infinity && `${number(pace, 1)} ${words.tokensPerSecond}`;
    const line = isRunning ? [trail?.seq && words.eventsKept(number(trail.seq))] : [model, tokens && `${tokens} ${words.tokens}`, speed];
    if (trail?.reconnects) line.push(words.healed(trail.reconnects));
    this.#quiet.textContent = line.filter(Boolean).join(' · ') || words.receipt;
    const facts = {
      outcome: isRunning ? words.writing : words[status],
      model,
      firstToken: first >= 0 && `${number(first)} ms`,
      speed,
      lastEvent: trail && number(trail.seq),
      reconnects: trail && number(trail.reconnects),
      replayed: trail && number(trail.replayed),
    };
    const told = Object.entries(facts).filter(([, fact]) => fact);
    this.#facts.replaceChildren(...told.map(([name, fact]) => make('div', {}, make('dt', {}, words[name]), make('dd', {}, fact))));
  }

  /** The position of an answer that was not followed here. */
  async #lookUp() {
    const { generation_id: id, trail } = this.message;
    if (!id || trail || !this.#receipt.open) return;
    const { seq } = await request('GET', `/api/generations/${id}`).catch(() => ({}));
    if (!seq) return;
    this.message.trail = { seq, reconnects: 0, replayed: 0 };
    this.#tell();
  }
}

const seconds = (milliseconds) => `${number(milliseconds / 1000, milliseconds < 9950 ? 1 : 0)} ${words.seconds}`;

/** Text that mostly grows at its end. */
function grow(element, text) {
  const node = element.firstChild ?? element.appendChild(new Text());
  if (text.startsWith(node.data)) node.appendData(text.slice(node.length));
  else node.data = text;
}

/** JSON as it is read best; what is none, as it is. */
function indented(text) {
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text;
  }
}
