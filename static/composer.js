// The prompt being written: its draft survives a reload and an expired login, and is cleared only once the server has it.

import { uuid } from './api.js';
import { element, icon, kept, make, soon } from './dom.js';
import { direction } from './prose.js';
import { words } from './words.js';

const LONG = 10_000; // Characters.

const prompt = element('prompt');
const button = element('send');
const notice = element('notice');

let place = 'draft.new';
let draft = kept.get(place) ?? { text: '' };
let mode = 'idle';
let countdown;
let offered; // What the notice offers to do again.

/** `send(text, draft)` and `stop()` are what the one button does. */
export function start({ send, stop }) {
  button.append(icon('send'), make('i'));
  prompt.oninput = () => {
    draft = { text: prompt.value };
    keepSoon();
    show();
  };
  prompt.addEventListener('beforeinput', ({ data }) => data?.length > LONG && spare(prompt, data));
  prompt.onkeydown = (event) => {
    // Enter that ends an input method's composition belongs to the input method; Safari says so by 229 only.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    submit();
  };
  element('composer').onsubmit = (event) => {
    event.preventDefault();
    if (mode === 'running') stop();
    else submit();
  };
  function submit() {
    if (mode !== 'idle' || !draft.text.trim()) return;
    // The same key for the same draft: asking again after a lost answer asks only once.
    draft.once ??= uuid();
    send(draft.text, draft);
  }
  addEventListener('pagehide', keep);
  document.addEventListener('visibilitychange', keep);
}

/** Writes the draft down now. */
export function keep() {
  keepSoon.cancel();
  kept.set(place, draft.text ? draft : undefined);
}

const keepSoon = soon(keep, 200);

/** Shows the draft of a conversation; null for the one that is not there yet. */
export function moveTo(conversationId) {
  keep();
  place = `draft.${conversationId ?? 'new'}`;
  write(kept.get(place) ?? { text: '' });
  say('');
}

/** The draft goes along into the conversation that was made for it. */
export function follow(conversationId) {
  kept.set(place);
  place = `draft.${conversationId}`;
  keep();
}

/** The server has what was sent in this conversation. */
export function accepted(conversationId, sent) {
  if (place !== `draft.${conversationId}`) kept.set(`draft.${conversationId}`);
  else if (draft.once === sent.once) clear(); // Another object, when one was elsewhere meanwhile.
}

/** These are there: when the draft is among them, only its acceptance was lost. */
export function find(messages) {
  const isIt = ({ parent_id: parent, role, content }) => role === 'user' && parent === draft.parent && content === draft.text;
  if (!draft.once || !messages.some(isIt)) return;
  draft.isThere = true;
  clear();
  say('');
}

export function clear() {
  write({ text: '' });
  keep();
}

/** The server will not take this key again. */
export function renew() {
  draft = { text: draft.text };
}

/** `idle`, `sending`, `running` (the button stops) or `stopping`. */
export function become(next) {
  mode = next;
  show();
}

export const isIdle = () => mode === 'idle';

export function focus() {
  // On a touch screen the keyboard would cover what was just opened.
  if (matchMedia('(hover: hover)').matches) prompt.focus({ preventScroll: true });
}

/** Says beside the prompt what went wrong; with `retry`, offers to try it again, once `wait` seconds have gone by. */
export function say(text, retry, wait = 0) {
  clearInterval(countdown);
  offered = retry;
  notice.hidden = !text;
  notice.replaceChildren(text);
  if (!retry) return;
  const again = make('button', { className: 'quiet', onclick: () => (say(''), retry()) });
  const until = performance.now() + 1000 * wait;
  const tell = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    again.disabled = left > 0;
    again.textContent = left > 0 ? words.tryAgainIn(left) : words.tryAgain;
    if (left <= 0) clearInterval(countdown);
  };
  countdown = setInterval(tell, 250);
  tell();
  notice.append(' ', again);
}

/** What may have failed before has worked by now: then nothing is said of it any more. */
export const worked = (act) => act === offered && say('');

function write(next) {
  draft = next;
  prompt.value = draft.text;
  show();
}

/** A long text has one direction and one height: else a browser goes through all of it several times for every letter. */
export function spare(area, text) {
  const isLong = text.length > LONG;
  const dir = isLong ? direction(text) : 'auto';
  if (area.dir !== dir) area.dir = dir;
  area.classList.toggle('long', isLong);
}

function show() {
  spare(prompt, draft.text);
  const stops = mode === 'running' || mode === 'stopping';
  button.classList.toggle('stop', stops);
  button.ariaLabel = button.title = stops ? words.stop : words.send;
  // Not `disabled`: the button that was pressed keeps the focus.
  button.ariaDisabled = mode === 'sending' || mode === 'stopping' || (mode === 'idle' && !draft.text.trim());
  prompt.readOnly = mode === 'sending';
}
