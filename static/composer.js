// The prompt being written: its draft survives a reload and an expired login, and is cleared only once the server has it.

import { uuid } from './api.js';
import { words } from './words.js';

const prompt = document.getElementById('prompt');
const button = document.getElementById('send');

let place = 'new';
let draft = { text: '' };
let mode = 'idle';

/** `send(text, once)` and `stop()` are what the one button does. */
export function start({ send, stop }) {
  prompt.addEventListener('input', () => {
    draft = { text: prompt.value };
    keep();
    show();
  });
  prompt.addEventListener('keydown', (event) => {
    // Enter that ends an input method's composition belongs to the input method; Safari says so by 229 only.
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing || event.keyCode === 229) return;
    event.preventDefault();
    submit();
  });
  document.getElementById('composer').addEventListener('submit', (event) => {
    event.preventDefault();
    if (mode === 'running') stop();
    else submit();
  });
  function submit() {
    if (mode !== 'idle' || !draft.text.trim()) return;
    // The same key for the same draft: asking again after a lost answer asks only once.
    draft.once ??= uuid();
    keep();
    send(draft.text, draft.once);
  }
  show();
}

/** Shows the draft of a conversation; null for the one that is not there yet. */
export function moveTo(conversationId) {
  place = conversationId ?? 'new';
  draft = read() ?? { text: '' };
  prompt.value = draft.text;
  show();
}

/** The draft goes along into the conversation that was made for it. */
export function follow(conversationId) {
  forget();
  place = conversationId;
  keep();
}

/** The server has the prompt of this conversation. */
export function accepted(conversationId) {
  forget(conversationId);
  if (place !== conversationId) return;
  draft = { text: '' };
  prompt.value = '';
  show();
}

/** The server will not take this key again. */
export function renew() {
  delete draft.once;
  keep();
}

/** Somebody else may sit here next. */
export function forgetAll() {
  try {
    sessionStorage.clear();
  } catch { /* see below */ }
}

/** `idle`, `sending`, `running` (the button stops) or `stopping`. */
export function become(next) {
  mode = next;
  show();
}

export function focus() {
  // On a touch screen the keyboard would cover what was just opened.
  if (matchMedia('(hover: hover)').matches) prompt.focus();
}

function show() {
  const stops = mode === 'running' || mode === 'stopping';
  button.classList.toggle('stop', stops);
  button.setAttribute('aria-label', stops ? words.stop : words.send);
  button.title = stops ? words.stop : words.send;
  button.disabled = mode === 'sending' || mode === 'stopping' || (mode === 'idle' && !draft.text.trim());
  prompt.readOnly = mode === 'sending';
}

// Storage may be forbidden or full; the draft then lives as long as the page.

function keep() {
  try {
    if (draft.text) sessionStorage.setItem(`continuo.draft.${place}`, JSON.stringify(draft));
    else forget();
  } catch { /* see above */ }
}

function forget(of = place) {
  try {
    sessionStorage.removeItem(`continuo.draft.${of}`);
  } catch { /* see above */ }
}

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(`continuo.draft.${place}`));
  } catch {
    return null;
  }
}
