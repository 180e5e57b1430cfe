"""/story: what happened to a key on every member, and the order to keep such stories."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import Meta

from kvgossip.api.access.rights import Right
from kvgossip.api.http.request_target import decode_key
from kvgossip.api.http.response import Answer, Answers
from kvgossip.api.http.route import Body, Call, Family, Parameter, Route, key_in_path
from kvgossip.api.http.schema import SWITCH, TEXT, VERSION_EXAMPLE
from kvgossip.api.routes.cluster import COMMAND_STATUSES
from kvgossip.protocol.model.story import FOR_S_MAX, Watch
from kvgossip.runtime.reports.story import (
    Keeping,
    KeepingReport,
    KeptStory,
    MemberKeeping,
    MemberStory,
    StoryReport,
    StoryStep,
)

if TYPE_CHECKING:
    from kvgossip.runtime.node import Node

_STORY_EXAMPLE = StoryReport(
    key="cart/7", asked="web-1", at_ms=1730000009000, complete=True,
    members=[
        MemberStory(
            name="web-2", pool="lan", datacenter="dc1", state="alive", clock_offset_ms=2, silent="",
            story=KeptStory(
                since_ms=1730000000000, until_ms=1730000600000, holds=VERSION_EXAMPLE,
                deleted=False, expired=False,
                steps=[
                    StoryStep(
                        at_ms=1730000007004, what="rumor", version=VERSION_EXAMPLE,
                        written_ms=1730000007000, by="web-1", deleted=False, peer="web-1",
                        pool="lan",
                    )
                ],
            ),
        )
    ],
)  # fmt: skip
_KEEPING_EXAMPLE = KeepingReport(
    asked="web-1", complete=True,
    members=[
        MemberKeeping(
            name="web-2", pool="lan", datacenter="dc1", state="alive", silent="",
            keeps=Keeping("cart/", 1.0, 600),
        )
    ],
)  # fmt: skip


class KeepBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of POST /story: keep the stories of this share of the keys that start with `prefix`
    for so many seconds; 0: keep none any more."""

    prefix: Annotated[str, Meta(max_length=1024)]
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    for_s: Annotated[int, Meta(ge=0, le=FOR_S_MAX)] = 600


class StoryRoutes(Family):
    """GET /story/{key}, GET and POST /story."""

    def __init__(self, node: Node, answers: Answers) -> None:
        self._node, self._answers = node, answers

    async def story(self, call: Call) -> Answer:
        """What happened to the key: on this node, or with ?everywhere on all members."""
        everywhere = call.is_on("everywhere")
        report = await self._node.stories.of(decode_key(call.key), everywhere=everywhere)
        return self._answers.json(200, report)

    async def kept(self, call: Call) -> Answer:
        """Which stories each member keeps."""
        return self._answers.json(200, await self._node.stories.keep(None))

    async def keep(self, call: Call) -> Answer:
        """Lets all members keep stories for a while, or none any more."""
        command = await call.command(KeepBody)
        watch = Watch(command.prefix, command.share, command.for_s)
        return self._answers.json(200, await self._node.stories.keep(watch))

    ROUTES = (
        Route(
            "GET",
            "/story/{key}",
            story,
            Right.READ,
            "What happened to a key, where that is kept: when this node heard of which version, "
            "from whom, and when it forgot; with everywhere, the same of every member.",
            StoryReport,
            example=msgspec.to_builtins(_STORY_EXAMPLE),
            scope=key_in_path,
            parameters=(
                Parameter("path", "key", TEXT, "as in /kv/{key}"),
                Parameter("query", "everywhere", SWITCH, "ask all members"),
            ),
        ),
        Route(
            "GET",
            "/story",
            kept,
            Right.OPERATE,
            "Of which keys each member keeps the story, and for how long.",
            KeepingReport,
            example=msgspec.to_builtins(_KEEPING_EXAMPLE),
        ),
        Route(
            "POST",
            "/story",
            keep,
            Right.OPERATE,
            "Let all members keep the story of the keys under a prefix for a while, or none any "
            "more.",
            KeepingReport,
            COMMAND_STATUSES,
            body=Body(
                KeepBody,
                'send {"prefix": "cart/", "share": 1, "for_s": 600}; 0 seconds end it',
                example={"prefix": "cart/", "share": 1.0, "for_s": 600},
            ),
            example=msgspec.to_builtins(_KEEPING_EXAMPLE),
        ),
    )
