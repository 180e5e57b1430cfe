"""The errors of kvgossip, by whose fault they are: the operator's, the caller's, or a peer's."""

from __future__ import annotations


class KVGossipError(Exception):
    """The root of all errors that kvgossip raises on purpose. `hint` says what to do next, in one
    sentence (may be empty); a traceback shows it below the message."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")


class ConfigError(KVGossipError):
    """A parameter is unknown, of the wrong kind or out of its bounds; or an address cannot be used.
    The operator's fault."""


class DataDirError(ConfigError):
    """The data directory cannot be used: it is another node's, in use, damaged, or of a newer
    version."""


class LocalError(KVGossipError):
    """The caller of this node did something wrong (a bad key, a value that is too large): nothing
    was changed."""


class ForkedError(LocalError):
    """This process is a forked copy of the one in which the node runs: the node stayed there."""


class BadKeyError(LocalError):
    """The key is not one that the store takes."""


class ValueTooLargeError(LocalError):
    """The value is longer than `value_bytes_max`."""


class BadBatchError(LocalError):
    """The batch is empty, has too many writes, or writes a key twice."""


class Refused(LocalError):  # noqa: N818 - the word that a check raises
    """A model, or a check, does not take a value, so it is not applied, or not written; the last
    good one stays."""


class BadPartError(LocalError):
    """What is to be added to a typed key, or taken from it, is nothing that its type takes; nothing
    was changed."""


class BadContextError(LocalError):
    """The context is none that this key's answers had; nothing was changed."""


class OtherTypeError(LocalError):
    """The key, or the field of a map, is of another type; nothing was changed."""


class TypesUnknownError(LocalError):
    """Members of an older release do not know what types of values are; nothing was changed."""


class SiblingsError(LocalError):
    """The key has as many siblings as one may have; nothing was changed."""


class BadReleaseError(LocalError):
    """The release, its name or its target is not one that can be made, or read; nothing was
    changed."""


class ReleaseConflictError(LocalError):
    """Another release has this name, or there is none to promote or to go back to; nothing was
    changed."""


class NotSettledError(LocalError):
    """The node has not caught up with the cluster yet, so an answer would be a guess (protocol.md
    section 8)."""


class WatchLaggedError(LocalError):
    """This watcher did not keep up and was cut off: list the keys again, then watch again."""


class NotFoundError(LocalError):
    """There is no member, block or release of this name."""


class NoAnswerError(LocalError):
    """This member cannot be asked, or has not answered in time."""


class StillAliveError(LocalError):
    """This member answers probes, so nobody may declare it gone."""


class NoMemberError(LocalError):
    """This process follows a member of the cluster, and none answers just now."""


class StaleError(LocalError):
    """The version that was asked for has not arrived here in time. `version` is the one that is
    here instead, None for nothing."""

    def __init__(self, message: str, hint: str, version: str | None) -> None:
        super().__init__(message, hint)
        self.version = version


class CannotMeetError(LocalError):
    """There are not so many members as shall hold a write: it was not made."""


class ClockAheadError(LocalError):
    """This node's clock is so far ahead of its peers' that they would refuse what it writes."""


class KeyringError(LocalError):
    """The keyring does not allow this now; nothing was changed."""


class OverloadedError(LocalError):
    """So much waits already, for the disk or for peers, that this write was not made: try again in
    a moment."""


class StorageError(LocalError):
    """The disk does not take what is written, so nothing is acknowledged; reads are answered."""


class StoreFullError(LocalError):
    """The store of this node has as many bytes as `store_bytes_max` allows; nothing was changed."""


class DiskFullError(StorageError):
    """There is no room on the disk of the data directory."""


class DiskHangsError(StorageError):
    """The disk of the data directory does not answer: what was written last may be on it, or not.
    Try again in a moment, or another node."""


class JoinRefusedError(KVGossipError):
    """A member refused to let this node into its pool; the text names both sides and says what to
    change."""


class RemoteError(KVGossipError):
    """A peer sent something that this node cannot accept. Never the fault of the caller. `reason`
    is the counter's name."""

    def __init__(self, reason: str, message: str = "") -> None:
        super().__init__(message or reason.replace("_", " "))
        self.reason = reason
