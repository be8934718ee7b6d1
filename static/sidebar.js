// The list of conversations: newest first, in pages, searched in titles and texts.

import { request } from './api.js';
import { make } from './message.js';
import { words } from './words.js';

const PAGE_SIZE = 30;
const TYPING_PAUSE = 150;

const element = (id) => document.getElementById(id);
const list = element('conversations');
const search = element('search');
const note = element('list-note');
const more = element('more');

let onProblem = () => {};
let current = null;
let next = null;
let loading = new AbortController();
let typing;

export function start(handlers) {
  ({ onProblem } = handlers);
  search.addEventListener('input', () => {
    clearTimeout(typing);
    typing = setTimeout(refresh, TYPING_PAUSE);
  });
  more.addEventListener('click', () => load(next));
  const narrow = matchMedia('(max-width: 760px)');
  list.addEventListener('click', (event) => event.target.closest('a') && toggle(false));
  element('open-sidebar').addEventListener('click', () => toggle(true));
  element('close-sidebar').addEventListener('click', () => toggle(false));
  element('shade').addEventListener('click', () => toggle(false));
  narrow.addEventListener('change', () => toggle(false));
  toggle(false);
}

/** On a narrow screen the list lies over the conversation. True when it was open. */
export function toggle(open) {
  const sidebar = element('sidebar');
  const wasOpen = sidebar.classList.contains('open');
  sidebar.classList.toggle('open', open);
  element('shade').hidden = !open;
  element('open-sidebar').setAttribute('aria-expanded', String(open));
  if (open) element('close-sidebar').focus();
  else if (wasOpen) element('open-sidebar').focus();
  return wasOpen;
}

/** Marks the conversation that is open. */
export function mark(id) {
  current = id;
  for (const link of list.querySelectorAll('a')) {
    if (link.dataset.id === id) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
}

export function clear() {
  loading.abort();
  list.replaceChildren();
  search.value = '';
  more.hidden = note.hidden = true;
}

/** Reads the first page again. */
export function refresh() {
  return load(null);
}

async function load(cursor) {
  loading.abort();
  loading = new AbortController();
  const { signal } = loading;
  const query = search.value.trim();
  const asked = new URLSearchParams({ limit: PAGE_SIZE, ...(query && { q: query }), ...(cursor && { cursor }) });
  try {
    const page = await request('GET', `/api/conversations?${asked}`, { signal });
    const rows = page.items.map((item) => row(item, query));
    if (cursor) list.append(...rows);
    else list.replaceChildren(...rows);
    next = page.next ?? null;
    more.hidden = next === null;
    note.hidden = list.childElementCount > 0;
    note.textContent = query ? words.nothingFound : words.noConversations;
    mark(current);
    if (cursor) rows[0]?.querySelector('a').focus();
  } catch (problem) {
    if (!signal.aborted) onProblem(problem);
  }
}

function row({ id, title, snippet }, query) {
  const link = make('a', { href: `#c=${id}` }, make('span', { className: 'title', dir: 'auto' }, ...marked(title || words.untitled, query)));
  link.dataset.id = id;
  if (snippet) link.append(make('span', { className: 'snippet', dir: 'auto' }, ...marked(snippet, query)));
  return make('li', {}, link);
}

/** The text with the words of the search marked. */
function marked(text, query) {
  const sought = query.split(/\s+/).filter(Boolean).map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  if (sought.length === 0) return [text];
  // Splitting at a group keeps the separators: every second piece is a hit.
  const pieces = text.split(new RegExp(`(${sought.join('|')})`, 'iu'));
  return pieces.map((piece, index) => (index % 2 ? make('mark', { textContent: piece }) : piece));
}
