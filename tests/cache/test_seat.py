"""The place of the one member of a host, and whose it is."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from kvgossip import Config
from kvgossip.cache.peer import peer_of
from kvgossip.cache.seat import LOCK, SOCKET, Seat, host_name, seat_folder
from kvgossip.errors import ConfigError

ROOT_ALONE = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def test_processes_meet_in_the_data_directory_or_in_that_of_their_user_cluster_and_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert seat_folder("/var/lib/shop", "shop", "web") == "/var/lib/shop"
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert seat_folder("", "shop", "web") == "/run/user/1000/kvgossip-shop-web"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setenv("TMPDIR", "/var/tmp")
    assert seat_folder("", "shop", "web") == f"/var/tmp/kvgossip-{os.geteuid()}-shop-web"
    monkeypatch.delenv("TMPDIR")
    assert seat_folder("", "shop", "web").startswith("/tmp/kvgossip-")


@pytest.mark.parametrize(
    ("host", "name"),
    [("web-1.shop", "web-1-shop"), ("-ä_1-", "1"), ("ä", "host"), ("a" * 200, "a" * 100)],
)
def test_a_member_has_the_name_of_its_host_as_far_as_that_is_one(
    monkeypatch: pytest.MonkeyPatch, host: str, name: str
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: host)
    assert host_name() == name
    assert Config(name=host_name()).name == name


def test_one_has_the_seat_and_listens_for_its_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "seat"
    seat, other = Seat(str(folder)), Seat(str(folder))
    assert seat.take()
    assert not other.take()
    with seat.listen() as listener, other.connect() as connection:
        assert peer_of(connection) == (os.getpid(), os.geteuid())
        accepted, _ = listener.accept()
        accepted.close()
        modes = {
            path: stat.S_IMODE(path.stat().st_mode)
            for path in (folder, folder / LOCK, folder / SOCKET)
        }
        assert list(modes.values()) == [0o700, 0o600, 0o600]
    seat.release()
    seat.release()
    assert not (folder / SOCKET).exists()
    assert other.take()
    other.release()


def test_the_socket_that_a_killed_member_left_is_replaced(tmp_path: Path) -> None:
    seat = Seat(str(tmp_path))
    assert seat.take()
    seat.listen().close()
    with pytest.raises(ConnectionRefusedError):
        seat.connect()
    with seat.listen(), seat.connect():
        pass
    seat.release()
    with pytest.raises(FileNotFoundError):
        seat.connect()


def test_a_folder_that_cannot_be_used_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used: ") as caught:
        Seat(str(tmp_path / "file" / "seat")).take()
    assert "data_dir" in caught.value.hint


@ROOT_ALONE
def test_nobody_takes_a_seat_in_the_folder_of_another_user_or_through_his_link(
    tmp_path: Path,
) -> None:
    theirs, link, own = tmp_path / "theirs", tmp_path / "link", tmp_path / "own"
    theirs.mkdir()
    own.mkdir()
    os.chown(theirs, 12345, 12345)
    link.symlink_to(own)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    for folder in (theirs, link):
        with pytest.raises(ConfigError, match="belongs to the user 12345"):
            Seat(str(folder)).take()
        with pytest.raises(ConfigError, match="belongs to the user 12345"):
            Seat(str(folder)).connect()


@ROOT_ALONE
def test_nobody_connects_to_the_socket_of_another_user(tmp_path: Path) -> None:
    seat = Seat(str(tmp_path))
    assert seat.take()
    with seat.listen():
        os.chown(tmp_path / SOCKET, 12345, 12345)
        with pytest.raises(ConfigError, match=f"{SOCKET} belongs to the user 12345"):
            seat.connect()
    seat.release()
