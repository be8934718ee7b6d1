// OpenAI's own client for JavaScript against a running server: everything that it can be told, and what it makes of it.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import OpenAI from 'openai';

const limit = { timeout: 60_000 };
const client = new OpenAI({ maxRetries: 0 });
const messages = [{ role: 'user', content: 'hi' }];
const ask = (model, more = {}, options = {}) => client.chat.completions.create({ model, messages, ...more }, options);
const stream = (model, more = {}, options = {}) => ask(model, { stream: true, ...more }, options);
const asked = async (model) => (await fetch(`${process.env.UPSTREAM}/asked?${model}`)).json();

async function text(chunks) {
  let all = '';
  for await (const chunk of chunks) all += chunk.choices[0]?.delta?.content ?? '';
  return all;
}

/** Waits for what the model server sees. */
async function until(fact) {
  while (!(await fact())) await new Promise((resolve) => setImmediate(resolve));
}

test('a stream says the same as a whole answer', limit, async () => {
  assert.equal(await text(await stream('hello')), 'Hello');
  const whole = await ask('hello');
  assert.equal(whole.choices[0].message.content, 'Hello');
  assert.deepEqual(whole.timings, { ms: 1.5 }, 'fields that nobody knows are kept');
  assert.equal(whole.usage.total_tokens, 9);
});

test('the usage comes to those who ask', limit, async () => {
  const usages = async (more) => {
    const found = [];
    for await (const chunk of await stream('hello', more)) if (chunk.usage) found.push(chunk.usage.total_tokens);
    return found;
  };
  assert.deepEqual(await usages({ stream_options: { include_usage: true } }), [9]);
  assert.deepEqual(await usages({}), []);
});

test('two choices and tool calls in fragments are put together', limit, async () => {
  const two = await client.chat.completions.stream({ model: 'hello', messages, n: 2 }).finalChatCompletion();
  assert.deepEqual(two.choices.map(({ message }) => message.content), ['Hello', 'Hello']);
  for (const call of [
    (await client.chat.completions.stream({ model: 'tools', messages }).finalChatCompletion()).choices[0],
    (await ask('tools')).choices[0],
  ]) {
    assert.equal(call.finish_reason, 'tool_calls');
    assert.deepEqual(JSON.parse(call.message.tool_calls[0].function.arguments), { city: 'Ulm' });
  }
});

test('a whole answer to a streamed request is read', limit, async () => {
  assert.equal(await text(await stream('whole')), 'Hello');
});

test('the models are listed and found', limit, async () => {
  const list = await client.models.list();
  assert.deepEqual(list.data.map(({ id }) => id), ['hello', 'org/tools']);
  assert.equal((await client.models.retrieve('hello')).id, 'hello');
  await assert.rejects(client.models.retrieve('nobody'), OpenAI.NotFoundError);
});

test('a refusal of the model server is the error of its status', limit, async () => {
  for (const [model, kind] of [
    ['400', OpenAI.BadRequestError],
    ['401', OpenAI.AuthenticationError],
    ['403', OpenAI.PermissionDeniedError],
    ['404', OpenAI.NotFoundError],
    ['409', OpenAI.ConflictError],
    ['422', OpenAI.UnprocessableEntityError],
    ['429', OpenAI.RateLimitError],
    ['500', OpenAI.InternalServerError],
    ['html', OpenAI.InternalServerError],
    ['page', OpenAI.InternalServerError],
    ['empty', OpenAI.InternalServerError],
    ['unframed', OpenAI.InternalServerError],
    ['error-text', OpenAI.InternalServerError],
  ]) {
    for (const way of [ask, stream]) {
      const error = await way(model).catch((error) => error);
      assert.ok(error instanceof kind, `${model}: ${error}`);
      assert.match(error.requestID, /^[0-9a-f-]{36}$/);
    }
  }
  const { headers, code } = await ask('429').catch((error) => error);
  assert.equal(code, 'rate_limit_exceeded');
  assert.deepEqual(
    ['retry-after', 'retry-after-ms', 'x-ratelimit-remaining-tokens', 'x-ratelimit-reset-tokens'].map((name) => headers.get(name)),
    ['1', '20', '0', '6m0s'],
  );
});

test('an error in a 200 is an error', limit, async () => {
  for (const way of [ask, stream]) {
    for (const model of ['error-json', 'error-json-sse']) {
      await assert.rejects(way(model), (error) => error.status === 402 && /no credits/.test(error.message));
    }
  }
  await assert.rejects(stream('error-sse'), (error) => error.status === 503 && /overloaded/.test(error.message));
  await assert.rejects(ask('truncated'), OpenAI.InternalServerError);
});

test('a stream that breaks is an error and never an end', limit, async () => {
  for (const [model, words] of [
    ['truncated', /before the answer was done/],
    ['truncated-hard', /before the answer was done/],
    ['stall', /./],
    ['error-mid', /overloaded/],
    ['error-mid-done', /overloaded/],
    ['error-event', /overloaded/],
    ['error-string', /./],
    ['error-chunk', /overloaded/],
  ]) {
    let all = '';
    const read = async () => {
      for await (const chunk of await stream(model)) all += chunk.choices[0]?.delta?.content ?? '';
    };
    await assert.rejects(read, (error) => error instanceof OpenAI.APIError && words.test(error.message), model);
    assert.equal(all, 'Hello', model);
  }
});

test('an end is an end, however little is said of it', limit, async () => {
  for (const model of ['ends-without-done', 'ends-without-reason', 'ends-after-nonsense']) {
    assert.equal(await text(await stream(model)), 'Hello', model);
  }
});

test('a request passes as it is, images included', limit, async () => {
  const image = { type: 'image_url', image_url: { url: `data:image/png;base64,${'iVBORw0K'.repeat(800_000)}`, detail: 'low' } };
  const request = {
    messages: [{ role: 'developer', content: 'Be brief.' }, { role: 'user', content: [{ type: 'text', text: 'What is it?' }, image] }],
    tools: [{ type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: {} }, strict: true } }],
    tool_choice: 'auto',
    response_format: { type: 'json_object' },
    logit_bias: { 50256: -100 },
    temperature: 0.1,
    seed: 7,
    user: 'u\r\nx-injected: 1',
    nobody_knows: { a: [1.5, null] },
  };
  await ask('whole-js', request);
  assert.deepEqual((await asked('whole-js')).last, { model: 'whole-js', ...request });
  await text(await stream('whole-js', request));
  assert.deepEqual((await asked('whole-js')).last, { model: 'whole-js', ...request, stream: true, stream_options: { include_usage: true } });
});

test('a repeat with the same key is the same answer', limit, async () => {
  for (const way of [ask, async (...args) => text(await stream(...args))]) {
    const headers = { 'Idempotency-Key': randomUUID() };
    const first = await way('hello-repeated-js', {}, { headers });
    assert.deepEqual(await way('hello-repeated-js', {}, { headers }), first);
    await assert.rejects(way('hello-repeated-js', { n: 2 }, { headers }), OpenAI.UnprocessableEntityError);
  }
  assert.equal((await asked('hello-repeated-js')).times, 2);
});

test('an exchange that is to be stored is a conversation', limit, async () => {
  const api = async (path) => {
    const response = await fetch(new URL(`/api/${path}`, client.baseURL), { headers: { Authorization: `Bearer ${client.apiKey}` } });
    return response.json();
  };
  for (const [title, way] of Object.entries({ 'Kept whole?': ask, 'Kept in parts?': async (...args) => text(await stream(...args)) })) {
    await way('hello', { store: true, messages: [{ role: 'user', content: title }] });
    const { items } = await api(`conversations?q=${encodeURIComponent(title)}`);
    assert.deepEqual(items.map((conversation) => conversation.title), [title]);
    const { messages: said } = await api(`conversations/${items[0].id}`);
    assert.deepEqual(said.map(({ content }) => content), [title, 'Hello']);
  }
  assert.equal((await asked('hello')).last.store, undefined);
});

test('a wrong key is an authentication error', limit, async () => {
  const stranger = new OpenAI({ apiKey: 'wrong', maxRetries: 0 });
  const error = await stranger.chat.completions.create({ model: 'hello', messages }).catch((error) => error);
  assert.ok(error instanceof OpenAI.AuthenticationError);
  assert.equal(error.code, 'invalid_api_key');
});

test('what is no request is refused in words', limit, async () => {
  await assert.rejects(ask(7), (error) => error instanceof OpenAI.UnprocessableEntityError && error.param === 'model');
  const large = [{ role: 'user', content: 'x'.repeat(9 << 20) }];
  await assert.rejects(ask('hello', { messages: large }), (error) => error.status === 413);
});

test('a refusal that passes is retried by the client', limit, async () => {
  const patient = new OpenAI({ maxRetries: 2 });
  for (const model of ['429-once', '500-once']) {
    const answer = await patient.chat.completions.create({ model, messages, stream: true });
    assert.equal(await text(answer), 'Hello');
    assert.equal((await asked(model)).times, 2, model);
  }
});

test('a date to come back at passes as it is and is waited for', limit, async () => {
  const error = await ask('429-date').catch((error) => error);
  assert.ok(error instanceof OpenAI.RateLimitError);
  assert.equal(error.headers.get('retry-after'), (await asked('429-date')).retryAfter);
  const patient = new OpenAI({ maxRetries: 1 });
  assert.equal(await text(await patient.chat.completions.create({ model: '429-soon', messages, stream: true })), 'Hello');
  const { at, retryAfter } = await asked('429-soon');
  assert.equal(at.length, 2);
  assert.ok(at[1] > Date.parse(retryAfter) - 100, `${at} ${retryAfter}`);
});

test('an abort closes the connection to the model server', limit, async () => {
  const running = await stream('stall-js');
  for await (const chunk of running) if (chunk.choices[0].delta.content) break;
  await until(async () => (await asked('stall-js')).left === 1);
  const controller = new AbortController();
  const waiting = stream('never-js', {}, { signal: controller.signal });
  await until(async () => (await asked('never-js')).times === 1);
  controller.abort();
  await assert.rejects(waiting, OpenAI.APIUserAbortError);
  await until(async () => (await asked('never-js')).left === 1);
});

test('a client that waits no longer closes the connection to the model server', limit, async () => {
  await assert.rejects(ask('never-js-late', {}, { timeout: 300 }), OpenAI.APIConnectionTimeoutError);
  await until(async () => (await asked('never-js-late')).left === 1);
});

test('a broken stream goes on at its location', limit, async () => {
  const { data, response } = await stream('count-60', {}, { headers: { 'x-continuo-detach': 'true' } }).withResponse();
  let all = '';
  let last = 0;
  for await (const chunk of data) {
    last += 1;
    all += chunk.choices[0].delta.content;
    if (last === 20) break;
  }
  const url = new URL(response.headers.get('location'), process.env.OPENAI_BASE_URL);
  const rest = await client.get(url.href, { stream: true, headers: { 'Last-Event-ID': `${last}` } });
  all += await text(rest);
  assert.equal(all, Array.from({ length: 60 }, (_, at) => ` ${at}`).join(''));
});
