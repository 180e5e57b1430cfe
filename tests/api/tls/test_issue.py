"""Certificates for trials: who is vouched for, for what, and that no file is lost."""

from __future__ import annotations

import os
import ssl
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from kvgossip.api.tls.issue import make
from kvgossip.errors import ConfigError, KVGossipError, LocalError
from tests.api.tls.files import NOW


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_the_first_call_makes_a_ca_and_later_ones_use_it(tmp_path: Path) -> None:
    first = make(tmp_path, ["kv1"], [], 30, NOW)
    assert [each.name for each in first] == ["ca", "kv1"]
    before = contents(tmp_path)
    second = make(tmp_path, ["kv2"], ["ci", "ops"], 30, NOW)
    assert [each.name for each in second] == ["kv2", "ci", "ops"]
    assert before.items() <= contents(tmp_path).items()
    ca = certificate(tmp_path / "ca.pem")
    for name in ("kv1", "kv2", "ci", "ops"):
        certificate(tmp_path / f"{name}.pem").verify_directly_issued_by(ca)


def test_files_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make(tmp_path / "new", ["kv1"], ["ci"], 30, NOW)
    finally:
        os.umask(before)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "new").iterdir()} == {0o600}


def test_a_node_has_all_its_names_and_addresses_and_is_no_client(tmp_path: Path) -> None:
    make(
        tmp_path,
        ["kv1.example", "10.0.0.5", "[::1]", "*.kv.example", "bücher.example"],
        [],
        30,
        NOW,
    )
    node = certificate(tmp_path / "kv1.example.pem")
    names = node.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == [
        "kv1.example",
        "10.0.0.5",
        "::1",
        "*.kv.example",
        "xn--bcher-kva.example",
    ]
    use = node.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(use) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert node.not_valid_after_utc == NOW + timedelta(days=30)


def test_a_client_has_its_name_and_is_no_node(tmp_path: Path) -> None:
    make(tmp_path, [], ["deploy bot"], 30, NOW)
    client = certificate(tmp_path / "deploy_bot.pem")
    assert client.subject.rfc4514_string() == "CN=deploy bot"
    use = client.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(use) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_the_strictest_verification_takes_what_is_made(tmp_path: Path) -> None:
    from cryptography.x509.verification import PolicyBuilder, Store

    make(tmp_path, ["kv1"], [], 30, NOW)
    store = Store([certificate(tmp_path / "ca.pem")])
    verifier = PolicyBuilder().store(store).time(NOW).build_server_verifier(x509.DNSName("kv1"))
    assert len(verifier.verify(certificate(tmp_path / "kv1.pem"), [])) == 2


@pytest.mark.parametrize("name", ["kv1", "ci"])
def test_nothing_is_overwritten_and_nothing_is_left_of_a_call_that_fails(
    name: str, tmp_path: Path
) -> None:
    (tmp_path / f"{name}.key").write_text("precious")
    with pytest.raises(LocalError, match=f"{name}.key exists already"):
        make(tmp_path, ["kv1"], ["ci"], 30, NOW)
    assert contents(tmp_path) == {f"{name}.key": b"precious"}


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "certs").mkdir()
    (tmp_path / "certs" / "kv1.key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KVGossipError):
        make(tmp_path / "certs", ["kv1"], [], 30, NOW)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "host",
    ["", "http://kv1", "kv1:7480", "a b", "../kv1", "a\nb", "x" * 65, "10.0.0.0/8", "é" * 300],
)
def test_what_is_no_host_is_refused(host: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        make(tmp_path / "certs", [host], [], 30, NOW)
    assert not (tmp_path / "certs").exists()


@pytest.mark.parametrize(("hosts", "clients"), [(["a"], ["a"]), (["ca"], []), ([], ["x", "x"])])
def test_two_certificates_do_not_share_a_name(
    hosts: list[str], clients: list[str], tmp_path: Path
) -> None:
    with pytest.raises(LocalError):
        make(tmp_path / "certs", hosts, clients, 30, NOW)
    assert not (tmp_path / "certs").exists()


def test_no_certificate_holds_longer_than_its_ca(tmp_path: Path) -> None:
    make(tmp_path, [], ["first"], 3650, NOW)
    (made,) = make(tmp_path, [], ["second"], 3650, NOW + timedelta(days=100))
    assert made.not_after == "2035-12-30T00:00:00Z"
    with pytest.raises(ConfigError, match=r"the CA in .* expired on"):
        make(tmp_path, [], ["third"], 30, NOW + timedelta(days=3651))


@pytest.mark.parametrize("broken", ["ca.pem", "ca.key"])
@pytest.mark.parametrize("how", ["gone", "garbage", "another's"])
def test_a_ca_that_is_not_whole_is_refused_and_stays_as_it_is(
    broken: str, how: str, tmp_path: Path
) -> None:
    make(tmp_path / "certs", ["kv1"], [], 30, NOW)
    path = tmp_path / "certs" / broken
    if how == "gone":
        path.unlink()
    elif how == "garbage":
        path.write_text("garbage")
    else:
        make(tmp_path / "other", ["kv1"], [], 30, NOW)
        path.write_bytes((tmp_path / "other" / broken).read_bytes())
    before = contents(tmp_path / "certs")
    with pytest.raises(ConfigError):
        make(tmp_path / "certs", ["kv2"], [], 30, NOW)
    assert contents(tmp_path / "certs") == before


def test_python_s_own_client_believes_the_ca(tmp_path: Path) -> None:
    make(tmp_path, ["kv1"], [], 30, NOW)
    context = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    assert len(context.get_ca_certs()) == 1
