// Asks a server what its contract allows and what it forbids, and compares the answers with it: `node run.mjs SCHEMATHESIS`.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { startServer } from '../sdk/server.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const SCHEMATHESIS = process.argv[2] ?? `${here}../../target/contract-venv/bin/schemathesis`;
/** Operations that are not answered with a success here, and why. */
const NEVER = {
  drain: 'it would end the server',
  logOut: 'a key is no login to end',
  readContract: 'schemathesis does not ask for what it has from there',
};

const { origin, key, directory, stop } = await startServer({
  CONTINUO__LIMITS__GENERATIONS_PER_USER: '1000',
  CONTINUO__LIMITS__LOGIN_FAILURES_PER_MINUTE: '0',
});
let failed = true;
try {
  const get = async (what) => (await fetch(origin + what, { headers: { Authorization: `Bearer ${key}` } })).json();
  const answers = path.join(directory, 'answers.json');
  // The same cases every time.
  const args = ['--config-file', `${here}schemathesis.toml`, 'run', `${origin}/api/openapi.json`, '--seed', '20260131'];
  const child = spawn(SCHEMATHESIS, args, {
    cwd: directory,
    env: { ...process.env, SCHEMATHESIS_HOOKS: `${here}hooks.py`, ORIGIN: origin, KEY: key, ANSWERS: answers },
    stdio: 'inherit',
    timeout: 300_000,
  });
  const [code] = await once(child, 'exit');
  const { paths } = await get('/api/openapi.json');
  const operations = Object.values(paths).flatMap(Object.values);
  const missing = withoutSuccess(operations, JSON.parse(readFileSync(answers)));
  const { user } = await get('/api/session');
  if (!user?.operator) console.log('The run took away what it was let in by.');
  failed = code !== 0 || missing.length > 0 || !user?.operator;
} finally {
  await stop();
}
process.exitCode = failed ? 1 : 0;

/** Tells what each operation was answered; those that never were with a success, though they should. */
function withoutSuccess(operations, answers) {
  return operations.filter(({ operationId: name }) => {
    const statuses = Object.entries(answers[name] ?? {});
    const isMissing = !NEVER[name] && !statuses.some(([status]) => status.startsWith('2'));
    const told = statuses.map(([status, times]) => `${times} × ${status}`).join(', ') || 'not asked';
    console.log(`${name}: ${told}${NEVER[name] ? ` (${NEVER[name]})` : ''}${isMissing ? ' NEVER A SUCCESS' : ''}`);
    return isMissing;
  });
}
