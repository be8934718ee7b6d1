"""OpenAI's own client for Python against a running server: everything that it can be told, and what it makes of it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
import unittest
import urllib.parse
import urllib.request
import uuid
from email.utils import parsedate_to_datetime

import openai
from openai import AsyncOpenAI, OpenAI

MESSAGES = [{"role": "user", "content": "hi"}]


def asked(model):
    with urllib.request.urlopen(f"{os.environ['UPSTREAM']}/asked?{model}") as response:
        return json.load(response)


def until(fact):
    """Waits for what the model server sees."""
    deadline = time.monotonic() + 30
    while not fact():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come to that")


def text(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


class Cutting:
    """A way to the server on which each connection breaks after so many bytes of the answer, and the next few behind the first at once."""

    def __init__(self, port, after, away=0):
        self.to, self.after, self.away, self.connections = port, after, away, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def __enter__(self):
        threading.Thread(target=self.accept, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            if 1 < self.connections <= 1 + self.away:
                client.close()
                continue
            server = socket.create_connection(("127.0.0.1", self.to))
            threading.Thread(target=self.pump, args=(client, server, None), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, self.after), daemon=True).start()

    def pump(self, source, sink, limit):
        passed = 0
        try:
            while (data := source.recv(1024)) and (limit is None or passed < limit):
                passed += len(data)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        sink.close()


class Sdk(unittest.TestCase):
    def setUp(self):
        self.client = OpenAI(max_retries=0)
        self.addCleanup(self.client.close)

    def ask(self, model, **more):
        return self.client.chat.completions.create(model=model, messages=MESSAGES, **more)

    def stream(self, model, **more):
        return self.ask(model, stream=True, **more)

    def test_a_stream_says_the_same_as_a_whole_answer(self):
        self.assertEqual(text(self.stream("hello")), "Hello")
        whole = self.ask("hello")
        self.assertEqual(whole.choices[0].message.content, "Hello")
        self.assertEqual(whole.timings, {"ms": 1.5}, "fields that nobody knows are kept")
        self.assertEqual(whole.usage.total_tokens, 9)

    def test_an_asynchronous_client_reads_the_same(self):
        async def read():
            async with AsyncOpenAI(max_retries=0) as client:
                chunks = await client.chat.completions.create(model="hello", messages=MESSAGES, stream=True)
                return "".join([chunk.choices[0].delta.content or "" async for chunk in chunks])

        self.assertEqual(asyncio.run(read()), "Hello")

    def test_the_usage_comes_to_those_who_ask(self):
        def usages(**more):
            return [chunk.usage.total_tokens for chunk in self.stream("hello", **more) if chunk.usage]

        self.assertEqual(usages(stream_options={"include_usage": True}), [9])
        self.assertEqual(usages(), [])

    def test_two_choices_and_tool_calls_in_fragments_are_put_together(self):
        with self.client.chat.completions.stream(model="hello", messages=MESSAGES, n=2) as stream:
            two = stream.get_final_completion()
        self.assertEqual([choice.message.content for choice in two.choices], ["Hello", "Hello"])
        with self.client.chat.completions.stream(model="tools", messages=MESSAGES) as stream:
            streamed = stream.get_final_completion()
        for answer in [streamed, self.ask("tools")]:
            self.assertEqual(answer.choices[0].finish_reason, "tool_calls")
            call = answer.choices[0].message.tool_calls[0]
            self.assertEqual(json.loads(call.function.arguments), {"city": "Ulm"})

    def test_a_whole_answer_to_a_streamed_request_is_read(self):
        self.assertEqual(text(self.stream("whole")), "Hello")

    def test_the_models_are_listed_and_found(self):
        self.assertEqual([model.id for model in self.client.models.list()], ["hello", "org/tools"])
        self.assertEqual(self.client.models.retrieve("hello").id, "hello")
        self.assertEqual(self.client.models.retrieve("org/tools").id, "org/tools")
        with self.assertRaises(openai.NotFoundError):
            self.client.models.retrieve("nobody")

    def test_a_refusal_of_the_model_server_is_the_error_of_its_status(self):
        for model, kind in {
            "400": openai.BadRequestError,
            "401": openai.AuthenticationError,
            "403": openai.PermissionDeniedError,
            "404": openai.NotFoundError,
            "409": openai.ConflictError,
            "422": openai.UnprocessableEntityError,
            "429": openai.RateLimitError,
            "500": openai.InternalServerError,
            "html": openai.InternalServerError,
            "page": openai.InternalServerError,
            "empty": openai.InternalServerError,
            "unframed": openai.InternalServerError,
            "error-text": openai.InternalServerError,
        }.items():
            for way in [self.ask, self.stream]:
                with self.subTest(model=model, way=way.__name__), self.assertRaises(kind) as raised:
                    way(model)
                self.assertTrue(raised.exception.request_id)
        with self.assertRaises(openai.RateLimitError) as raised:
            self.ask("429")
        told = {"retry-after": "1", "retry-after-ms": "20", "x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "6m0s"}
        self.assertEqual({name: raised.exception.response.headers[name] for name in told}, told)
        self.assertEqual(raised.exception.code, "rate_limit_exceeded")

    def test_an_error_in_a_200_is_an_error(self):
        for way in [self.ask, self.stream]:
            for model in ["error-json", "error-json-sse"]:
                with self.assertRaisesRegex(openai.APIStatusError, "no credits") as raised:
                    way(model)
                self.assertEqual(raised.exception.status_code, 402)
        with self.assertRaisesRegex(openai.InternalServerError, "overloaded") as raised:
            self.stream("error-sse")
        self.assertEqual(raised.exception.status_code, 503)
        with self.assertRaises(openai.InternalServerError):
            self.ask("truncated")

    def test_a_stream_that_breaks_is_an_error_and_never_an_end(self):
        for model, words in {
            "truncated": "before the answer was done",
            "truncated-hard": "before the answer was done",
            "stall": ".",
            "error-mid": "overloaded",
            "error-mid-done": "overloaded",
            "error-event": "overloaded",
            "error-string": ".",
            "error-chunk": "overloaded",
        }.items():
            said = ""
            with self.subTest(model=model), self.assertRaisesRegex(openai.APIError, words):
                for chunk in self.stream(model):
                    said += chunk.choices[0].delta.content or ""
            self.assertEqual(said, "Hello", model)

    def test_an_end_is_an_end_however_little_is_said_of_it(self):
        for model in ["ends-without-done", "ends-without-reason", "ends-after-nonsense"]:
            self.assertEqual(text(self.stream(model)), "Hello", model)

    def test_a_request_passes_as_it_is_images_included(self):
        url = "data:image/png;base64," + "iVBORw0K" * 800_000
        image = {"type": "image_url", "image_url": {"url": url, "detail": "low"}}
        request = {
            "messages": [
                {"role": "developer", "content": "Be brief."},
                {"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]},
            ],
            "tools": [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}, "strict": True}}],
            "tool_choice": "auto",
            "response_format": {"type": "json_object"},
            "logit_bias": {"50256": -100},
            "temperature": 0.1,
            "seed": 7,
            "user": "u\r\nx-injected: 1",
        }
        extra = {"nobody_knows": {"a": [1.5, None]}}
        create = self.client.chat.completions.create
        create(model="whole-py", extra_body=extra, **request)
        self.assertEqual(asked("whole-py")["last"], {"model": "whole-py", **request, **extra})
        text(create(model="whole-py", extra_body=extra, stream=True, **request))
        streamed = {"stream": True, "stream_options": {"include_usage": True}}
        self.assertEqual(asked("whole-py")["last"], {"model": "whole-py", **request, **extra, **streamed})

    def test_a_repeat_with_the_same_key_is_the_same_answer(self):
        for way in [self.ask, lambda *args, **more: text(self.stream(*args, **more))]:
            once = {"Idempotency-Key": str(uuid.uuid4())}
            first = way("hello-repeated-py", extra_headers=once)
            self.assertEqual(way("hello-repeated-py", extra_headers=once), first)
            with self.assertRaises(openai.UnprocessableEntityError):
                way("hello-repeated-py", n=2, extra_headers=once)
        self.assertEqual(asked("hello-repeated-py")["times"], 2)

    def test_an_exchange_that_is_to_be_stored_is_a_conversation(self):
        create = self.client.chat.completions.create
        for title, way in {"Stored whole?": create, "Stored in parts?": lambda **more: text(create(stream=True, **more))}.items():
            way(model="hello", store=True, messages=[{"role": "user", "content": title}])
            found = self.api(f"conversations?q={urllib.parse.quote(title)}")["items"]
            self.assertEqual([conversation["title"] for conversation in found], [title])
            said = self.api(f"conversations/{found[0]['id']}")["messages"]
            self.assertEqual([message["content"] for message in said], [title, "Hello"])
        self.assertNotIn("store", asked("hello")["last"])

    def api(self, path):
        url = self.client.base_url.join(f"/api/{path}")
        request = urllib.request.Request(str(url), headers={"Authorization": f"Bearer {self.client.api_key}"})
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def test_a_wrong_key_is_an_authentication_error(self):
        with OpenAI(api_key="wrong", max_retries=0) as stranger:
            with self.assertRaises(openai.AuthenticationError) as raised:
                stranger.chat.completions.create(model="hello", messages=MESSAGES)
        self.assertEqual(raised.exception.code, "invalid_api_key")

    def test_what_is_no_request_is_refused_in_words(self):
        with self.assertRaises(openai.UnprocessableEntityError) as raised:
            self.ask(7)
        self.assertEqual(raised.exception.param, "model")
        with self.assertRaises(openai.APIStatusError) as raised:
            self.client.chat.completions.create(model="hello", messages=[{"role": "user", "content": "x" * (9 << 20)}])
        self.assertEqual(raised.exception.status_code, 413)

    def test_a_refusal_that_passes_is_retried_by_the_client(self):
        with OpenAI(max_retries=2) as patient:
            for model in ["429-once-py", "500-once-py"]:
                chunks = patient.chat.completions.create(model=model, messages=MESSAGES, stream=True)
                self.assertEqual(text(chunks), "Hello")
                self.assertEqual(asked(model)["times"], 2, model)

    def test_a_date_to_come_back_at_passes_as_it_is_and_is_waited_for(self):
        with self.assertRaises(openai.RateLimitError) as raised:
            self.ask("429-date-py")
        self.assertEqual(raised.exception.response.headers["retry-after"], asked("429-date-py")["retryAfter"])
        with OpenAI(max_retries=1) as patient:
            chunks = patient.chat.completions.create(model="429-soon-py", messages=MESSAGES, stream=True)
            self.assertEqual(text(chunks), "Hello")
        told = asked("429-soon-py")
        self.assertEqual(len(told["at"]), 2)
        self.assertGreater(told["at"][1], parsedate_to_datetime(told["retryAfter"]).timestamp() * 1000 - 100)

    def test_who_leaves_closes_the_connection_to_the_model_server(self):
        with self.stream("stall-py") as chunks:
            for chunk in chunks:
                if chunk.choices[0].delta.content:
                    break
        until(lambda: asked("stall-py")["left"] == 1)
        with self.assertRaises(openai.APITimeoutError):
            self.ask("never-py", timeout=0.3)
        until(lambda: asked("never-py")["left"] == 1)
        with self.assertRaises(openai.APITimeoutError):
            text(self.stream("stall-py-late", timeout=0.5))
        until(lambda: asked("stall-py-late")["left"] == 1)

    def test_the_client_of_the_readme_resumes_a_broken_stream(self):
        with open("resume.py") as script, open("../../README.md") as readme:
            self.assertIn(script.read(), readme.read())
        # Away for longer than the client tries by itself.
        with Cutting(self.client.base_url.port, after=3000, away=4) as proxy:
            env = {**os.environ, "OPENAI_BASE_URL": f"http://127.0.0.1:{proxy.port}/v1"}
            run = subprocess.run([sys.executable, "resume.py", "count-60-azure", "hi"], env=env, capture_output=True, text=True, timeout=60)
        self.assertEqual((run.stdout, run.stderr), ("".join(f" {at}" for at in range(60)), ""))
        self.assertGreater(proxy.connections, 7, "it was cut now and then")

    def test_many_at_once_get_their_own(self):
        answers = []

        def one():
            with OpenAI(max_retries=0) as client:
                answers.append(text(client.chat.completions.create(model="count-30", messages=MESSAGES, stream=True)))

        threads = [threading.Thread(target=one) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(answers, ["".join(f" {at}" for at in range(30))] * 6)


if __name__ == "__main__":
    unittest.main()
