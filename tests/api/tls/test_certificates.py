"""Certificates: replaced while they are served, and what is told of them."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from kvgossip.api.tls.certificates import SOON_S, Certificates
from kvgossip.api.tls.reading import Files
from kvgossip.config import Config, config_from
from kvgossip.errors import ConfigError
from tests.api.tls.files import ca_of, expired, made, until


class Clock:
    def __init__(self) -> None:
        self.now_s = time.time()

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return made(tmp_path / "certs", days=300)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def certificates(files: Files, clock: Clock) -> Certificates:
    return Certificates(files, clock)


def replace(files: Files, other: Files, *, cert: bool = True, key: bool = True) -> None:
    if cert:
        os.replace(other.cert, files.cert)
    if key:
        os.replace(other.key, files.key)


def look(certificates: Certificates) -> None:
    """As its clockwork does it."""
    certificates.take(certificates.look())


def test_new_files_are_served_to_new_connections(
    files: Files, certificates: Certificates, tmp_path: Path
) -> None:
    before, print_before = certificates.context(), certificates.status()["fingerprint"]
    look(certificates)
    assert certificates.context() is before
    replace(files, made(tmp_path / "new"))
    look(certificates)
    assert certificates.context() is not before
    assert certificates.status()["fingerprint"] != print_before
    assert certificates.reloads == 1
    look(certificates)
    assert certificates.reloads == 1


def test_files_that_are_replaced_one_after_the_other_are_no_fault(
    files: Files, certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, new = certificates.context(), made(tmp_path / "new")
    replace(files, new, key=False)
    look(certificates)
    assert certificates.context() is before
    replace(files, new, cert=False)
    look(certificates)
    assert certificates.context() is not before
    assert not certificates.failed
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_files_that_stay_broken_are_told_once_and_the_old_certificate_stays(
    files: Files, certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before, new = certificates.context(), made(tmp_path / "new")
    replace(files, new, key=False)
    for _ in range(5):
        look(certificates)
    assert certificates.context() is before
    (told,) = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert "the old TLS certificate stays" in told
    assert "does not belong" in told
    assert certificates.failed
    assert "does not belong" in certificates.status()["problem"]
    assert [code for code, _ in certificates.notices()] == ["certificate_refused"]
    replace(files, new, cert=False)
    look(certificates)
    assert not certificates.failed
    assert certificates.status()["problem"] == ""
    assert certificates.context() is not before


def test_files_that_vanish_change_nothing(
    files: Files, certificates: Certificates, tmp_path: Path
) -> None:
    before = certificates.context()
    os.rename(files.key, tmp_path / "aside")
    look(certificates)
    assert not certificates.failed
    look(certificates)
    assert certificates.failed
    assert certificates.context() is before
    os.rename(tmp_path / "aside", files.key)
    look(certificates)
    assert not certificates.failed


def test_at_the_order_of_an_operator_what_is_wrong_is_told_at_once(
    files: Files, certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    replace(files, expired(tmp_path / "old"))
    certificates.reload()
    assert certificates.failed
    assert "expired on" in caplog.text
    certificates.reload()
    assert caplog.text.count("expired on") == 1


def test_a_certificate_that_holds_from_later_on_is_served_from_then_on(
    files: Files, certificates: Certificates, clock: Clock, tmp_path: Path
) -> None:
    before, now_s = certificates.context(), clock.now_s
    replace(files, made(tmp_path / "new"))
    clock.now_s = now_s - 86_400
    look(certificates)
    look(certificates)
    assert certificates.failed
    assert certificates.context() is before
    clock.now_s = now_s
    look(certificates)
    assert not certificates.failed
    assert certificates.context() is not before


def test_a_certificate_is_spoken_of_from_14_days_before_its_end(
    files: Files, certificates: Certificates, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    end_s = clock.now_s + certificates.expires_s
    clock.now_s = end_s - SOON_S - 60
    assert list(certificates.notices()) == []
    clock.now_s = end_s - SOON_S + 60
    ((code, text),) = certificates.notices()
    assert code == "certificate_expires"
    assert text == "the TLS certificate for localhost, 127.0.0.1 expires within 14 days: renew it"
    clock.now_s = end_s - 3600
    assert [text for _, text in certificates.notices()] == [
        "the TLS certificate for localhost, 127.0.0.1 expires within a day: renew it"
    ]
    clock.now_s = end_s + 1
    assert [code for code, _ in certificates.notices()] == ["certificate_expired"]
    assert certificates.expires_s < 0
    for _ in range(3):
        certificates.say_age()
    assert caplog.text.count("has expired") == 1


def test_the_ca_of_clients_is_spoken_of_as_well(files: Files, clock: Clock) -> None:
    certificates = Certificates(files._replace(client_ca=ca_of(files)), clock)
    clock.now_s += 3650 * 86_400
    assert [code for code, _ in certificates.notices()] == [
        "certificate_expired",
        "client_ca_expired",
    ]


async def test_a_server_looks_at_the_files_by_itself(
    files: Files, certificates: Certificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvgossip.api.tls.certificates.LOOK_S", 0.01)
    certificates.start()
    replace(files, made(tmp_path / "new"))
    await until(lambda: certificates.reloads > 0)
    certificates.stop()


def test_an_agent_without_a_certificate_serves_plain_http(files: Files) -> None:
    assert Certificates.of(Config()) is None
    assert Certificates.of(Config(tls_cert=files.cert, tls_key=files.key)) is not None
    for name in ("tls_key", "tls_client_ca"):
        with pytest.raises(ConfigError, match=f"{name} is set, and tls_cert is not"):
            config_from({name: "x"})
