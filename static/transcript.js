// The messages of the open conversation on the screen, and those above them when somebody scrolls there.

import { element, make } from './dom.js';
import { AnswerView, QuestionView } from './message.js';
import { inPlace, stay } from './scroll.js';

const AHEAD = 1200; // So many pixels before it is reached, the page above is read.

const list = element('messages');
const earlier = element('earlier');
const views = new Map();

let conversation = null;
let acts;
let reading = null;
let turning = null; // While another branch is asked for: the element that changes, and the message that takes its place.

/** `ask(content, parent)`, `askAgain(message, how)` and `failed(problem, retry)` are what messages need. */
export function start(given) {
  acts = { ...given, read, turnTo };
  new IntersectionObserver(readEarlier, { root: element('transcript'), rootMargin: `${AHEAD}px 0px 0px` }).observe(earlier);
}

/** Shows another conversation, or none. */
export function become(next) {
  conversation = next;
  for (const view of views.values()) view.destroy();
  views.clear();
  earlier.hidden = true;
}

/** Makes the screen follow the conversation; what somebody reads stays where it is. */
export function show() {
  const part = turning?.element ?? [...list.children].find((child) => child.getBoundingClientRect().bottom > 0);
  inPlace(part, render, () => (turning ? views.get(turning.to)?.element : part));
}

function render() {
  const { messages, running } = conversation;
  const kept = new Set(messages.map(({ id }) => id));
  for (const [id, view] of views) {
    if (kept.has(id)) continue;
    view.destroy();
    views.delete(id);
  }
  messages.forEach((message, index) => {
    let view = views.get(message.id);
    if (!view) views.set(message.id, (view = new (message.role === 'assistant' ? AnswerView : QuestionView)(message, acts)));
    else if (view.message !== message) view.show(message);
    view.showBranch();
    view.offer?.(index === messages.length - 1, !running);
    if (list.children[index] !== view.element) list.insertBefore(view.element, list.children[index] ?? null);
  });
  earlier.hidden = !conversation.earlier;
}

export function event(message, name, data) {
  views.get(message.id)?.event(name, data);
  if (name === 'done') show();
}

export function link(message, trouble) {
  views.get(message.id)?.link(trouble);
}

/** Tells whoever does not see the screen. */
export function read(text) {
  const announcer = element('announcer');
  announcer.append(make('p', {}, text));
  if (announcer.childElementCount > 9) announcer.firstChild.remove();
}

async function readEarlier() {
  const mine = conversation;
  if (!mine?.earlier || reading === mine || earlier.getBoundingClientRect().bottom < -AHEAD) return;
  reading = mine;
  const problem = await mine.readEarlier().catch((refusal) => refusal);
  reading = null;
  if (mine !== conversation) return;
  if (problem) acts.failed(problem, readEarlier);
  else readEarlier(); // Nothing tells again when the view has not left the top.
}

/** Another branch takes the place of this one, where it is on the screen and in the hand. */
async function turnTo(view, siblingId, button) {
  const mine = conversation;
  stay();
  turning = { element: view.element, to: siblingId };
  try {
    await mine.turnTo(siblingId);
  } catch (problem) {
    acts.failed(problem);
  }
  turning = null;
  const branch = mine === conversation && views.get(siblingId)?.branch;
  if (branch) (branch.querySelector(`.${button}:enabled`) ?? branch.querySelector('button:enabled'))?.focus({ preventScroll: true });
}
