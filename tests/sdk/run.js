// Runs the suites of both clients against one server and one model server of their own: `node run.js PYTHON`.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { startServer } from './server.js';

const here = fileURLToPath(new URL('.', import.meta.url));
const PYTHON = process.argv[2] ?? `${here}../../target/sdk-venv/bin/python`;

const { origin, key, upstream, stop } = await startServer();
let failed = true;
try {
  const env = { ...process.env, OPENAI_BASE_URL: `${origin}/v1`, OPENAI_API_KEY: key, UPSTREAM: new URL(upstream).origin };
  const node = await passes(process.execPath, ['--test', '--test-reporter=spec', `${here}openai.test.js`], env);
  const python = await passes(PYTHON, ['-B', '-m', 'unittest', '-v', 'openai_test'], env);
  failed = !(node && python);
} finally {
  await stop();
}
process.exitCode = failed ? 1 : 0;

async function passes(command, args, env) {
  const child = spawn(command, args, { cwd: here, env, stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  return code === 0;
}
