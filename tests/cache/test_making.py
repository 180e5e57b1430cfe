"""When the parameters of a cache are checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from kvgossip import Config, ConfigCache, ConfigError
from kvgossip.cache.seat import CLUSTER, PATH_BYTES_MAX, SOCKET
from kvgossip.config import unix_socket


def test_where_nobody_is_the_member_what_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="jion"):
        ConfigCache("shop/", data_dir=tmp_path, jion="10.0.0.5")
    with pytest.raises(ConfigError, match="profile"):
        ConfigCache("shop/", data_dir=tmp_path, profile="lna")
    assert list(tmp_path.iterdir()) == []


def test_where_somebody_is_it_what_is_wrong_is_told_when_this_is_to_be_it(tmp_path: Path) -> None:
    (tmp_path / SOCKET).touch()
    cache = ConfigCache("shop/", data_dir=tmp_path, jion="10.0.0.5")
    assert cache.get("theme", "light") == "light"
    assert "jion" in cache.status().problem
    with pytest.raises(ConfigError, match="jion"):
        cache.open()


def test_what_a_follower_does_not_import_is_as_the_configuration_has_it() -> None:
    assert Config().cluster == CLUSTER
    assert unix_socket.PATH_BYTES_MAX == PATH_BYTES_MAX
