// The list of conversations: by date, searched in titles and texts, and told by the feed what is being answered.

import { request, serverNow } from './api.js';
import { element, iconButton, kept, make, soon } from './dom.js';
import { openMenu } from './menus.js';
import { month, words } from './words.js';

const PAGE_SIZE = 50;
const DAY = 86_400_000;

const list = element('conversations');
const search = element('search');
const note = element('list-note');
const more = element('more');
const narrow = matchMedia('(max-width: 760px)');

let acts;
let current = null;
let items = new Map(); // Conversations as the server told them.
let found = null; // What a search found, in order; null while nothing is sought.
let next;
let loading = new AbortController();
const running = new Map(); // Conversation to generation.
const ended = new Set(); // Generations: a list that was asked for before may still call them running.
let unseen = stored();

/** `remove(id)`, `changed(conversation)` and `failed(problem, retry)` are what rows need; `worked(retry)`: it did, now. */
export function start(given) {
  acts = given;
  search.oninput = soon(refresh, 150);
  element('sidebar').onkeydown = (event) => {
    const links = [search, ...list.querySelectorAll('a')];
    const at = links.indexOf(event.target);
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (at < 0) return;
    if (step) links[at + step]?.focus();
    else if (at) return;
    else if (event.key === 'Enter') links[1]?.click();
    else if (event.key === 'Escape' && search.value) {
      search.value = '';
      refresh();
    } else return;
    event.preventDefault();
  };
  more.onclick = () => load(next);
  list.onclick = ({ target }) => void (target.closest('a') && toggle(false));
  element('open-sidebar').onclick = () => toggle(true);
  element('close-sidebar').onclick = () => toggle(false);
  element('shade').onclick = () => toggle(false);
  narrow.onchange = () => toggle(false);
  element('menu').addEventListener('toggle', paint);
  document.addEventListener('visibilitychange', () => document.hidden || mark(current));
  addEventListener('storage', ({ key }) => {
    if (key !== 'continuo.unseen') return;
    unseen = stored();
    paint();
  });
}

/** On a narrow screen the list lies over the conversation. True when it was open. */
export function toggle(open) {
  const isOver = open && narrow.matches;
  const wasOpen = element('sidebar').classList.contains('open');
  element('sidebar').classList.toggle('open', isOver);
  element('shade').hidden = !isOver;
  element('chat').inert = isOver;
  element('open-sidebar').ariaExpanded = isOver;
  if (isOver) element('close-sidebar').focus();
  else if (wasOpen) element('open-sidebar').focus();
  return wasOpen;
}

export function seek() {
  toggle(true);
  search.select();
}

/** Marks the conversation that is open. */
export function mark(id) {
  seen(current, true); // Another tab, where it was not open, may have called it unseen.
  current = id;
  seen(id, true);
  paint();
}

/** Reads the first page again. */
export const refresh = () => load();

async function load(cursor) {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  const query = search.value.trim();
  const asked = new URLSearchParams({ limit: PAGE_SIZE, ...(query && { q: query }), ...(cursor && { cursor }) });
  try {
    const page = await request('GET', `/api/conversations?${asked}`, { signal });
    if (!query && !cursor) items = new Map();
    found = query ? [...(cursor ? found : []), ...page.items] : null;
    for (const item of query ? [] : page.items) {
      items.set(item.id, item);
      if (item.generation && !ended.has(item.generation.id)) running.set(item.id, item.generation.id);
    }
    next = page.next;
    paint();
    acts.worked(refresh);
  } catch (problem) {
    if (!signal.aborted) acts.failed(problem, cursor ? () => load(cursor) : refresh);
  }
}

/** What the feed says. */
export function hear(name, data) {
  const { id, conversation_id: conversation, status } = data;
  if (name === 'snapshot') {
    running.clear();
    for (const one of data.running) running.set(one.conversation_id, one.id);
  } else if (name === 'conversation') items.set(id, { ...items.get(id), ...data });
  else if (name === 'deleted') items.delete(id);
  else if (name !== 'generation') return;
  else if (status === 'running') running.set(conversation, id);
  else if (ended.add(id) && (running.get(conversation) ?? id) === id) {
    running.delete(conversation);
    if (conversation !== current || document.hidden) seen(conversation, false);
  }
  paint();
}

function stored() {
  return new Set([kept.get('unseen') ?? []].flat());
}

function seen(id, isSeen) {
  if (isSeen ? unseen.delete(id) : unseen.add(id)) kept.set('unseen', [...unseen]);
}

// --- Rows

const paint = soon(() => {
  if (list.querySelector('form, [aria-expanded=true]')) return; // Whoever writes a title or has a menu open is not disturbed.
  const { activeElement: held } = document;
  const row = held?.closest('#conversations li[data-id]')?.dataset.id;
  list.replaceChildren(...groups().map(([name, group]) => make('li', {}, make('h2', {}, name), make('ul', {}, ...group.map(rowOf)))));
  if (row) list.querySelector(`[data-id="${row}"] ${held.localName}`)?.focus({ preventScroll: true });
  more.hidden = !next;
  note.hidden = list.childElementCount > 0;
  note.textContent = found ? words.nothingFound : words.noConversations;
}, 0);

function groups() {
  if (found) return found.length ? [[words.search, found]] : [];
  const shown = [...items.values()].filter(({ archived }) => !archived);
  shown.sort((a, b) => b.pinned - a.pinned || (a.updated_at < b.updated_at ? 1 : -1));
  const midnight = new Date(serverNow()).setHours(0, 0, 0, 0);
  const named = Map.groupBy(shown, ({ pinned, updated_at: updated }) => {
    const time = Date.parse(updated);
    if (pinned) return words.pinned;
    if (time >= midnight) return words.today;
    if (time >= midnight - DAY) return words.yesterday;
    return time >= midnight - 7 * DAY ? words.week : month.format(time);
  });
  return [...named];
}

function rowOf(item) {
  const { id, title, snippet } = item;
  const name = title || words.untitled;
  const link = make('a', { href: `#c=${id}` }, make('span', { className: 'clip', dir: 'auto' }, ...marked(name)));
  if (id === current) link.ariaCurrent = 'page';
  const state = running.has(id) ? 'running' : unseen.has(id) && id !== current ? 'unseen' : '';
  if (state) link.append(make('span', { className: `dot ${state}`, role: 'img', title: words[state], ariaLabel: words[state] }));
  if (snippet) link.append(make('span', { className: 'snippet', dir: 'auto' }, ...marked(snippet)));
  const button = iconButton('dots', `${words.actions}: ${name.slice(0, 80)}`, () => openMenu(button, menuOf(item)));
  button.ariaHasPopup = 'menu';
  const row = make('li', {}, link, button);
  row.dataset.id = id;
  return row;
}

/** What can be done with a conversation; `rename` edits its title where the menu was opened. */
export function menuOf(item, rename = () => editTitle(list.querySelector(`[data-id="${item.id}"]`), item, paint)) {
  const path = `/api/conversations/${item.id}/export?format=`;
  return [
    [words.rename, rename],
    [item.pinned ? words.unpin : words.pin, () => change(item, { pinned: !item.pinned })],
    [words.exportMarkdown, `${path}markdown`],
    [words.exportJson, `${path}json`],
    [words.delete, () => acts.remove(item.id)],
  ];
}

async function change(item, body) {
  try {
    acts.changed(await request('PATCH', `/api/conversations/${item.id}`, { body }));
    if (found) refresh();
  } catch (problem) {
    acts.failed(problem);
  }
}

/** Edits a title in place of what `holder` holds; `done` puts that back. */
export function editTitle(holder, item, done) {
  const input = make('input', { value: item.title, maxLength: 500, ariaLabel: words.rename });
  const form = make('form', {}, input);
  const end = (title) => {
    input.onblur = null;
    form.remove();
    done();
    if (title && title !== item.title) change(item, { title });
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    end(input.value.trim());
  };
  input.onkeydown = (event) => {
    if (event.key !== 'Escape') return;
    event.stopPropagation();
    end();
  };
  input.onblur = () => end(input.value.trim());
  holder.replaceChildren(form);
  input.select();
}

/** The text with the words of the search marked. */
function marked(text) {
  const sought = (found ? search.value : '').split(/\s+/).filter(Boolean).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  if (!sought.length) return [text];
  // Splitting at a group keeps the separators: every second piece is a hit.
  const pieces = text.split(new RegExp(`(${sought.join('|')})`, 'iu'));
  return pieces.map((piece, index) => (index % 2 ? make('mark', {}, piece) : piece));
}
