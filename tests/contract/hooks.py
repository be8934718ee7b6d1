"""What schemathesis cannot make up: something of each kind that is there, and what no schema can say. Counts what was answered."""

import atexit
import collections
import itertools
import json
import os
import uuid

import requests
import schemathesis
from schemathesis.core.parameters import ParameterLocation as Location

ORIGIN, KEY = os.environ["ORIGIN"], os.environ["KEY"]
THEN, TO_COME = "2026-01-31T12:00:00Z", "2099-01-31T12:00:00Z"
STREAM, JSON = {"Accept": "text/event-stream"}, {"Accept": "application/json"}

operator = requests.Session()
operator.headers["Authorization"] = f"Bearer {KEY}"
numbers = itertools.count()
accepts = itertools.cycle([STREAM, JSON])
heads = {}
feeds = []
answers = collections.defaultdict(collections.Counter)


def post(path, body=None, headers=None):
    return fine(operator.post(ORIGIN + path, json=body, headers=headers, timeout=20))


def items(path):
    return fine(operator.get(ORIGIN + path, timeout=20)).json()["items"]


def fine(response):
    response.raise_for_status()
    return response


# Each makes one and gives its id.


def conversation():
    return imported("completed")["id"]


def answer(status):
    return imported(status)["head_id"]


def imported(status):
    question = {"id": "1", "role": "user", "content": "Hi", "status": "completed", "created_at": THEN}
    reply = {**question, "id": "2", "parent_id": "1", "role": "assistant", "content": "Hello", "status": status}
    file = {"format": "continuo.conversation", "format_version": 1, "created_at": THEN, "updated_at": THEN}
    made = post("/api/conversations/import", {**file, "messages": [question, reply]}).json()
    heads[made["id"]] = made["head_id"]
    return made


def deleted():
    made = conversation()
    fine(operator.delete(f"{ORIGIN}/api/conversations/{made}"))
    return made


def generation():
    """It has ended once its stream has."""
    return post(f"/api/messages/{answer('completed')}/regenerate", headers=STREAM).headers["Location"].split("/")[3]


def running():
    return post(f"/api/messages/{answer('completed')}/regenerate", {"model": "stall"}).json()["generation_id"]


def completion():
    body = {"model": "hello", "messages": [{"role": "user", "content": "Hi"}]}
    return post("/v1/chat/completions", body).headers["Location"].split("/")[3]


def key():
    return post("/api/keys", {"name": "key"}).json()["id"]


def user():
    return post("/api/operator/users", {"name": f"user {next(numbers)}"}).json()["id"]


def key_of_a_user():
    return post(f"/api/operator/users/{user()}/keys", {"name": "key"}).json()["id"]


def log_in(token):
    return fine(requests.post(f"{ORIGIN}/api/session", json={"token": token}, timeout=20))


def session():
    log_in(KEY)
    return items("/api/sessions")[0]["id"]


def session_of_a_user():
    made = user()
    log_in(post(f"/api/operator/users/{made}/login-link").json()["link"].split("=")[1])
    return items(f"/api/operator/users/{made}/sessions")[0]["id"]


def emitter():
    name = f"feed-{next(numbers)}"
    # The one before is closed as nobody has it any more.
    feeds[:] = [operator.get(f"{ORIGIN}/api/feed", headers={"X-Session-Id": name}, stream=True, timeout=20)]
    return items(f"/api/operator/emitters?session={name}")[0]["id"]


MAKE = {
    "/api/conversations/{id}": conversation,
    "/api/conversations/{id}/export": conversation,
    "/api/conversations/{id}/restore": deleted,
    "/api/conversations/{id}/messages": conversation,
    "/api/messages/{id}/regenerate": lambda: answer("completed"),
    "/api/messages/{id}/continue": lambda: answer("stopped"),
    "/api/generations/{id}": generation,
    "/api/generations/{id}/events": generation,
    "/api/generations/{id}/stop": running,
    "/v1/models/{id}": lambda: "hello",
    "/v1/generations/{id}": completion,
    "/v1/generations/{id}/events": completion,
    "/v1/generations/{id}/cancel": completion,
    "/api/keys/{id}": key,
    "/api/sessions/{id}": session,
    "/api/operator/users/{id}": user,
    "/api/operator/users/{id}/keys": user,
    "/api/operator/users/{id}/sessions": user,
    "/api/operator/users/{id}/login-link": user,
    "/api/operator/keys/{id}": key_of_a_user,
    "/api/operator/sessions/{id}": session_of_a_user,
    "/api/operator/emitters/{id}": emitter,
    "/api/operator/generations/{id}/stop": running,
}


@schemathesis.hook
def before_call(context, case, kwargs):
    """What is meant to be valid is made so; what is meant not to be stays as it is."""
    name = context.operation.definition.raw["operationId"]
    is_meant = {location: not case.meta.is_negative_at(location) for location in Location}
    # So the run takes nothing away that it is let in by.
    if is_meant[Location.PATH] and "{id}" in case.path:
        case.path_parameters["id"] = MAKE[case.path]()
    head = heads.get((case.path_parameters or {}).get("id"))
    if is_meant[Location.QUERY]:
        mend_query(name, case.query, head)
    if is_meant[Location.HEADER]:
        mend_headers(case.headers)
        if name in ("ask", "regenerate", "continue", "readEvents"):
            case.headers.update(next(accepts))
    if is_meant[Location.BODY] and isinstance(case.body, dict):
        case.body = mend_body(name, whole(case.body), head)


def mend_query(name, query, head):
    if name == "listConversations" and "cursor" in query:
        query["cursor"] = "1769860800000-019a5b1e-6f5c-7c3e-9a53-0c5d2f6f4a11"
    for of in {"before", "through"} & query.keys():
        query[of] = head
        query.setdefault("limit", 5)


def mend_headers(headers):
    if "Idempotency-Key" in headers:
        headers["Idempotency-Key"] = f"{next(numbers)} {headers['Idempotency-Key']}"[:255]
    if "If-Match" in headers:
        headers["If-Match"] = '"1"'


def mend_body(name, body, head):
    for of in {"parent_id", "head_id"} & body.keys():
        body[of] = body[of] and head
    if body.get("expires_at"):
        body["expires_at"] = TO_COME
    if name == "makeUser":
        body["name"] = f"{next(numbers)} {body['name']}"[:200].strip()
    if name == "logIn":
        body["token"] = KEY
    if name == "importConversation":
        mend_file(body)
    return body


def mend_file(file):
    """Ids are those of earlier messages, only answers end badly, and time began in 1970."""
    ids = [str(uuid.UUID(int=place)) for place in range(len(file["messages"]))]
    for place, message in enumerate(file["messages"]):
        message["id"] = ids[place]
        message["parent_id"] = ids[place - 1] if message.get("parent_id") and place else None
        if message["role"] != "assistant":
            message["status"] = "completed"
    for times in (file, *file["messages"]):
        times.update({name: THEN for name in {"created_at", "updated_at"} & times.keys() if times[name] < "1971"})
    file["head_id"] = ids[-1] if file.get("head_id") and ids else None


def whole(value):
    """To JSON Schema 2.0 is an integer, to this server it is none."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**64:
        return int(value)
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    return value


@schemathesis.hook
def after_call(context, case, response):
    name = context.operation.definition.raw["operationId"]
    answers[name][response.status_code] += 1
    if name == "makeKey" and response.status_code == 201:
        # There may be a hundred.
        fine(operator.delete(ORIGIN + response.headers["location"][0]))


@atexit.register
def tell():
    with open(os.environ["ANSWERS"], "w") as file:
        json.dump(answers, file)
