// The transcript follows the answer only while its reader is at the bottom and did not turn upwards.

import { element } from './dom.js';

const NEAR = 64;

const transcript = element('transcript');
const latest = element('latest');
let following = true;
let top = 0;
let held; // While it does not follow: what is at the top of the view, and where.

const distance = () => transcript.scrollHeight - transcript.scrollTop - transcript.clientHeight;

function follow(next) {
  if (!next && following) hold();
  following = next;
  latest.hidden = next || distance() <= NEAR;
}

function grown() {
  if (following) transcript.scrollTop = transcript.scrollHeight;
  else stayInPlace();
  follow(following);
}

/** The first part below the upper edge of the view, or the smallest that the edge goes through. */
function hold() {
  const edge = transcript.getBoundingClientRect().top;
  let part = element('messages');
  for (let next = part; next; next = [...part.children].find((child) => child.getBoundingClientRect().bottom > edge)) {
    part = next;
    if (part.getBoundingClientRect().top > edge) break;
  }
  held = { part, at: part.getBoundingClientRect().top };
}

/** Not every browser does it: what is above the view may become higher, when it comes near or is read again. */
function stayInPlace() {
  const moved = held.part.isConnected ? held.part.getBoundingClientRect().top - held.at : 0;
  if (moved) transcript.scrollTop += moved;
  if (moved || !held.part.isConnected) hold();
}

transcript.addEventListener('wheel', (event) => event.deltaY < 0 && transcript.scrollTop > 0 && follow(false), { passive: true });
transcript.addEventListener('keydown', (event) => ['ArrowUp', 'PageUp', 'Home'].includes(event.key) && follow(false));
transcript.addEventListener('scroll', () => {
  const up = transcript.scrollTop < top;
  top = transcript.scrollTop;
  if (distance() <= NEAR && !(up && !following)) follow(true);
  else if (up) follow(false);
  if (!following) hold();
});
latest.onclick = () => {
  toBottom();
  element('prompt').focus({ preventScroll: true });
};
const watched = new ResizeObserver(grown);
watched.observe(transcript);
watched.observe(element('messages'));

export function toBottom() {
  follow(true);
  transcript.scrollTop = transcript.scrollHeight;
}

/** The view does not follow until its reader goes to the bottom. */
export const stay = () => follow(false);

/** Changes the transcript while this part of it stays where it is on the screen; `after`: the part that takes its place. */
export function inPlace(part, change, after = () => part) {
  const before = part?.getBoundingClientRect().top;
  transcript.classList.add('changing');
  change();
  const there = part && after();
  const moved = there?.isConnected ? there.getBoundingClientRect().top - before : 0;
  if (moved) transcript.scrollTop += moved;
  transcript.classList.remove('changing');
  top = transcript.scrollTop;
  hold();
}

/** To the question before or behind the one at the top of the view. */
export function jump(forward) {
  const edge = transcript.getBoundingClientRect().top + 24;
  const ways = [...transcript.querySelectorAll('.message.user')].map((question) => question.getBoundingClientRect().top - edge);
  const way = forward ? ways.find((pixels) => pixels > 2) : ways.findLast((pixels) => pixels < -2);
  if (way === undefined && forward) return toBottom();
  follow(false);
  transcript.scrollTop += way ?? -transcript.scrollTop;
}
