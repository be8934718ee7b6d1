// What opens over the page: menus, the toast, preferences, the keys, and the settings of a conversation.

import { request } from './api.js';
import { element, kept, make } from './dom.js';
import { otherLanguage, words } from './words.js';

const menu = element('menu');
let opener;

/**
 * A menu below or above its button. Entries are `[label, act, isChosen]`: an act that is a path is a download; of those with `isChosen`,
 * one is.
 */
export function openMenu(button, entries) {
  opener = button;
  menu.ariaLabel = button.ariaLabel;
  menu.replaceChildren(...entries.map(([label, act, isChosen]) => {
    const isPath = typeof act === 'string';
    const item = make(isPath ? 'a' : 'button', { role: 'menuitem', tabIndex: -1, textContent: label, onclick: () => (close(), isPath || act()) });
    if (isPath) Object.assign(item, { href: act, download: '' });
    if (isChosen !== undefined) Object.assign(item, { role: 'menuitemradio', ariaChecked: isChosen });
    return item;
  }));
  menu.showPopover();
  const place = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = menu;
  const top = place.bottom + height + 8 < innerHeight ? place.bottom + 4 : place.top - height - 4;
  menu.style.top = `${Math.max(4, top)}px`;
  menu.style.left = `${Math.max(4, Math.min(place.left, innerWidth - width - 8))}px`;
  menu.firstChild.focus();
}

function close() {
  menu.hidePopover();
  opener.focus({ preventScroll: true });
}

menu.onkeydown = (event) => {
  const items = [...menu.children];
  const at = items.indexOf(event.target);
  const next = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: -1 }[event.key];
  if (next !== undefined) items.at(next % items.length).focus();
  else if (event.key === ' ') event.target.click();
  else if (event.key === 'Escape') close();
  else return void (event.key === 'Tab' && close()); // From the button, it goes on.
  event.preventDefault();
};
menu.addEventListener('beforetoggle', ({ newState }) => (opener.ariaExpanded = newState === 'open'));

let fading;

/** Says what was done and, for a while, how to undo it. */
export function toast(text, label, act) {
  const box = element('toast');
  const hide = () => (box.hidden = true);
  box.replaceChildren(text, make('button', { className: 'quiet', textContent: label, onclick: () => (hide(), act()) }));
  box.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(hide, 12_000);
}

/** `importFile()` and `signOut()` are what the menu of the account needs. */
export function start({ importFile, signOut }) {
  const button = element('preferences');
  const theme = (name, label) => [label, () => {
    kept.set('theme', name);
    document.documentElement.dataset.theme = name ?? '';
  }, kept.get('theme') === name];
  button.addEventListener('click', () => openMenu(button, [
    theme(undefined, words.systemTheme),
    theme('light', words.light),
    theme('dark', words.dark),
    [words.language, () => {
      kept.set('language', otherLanguage);
      location.reload(); // Nothing is lost by that.
    }],
    [words.keys, showKeys],
    [words.import, importFile],
    [words.signOut, signOut],
  ]));
  for (const dialog of document.querySelectorAll('dialog')) {
    dialog.addEventListener('click', ({ target }) => (target === dialog || target.matches('[data-close]')) && dialog.close());
  }
}

export function showKeys() {
  const control = /Mac|iP/.test(navigator.platform) ? '⌘' : 'Ctrl+';
  const keys = {
    send: 'Enter', keysBreak: 'Shift+Enter', keysStop: 'Esc', search: `${control}K`, newConversation: `${control}Shift+O`, keysJump: 'Alt+↑ ↓', keysKeys: `${control}/`,
  };
  const rows = Object.entries(keys).map(([name, key]) => make('div', {}, make('dt', {}, words[name]), make('dd', {}, make('kbd', {}, key))));
  const dialog = element('keys');
  dialog.querySelector('dl').replaceChildren(...rows);
  if (!dialog.open) dialog.showModal();
}

/**
 * Shows the settings of a conversation. `save(change, version)` takes what becomes of them and may throw a problem, which is told; when
 * somebody changed them before, `readAgain()` tells to what.
 */
export async function editSettings(settings, save, readAgain) {
  const dialog = element('settings');
  const form = dialog.firstElementChild;
  const problem = form.querySelector('.problem');
  const fields = [...form.elements].filter(({ name }) => name);
  const shown = {};
  let sampling;
  let version;
  /** What the person did not change becomes what it is now. */
  const fill = (newest) => {
    ({ sampling, version } = newest);
    const values = { ...newest, ...sampling };
    for (const field of fields) {
      const { name } = field;
      const isTheirs = field.value !== (shown[name] ?? '');
      shown[name] = String(values[name] ?? '');
      if (!isTheirs) field.value = shown[name];
    }
  };
  form.reset();
  fill(settings);
  problem.hidden = true;
  form.onsubmit = async (event) => {
    event.preventDefault();
    const [name, prompt, ...numbers] = fields.map(({ value }) => value.trim());
    const set = numbers.map((value, index) => [fields[index + 2].name, value ? Number(value) : undefined]);
    const change = { model: name || null, system: prompt || null, sampling: { ...sampling, ...Object.fromEntries(set) } };
    try {
      await save(change, version).catch(async (refusal) => {
        if (refusal.status !== 412) throw refusal;
        fill(await readAgain());
        throw { text: words.settingsChanged };
      });
      dialog.close();
    } catch (refusal) {
      problem.textContent = refusal.text;
      problem.hidden = false;
    }
  };
  dialog.showModal();
  const { items, default: chosen } = await models();
  element('models').replaceChildren(...items.map(({ id }) => make('option', { value: id })));
  fields[0].placeholder = [words.defaultModel, chosen].filter(Boolean).join(': ');
}

/** What the model server offers; `default` is the server's own choice. */
export const models = () => request('GET', '/api/models').catch(() => ({ items: [], default: null }));
