// The chat page: signs in, opens the conversation that the URL names, and brings together what the other modules own. Requests, streams
// and the feed change the state (conversation.js); the views (transcript, sidebar, composer) are told.

import { request, sentence, uuid } from './api.js';
import * as composer from './composer.js';
import { Conversation } from './conversation.js';
import { element, kept, make } from './dom.js';
import * as feed from './feed.js';
import * as menus from './menus.js';
import { jump, toBottom } from './scroll.js';
import * as sidebar from './sidebar.js';
import * as transcript from './transcript.js';
import { translate, words } from './words.js';

let open = null; // The open conversation; null: a new one, which is made with its first question.
let plans = {}; // Settings of the one that is not there yet.
let edit = {}; // The question that was sent anew, until the server has it: sent again, it is the same one.

translate();
sidebar.start({ remove, changed: (about) => heard('conversation', about), failed, worked: composer.worked });
composer.start({ send, stop });
transcript.start({ ask, askAgain, failed });
menus.start({ importFile: () => element('file').click(), signOut });
addEventListener('hashchange', route);
route();

// --- Who is there

async function route() {
  const [, key, value] = /^#(\w+)=(.+)$/.exec(location.hash) ?? [];
  if (key === 'login') {
    history.replaceState(null, '', location.pathname);
    await signIn(value);
  } else if (element('app').hidden) await enter();
  else show(key === 'c' ? value : null);
}

/** An old link does no harm to somebody who is signed in. */
async function signIn(token) {
  enter(await request('POST', '/api/session', { body: { token } }).then(() => null, (problem) => problem));
}

/** Opens the page for whoever is signed in; else asks to sign in, saying why the attempt failed. A server that is away signs nobody out. */
async function enter(refusal) {
  const late = setTimeout(() => {
    element('app').hidden = false;
    element('connection').textContent = words.offline;
  }, 1_500);
  let isBack; // Who was here before: what they were editing is still there.
  try {
    const { user } = await request('GET', '/api/session');
    isBack = element('user').textContent === user.name;
    element('user').textContent = user.name;
    if ((kept.get('user') ?? user.name) !== user.name) forget();
    kept.set('user', user.name);
  } catch (problem) {
    if (!refusal && (problem.status === 0 || problem.status >= 500)) return void setTimeout(enter, 2_000);
    return askToSignIn((refusal ?? (problem.status === 401 ? null : problem))?.text);
  } finally {
    clearTimeout(late);
  }
  element('sign-in').hidden = true;
  element('app').hidden = false;
  let isFirst = true;
  feed.start({
    event(name, data) {
      if (data.sessions) element('places').textContent = data.sessions > 1 ? words.places(data.sessions) : '';
      heard(name, data);
      if (name !== 'snapshot') return;
      if (!isFirst) catchUp();
      else if (open?.about) for (const one of data.running) heard('generation', { ...one, status: 'running' }); // It was read before.
      isFirst = false;
    },
    anew: catchUp,
    trouble(what) {
      element('account').classList.toggle('offline', what !== null);
      element('connection').textContent = what === null || open?.running ? '' : what === true ? words.offline : sentence(what);
    },
    end: (status) => status === 401 && askToSignIn(words.signInAgain),
  });
  const id = /^#c=(.+)$/.exec(location.hash)?.[1] ?? null;
  if (isBack && open?.id === id) {
    open.comeBack();
    read();
  } else show(id);
  sidebar.refresh();
}

function askToSignIn(why) {
  composer.keep();
  feed.stop();
  open?.leave();
  document.querySelectorAll('dialog').forEach((dialog) => dialog.close());
  element('app').hidden = true;
  element('sign-in').hidden = false;
  document.title = 'Continuo';
  const problem = element('sign-in').querySelector('.problem');
  problem.textContent = why ?? '';
  problem.hidden = !why;
  element('token').focus();
}

element('sign-in').onsubmit = (event) => {
  event.preventDefault();
  signIn(element('token').value.trim().replace(/^.*#login=/, ''));
  element('token').value = '';
};

/** Another tab may have signed in meanwhile. */
addEventListener('focus', () => {
  if (!element('sign-in').hidden) enter({ text: element('sign-in').querySelector('.problem').textContent });
});

async function signOut() {
  try {
    await request('DELETE', '/api/session');
  } catch (problem) {
    if (problem.status !== 401) return failed(problem);
  }
  forget(); // Somebody else may sit here next.
  location.replace(location.pathname);
}

/** Drafts, and all else that is kept here for whoever was signed in. */
function forget() {
  composer.clear();
  kept.clear();
}

// --- The open conversation

function goTo(id, how = 'pushState') {
  history[how](null, '', id ? `#c=${id}` : location.pathname);
  show(id);
}

function show(id) {
  become(id ? conversation(id) : null);
  plans = {};
  composer.moveTo(id);
  composer.focus();
  tell();
  if (id) read().then(toItsBottom(open));
}

/** Where one went on to another conversation meanwhile, nothing moves. */
const toItsBottom = (mine) => () => mine === open && toBottom();

function become(next) {
  open?.leave();
  open = next;
  transcript.become(open);
  sidebar.mark(open?.id ?? null);
}

function conversation(id) {
  return new Conversation(id, {
    shown() {
      const held = document.activeElement;
      transcript.show();
      composer.find(open.messages);
      tell();
      if (!held.checkVisibility()) composer.focus(); // The button that was pressed is not there any more.
    },
    event(message, name, data) {
      transcript.event(message, name, data);
      if (name !== 'done') return;
      transcript.read(data.outcome === 'completed' ? words.complete : words[data.outcome]);
      tell();
    },
    link(message, trouble) {
      transcript.link(message, trouble);
      tell();
    },
    signedOut: () => askToSignIn(words.signInAgain),
  });
}

/** Does something for the open conversation, and says in place what went wrong. */
async function attempt(act, retry, told = () => false) {
  const mine = open;
  try {
    await act(mine);
  } catch (problem) {
    if (mine === open && !told(problem)) failed(problem, retry);
  }
}

/** Reads the open conversation again. */
function read() {
  return attempt((mine) => mine.read().then(() => mine === open && composer.worked(read)), read, ({ status }) => status === 404 && isGone());
}

function isGone() {
  goTo(null, 'replaceState'); // Back leads to what was before it.
  composer.say(words.gone);
  return true;
}

/** Something may have happened while nobody listened. */
function catchUp() {
  if (open) read();
  sidebar.refresh();
}

function heard(name, data) {
  sidebar.hear(name, data);
  if (open === null || open.id !== (data.conversation_id ?? data.id)) return;
  if (name === 'deleted') isGone();
  else if (open.hear(name, data)) read();
}

/** Title, buttons and composer, as the open conversation is now. */
function tell() {
  const about = open?.about;
  const isEmpty = open === null || (about && !open.messages.length);
  const title = open === null ? words.newConversation : about ? about.title || words.untitled : '';
  if (!element('title').querySelector('form')) element('title').textContent = title.slice(0, 500);
  document.title = about ? `${title.slice(0, 200)} · Continuo` : 'Continuo';
  element('model-name').textContent = (open ? about?.model : plans.model) ?? '';
  element('actions').hidden = !about;
  element('chat').classList.toggle('empty', Boolean(isEmpty));
  if (isEmpty) offerTries();
  composer.become(open?.running ? 'running' : 'idle');
}

async function send(text, draft) {
  composer.become('sending');
  composer.say('');
  await attempt(async () => {
    if (open === null) {
      const made = await request('POST', '/api/conversations', { body: plans, once: `${draft.once}-conversation` });
      if (open !== null) return;
      history.replaceState(null, '', `#c=${made.id}`);
      composer.follow(made.id);
      become(conversation(made.id));
      open.begin(made);
      composer.become('sending');
      sidebar.hear('conversation', made);
    }
    await attempt(async (mine) => {
      while (!mine.about && mine === open) await mine.read(); // It belongs below an end that we have not seen yet.
      if (!mine.about) return;
      if (draft.parent === undefined) draft.parent = mine.leaf?.id ?? null;
      composer.keep();
      await mine.ask(text, draft);
      composer.accepted(mine.id, draft);
      toItsBottom(mine)();
    }, again, ({ status }) => {
      if (status === 422) composer.renew();
      if (status === 409) read(); // Another tab was faster.
      return draft.isThere;
    });
  }, again);
  tell();

  function again() {
    send(text, draft);
  }
}

/** Asks an edited question; its problems are told where it is edited. */
async function ask(content, parent) {
  const mine = open;
  const sent = JSON.stringify([mine.id, parent, content]);
  if (edit.sent !== sent) edit = { sent, parent, once: uuid() };
  try {
    await mine.ask(content, edit);
    edit = {};
    toItsBottom(mine)();
  } catch (problem) {
    if (problem.status === 401) askToSignIn(words.signInAgain);
    throw problem;
  }
}

async function askAgain(message, how, once = uuid()) {
  if (!composer.isIdle()) return; // The second of two clicks.
  composer.become('sending');
  composer.say('');
  await attempt(
    (mine) => mine.askAgain(message, how, once).then(toItsBottom(mine)),
    () => askAgain(message, how, once),
    ({ status }) => status === 409 && read(), // Another tab was faster.
  );
  tell();
}

function stop() {
  if (!open?.running) return;
  composer.become('stopping');
  attempt((mine) => mine.stop(), stop, () => void tell());
}

async function remove(id) {
  const wasOpen = open?.id === id;
  const back = () => wasOpen && open === null && goTo(id);
  if (wasOpen) goTo(null);
  try {
    await request('DELETE', `/api/conversations/${id}`);
  } catch (problem) {
    back();
    return failed(problem);
  }
  sidebar.hear('deleted', { id });
  const undo = () => attempt(async () => {
    sidebar.hear('conversation', await request('POST', `/api/conversations/${id}/restore`));
    back();
  }, undo);
  menus.toast(words.deleted, words.undo, undo);
}

element('file').addEventListener('change', ({ target }) => attempt(async () => {
  const body = await target.files[0].text();
  target.value = '';
  const made = await request('POST', '/api/conversations/import', { body, once: uuid() });
  sidebar.hear('conversation', made);
  sidebar.toggle(false);
  goTo(made.id);
}));

// --- Buttons and keys

element('new').onclick = () => {
  sidebar.toggle(false);
  goTo(null);
};

element('tune').onclick = () => {
  const mine = open;
  menus.editSettings(mine ? (mine.about ?? {}) : plans, async (change, version) => {
    if (mine) await mine.change(change, version);
    else plans = change;
    tell();
  }, () => mine.read().then(() => mine.about));
};

element('actions').onclick = ({ currentTarget }) => {
  menus.openMenu(currentTarget, sidebar.menuOf(open.about, () => sidebar.editTitle(element('title'), open.about, tell)));
};

/** What to try first: the demo model is asked what it can show. */
function offerTries() {
  const box = element('tries');
  if (box.firstChild) return;
  const isDemo = menus.models().then(({ default: model }) => model === 'continuo-demo');
  box.append(...words.tries.map(([prompt, demo]) => make('button', {
    textContent: prompt,
    onclick: async () => send((await isDemo) ? demo : prompt, { once: uuid() }),
  })));
}

const keys = { k: sidebar.seek, 'shift+o': () => element('new').click(), '/': menus.showKeys };

document.addEventListener('keydown', (event) => {
  if (event.isComposing || event.defaultPrevented || element('app').hidden) return;
  const act = keys[(event.shiftKey ? 'shift+' : '') + event.key.toLowerCase()];
  const { key } = event;
  if ((event.ctrlKey || event.metaKey) && !event.altKey && act) act();
  else if (event.altKey && (key === 'ArrowUp' || key === 'ArrowDown')) jump(key === 'ArrowDown');
  else if (key === 'Escape' && !document.querySelector('dialog[open]')) return void (sidebar.toggle(false) || stop());
  else return;
  event.preventDefault();
});

/** Says in place what went wrong; with `retry`, offers to try it again. */
function failed(problem, retry) {
  if (problem.status === 401) askToSignIn(words.signInAgain);
  else if (problem.text) composer.say(problem.text, retry, problem.retry_after);
  else throw problem;
}
