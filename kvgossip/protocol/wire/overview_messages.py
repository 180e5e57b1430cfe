"""The messages of a survey of overviews, as message.py has the others.

    A ==AskOverview==> each member ==Overview==> A    what the member says of itself

An examination of the doctor lets members look at each other, and takes seconds. An overview is what
a member knows by itself, in one round trip: so whoever looks at the cluster may ask again and
again. A node that does not know the question is silent.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from kvgossip.protocol.model.member import Count, Name, SyncState
from kvgossip.protocol.wire.message import Message, Text

NAMES_MAX = 64
REASONS_MAX = 8
PARAMETERS_MAX = 256
Names = Annotated[tuple[Name, ...], Meta(max_length=NAMES_MAX)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=NAMES_MAX)]


class AskOverview(Message, frozen=True):
    """What do you say of yourself? `setup`: and how are you set up?"""

    kind = 87
    question = True
    needs_link = True
    number: Count
    sender: Name
    setup: bool = False


class Overview(Message, frozen=True):
    """This, says `sender`. Of long lists it names the first.

    `software`: its version. `not_ready`: why it should not be asked, as (code, text). `overload`:
    why it takes no write now; empty where it does. `keyring`: ids, the primary one first. `tokens`
    as in Condition. `blocked`: the targets that it ignores.

    `tombstones_waiting`: how many are not collected yet; `waits_for`: the members for which the
    oldest one waits. `quarantined`: how many values are in its quarantine.

    `suspects`, `dead`: the members of this pool that it takes for that. `lost`: those that are
    missing in a partition that it suspects.

    Where a member asks how it is set up, also `parameters`, those in force that should be alike
    on all members, as (name, text of the file); `extras`; `files_max`, how many files it may have
    open, 0 without a bound; `disk_bytes` of its data directory, and `disk_free_bytes` beside it,
    -1 without one.
    """

    kind = 88
    number: Count
    sender: Name
    software: Text = ""
    sync_state: SyncState = SyncState.WAITING
    keys: Count = 0
    entries: Count = 0
    not_ready: Annotated[tuple[tuple[Name, Text], ...], Meta(max_length=REASONS_MAX)] = ()
    overload: Text = ""
    keyring: Texts = ()
    tokens: Text = ""
    blocked: Texts = ()
    tombstones_waiting: Count = 0
    waits_for: Names = ()
    quarantined: Count = 0
    suspects: Names = ()
    dead: Names = ()
    lost: Names = ()
    parameters: Annotated[tuple[tuple[Name, Text], ...], Meta(max_length=PARAMETERS_MAX)] = ()
    extras: Names = ()
    files_max: Count = 0
    disk_bytes: Count = 0
    disk_free_bytes: Annotated[int, Meta(ge=-1)] = -1
