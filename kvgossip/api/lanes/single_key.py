"""What a request of the express lane asks for: the call of Keys that its head and body mean."""

from __future__ import annotations

from kvgossip.api.access.client import Client
from kvgossip.api.http.precondition import Condition, condition_of
from kvgossip.api.http.response import Answers
from kvgossip.api.keys import Keys, Reply
from kvgossip.api.lanes.connections import Outflow
from kvgossip.api.lanes.request_head import RequestParser, text_of


def reply_to(
    request: RequestParser, keys: Keys, client: Client, outflow: Outflow, answers: Answers
) -> Reply:
    """The reply to a request that is here as a whole. What Keys raises is a reply as well, and so
    it is that a long answer finds no room."""
    method, key = request.method, request.target[4:].decode()
    try:
        reply = _reply_to(request, method, key, keys, client)
        if (size := reply.answer.long_bytes) and method == b"GET":
            outflow.check(size)
        return reply
    except Exception as error:
        return Reply(answers.failure(error, method.decode(), f"/kv/{key}"), None)


def _reply_to(request: RequestParser, method: bytes, key: str, keys: Keys, client: Client) -> Reply:
    if not request.repeated:
        # who sends the same header lines again is the same caller
        request.caller = keys.access.caller_in(request.found, client)
    caller, found = request.caller, request.found
    condition: Condition | None = None
    body = request.take_body()
    if b"if-match" in found or b"if-none-match" in found:
        condition = condition_of(text_of(found, b"if-match"), text_of(found, b"if-none-match"))
    if method == b"GET":
        return Reply(keys.get(key, condition, caller), None)
    if method == b"PUT":
        return keys.put(key, body, text_of(found, b"content-type"), condition, caller)
    if method == b"DELETE":
        return keys.delete(key, condition, caller)
    return Reply(keys.get(key, condition, caller), None)
