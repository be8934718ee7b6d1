// The chat page: signs in, opens the conversation that the URL names, asks, and follows the answer.

import { request, sentence, uuid } from './api.js';
import * as composer from './composer.js';
import { make, MessageView } from './message.js';
import { grown, toBottom } from './scroll.js';
import * as sidebar from './sidebar.js';
import { follow } from './stream.js';
import { translate, words } from './words.js';

const TITLE_LENGTH = 60;

const element = (id) => document.getElementById(id);
const messages = element('messages');

let current = null; // The id of the open conversation; null for one that is not there yet.
let conversation = null; // As the server told it last.
let visit = 0; // Counts openings: what was asked for an earlier one comes too late.
let running = null; // The generation that is followed: { id, leave }.
const ended = new Set(); // Generations seen to their end: an older reading must not revive them.
const views = new Map();

translate(document);
sidebar.start({ onProblem: failed });
composer.start({ send, stop });
addEventListener('hashchange', route);
document.addEventListener('visibilitychange', catchUp);
addEventListener('pageshow', (event) => event.persisted && catchUp());
addEventListener('online', catchUp);
route();

// --- Who is there

async function route() {
  const [, key, value] = /^#(\w+)=(.+)$/.exec(location.hash) ?? [];
  if (key === 'login') {
    history.replaceState(null, '', location.pathname);
    await signIn(decodeURIComponent(value));
  } else if (element('app').hidden) await enter();
  else open(key === 'c' ? value : null);
}

async function signIn(token) {
  try {
    await request('POST', '/api/session', { body: { token } });
  } catch (problem) {
    return enter(problem); // An old link does no harm to somebody who is signed in.
  }
  return enter();
}

/** Opens the page for whoever is signed in; else asks to sign in, saying why the attempt failed. */
async function enter(refusal) {
  try {
    const { user } = await request('GET', '/api/session');
    element('user').textContent = user.name;
  } catch (problem) {
    return askToSignIn((refusal ?? (problem.status === 401 ? null : problem))?.text);
  }
  element('sign-in').hidden = true;
  element('app').hidden = false;
  sidebar.refresh();
  open(/^#c=(.+)$/.exec(location.hash)?.[1] ?? null);
}

function askToSignIn(why) {
  leave();
  visit++;
  element('app').hidden = true;
  element('sign-in').hidden = false;
  document.title = 'Continuo';
  const problem = element('sign-in').querySelector('.problem');
  problem.textContent = why ?? '';
  problem.hidden = !why;
  element('token').focus();
}

element('sign-in').addEventListener('submit', (event) => {
  event.preventDefault();
  const pasted = element('token').value.trim();
  const token = /#login=(.+)$/.exec(pasted)?.[1] ?? pasted;
  element('token').value = '';
  if (/^[\w.~-]+$/.test(token)) signIn(token);
  else askToSignIn(words.notAToken);
});

element('sign-out').addEventListener('click', async () => {
  try {
    await request('DELETE', '/api/session');
  } catch (problem) {
    if (problem.status !== 401) return failed(problem);
  }
  composer.forgetAll();
  sidebar.clear();
  show(null);
  askToSignIn();
});

// --- The open conversation

function open(id) {
  visit++;
  leave();
  current = id;
  ended.clear();
  say('');
  show(null);
  composer.moveTo(id);
  composer.become('idle');
  composer.focus();
  sidebar.mark(id);
  element('title').textContent = id ? '' : words.newConversation;
  element('empty').hidden = id !== null;
  if (id) refresh().then(toBottom);
}

/** Reads the open conversation again; what is being followed goes on undisturbed. */
async function refresh() {
  const mine = visit;
  try {
    const read = await request('GET', `/api/conversations/${encodeURIComponent(current)}`);
    if (mine === visit) show(read);
  } catch (problem) {
    if (mine !== visit) return;
    if (problem.status === 404) {
      goTo(null);
      say(words.gone);
    } else failed(problem, refresh);
  }
}

/** Something may have happened while nobody looked. */
function catchUp() {
  if (document.hidden || element('app').hidden) return;
  if (current) refresh();
  sidebar.refresh();
}

function goTo(id) {
  history.pushState(null, '', id ? `#c=${id}` : location.pathname);
  open(id);
}

function show(read) {
  conversation = read;
  const path = read ? pathTo(read.head_id ?? read.messages.at(-1)?.id, read.messages) : [];
  const kept = new Set(path.map((message) => message.id));
  for (const [id, view] of views) {
    if (kept.has(id)) continue;
    view.element.remove();
    views.delete(id);
  }
  path.forEach((message, index) => {
    const view = viewOf(message);
    if (messages.children[index] !== view.element) messages.insertBefore(view.element, messages.children[index] ?? null);
  });
  element('edit-title').hidden = element('delete').hidden = read === null;
  if (read === null) return;
  element('title').textContent = read.title || words.untitled;
  document.title = `${read.title || words.untitled} · Continuo`;
  element('empty').hidden = path.length > 0;
  const { generation } = read;
  const answer = generation && path.find((message) => message.generation_id === generation.id);
  if (answer && !ended.has(generation.id)) attach(generation, views.get(answer.id));
  offerAgain();
  grown();
}

function viewOf(message) {
  const known = views.get(message.id);
  const isFollowed = running?.id === message.generation_id;
  const isOlder = message.status === 'streaming' && ended.has(message.generation_id);
  if (known) {
    if (!(message.generation_id && (isFollowed || isOlder))) known.show(message);
    return known;
  }
  const view = new MessageView(message, { grown, askAgain });
  views.set(message.id, view);
  return view;
}

function pathTo(head, all) {
  const byId = new Map(all.map((message) => [message.id, message]));
  const path = [];
  for (let message = byId.get(head); message; message = byId.get(message.parent_id)) path.unshift(message);
  return path;
}

function offerAgain() {
  const last = messages.lastElementChild?.dataset.id;
  for (const [id, view] of views) view.offerAgain(id === last && running === null && view.element.classList.contains('assistant'));
}

// --- The running answer

function attach(generation, view) {
  if (running?.id === generation.id) return;
  leave();
  const id = generation.id;
  const over = () => {
    ended.add(id);
    running = null;
    trouble(null);
    composer.become('idle');
    offerAgain();
  };
  const abandon = follow(id, generation.seq, {
    event(name, data) {
      view.apply(name, data);
      if (name !== 'done') return;
      over();
      grown();
      element('announcer').textContent = words[data.outcome] ?? '';
      sidebar.refresh();
    },
    trouble,
    end(status) {
      over();
      if (status === 401) askToSignIn(words.signInAgain);
      else refresh(); // It ended while nobody listened.
    },
  });
  running = { id, leave: abandon };
  composer.become('running');
  element('announcer').textContent = words.answering;
}

function leave() {
  running?.leave();
  running = null;
  trouble(null);
}

function trouble(what) {
  element('connection').textContent = what === null ? '' : what === true ? words.reconnecting : sentence(what);
}

async function send(text, once) {
  const mine = visit;
  composer.become('sending');
  say('');
  try {
    if (current === null) {
      const title = Array.from(text.trim().split('\n')[0]).slice(0, TITLE_LENGTH).join('');
      const made = await request('POST', '/api/conversations', { body: { title }, once: `${once}-conversation` });
      if (mine !== visit) return;
      current = made.id;
      history.replaceState(null, '', `#c=${current}`);
      composer.follow(current);
      sidebar.mark(current);
      show({ ...made, messages: [], generation: null });
    }
    const id = current;
    const turn = await request('POST', `/api/conversations/${id}/messages`, { body: { content: text }, once });
    composer.accepted(id);
    if (mine === visit) shown(text, turn);
    sidebar.refresh();
  } catch (problem) {
    if (mine !== visit) return;
    if (problem.status === 422) composer.renew();
    if (problem.status === 409) {
      say(words.stillAnswering);
      refresh();
    } else failed(problem);
  } finally {
    if (mine === visit && running === null) composer.become('idle');
  }
}

/** Shows the accepted prompt and its answer at once; the reading behind it adds what another tab may have said meanwhile. */
function shown(text, { user_message_id: asked, message_id: answer, generation_id: generation }) {
  const { messages: known, head_id: head } = conversation;
  const added = [
    { id: asked, parent_id: head, role: 'user', content: text, status: 'completed' },
    { id: answer, parent_id: asked, role: 'assistant', content: '', status: 'streaming', generation_id: generation },
  ];
  if (!known.some((message) => message.id === answer)) {
    show({ ...conversation, messages: [...known, ...added], head_id: answer, generation: { id: generation, seq: 0 } });
  }
  toBottom();
  refresh();
}

async function askAgain(messageId, how) {
  const mine = visit;
  composer.become('sending');
  say('');
  try {
    await request('POST', `/api/messages/${messageId}/${how}`, { once: uuid() });
    if (mine === visit) await refresh();
    toBottom();
  } catch (problem) {
    if (mine === visit) failed(problem);
  } finally {
    if (mine === visit && running === null) composer.become('idle');
  }
}

async function stop() {
  if (running === null) return;
  const { id } = running;
  composer.become('stopping');
  try {
    await request('POST', `/api/generations/${id}/stop`);
  } catch (problem) {
    if (running?.id !== id) return;
    composer.become('running');
    failed(problem);
  }
}

// --- Title and deletion

function rename(editing) {
  element('rename').hidden = !editing;
  element('title').hidden = element('edit-title').hidden = editing;
  const input = element('rename').querySelector('input');
  if (editing) {
    input.value = conversation.title;
    input.select();
  } else element('edit-title').focus();
}

element('edit-title').addEventListener('click', () => rename(true));
element('rename').addEventListener('focusout', () => rename(false));
element('rename').addEventListener('submit', async (event) => {
  event.preventDefault();
  const title = event.target.querySelector('input').value.trim();
  rename(false);
  if (!title || title === conversation.title) return;
  try {
    await request('PATCH', `/api/conversations/${current}`, { body: { title } });
  } catch (problem) {
    return failed(problem);
  }
  refresh();
  sidebar.refresh();
});

element('delete').addEventListener('click', () => {
  element('confirm-delete').returnValue = '';
  element('confirm-delete').showModal();
});
element('confirm-delete').addEventListener('close', async ({ target }) => {
  if (target.returnValue !== 'delete') return;
  const id = current;
  try {
    await request('DELETE', `/api/conversations/${id}`);
  } catch (problem) {
    if (problem.status !== 404) return failed(problem);
  }
  if (current === id) goTo(null);
  sidebar.refresh();
});

element('new').addEventListener('click', () => {
  sidebar.toggle(false);
  goTo(null);
});

document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || event.isComposing || element('confirm-delete').open) return;
  if (!element('rename').hidden) rename(false);
  else if (!sidebar.toggle(false) && event.target.type !== 'search') stop();
});

// --- Problems

/** Says in place what went wrong; with `retry`, offers to try it again. */
function failed(problem, retry) {
  if (problem.status === 401) askToSignIn(words.signInAgain);
  else if (problem.text) say(problem.text, retry);
  else throw problem;
}

function say(text, retry) {
  const notice = element('notice');
  notice.replaceChildren(text);
  notice.hidden = !text;
  if (!retry) return;
  const button = make('button', { type: 'button', className: 'quiet', textContent: words.tryAgain });
  button.addEventListener('click', () => {
    say('');
    retry();
  });
  notice.append(' ', button);
}
