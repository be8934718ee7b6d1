// Small tools of all views: elements, icons, what the browser keeps for us, the clipboard. Knows nothing of conversations.

export const element = (id) => document.getElementById(id);

/** An element with properties and children; text is only ever text. */
export function make(tag, properties = {}, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

const SVG = 'http://www.w3.org/2000/svg';
const paths = {
  again: 'M15.5 8A6 6 0 1 0 16 11M15.8 4v4.2h-4.2',
  back: 'M12 5l-5 5 5 5',
  close: 'M5 5l10 10M15 5L5 15',
  copy: 'M7 7V4.5h8.5V13H13M4.5 7H13v8.5H4.5z',
  done: 'M4.5 10.5l3.5 3.5 7.5-8',
  down: 'M10 4v11.5M5 11l5 5 5-5',
  dots: 'M4.5 10h.01M10 10h.01M15.5 10h.01',
  edit: 'M4 16l1-4 8-8 3 3-8 8z',
  forth: 'M8 5l5 5-5 5',
  menu: 'M3 6h14M3 10h14M3 14h9',
  on: 'M5 4l7 6-7 6zM15 4v12',
  plus: 'M10 4v12M4 10h12',
  search: 'M9 14.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11zM13 13l4 4',
  send: 'M10 16V4M5 9l5-5 5 5',
  tune: 'M3 6h7M14 6h3M3 14h3M10 14h7M12 4v4M8 12v4',
};

export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  const path = document.createElementNS(SVG, 'path');
  svg.setAttribute('viewBox', '0 0 20 20');
  svg.setAttribute('aria-hidden', 'true');
  path.setAttribute('d', paths[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon and is called by words. */
export function iconButton(name, label, onclick) {
  const button = make('button', { type: 'button', className: `icon ${name}`, title: label, onclick }, icon(name));
  button.setAttribute('aria-label', label);
  return button;
}

const memory = new Map();

/** What the browser keeps for us. Storage may be forbidden or full: then it lives as long as the page. */
export const kept = {
  get(key) {
    try {
      return memory.get(key) ?? JSON.parse(localStorage.getItem(`continuo.${key}`)) ?? undefined;
    } catch { /* see above */ }
  },
  set(key, value) {
    memory.delete(key); // What another tab removes from the storage is not to come back from here.
    try {
      if (value === undefined) localStorage.removeItem(`continuo.${key}`);
      else localStorage.setItem(`continuo.${key}`, JSON.stringify(value));
    } catch {
      memory.set(key, value);
    }
  },
  clear() {
    memory.clear();
    try {
      localStorage.clear();
    } catch { /* see above */ }
  },
};

/** Whether the text is in the clipboard now. Plain HTTP on a LAN has no clipboard but the old one. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const back = document.activeElement;
    const area = make('textarea', { value: text, className: 'unseen' });
    (back?.closest('dialog') ?? document.body).append(area);
    area.select();
    const copied = document.execCommand('copy');
    area.remove();
    back?.focus({ preventScroll: true });
    return copied;
  }
}

/** Runs `act` once, a moment after the last of many calls. */
export function soon(act, milliseconds) {
  let timer;
  const call = () => {
    call.cancel();
    timer = setTimeout(act, milliseconds);
  };
  call.cancel = () => clearTimeout(timer);
  return call;
}
