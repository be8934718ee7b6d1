// The transcript follows the answer only while its reader is at the bottom and did not turn upwards.

const NEAR = 64;

const transcript = document.getElementById('transcript');
const latest = document.getElementById('latest');

let following = true;

const distance = () => transcript.scrollHeight - transcript.scrollTop - transcript.clientHeight;

function follow(next) {
  following = next;
  latest.hidden = next || distance() <= NEAR;
}

transcript.addEventListener('wheel', (event) => event.deltaY < 0 && transcript.scrollTop > 0 && follow(false), { passive: true });
transcript.addEventListener('keydown', (event) => ['ArrowUp', 'PageUp', 'Home'].includes(event.key) && follow(false));
let top = 0;
transcript.addEventListener('scroll', () => {
  const up = transcript.scrollTop < top;
  top = transcript.scrollTop;
  if (distance() <= NEAR && !(up && !following)) follow(true);
  else if (up) follow(false);
}, { passive: true });
latest.addEventListener('click', toBottom);
new ResizeObserver(grown).observe(transcript);

/** Text was added. */
export function grown() {
  if (following) transcript.scrollTop = transcript.scrollHeight;
  else follow(false);
}

export function toBottom() {
  follow(true);
  transcript.scrollTop = transcript.scrollHeight;
}
