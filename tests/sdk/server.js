// A server with a model server and a directory of its own, and the key of an operator.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { startUpstream } from './upstream.js';

const BINARY = process.env.CONTINUO_BIN ?? fileURLToPath(new URL('../../target/debug/continuo', import.meta.url));

/** Whoever starts it stops it. `settings` are configuration keys, as the environment has them. */
export async function startServer(settings = {}) {
  const upstream = await startUpstream();
  const directory = await mkdtemp(path.join(os.tmpdir(), 'continuo-'));
  const server = spawn(BINARY, ['--bind', '127.0.0.1:0', '--data-dir', directory, '--upstream-url', upstream.url], {
    env: { PATH: process.env.PATH, RUST_LOG: 'error,actix_http=off', CONTINUO__UPSTREAM__SILENCE_SECONDS: '2', ...settings },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const stop = async () => {
    server.kill();
    if (server.exitCode === null && server.signalCode === null) await once(server, 'exit');
    upstream.close();
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const origin = await firstMatch(server, /listening on (http:\/\/[^/\s]+)/);
    const adding = spawn(BINARY, ['key', 'add', 'test', '--data-dir', directory], { stdio: ['ignore', 'pipe', 'inherit'] });
    const key = await firstMatch(adding, /(continuo-[0-9a-f]{64})/);
    return { origin, key, directory, upstream: upstream.url, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function firstMatch(child, pattern) {
  for await (const line of createInterface(child.stdout)) {
    const found = pattern.exec(line)?.[1];
    if (found) return found;
  }
  throw new Error(`${path.basename(child.spawnfile)} printed no line like ${pattern}`);
}
