"""kvgossip: a replicated key-value store that lives in every process that needs it.

    config = ConfigCache("shop/", cluster="shop", join=["10.0.0.5"])
    config["theme"]

    async with Node(Config(join=("10.0.0.5:7481",))) as node:
        await node.put("a", b"1")
        node.get("a")
        async for change in node.watch("prefix/"):
            ...

The names load on first use, so that `kvgossip --help` does not pay for a node.

    config/    every parameter, declared once
    protocol/  the pure machine
    releases/  pure: releases of many values at once
    trends/    pure: numbers over time, what is usual and what has changed
    runtime/   the asyncio driver: sockets, clocks, disk, watchers
    cache/     configuration inside a program, on any thread
    client/    a node over HTTP, as whoever asks it has it
    api/       HTTP
    contrib/   the cache by the extension points of other libraries
    cli/       the command `kvgossip`
    sim/       the second driver: virtual time, and checks at every step
    errors     all errors that users meet
    extras     packages that not everybody installs
    zstd       compression, of the standard library or of its backport
    __main__   `python -m kvgossip`
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kvgossip.cache.config_cache import ConfigCache
    from kvgossip.config import Address, Config, config_from
    from kvgossip.errors import (
        BadBatchError,
        BadContextError,
        BadKeyError,
        BadPartError,
        BadReleaseError,
        CannotMeetError,
        ClockAheadError,
        ConfigError,
        DataDirError,
        DiskFullError,
        DiskHangsError,
        ForkedError,
        JoinRefusedError,
        KeyringError,
        KVGossipError,
        LocalError,
        NoAnswerError,
        NoMemberError,
        NotFoundError,
        NotSettledError,
        OtherTypeError,
        OverloadedError,
        Refused,
        ReleaseConflictError,
        RemoteError,
        SiblingsError,
        StaleError,
        StillAliveError,
        StorageError,
        StoreFullError,
        TypesUnknownError,
        ValueTooLargeError,
        WatchLaggedError,
    )
    from kvgossip.protocol.model.entry import Entry, Version
    from kvgossip.protocol.model.member import Member, MemberState
    from kvgossip.protocol.model.write import Writing
    from kvgossip.protocol.typed.siblings import Sibling
    from kvgossip.releases.target import share, zone
    from kvgossip.runtime.changes.members import MemberChange, MemberWatcher
    from kvgossip.runtime.changes.watchers import Change, SetWatcher, Watcher
    from kvgossip.runtime.node import Node
    from kvgossip.runtime.resolver import Resolver
    from kvgossip.runtime.typed_keys import CounterKey, ExtremumKey, MapKey, SetKey, Siblings

__version__ = "0.2.0"

_HOMES = {
    "kvgossip.cache.config_cache": ("ConfigCache",),
    "kvgossip.config": ("Address", "Config", "config_from"),
    "kvgossip.errors": (
        "BadBatchError",
        "BadContextError",
        "BadKeyError",
        "BadPartError",
        "BadReleaseError",
        "CannotMeetError",
        "ClockAheadError",
        "ConfigError",
        "DataDirError",
        "DiskFullError",
        "DiskHangsError",
        "ForkedError",
        "JoinRefusedError",
        "KVGossipError",
        "KeyringError",
        "LocalError",
        "NoAnswerError",
        "NoMemberError",
        "NotFoundError",
        "NotSettledError",
        "OtherTypeError",
        "OverloadedError",
        "Refused",
        "ReleaseConflictError",
        "RemoteError",
        "SiblingsError",
        "StaleError",
        "StillAliveError",
        "StorageError",
        "StoreFullError",
        "TypesUnknownError",
        "ValueTooLargeError",
        "WatchLaggedError",
    ),
    "kvgossip.protocol.model.entry": ("Entry", "Version"),
    "kvgossip.protocol.model.member": ("Member", "MemberState"),
    "kvgossip.protocol.model.write": ("Writing",),
    "kvgossip.protocol.typed.siblings": ("Sibling",),
    "kvgossip.releases.target": ("share", "zone"),
    "kvgossip.runtime.node": ("Node",),
    "kvgossip.runtime.resolver": ("Resolver",),
    "kvgossip.runtime.typed_keys": ("CounterKey", "ExtremumKey", "MapKey", "SetKey", "Siblings"),
    "kvgossip.runtime.changes.members": ("MemberChange", "MemberWatcher"),
    "kvgossip.runtime.changes.watchers": ("Change", "SetWatcher", "Watcher"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [  # noqa: RUF022 - what users meet first
    "ConfigCache",
    "Refused",
    "share",
    "zone",
    "Node",
    "Config",
    "config_from",
    "Address",
    "Entry",
    "Version",
    "Writing",
    "Change",
    "Watcher",
    "SetWatcher",
    "CounterKey",
    "SetKey",
    "MapKey",
    "ExtremumKey",
    "Siblings",
    "Sibling",
    "Resolver",
    "Member",
    "MemberState",
    "MemberChange",
    "MemberWatcher",
    "KVGossipError",
    "ConfigError",
    "DataDirError",
    "LocalError",
    "ForkedError",
    "BadReleaseError",
    "ReleaseConflictError",
    "BadKeyError",
    "ValueTooLargeError",
    "BadBatchError",
    "BadPartError",
    "BadContextError",
    "OtherTypeError",
    "SiblingsError",
    "TypesUnknownError",
    "NotSettledError",
    "NoAnswerError",
    "NoMemberError",
    "WatchLaggedError",
    "NotFoundError",
    "StillAliveError",
    "StaleError",
    "CannotMeetError",
    "ClockAheadError",
    "KeyringError",
    "OverloadedError",
    "StorageError",
    "StoreFullError",
    "DiskFullError",
    "DiskHangsError",
    "JoinRefusedError",
    "RemoteError",
    "__version__",
]


if (
    not TYPE_CHECKING
):  # a type checker knows the names from above, and shall miss those that are not there

    def __getattr__(name: str) -> Any:
        if name not in _HOME_OF:
            raise AttributeError(f"module 'kvgossip' has no attribute {name!r}")
        value = getattr(import_module(_HOME_OF[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return __all__
