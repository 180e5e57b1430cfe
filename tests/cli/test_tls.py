"""TLS as operators use it: an agent, the command line and the clients of others, over real
files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import consul
import pytest

from kvgossip.api.tls.reading import Files
from tests.api.tls.files import CLIENT, HOST, ca_of, client_context, expired, made
from tests.cli.test_cli import PATIENCE_S, QUICK, Process, agent, run


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return made(tmp_path / "certs")


@contextmanager
def secured(files: Files, *options: str) -> Iterator[tuple[Process, str]]:
    """An agent with these files, and its URL."""
    pair = ("--tls-cert", files.cert, "--tls-key", files.key)
    with agent(*pair, *options, **QUICK) as process:
        url = process.event("serving")["url"]
        assert url.startswith("https://")
        process.event("settled")
        yield process, url


def client_of(files: Files) -> tuple[str, ...]:
    """The options of a client with a certificate."""
    folder = Path(files.cert).parent
    return ("--cert", str(folder / f"{CLIENT}.pem"), "--cert-key", str(folder / f"{CLIENT}.key"))


# -- the start ------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["expired", "misfit", "unreadable", "alone"])
def test_a_certificate_that_cannot_be_served_is_told_before_the_port_is_open(
    fault: str, files: Files, tmp_path: Path
) -> None:
    other = made(tmp_path / "other")
    pairs = {
        "expired": (expired(tmp_path / "old"), "expired on"),
        "misfit": (Files(files.cert, other.key), "does not belong to the certificate"),
        "unreadable": (Files(files.cert, str(tmp_path / "none")), "cannot read the TLS file"),
        "alone": (Files("", files.key), "tls_key is set, and tls_cert is not"),
    }
    (cert, key, _), words = pairs[fault]
    ended = run(
        *("agent", "--http", "127.0.0.1:0", "--gossip", "127.0.0.1:0"),
        KVGOSSIP_TLS_CERT=cert,
        KVGOSSIP_TLS_KEY=key,
    )
    assert ended.returncode == 2
    assert ended.stdout == b""
    assert words in ended.stderr.decode()
    assert b"hint: " in ended.stderr


# -- the command line -----------------------------------------------------------------------------


def test_the_command_line_speaks_tls_and_says_what_is_wrong(files: Files, tmp_path: Path) -> None:
    other = made(tmp_path / "other")
    with secured(files) as (_, url):
        assert run("put", "a", "hello", "--url", url, "--ca", ca_of(files)).returncode == 0
        assert run("get", "a", "--url", url, KVGOSSIP_CA=ca_of(files)).stdout == b"hello"
        assert run("members", KVGOSSIP_URL=url, KVGOSSIP_CA=ca_of(files)).returncode == 0
        for target, ca, code, words in (
            (url, "", 2, "is of a CA that is not known here"),
            (url, ca_of(other), 2, "is of a CA that is not known here"),
            (url, str(tmp_path / "none"), 2, "cannot read a CA from"),
            (url.replace("https", "http"), "", 1, "this port speaks TLS"),
        ):
            ended = run("get", "a", "--url", target, KVGOSSIP_CA=ca)
            assert ended.returncode == code
            assert words in ended.stderr.decode()
            assert b"hint: " in ended.stderr
    with agent() as process:
        url = process.event("serving")["url"].replace("http", "https")
        ended = run("get", "a", "--url", url)
        assert ended.returncode == 2
        assert "does not speak HTTPS" in ended.stderr.decode()


def test_a_node_with_a_ca_of_clients_wants_their_certificate(files: Files) -> None:
    with secured(files, "--tls-client-ca", ca_of(files)) as (_, url):
        trust = ("--url", url, "--ca", ca_of(files))
        refused = run("status", *trust)
        assert refused.returncode == 2
        assert "wants a certificate of its clients" in refused.stderr.decode()
        assert run("status", *trust, *client_of(files)).returncode == 0
        cert, key = client_of(files)[1::2]
        answered = run("status", *trust, KVGOSSIP_CERT=cert, KVGOSSIP_CERT_KEY=key)
        assert answered.returncode == 0


def test_tls_new_makes_what_an_agent_and_its_clients_use(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    first = run("tls", "new", str(folder), "--host", HOST, "--host", "127.0.0.1", "-o", "json")
    assert [each["name"] for each in json.loads(first.stdout)] == ["ca", HOST]
    second = run("tls", "new", str(folder), "--client", CLIENT)
    assert second.stdout.decode().startswith(f"{folder}/{CLIENT}.pem and {folder}/{CLIENT}.key")
    assert run("tls", "new", str(folder), "--client", CLIENT).returncode == 1
    assert run("tls", "new", str(folder)).returncode == 2
    files = Files(str(folder / f"{HOST}.pem"), str(folder / f"{HOST}.key"))
    with secured(files, "--tls-client-ca", ca_of(files)) as (_, url):
        answered = run("status", "--url", url, "--ca", ca_of(files), *client_of(files))
        assert answered.returncode == 0


# -- clients of others ----------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_reads_writes_and_watches(files: Files, tmp_path: Path) -> None:
    value = tmp_path / "value"
    value.write_bytes(os.urandom(900_000))
    with secured(files) as (_, url):

        def curl(*arguments: str) -> bytes:
            command = ["curl", "-sS", "--fail", "--cacert", ca_of(files), *arguments]
            return subprocess.run(
                command, capture_output=True, check=True, timeout=PATIENCE_S
            ).stdout

        curl("-X", "PUT", "--data-binary", f"@{value}", f"{url}/kv/a")
        assert curl(f"{url}/kv/a") == value.read_bytes()
        assert curl("--tlsv1.2", "--tls-max", "1.2", f"{url}/kv/a") == value.read_bytes()
        assert json.loads(curl(f"{url}/kv?prefix="))["entries"][0]["key"] == "a"
        metrics = curl(f"{url}/metrics")
        assert b"kvgossip_tls_certificate_expires_seconds 2" in metrics
        assert b"kvgossip_tls_certificate_expiry_timestamp_seconds 1" in metrics


def test_py_consul_works_over_tls(files: Files) -> None:
    with secured(files) as (_, url):
        port = urlsplit(url).port
        client = consul.Consul(HOST, port, scheme="https", verify=ca_of(files))
        try:
            assert client.kv.put("foo", "bar") is True
            assert client.kv.get("foo")[1]["Value"] == b"bar"
        finally:
            client.http.session.close()


# -- rotation -------------------------------------------------------------------------------------


class Load:
    """Clients that ask without an end: half of them on one connection each, half on ever new
    ones."""

    def __init__(self, files: Files, address: tuple[str, int]) -> None:
        self.answers = 0
        self.faults: list[str] = []
        self._address, self._context = address, client_context(files)
        self._over = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(number % 2 == 0,)) for number in range(4)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, stays: bool) -> None:
        try:
            while not self._over.is_set():
                with (
                    socket.create_connection(self._address, PATIENCE_S) as plain,
                    self._context.wrap_socket(plain, server_hostname=HOST) as tls,
                ):
                    while not self._over.is_set():
                        tls.sendall(b"GET /kv/a HTTP/1.1\r\nHost: n\r\n\r\n")
                        assert tls.recv(4096).startswith(b"HTTP/1.1 200 ")
                        self.answers += 1
                        if not stays:
                            break
        except (OSError, AssertionError) as error:
            self.faults.append(repr(error))

    def wait(self, answers: int) -> None:
        """Until there are so many more, or a fault."""
        wanted, deadline = self.answers + answers, time.monotonic() + PATIENCE_S
        while self.answers < wanted and not self.faults:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def shown(files: Files, address: tuple[str, int]) -> bytes:
    """The certificate that a new connection gets."""
    with (
        socket.create_connection(address, PATIENCE_S) as plain,
        client_context(files).wrap_socket(plain, server_hostname=HOST) as tls,
    ):
        found = tls.getpeercert(binary_form=True)
        assert found is not None
        return found


def der(path: str) -> bytes:
    return ssl.PEM_cert_to_DER_cert(Path(path).read_text())


def test_certificates_that_are_replaced_under_load_fail_no_request(
    files: Files, tmp_path: Path
) -> None:
    folder = Path(files.cert).parent
    with secured(files) as (process, url):
        address = (str(urlsplit(url).hostname), urlsplit(url).port or 0)
        assert run("put", "a", "1", "--url", url, "--ca", ca_of(files)).returncode == 0
        with Load(files, address) as load:
            for number in range(3):
                load.wait(50)
                before = shown(files, address)
                # of the same CA, as a renewal is
                renewed = tmp_path / f"renewed{number}"
                renewed.mkdir()
                for end in ("pem", "key"):
                    shutil.copy(folder / f"ca.{end}", renewed)
                new = made(renewed)
                os.replace(new.cert, files.cert)
                os.replace(new.key, files.key)
                if number:
                    process.popen.send_signal(signal.SIGHUP)
                deadline = time.monotonic() + PATIENCE_S
                while shown(files, address) == before:
                    assert time.monotonic() < deadline
                assert shown(files, address) == der(files.cert)
                load.wait(50)
            # and a broken one changes nothing
            Path(files.key).write_text("broken")
            process.popen.send_signal(signal.SIGHUP)
            process.line("the old TLS certificate stays: there is no private key", "stderr")
            load.wait(50)
            assert shown(files, address) == der(files.cert)
        assert load.faults == []
        status = json.loads(run("status", "--url", url, "--ca", ca_of(files), "-o", "json").stdout)
        assert "there is no private key" in status["tls"]["problem"]
        assert status["tls"]["reloads"] >= 3


def test_the_doctor_of_any_member_names_certificates_that_expire_soon(
    files: Files, tmp_path: Path
) -> None:
    soon = made(tmp_path / "soon", days=9)
    with secured(files, "--name", "n1") as (_, url):
        gossip = json.loads(run("status", "--url", url, "--ca", ca_of(files), "-o", "json").stdout)
        with secured(soon, "--name", "n2", "--join", gossip["gossip"]):
            ended = run("doctor", "--url", url, "--ca", ca_of(files), "-o", "json")
            assert ended.returncode == 1
            (finding,) = json.loads(ended.stdout)["findings"]
            assert finding["code"] == "certificate_expires"
            assert finding["members"] == ["n2"]
            assert finding["text"] == (
                "n2: the TLS certificate for localhost, 127.0.0.1 expires within 9 days: renew it"
            )
