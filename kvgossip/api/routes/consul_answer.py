"""Answers in Consul's words: the header lines that all of them have, and what a query may ask."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from kvgossip.api.http.errors import RequestError
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Call, Parameter
from kvgossip.api.http.schema import SWITCH, TEXT

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

FAMILY = "consul"
"""All requests under /v1/ are counted under this name."""
ANYWHERE = (
    Parameter("query", "dc", TEXT, "the node's own"),
    Parameter("query", "token", TEXT, "a token, as in X-Consul-Token"),
    Parameter("query", "pretty", SWITCH, "JSON that is indented"),
    Parameter("query", "stale", SWITCH, "what every answer is"),
    Parameter("query", "consistent", SWITCH, "the answer says what it is: stale"),
    Parameter("query", "default", SWITCH, "as stale"),
    Parameter("query", "cached", SWITCH, "nothing is cached: as stale"),
)
"""Clients of Consul send these with any request."""


class ConsulAnswers:
    """Makes the answers of one node."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers
        self._began_s = time.monotonic()

    def check(self, call: Call) -> None:
        """Raises RequestError(400) for a query that concerns another datacenter, or that wants an
        answer both stale and consistent."""
        own, other = self._node.config.datacenter, call.query.get("dc", "")
        if other not in ("", own):
            raise RequestError(
                400,
                f"this node is in {own!r}, and not in {other[:100]!r}",
                "leave dc= out: the data is the same in all",
            )
        if call.is_on("stale") and call.is_on("consistent"):
            raise RequestError(
                400,
                "stale and consistent exclude each other",
                "both are answered from what this node has",
            )

    def lines(self, index: int) -> str:
        """The header lines of all answers. `index`: the arrival index of the keys that were asked
        for."""
        age_s = self._node.last_exchange_age_s
        if age_s is None:
            # alone it has missed nothing; with others, its data is as old as this server at least
            age_s = time.monotonic() - self._began_s if len(self._node.members()) > 1 else 0.0
        return (
            f"X-Consul-Index: {index}\r\nX-Consul-KnownLeader: true\r\nX-Consul-LastContact: "
            f"{int(age_s * 1000)}\r\n"
            "X-Consul-Effective-Consistency: stale\r\n"
        )

    def json(self, status: int, body: bytes, index: int, head: str = "") -> Answer:
        return self._answers.octets(
            status, body, f"Content-Type: application/json\r\n{head}{self.lines(index)}"
        )

    def download(self, parts: AsyncGenerator[bytes, None], index: int) -> Answer:
        """JSON, in parts."""
        return self._answers.download(
            parts, f"Content-Type: application/json\r\n{self.lines(index)}"
        )

    def absent(self, index: int) -> Answer:
        """404 without a body."""
        return self._answers.octets(404, b"", self.lines(index))

    def raw(self, value: bytes | None, index: int) -> Answer:
        """The bytes of a value."""
        return self._answers.value(value, "text/plain", self.lines(index))
