"""The last-known-good in a file: whole, private, and never believed blindly."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kvgossip.cache.kept_file import Kept, read_kept, write_kept
from kvgossip.cache.source import Record

KEPT = Kept(
    format=1,
    prefix="shop/",
    cursor="1-2",
    exchanged_ms=5,
    records=[Record("shop/a", b"1", "v1", "text/plain")],
)


def test_what_was_kept_is_read_again_by_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "kept"
    write_kept(path, KEPT)
    write_kept(path, msgspec.structs.replace(KEPT, cursor="1-3"))
    assert read_kept(path, "shop/") == msgspec.structs.replace(KEPT, cursor="1-3")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_what_is_not_written_whole_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "kept"
    write_kept(path, KEPT)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_kept(path, msgspec.structs.replace(KEPT, cursor="1-3"))
    assert read_kept(path, "shop/") == KEPT
    assert list(tmp_path.iterdir()) == [path]


def test_there_may_be_none(tmp_path: Path) -> None:
    assert read_kept(tmp_path / "kept", "shop/") is None


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cannot be read"),
        (msgspec.msgpack.encode(KEPT)[:-1], "cannot be read"),
        (msgspec.msgpack.encode({**msgspec.to_builtins(KEPT), "format": 2}), "cannot be read"),
        (msgspec.msgpack.encode(msgspec.structs.replace(KEPT, prefix="other/")), "the prefix"),
    ],
)
def test_a_file_that_cannot_be_used_is_as_good_as_none_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, data: bytes, why: str
) -> None:
    path = tmp_path / "kept"
    path.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert read_kept(path, "shop/") is None
    assert why in caplog.text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=100))
def test_any_bytes_are_none(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "kept").write_bytes(data)
    assert read_kept(tmp_path / "kept", "shop/") is None
