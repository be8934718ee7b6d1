import sys, openai
from openai.types.chat import ChatCompletionChunk as Chunk

client, seen = openai.OpenAI(), 0  # OPENAI_BASE_URL=http://127.0.0.1:8080/v1, OPENAI_API_KEY
started = client.chat.completions.with_raw_response.create(
    model=sys.argv[1], messages=[{"role": "user", "content": sys.argv[2]}], stream=True,
    extra_headers={"x-continuo-detach": "true"})  # Goes on without us.
url, chunks = str(client.base_url.join(started.headers["location"])), started.parse()
while True:
    try:
        chunks = chunks or client.get(f"{url}?after={seen}", cast_to=Chunk, stream=True, stream_cls=openai.Stream[Chunk])
        for seen, chunk in enumerate(chunks, seen + 1):  # A position is the number of chunks so far.
            print(chunk.choices[0].delta.content or "" if chunk.choices else "", end="", flush=True)
        break
    except openai.APIConnectionError:
        chunks = None  # The network, or the server, is away.
