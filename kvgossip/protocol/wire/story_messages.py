"""The messages of a survey of stories, as message.py has the others (see model/story.py).

    A ==AskStory==> each member ==StoryHere==> A    what happened there to a key

An order goes with the question, and is followed by whoever knows the asker as a member. A node that
does not know the question is silent.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kvgossip.protocol.model.member import Count, Name
from kvgossip.protocol.model.story import STEPS_MAX, Step, Watch
from kvgossip.protocol.wire.message import Message


class AskStory(Message, frozen=True):
    """What is your story of this key? Empty: of which keys do you keep one? `watch`: and from now
    on keep that of these."""

    kind = 89
    question = True
    needs_link = True
    number: Count
    sender: Name
    key: Annotated[str, Meta(max_length=1024)] = ""
    watch: Watch | None = None


class StoryHere(Message, frozen=True):
    """This, says `sender`.

    `watch`: the order in force, with the seconds that are left; None: there is none. `covers`: the
    events that it has are of this key, too; from `since_ms` on, after which nothing is missing, up
    to `until_ms`, both by its own wall clock. `steps`: the newest of them, oldest first. `holds`:
    the version that it has now, empty where it has none; `deleted`: that is a tombstone; `expired`:
    its time has come.
    """

    kind = 90
    number: Count
    sender: Name
    watch: Watch | None = None
    covers: bool = False
    since_ms: Count = 0
    until_ms: Count = 0
    holds: Annotated[bytes, Meta(max_length=16)] = b""
    deleted: bool = False
    expired: bool = False
    steps: Annotated[tuple[Step, ...], Meta(max_length=STEPS_MAX)] = ()
