"""Releases as tests make them: a store that makes steps, and what it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kvgossip.protocol.model.write import Writing
from kvgossip.releases.answers import (
    Survey,
)
from kvgossip.releases.document import (
    document_of,
)
from kvgossip.releases.names import (
    pointer_key,
)
from kvgossip.releases.place import Place
from kvgossip.releases.pointer import (
    Pointer,
    read_pointer,
)
from kvgossip.releases.step import Author, Step, Steps
from kvgossip.releases.target import Target

PREFIX = "shop/"
MEMBERS = tuple(Place(f"m{number:02}", f"z{number % 3}") for number in range(50))


class Desk:
    """Who makes releases, alone, with what it has written: `log` in its order."""

    def __init__(self, prefix: str = PREFIX, members: Sequence[Place] = MEMBERS) -> None:
        self.prefix, self.members = prefix, members
        self.values: dict[str, bytes] = {}
        self.log: list[Writing] = []

    def write(self, writing: Writing) -> None:
        assert writing.value is not None
        self.values[writing.key] = writing.value
        self.log.append(writing)

    def steps(self) -> Steps:
        survey = Survey((), (), tuple(self.members))
        return Steps(self.prefix, self.values.get, survey, Author("desk", 7))

    def release(self, name: str, values: Mapping[str, Any], to: Target | None = None) -> Step:
        document = document_of(self.prefix, name, values, by="desk", at_ms=7)
        return self.made(self.steps().release(document, to))

    def made(self, step: Step) -> Step:
        for each in (step.document, step.pointer):
            if each is not None:
                self.write(each)
        return step

    @property
    def pointer(self) -> Pointer:
        return read_pointer(self.values[pointer_key(self.prefix)])
