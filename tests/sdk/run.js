// Runs the suites of both clients against one server and one model server of their own: `node run.js PYTHON`.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { startUpstream } from './upstream.js';

const here = path.dirname(fileURLToPath(import.meta.url));
const BINARY = process.env.CONTINUO_BIN ?? path.join(here, '../../target/debug/continuo');
const PYTHON = process.argv[2] ?? path.join(here, '../../target/sdk-venv/bin/python');

const upstream = await startUpstream();
const directory = await mkdtemp(path.join(os.tmpdir(), 'continuo-sdk-'));
const server = spawn(BINARY, ['--bind', '127.0.0.1:0', '--data-dir', directory, '--upstream-url', upstream.url], {
  env: { PATH: process.env.PATH, RUST_LOG: 'error', CONTINUO__UPSTREAM__SILENCE_SECONDS: '2' },
  stdio: ['ignore', 'pipe', 'inherit'],
});
let failed = true;
try {
  const origin = await listening();
  const key = await newKey();
  const env = { ...process.env, OPENAI_BASE_URL: `${origin}/v1`, OPENAI_API_KEY: key, UPSTREAM: new URL(upstream.url).origin };
  const node = await passes(process.execPath, ['--test', '--test-reporter=spec', path.join(here, 'openai.test.js')], env);
  const python = await passes(PYTHON, ['-B', '-m', 'unittest', '-v', 'openai_test'], env);
  failed = !(node && python);
} finally {
  server.kill();
  if (server.exitCode === null) await once(server, 'exit');
  upstream.close();
  rmSync(directory, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;

async function listening() {
  for await (const line of createInterface(server.stdout)) {
    const origin = /listening on (http:\S+)/.exec(line)?.[1];
    if (origin) return origin;
  }
  throw new Error('the server did not start');
}

async function newKey() {
  const child = spawn(BINARY, ['key', 'add', 'sdk', '--data-dir', directory], { stdio: ['ignore', 'pipe', 'inherit'] });
  for await (const line of createInterface(child.stdout)) {
    const key = /continuo-[0-9a-f]{64}/.exec(line)?.[0];
    if (key) return key;
  }
  throw new Error('`continuo key add` printed no key');
}

async function passes(command, args, env) {
  const child = spawn(command, args, { cwd: here, env, stdio: 'inherit' });
  const [code] = await once(child, 'exit');
  return code === 0;
}
