// One message of the transcript, and how an answer grows in it.

import { sentence } from './api.js';
import { words } from './words.js';

/** An element with properties and children; text is only ever text. */
export function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Text that grows: one text node, touched at most once a frame however many pieces arrive. */
class GrowingText {
  #node = document.createTextNode('');
  #pending = '';
  #frame = 0;
  #grown;

  constructor(element, grown) {
    element.append(this.#node);
    this.#grown = grown;
  }

  get length() {
    return this.#node.length + this.#pending.length;
  }

  add(text) {
    this.#pending += text;
    this.#frame ||= requestAnimationFrame(() => this.flush());
  }

  set(text) {
    this.#pending = '';
    if (this.#node.data !== text) this.#node.data = text;
  }

  flush() {
    cancelAnimationFrame(this.#frame);
    this.#frame = 0;
    if (!this.#pending) return;
    this.#node.appendData(this.#pending);
    this.#pending = '';
    this.#grown();
  }
}

export class MessageView {
  #text;
  #reasoning;
  #details = make('details', { className: 'reasoning', hidden: true }, make('summary', { textContent: words.reasoning }));
  #note = make('p', { className: 'note', hidden: true });
  #model = make('span', { className: 'model' });
  #again = make('button', { type: 'button', className: 'quiet', textContent: words.regenerate, hidden: true });
  #more = make('button', { type: 'button', className: 'quiet', textContent: words.carryOn, hidden: true });
  #isCutShort = false;

  /** `grown` is called after text became visible; `askAgain(id, how)` when another answer (`regenerate`) or more of this one (`continue`) is asked for. */
  constructor(message, { grown, askAgain }) {
    const body = make('div', { className: 'text', dir: 'auto' });
    const thoughts = make('div', { className: 'text', dir: 'auto' });
    this.#text = new GrowingText(body, grown);
    this.#reasoning = new GrowingText(thoughts, grown);
    this.#details.append(thoughts);
    this.#again.addEventListener('click', () => askAgain(message.id, 'regenerate'));
    this.#more.addEventListener('click', () => askAgain(message.id, 'continue'));
    const heading = make('h2', { className: 'unseen', textContent: message.role === 'user' ? words.you : words.answer });
    const foot = make('footer', {}, this.#model, this.#more, this.#again);
    this.element = make('article', { className: `message ${message.role}` }, heading, this.#details, body, this.#note, foot);
    this.element.dataset.id = message.id;
    this.show(message);
  }

  /** Shows the message as the server has it. */
  show({ content, reasoning, status, model, problem, finish_reason: finishReason }) {
    this.#text.set(content);
    this.#showReasoning(reasoning ?? '');
    this.model(model);
    if (status === 'streaming') this.#state('streaming');
    else this.ended({ outcome: status, problem, finish_reason: finishReason });
  }

  /** Applies an event of its generation. */
  apply(name, data) {
    if (name === 'started') this.model(data.model);
    else if (name === 'delta') this.#text.add(data.text);
    else if (name === 'reasoning') {
      this.#details.hidden = false;
      this.#reasoning.add(data.text);
    } else if (name === 'snapshot') {
      this.#text.set(data.text);
      this.#showReasoning(data.reasoning ?? '');
    } else if (name === 'done') this.ended(data);
    this.element.classList.toggle('waiting', this.#text.length === 0);
  }

  model(name) {
    if (name) this.#model.textContent = name;
  }

  ended({ outcome, problem, finish_reason: finishReason, stored }) {
    this.#text.flush();
    this.#reasoning.flush();
    this.#state(outcome);
    this.#isCutShort = outcome !== 'completed' || finishReason === 'length';
    const notes = [];
    if (problem) notes.push(make('strong', { textContent: words[outcome] ?? outcome }), sentence(problem));
    else if (outcome !== 'completed') notes.push(words[outcome] ?? outcome);
    else if (finishReason === 'length') notes.push(words.lengthLimit);
    if (stored === false) notes.push(words.notStored);
    this.#note.replaceChildren(...notes.flatMap((note) => [note, ' ']));
    this.#note.hidden = notes.length === 0;
  }

  /** Whether another answer, or more of this one, may be asked for here. */
  offerAgain(offered) {
    this.#again.hidden = !offered;
    this.#more.hidden = !(offered && this.#isCutShort);
  }

  #showReasoning(text) {
    this.#reasoning.set(text);
    this.#details.hidden = text === '';
  }

  #state(status) {
    this.element.dataset.status = status;
    this.element.classList.toggle('waiting', status === 'streaming' && this.#text.length === 0);
    if (status === 'streaming') this.#note.hidden = true;
  }
}
