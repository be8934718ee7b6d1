// What happens to the user's conversations anywhere: one stream a visible tab, or what another tab of this browser passes on.

import { follow } from './stream.js';
import { mayStream, onPassed, onTabs, passOn } from './tabs.js';

let position;
let leave;
let told;

/** `told.event(name, data)` for each event, `told.anew()` when something may have been missed, `told.trouble(what)`, `told.end(status)`. */
export function start(listener) {
  told = listener;
  leave?.();
  position = undefined;
  leave = follow({
    kind: 'feed',
    path: '/api/feed',
    position: () => position,
    deliver(name, data, id) {
      position = id ?? position;
      if (name === 'gap') return;
      passOn({ name, data });
      told.event(name, data);
    },
    back() {},
    trouble: (what) => told.trouble(what),
    end: (status) => told.end(status),
  });
}

export function stop() {
  leave?.();
  leave = undefined;
}

const listens = () => leave && !document.hidden && !mayStream('feed');

onPassed(({ name, data }) => listens() && told.event(name, data));
for (const ask of [onTabs, (changed) => document.addEventListener('visibilitychange', changed)]) {
  ask(() => {
    if (!listens()) return;
    position = undefined; // What is passed on has no position that would hold for us.
    told.anew();
  });
}
