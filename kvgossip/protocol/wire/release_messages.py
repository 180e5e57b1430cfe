"""The messages of a survey of releases, as message.py has the others.

    A ==AskApplied==> each member ==AppliedHere==> A    what the processes there made of a release

A member without any process under the prefix answers that it has none; a node that does not know
the question is silent.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from kvgossip.protocol.model.member import Count, Name
from kvgossip.protocol.wire.message import Key, Message, Text

RELEASES_MAX, REFUSED_MAX = 8, 16
"""How many releases an answer tells of, and how many refused keys of each."""


class AppliedBy(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """So many processes have applied this release, or the loose keys where it is empty; and those
    that refused it did so for these keys, each with its reason."""

    release: Text
    processes: Count
    refused: Annotated[tuple[tuple[Key, Text], ...], Meta(max_length=REFUSED_MAX)] = ()


class AskApplied(Message, frozen=True):
    """What have your processes applied under this prefix?"""

    kind = 85
    question = True
    needs_link = True
    number: Count
    sender: Name
    prefix: Annotated[str, Meta(max_length=1024)]


class AppliedHere(Message, frozen=True):
    """This, by the processes of `sender`; nothing where none has anything to do with the prefix."""

    kind = 86
    number: Count
    sender: Name
    applied: Annotated[tuple[AppliedBy, ...], Meta(max_length=RELEASES_MAX)] = ()
