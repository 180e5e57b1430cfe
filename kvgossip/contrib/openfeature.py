"""A provider of OpenFeature: a flag is a key, and its value is the same for everybody; who wants
targeting rules has flagd.

    openfeature.api.set_provider(KVGossipProvider(config, "flags/"))

Laws
- A flag costs what a read of the cache costs, and asks nobody.
- STATIC is what the cluster says, CACHED what it said when it was heard last. A flag that is not
  there, or of another type, is the default of the caller, with its error code: nothing is guessed.
- The cache is its owner's: a provider that is shut down does not close it.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from kvgossip.cache.config_cache import ConfigCache
from kvgossip.cache.life import SETTLING_S
from kvgossip.cache.news import Change
from kvgossip.errors import ConfigError, LocalError, NotSettledError
from kvgossip.extras import require

require("openfeature", "kvgossip.contrib.openfeature")

from openfeature.evaluation_context import EvaluationContext  # noqa: E402
from openfeature.event import ProviderEventDetails  # noqa: E402
from openfeature.exception import ErrorCode  # noqa: E402
from openfeature.flag_evaluation import (  # noqa: E402
    FlagResolutionDetails,
    FlagValueType,
    Reason,
)
from openfeature.provider import AbstractProvider, Metadata  # noqa: E402

LOOK_S = 1.0
"""So often a provider looks whether its data has become stale, or is fresh again."""

Objects = Sequence[FlagValueType] | Mapping[str, FlagValueType]
T = TypeVar("T")


class KVGossipProvider(AbstractProvider):
    """The keys under this prefix of a cache, `flags/` or all, as flags."""

    def __init__(self, cache: ConfigCache, prefix: str = "") -> None:
        super().__init__()
        if prefix and not prefix.endswith("/"):
            raise ConfigError(
                f"the prefix {prefix!r} does not end with a '/'", f"write it as {prefix + '/'!r}"
            )
        self._cache, self._prefix = cache, prefix
        self._fresh = self._stale = False
        self._ended = threading.Event()

    def get_metadata(self) -> Metadata:
        return Metadata(name="kvgossip")

    # -- life -------------------------------------------------------------------------------------

    def initialize(self, evaluation_context: EvaluationContext) -> None:
        """Opens the cache, and waits for 2 s at most until it has settled. It raises, so that the
        provider is in error, where the cache cannot be opened."""
        self.shutdown()
        self._cache.on_change(self._prefix)(self._changed)
        with suppress(NotSettledError):
            self._cache.wait_settled(SETTLING_S)
        self._ended, self._stale = threading.Event(), False
        self._see()
        threading.Thread(
            target=self._look, args=(self._ended,), name="kvgossip openfeature", daemon=True
        ).start()

    def shutdown(self) -> None:
        self._ended.set()
        with suppress(LocalError):  # it was not initialized
            self._cache.forget(self._changed)

    def _look(self, ended: threading.Event) -> None:
        """Nothing tells that nothing is heard any more, so it has to be looked for."""
        while not ended.wait(LOOK_S):
            stale = self._see()
            if stale != self._stale:
                self._stale = stale
                tell = self.emit_provider_stale if stale else self.emit_provider_ready
                tell(ProviderEventDetails(message=self._cache.status().problem or None))

    def _see(self) -> bool:
        """Whether the data is stale; and what the reason of a value is until the next look."""
        status = self._cache.status()
        self._fresh = status.settled and not status.stale
        return status.stale

    def _changed(self, change: Change) -> None:
        start = len(self._prefix)
        flags = [name[start:] for name in change.new]
        self._see()
        self.emit_provider_configuration_changed(ProviderEventDetails(flags_changed=flags))

    # -- flags ------------------------------------------------------------------------------------

    def resolve_boolean_details(
        self,
        flag_key: str,
        default_value: bool,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[bool]:
        return self._resolve(flag_key, default_value, bool)

    def resolve_string_details(
        self,
        flag_key: str,
        default_value: str,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[str]:
        return self._resolve(flag_key, default_value, str)

    def resolve_integer_details(
        self,
        flag_key: str,
        default_value: int,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[int]:
        return self._resolve(flag_key, default_value, int)

    def resolve_float_details(
        self,
        flag_key: str,
        default_value: float,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[float]:
        found = self._resolve(flag_key, default_value, float, int)
        found.value = float(found.value)
        return found

    def resolve_object_details(
        self,
        flag_key: str,
        default_value: Objects,
        evaluation_context: EvaluationContext | None = None,
    ) -> FlagResolutionDetails[Objects]:
        return self._resolve(flag_key, default_value, dict, list)

    def _resolve(self, flag: str, default: T, *kinds: type) -> FlagResolutionDetails[T]:
        """The value, where its type is exactly one of these: true is no integer."""
        seen = self._cache.snapshot()
        value: Any = seen.get(self._prefix + flag, seen)
        if value is seen:
            return _failed(default, ErrorCode.FLAG_NOT_FOUND, f"there is no flag {flag!r}")
        if type(value) not in kinds:
            wanted, kind = " or ".join(each.__name__ for each in kinds), type(value).__name__
            why = f"the flag {flag!r} is of the type {kind}, not {wanted}"
            return _failed(default, ErrorCode.TYPE_MISMATCH, why)
        return FlagResolutionDetails(
            value,
            reason=Reason.STATIC if self._fresh else Reason.CACHED,
            flag_metadata={"release": seen.release} if seen.release else {},
        )


def _failed(default: T, code: ErrorCode, message: str) -> FlagResolutionDetails[T]:
    return FlagResolutionDetails(default, code, message, Reason.ERROR)
