// Sets the theme before anything is painted; a classic script, because modules run after the first paint.
try {
  const theme = JSON.parse(localStorage.getItem('continuo.theme'));
  if (theme === 'light' || theme === 'dark') document.documentElement.dataset.theme = theme;
} catch { /* Storage is forbidden: the system's theme. */ }
