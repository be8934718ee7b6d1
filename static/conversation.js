// The state of the open conversation: what the server told of it, page by page, and the answer that is being followed.
// Requests and events come in here; views are told what changed, and change nothing by themselves.

import { request } from './api.js';
import { follow } from './stream.js';

const PAGE = 40;

export class Conversation {
  /** The conversation as in lists; null until it was read. */
  about = null;
  /** One branch, oldest first; `earlier`: there are more above it on the server. */
  messages = [];
  earlier = false;
  /** The answer that is followed: `{ id, message, leave }`. */
  running = null;
  #ended = new Set(); // Generations seen to their end: an older reading must not revive them.
  #left = false;
  #readings = 0;
  #turns = 0;

  /**
   * `told.shown()`: messages, branch or settings are others now; `told.event(message, name, data)`: an answer grew, or `done`;
   * `told.link(message, trouble)`: its connection is in trouble (`true` or a problem) or well (`null`); `told.signedOut()`.
   */
  constructor(id, told) {
    this.id = id;
    this.told = told;
    this.path = `/api/conversations/${encodeURIComponent(id)}`;
  }

  get leaf() {
    return this.messages.at(-1);
  }

  /** A new one, as the server made it. */
  begin(made) {
    this.about = made;
    this.told.shown();
  }

  /** Reads the end of the branch again: the head's, or the one through a message. What is being followed goes on undisturbed. */
  async read(through) {
    const mine = ++this.#readings;
    const turns = this.#turns;
    const page = await this.#page(through && { through });
    if (this.#left || mine !== this.#readings) return;
    if (turns !== this.#turns) return void (await this.read(through)); // It may be from before the last question.
    const { messages, generation, earlier, leaf_id: _, ...about } = page;
    const known = new Map(this.messages.map((message) => [message.id, message]));
    const join = this.messages.findIndex(({ id }) => id === messages[0]?.id);
    if (join < 1) this.earlier = earlier;
    this.about = about;
    this.messages = [...this.messages.slice(0, Math.max(join, 0)), ...messages.map((fresh) => this.#newer(known.get(fresh.id), fresh))];
    if (generation) this.#follow(generation);
    else if (this.running && !this.messages.includes(this.running.message)) this.#drop();
    this.told.shown();
  }

  /** Reads the page above the first message. */
  async readEarlier() {
    const [first] = this.messages;
    const page = await this.#page({ before: first.id });
    if (this.#left || this.messages[0] !== first) return;
    this.messages = [...page.messages, ...this.messages];
    this.earlier = page.earlier;
    this.told.shown();
  }

  /** Shows the branch through this message, in every tab from now on. */
  async turnTo(messageId) {
    await this.read(messageId);
    if (this.#left) return;
    this.about.head_id = this.leaf.id;
    await request('PATCH', this.path, { body: { head_id: this.leaf.id } });
  }

  /** Asks below `parent` (null: a new beginning); returns when the server has accepted it. */
  async ask(content, { once, parent }) {
    const turn = await request('POST', `${this.path}/messages`, { body: { content, parent_id: parent }, once });
    if (this.#left) return;
    this.#turns++;
    const { user_message_id: asked, message_id: answer, generation_id: generation } = turn;
    this.about.head_id = answer;
    if (this.messages.some(({ id }) => id === answer)) return;
    if ((this.leaf?.id ?? null) !== parent) return void (await this.read()); // A branch begins, or this is an answer from before.
    this.messages.push(
      { id: asked, parent_id: parent, role: 'user', content, status: 'completed' },
      { id: answer, parent_id: asked, role: 'assistant', content: '', status: 'streaming', generation_id: generation },
    );
    this.#follow({ id: generation, seq: 0 });
    this.told.shown();
  }

  /** `regenerate`: another answer beside this one; `continue`: the rest of this one. */
  async askAgain(message, how, once) {
    await request('POST', `/api/messages/${message.id}/${how}`, { once });
    if (!this.#left) await this.read(how === 'continue' ? message.id : undefined);
  }

  /** Ends the answer that is followed. */
  stop() {
    return request('POST', `/api/generations/${this.running.id}/stop`);
  }

  /** Only if nobody changed it since that version. */
  async change(body, version) {
    this.hear('conversation', await request('PATCH', this.path, { body, version }));
  }

  /** What the feed says of this conversation. True when it has to be read again. */
  hear(name, data) {
    if (name === 'generation') {
      const isNew = data.status === 'running' && data.id !== this.running?.id && !this.#ended.has(data.id);
      return isNew || (data.status !== 'running' && !this.running && this.leaf?.status === 'streaming');
    }
    if (!this.about) return false;
    const { messages: _, generation: __, ...about } = data;
    Object.assign(this.about, about);
    this.told.shown();
    return about.head_id && !this.messages.some(({ id }) => id === about.head_id);
  }

  leave() {
    this.#left = true;
    this.#drop();
  }

  /** After `leave`. */
  comeBack() {
    this.#left = false;
  }

  #page(where) {
    return request('GET', `${this.path}?${new URLSearchParams({ limit: PAGE, blocks: 1, ...where })}`);
  }

  /** The message as we know it, unless the server knows more: a view that shows it is left alone then. */
  #newer(known, fresh) {
    if (!known) return fresh;
    const isOlder = fresh.status === 'streaming' && this.#ended.has(fresh.generation_id);
    const isSame = ['status', 'content', 'reasoning'].every((field) => known[field] === fresh[field]);
    if (isSame) Object.assign(known, { usage: fresh.usage, timings: fresh.timings, model: fresh.model });
    else if (!isOlder && this.running?.message !== known) return fresh;
    known.siblings = fresh.siblings;
    return known;
  }

  #follow({ id, seq }) {
    if (this.running?.id === id || this.#ended.has(id)) return;
    this.#drop();
    const message = this.messages.findLast((candidate) => candidate.generation_id === id);
    if (!message) return; // It is written on another branch.
    const trail = { seq, reconnects: 0, replayed: 0 };
    message.trail = trail;
    let lost;
    const over = () => {
      this.#ended.add(id);
      if (this.running?.id === id) this.running = null;
    };
    const leave = follow({
      kind: 'answer',
      path: `/api/generations/${id}/events`,
      canPoll: true,
      position: () => trail.seq,
      deliver: (name, data, position) => {
        const at = position && Number(position);
        if (name === 'gap') lost = data.seq; // The snapshot behind it, which has no position of its own, stands there.
        if (name === 'gap' || (at <= trail.seq && name !== 'snapshot' && name !== 'done')) return false;
        trail.seq = at ?? lost ?? trail.seq;
        apply(message, name, data);
        if (name === 'done') over();
        this.told.event(message, name, data);
        return name === 'done';
      },
      back: (waited) => {
        trail.reconnects++;
        trail.replayed += waited;
      },
      trouble: (what) => this.told.link(message, what),
      end: (status) => {
        over();
        this.told.link(message, null);
        if (status === 401) this.told.signedOut();
        else this.read().catch(() => {}); // It ended while nobody listened.
      },
    });
    this.running = { id, message, leave };
  }

  #drop() {
    this.running?.leave();
    this.running = null;
  }
}

/** What an event of its generation says of a message. */
function apply(message, name, data) {
  const { trail } = message;
  if (/^(delta|tool_calls|done)$/.test(name) && trail.thinking) trail.thought ??= performance.now() - trail.thinking;
  if (name === 'started') message.model = data.model ?? message.model;
  else if (name === 'reasoning') {
    if (!message.reasoning) trail.thinking = performance.now();
    message.reasoning = (message.reasoning ?? '') + data.text;
  } else if (name === 'delta') message.content += data.text;
  else if (name === 'tool_calls') data.tool_calls.forEach((fragment) => addFragment((message.tool_calls ??= []), fragment));
  else if (name === 'snapshot') {
    Object.assign(message, { content: data.text, reasoning: data.reasoning || undefined, tool_calls: data.tool_calls });
  } else if (name === 'done') {
    const { outcome, ...rest } = data;
    Object.assign(message, rest, { status: outcome });
  }
}

const CALLS = 1024; // More of one answer the server does not keep either.

/** What is said of a tool call in pieces belongs together. */
function addFragment(calls, { index, function: part = {} }) {
  if (index >= CALLS) return;
  while (calls.length <= index) calls.push({});
  const whole = (calls[index].function ??= {});
  for (const key of ['name', 'arguments']) whole[key] = (whole[key] ?? '') + (part[key] ?? '');
}
