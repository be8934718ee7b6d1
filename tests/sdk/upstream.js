// A model server whose models are the ways in which real ones answer; it remembers what it was asked.

import http from 'node:http';

const USAGE = { prompt_tokens: 7, completion_tokens: 2, total_tokens: 9 };
const CALL = { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Ulm"}' } };
const refusal = (message, type, code) => JSON.stringify({ error: { message, type, param: null, code } });

/** Statuses that are refusals, each with OpenAI's kind of error. */
const REFUSALS = {
  400: refusal('bad request', 'invalid_request_error', null),
  401: refusal('bad key', 'invalid_request_error', 'invalid_api_key'),
  403: refusal('not allowed', 'permission_error', null),
  404: refusal('no such model', 'invalid_request_error', 'model_not_found'),
  409: refusal('conflict', 'invalid_request_error', null),
  422: JSON.stringify({ detail: [{ loc: ['n'], msg: 'too many' }] }),
  429: refusal('slow down', 'tokens', 'rate_limit_exceeded'),
  500: refusal('it broke', 'server_error', null),
};

/** How a stream goes on behind its text when it does not end well, and then it closes. */
const OVERLOADED = { message: 'overloaded', type: 'server_error', code: 503 };
const event = (data) => `data: ${JSON.stringify(data)}\n\n`;
const BREAKS = {
  truncated: ': nothing more\n\n',
  'truncated-hard': ': nothing more\n\n',
  'error-mid': event({ error: OVERLOADED }),
  'error-mid-done': `${event({ error: OVERLOADED })}data: [DONE]\n\n`,
  'error-event': `event: error\n${event({ message: 'overloaded' })}`,
  'error-string': event({ error: 'overloaded' }),
  'error-chunk': event({ id: 'c', choices: [{ index: 0, delta: { content: '' }, finish_reason: 'error' }], error: OVERLOADED }),
  // These end well.
  'ends-without-done': event({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }),
  'ends-without-reason': 'data: [DONE]\n\n',
  'ends-after-nonsense': 'data: {"choices": [\n\ndata: [DONE]\n\n',
};

/** Resolves with its URL, `http://127.0.0.1:PORT/v1`. `GET /asked?MODEL` tells how often that was asked and how many of its clients left. */
export async function startUpstream() {
  const asked = new Map();
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const url = new URL(request.url, 'http://upstream');
    if (url.pathname === '/asked') return json(response, 200, asked.get(url.search.slice(1)) ?? { times: 0, left: 0 });
    if (url.pathname === '/v1/models') return json(response, 200, { data: [{ id: 'hello' }, { id: 'org/tools' }] });
    const body = JSON.parse(Buffer.concat(chunks).toString());
    const record = asked.get(body.model) ?? { times: 0, left: 0 };
    const now = { ...record, times: record.times + 1, at: [...(record.at ?? []), Date.now()], last: body };
    asked.set(body.model, now);
    response.on('finish', () => {
      now.retryAfter ??= response.getHeader('Retry-After');
    });
    response.on('close', () => {
      if (!response.writableFinished) asked.get(body.model).left += 1;
    });
    await answer(body, record.times, response);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/v1`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

async function answer({ model, messages, stream, stream_options: options, n = 1 }, before, response) {
  if (!Array.isArray(messages) || ![...messages, options ?? {}].every(isObject)) return refuse(response, 400);
  const [kind, number] = model.split('-');
  if (REFUSALS[kind] && (!['once', 'soon'].includes(number) || before === 0)) return refuse(response, Number(kind), number);
  const instead = {
    html: () => refuse(response, 502),
    page: () => response.writeHead(200, { 'Content-Type': 'text/html' }).end('<html>hello</html>'),
    empty: () => response.end(),
    never: () => {},
    // Neither a length nor chunks: its end is that of the connection.
    unframed: () => response.socket.end('HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {"choices": []}\n\ndata: [DONE]\n\n'),
    'error-json': () => json(response, 200, { error: { message: 'no credits', code: 402 } }),
    'error-json-sse': () => json(response, 200, { error: { message: 'no credits', code: 402 } }, 'text/event-stream'),
    'error-text': () => json(response, 200, { error: 'overloaded' }),
  };
  if (instead[model]) return instead[model]();
  if (kind === 'never') return instead.never();
  if (kind === 'whole' || !stream) {
    const message = { role: 'assistant', ...(kind === 'tools' ? { content: null, tool_calls: [CALL] } : { content: 'Hello' }) };
    const choices = Array.from({ length: n }, (_, index) => ({ index, message, finish_reason: kind === 'tools' ? 'tool_calls' : 'stop' }));
    if (kind === 'truncated') {
      response.writeHead(200, { 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' });
      return response.end('{"choices": [{"mess');
    }
    return json(response, 200, { id: 'c', object: 'chat.completion', created: 1, model, choices, usage: USAGE, timings: { ms: 1.5 } });
  }
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  const send = (data) => response.write(`data: ${JSON.stringify(data)}\n\n`);
  const chunk = (choices, more) => send({ id: 'c', object: 'chat.completion.chunk', created: 1, model, choices, timings: { ms: 1.5 }, ...more });
  const delta = (fields, finish = null, index = 0) => chunk([{ index, delta: fields, finish_reason: finish }]);
  if (model === 'error-sse') {
    response.write(': working on it\n\n');
    send({ error: OVERLOADED });
    return response.end();
  }
  // As Azure begins.
  if (model.endsWith('-azure')) chunk([], { prompt_filter_results: [] });
  // OpenAI's client for Python puts no choices together whose first is not the first.
  for (let index = 0; index < n; index += 1) delta({ role: 'assistant', content: '' }, null, index);
  if (kind === 'tools') {
    delta({ tool_calls: [{ index: 0, ...CALL, function: { name: 'weather', arguments: '' } }] });
    for (const part of ['{"city"', ':"Ulm"}']) delta({ tool_calls: [{ index: 0, function: { arguments: part } }] });
  } else {
    const pieces = kind === 'count' ? Array.from({ length: Number(number) }, (_, at) => ` ${at}`) : ['Hel', 'lo'];
    for (const content of pieces) {
      if (response.destroyed) return;
      for (let index = n - 1; index >= 0; index -= 1) delta({ content }, null, index);
      if (kind === 'count') await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }
  if (kind === 'stall') return;
  const broken = BREAKS[model];
  if (broken !== undefined) return response.write(broken, () => (model === 'truncated-hard' ? response.destroy() : response.end()));
  for (let index = n - 1; index >= 0; index -= 1) delta({}, kind === 'tools' ? 'tool_calls' : 'stop', index);
  if (options?.include_usage) chunk([], { usage: USAGE });
  response.end('data: [DONE]\n\n');
}

function isObject(value) {
  return value !== null && typeof value === 'object' && !Array.isArray(value);
}

function refuse(response, status, number) {
  const headers = { 'Content-Type': 'application/json', 'x-ratelimit-remaining-tokens': '0' };
  // The date of RFC 9110, in whole seconds.
  const date = { date: 90_000, soon: 3_000 }[number];
  if (date) response.setHeader('Retry-After', new Date(Date.now() + date).toUTCString());
  else if (status === 429) Object.assign(headers, { 'Retry-After': '1', 'retry-after-ms': '20', 'x-ratelimit-reset-tokens': '6m0s' });
  if (status === 502) headers['Content-Type'] = 'text/html';
  response.writeHead(status, headers);
  response.end(REFUSALS[status] ?? '<html><h1>502 Bad Gateway</h1></html>');
}

function json(response, status, body, type = 'application/json') {
  response.writeHead(status, { 'Content-Type': type });
  response.end(JSON.stringify(body));
}
