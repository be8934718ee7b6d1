// A model server that says what a test has taught it, piece by piece; everything else is answered by the demo model.

import http from 'node:http';

/** `demo`: the demo model's address, `http://127.0.0.1:PORT`. */
export async function startUpstream(demo) {
  const lessons = new Map();
  const asked = [];
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    const prompt = request.method === 'POST' ? read(body) : {};
    const { messages = [] } = prompt;
    asked.push(prompt);
    const lesson = lessons.get(messages.findLast(({ role }) => role === 'user')?.content);
    if (lesson) return recite(lesson, messages, response);
    const { host: _, ...headers } = request.headers;
    const forward = http.request(demo + request.url, { method: request.method, headers }, (answer) => {
      response.writeHead(answer.statusCode, answer.headers);
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    });
    forward.on('error', () => response.destroy());
    response.on('close', () => forward.destroy());
    forward.end(body);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${server.address().port}/v1`,
    /**
     * What is answered to this question: pieces of text or whole deltas, `pause` milliseconds between them. Before the piece `until.at` it waits for
     * the promise `until.open`. `pieces` is anything that can be iterated, or makes that of the messages that the model is given.
     * Returns a promise that says, when the answer is over, whether its reader left before.
     */
    teach(question, pieces, { pause = 0, until } = {}) {
      return new Promise((over) => lessons.set(question, { pieces, pause, until, over }));
    },
    /** The bodies of what was asked of the model, in order. */
    asked,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function read(body) {
  try {
    return JSON.parse(body);
  } catch {
    return {};
  }
}

async function recite({ pieces, pause, until, over }, messages, response) {
  response.on('close', () => over(!response.writableFinished));
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  const say = (choice) => response.write(`data: ${JSON.stringify({ choices: [{ index: 0, finish_reason: null, ...choice }] })}\n\n`);
  let index = 0;
  for await (const piece of typeof pieces === 'function' ? pieces(messages) : pieces) {
    if (until?.at === index++) await until.open;
    if (pause) await new Promise((resolve) => setTimeout(resolve, pause));
    if (response.destroyed) return;
    say({ delta: typeof piece === 'string' ? { content: piece } : piece });
  }
  say({ delta: {}, finish_reason: 'stop' });
  response.end('data: [DONE]\n\n');
}
