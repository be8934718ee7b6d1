// What does not wait for the modules: the theme, before anything is painted, and what the page reads first, while its modules still come.
try {
  const theme = JSON.parse(localStorage.getItem('continuo.theme'));
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch { /* Storage is forbidden: the system's theme. */ }

const early = new Map(); // By their paths; api.js takes them from here.
if (!location.hash.startsWith('#login=')) {
  const conversation = /^#c=(.+)$/.exec(location.hash)?.[1];
  for (const path of ['/api/session', conversation && `/api/conversations/${conversation}?limit=40&blocks=1`]) {
    if (path) early.set(path, fetch(path, { cache: 'no-store', signal: AbortSignal.timeout(10_000) }).catch(() => {}));
  }
}
