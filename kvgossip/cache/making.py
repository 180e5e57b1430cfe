"""Making: which source a cache has, and what is loaded for it - only what this process is to be.

The law: a process that is to follow its member loads neither a node nor what there is to know of
parameters, so its own are checked when it is to be the member itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kvgossip.cache.host_source import HostSource
from kvgossip.cache.seat import CLUSTER, Seat, host_name, seat_folder
from kvgossip.cache.source import Source

if TYPE_CHECKING:
    from kvgossip.cache.followers import ServedMember
    from kvgossip.config import Config


def of_this_host(parameters: Mapping[str, Any], profile: str, prefix: str) -> Callable[[], Source]:
    """What makes a source whose process may be the member of its host. Raises ConfigError."""
    name = parameters.get("name") or host_name()
    folder = seat_folder(parameters["data_dir"], parameters.get("cluster", CLUSTER), name)

    def make_config() -> Config:
        from kvgossip.config import config_from

        return config_from({**parameters, "name": name}, profile)

    def make_member() -> ServedMember:
        from kvgossip.cache.member import MemberSource

        return MemberSource(make_config(), prefix)

    if not Seat(folder).looks_taken:
        make_config()
    return lambda: HostSource(folder, prefix, make_member)


def of_urls(
    urls: Sequence[str], prefix: str, token: str, ca: str, file: str
) -> Callable[[], Source]:
    """What makes a source that follows nodes over HTTP. Raises ConfigError for what is no URL."""
    from pathlib import Path

    from kvgossip.cache.url_source import UrlSource

    def make() -> Source:
        return UrlSource(urls, prefix, token=token, ca=ca, file=Path(file) if file else None)

    make()
    return make
