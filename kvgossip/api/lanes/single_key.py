"""What a request of the express lane asks for: the call of Keys that its head and body mean."""

from __future__ import annotations

from collections.abc import Mapping

from kvgossip.api.access.client import Client
from kvgossip.api.access.refusal import AccessError
from kvgossip.api.access.rights import Caller, Right, Scope
from kvgossip.api.http.precondition import Condition, condition_of
from kvgossip.api.http.request_target import decode_key
from kvgossip.api.http.response import Answers
from kvgossip.api.keys import Keys, Reply
from kvgossip.api.lanes.connections import Outflow
from kvgossip.api.lanes.request_head import RequestParser, text_of
from kvgossip.errors import BadKeyError


def reply_to(
    request: RequestParser, keys: Keys, client: Client, outflow: Outflow, answers: Answers
) -> Reply | None:
    """The reply to a request that is here as a whole. What Keys raises is a reply as well, and so
    it is that a long answer finds no room. None: ask again when it is the turn of a long one."""
    found, method, key = request.found, request.method, request.target[4:].decode()
    try:
        if not request.repeated:
            # who sends the same header lines again is the same caller
            request.caller = keys.access.caller_in(found, client)
        caller = request.caller
        if method == b"PUT":
            body, content_type = request.take_body(), text_of(found, b"content-type")
            return keys.put(key, body, content_type, _condition_in(found), caller)
        if method == b"DELETE":
            return keys.delete(key, _condition_in(found), caller)
        is_get = method == b"GET"
        if is_get and outflow.turns.is_over and keys.is_long(key, caller):
            return None
        answer = keys.get(key, _condition_in(found), caller)
        if is_get and answer.long_bytes:
            outflow.take(answer.long_bytes)
        return Reply(answer, None)
    except Exception as error:
        first = _first_error(error, request.caller, method, key)
        return Reply(answers.failure(first, method.decode(), f"/kv/{key}"), None)


def _condition_in(found: Mapping[bytes, bytes]) -> Condition | None:
    if b"if-match" in found or b"if-none-match" in found:
        return condition_of(text_of(found, b"if-match"), text_of(found, b"if-none-match"))
    return None


def _first_error(error: Exception, caller: Caller | None, method: bytes, key: str) -> Exception:
    """Of several errors the one that the other lane finds first: who may not do it learns that, and
    then what is wrong with the key."""
    if isinstance(error, AccessError):
        return error
    right = Right.WRITE if method in (b"PUT", b"DELETE") else Right.READ
    try:
        if caller is not None:
            caller.must(right)
        scope = Scope(decode_key(key))
        if caller is not None:
            caller.must(right, scope)
    except (AccessError, BadKeyError) as earlier:
        return earlier
    return error
