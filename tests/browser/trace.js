// What a page cost its processor.

import assert from 'node:assert/strict';

/** Runs `act` and returns the longest task of the page meanwhile, in milliseconds of processor time: what else the machine does is not counted. */
export async function longestTask(page, act) {
  const client = await page.context().newCDPSession(page);
  const events = [];
  client.on('Tracing.dataCollected', ({ value }) => events.push(...value));
  await client.send('Tracing.start', { transferMode: 'ReportEvents', traceConfig: { includedCategories: ['toplevel', 'disabled-by-default-devtools.timeline', '__metadata'] } });
  await act();
  const complete = new Promise((resolve) => client.once('Tracing.tracingComplete', resolve));
  await client.send('Tracing.end');
  await complete;
  await client.detach();
  const main = new Set(events.filter(({ name, args }) => name === 'thread_name' && args.name === 'CrRendererMain').map(({ pid, tid }) => `${pid} ${tid}`));
  const tasks = events.filter(({ name, tdur, pid, tid }) => /RunTask$/.test(name) && tdur && main.has(`${pid} ${tid}`));
  assert.ok(tasks.length > 10, 'the trace shows tasks');
  return Math.max(...tasks.map(({ tdur }) => tdur)) / 1000;
}
