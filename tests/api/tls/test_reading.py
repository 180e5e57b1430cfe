"""The files of a certificate: what is served, and what is refused, in which words."""

from __future__ import annotations

import os
import ssl
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from kvgossip.api.tls.reading import FILE_BYTES_MAX, Files, read
from kvgossip.errors import ConfigError
from tests.api.tls.files import ca_of, expired, made


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return made(tmp_path / "certs")


def refused(files: Files, words: str, now_s: float | None = None) -> ConfigError:
    with pytest.raises(ConfigError, match=words) as caught:
        read(files, time.time() if now_s is None else now_s)
    assert caught.value.hint
    assert "PRIVATE" not in str(caught.value) + caught.value.hint
    return caught.value


def test_a_pair_is_read_with_its_hosts_and_its_end(files: Files) -> None:
    reading = read(files, time.time())
    assert reading.names == ("localhost", "127.0.0.1")
    assert 29 < (reading.not_after_s - time.time()) / 86_400 < 30
    assert reading.clients_until_s is None
    assert reading.context.verify_mode is ssl.CERT_NONE
    assert len(reading.fingerprint) == 64
    assert not reading.exposed


def test_certificate_and_key_may_be_in_one_file(files: Files, tmp_path: Path) -> None:
    one = tmp_path / "one.pem"
    one.write_text(Path(files.cert).read_text() + Path(files.key).read_text())
    assert read(Files(str(one)), time.time()).fingerprint == read(files, time.time()).fingerprint


def test_a_key_that_everybody_may_read_is_served_and_told(files: Files) -> None:
    os.chmod(files.key, 0o644)
    assert read(files, time.time()).exposed


def test_a_ca_of_clients_makes_them_show_a_certificate(files: Files) -> None:
    reading = read(files._replace(client_ca=ca_of(files)), time.time())
    assert reading.context.verify_mode is ssl.CERT_REQUIRED
    assert reading.clients_until_s is not None
    assert (reading.clients_until_s - time.time()) / 86_400 > 3600


def test_a_certificate_that_has_expired_is_refused(tmp_path: Path) -> None:
    refused(expired(tmp_path / "old"), r"expired on \d{4}-\d\d-\d\dT")


def test_a_certificate_that_holds_from_later_on_is_refused(files: Files) -> None:
    refused(files, "which is later", now_s=time.time() - 86_400)


def test_a_chain_is_as_old_as_its_oldest(files: Files, tmp_path: Path) -> None:
    old = expired(tmp_path / "old")
    with open(files.cert, "a") as chain:
        chain.write(Path(ca_of(files)).read_text())
    assert read(files, time.time()).names
    with open(files.cert, "a") as chain:
        chain.write(Path(old.cert).read_text())
    refused(files, "in its chain")


def test_a_key_of_another_certificate_is_refused(files: Files, tmp_path: Path) -> None:
    other = made(tmp_path / "other")
    refused(Files(files.cert, other.key), "does not belong to the certificate")


def test_a_key_with_a_password_is_refused_and_nobody_is_asked(files: Files) -> None:
    key = load_pem_private_key(Path(files.key).read_bytes(), None)
    sealed = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"x"))
    Path(files.key).write_bytes(sealed)
    refused(files, "needs a password")


def test_a_file_without_what_is_looked_for_is_refused(files: Files) -> None:
    refused(Files(files.key, files.key), "there is no certificate in")
    refused(Files(files.cert), "there is no private key in")
    refused(Files(files.cert, files.cert), "there is no private key in")
    refused(files._replace(client_ca=files.key), "there is no certificate in")


def test_a_file_that_cannot_be_read_is_refused(files: Files, tmp_path: Path) -> None:
    refused(Files(str(tmp_path / "none"), files.key), "cannot read the TLS file .*No such file")
    refused(Files(str(tmp_path), files.key), "is no file|Is a directory")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    refused(Files(str(pipe), files.key), "is no file")
    long = tmp_path / "long"
    long.write_bytes(b"x" * (FILE_BYTES_MAX + 1))
    refused(Files(str(long), files.key), "too long")


def test_a_damaged_certificate_or_key_is_refused(files: Files) -> None:
    good = Path(files.cert).read_text(), Path(files.key).read_text()
    Path(files.cert).write_text(good[0].replace("A", "B"))
    refused(files, "there is no certificate in|OpenSSL does not take")
    Path(files.cert).write_text(good[0])
    Path(files.key).write_text(good[1].replace("M", "N"))
    refused(files, "OpenSSL does not take")


def test_a_key_in_place_of_its_path_is_refused_and_not_repeated(files: Files) -> None:
    refused(Files(files.cert, Path(files.key).read_text()), "where its path is expected")


def test_a_ca_of_clients_that_has_expired_lets_nobody_in(files: Files, tmp_path: Path) -> None:
    old = made(tmp_path / "old", now=datetime.now(UTC) - timedelta(days=4000))
    refused(files._replace(client_ca=ca_of(old)), "no client would be let in")
