"""Clients of others, over TLS and with tokens: what they do over plain HTTP they must be able to do
there, as their own manuals say, with a CA that is told to them, and with the token where they send
it.

A client that is not installed is skipped in words.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import consul
import pytest

from kvgossip.api.access.tokens import Token
from tests.api.access.tokens_file import make_tokens
from tests.api.routes import test_consul_clients as of_consul
from tests.api.tls.files import HOST, ca_of, made
from tests.cli.test_cli import PATIENCE_S, QUICK, agent
from tests.docs.pages import DOCS, blocks

TOKENS = (
    Token("app", read=("",), write=("",)),
    Token("monitoring", metrics=True),
)
SCRIPTS: list[Callable[[Any], None]] = [
    of_consul.kv, of_consul.kv_wait, of_consul.kv_encoding, of_consul.kv_put_cas,
    of_consul.kv_put_flags, of_consul.kv_recurse, of_consul.kv_delete, of_consul.kv_delete_cas,
    of_consul.kv_keys_only,
]  # fmt: skip
"""py-consul's own tests of its KV class."""


class Guarded(NamedTuple):
    """Where an agent answers that speaks TLS and asks for tokens; its CA, and the secrets."""

    url: str
    ca: str
    secrets: dict[str, str]

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    files, tokens = made(folder / "certs"), folder / "tokens"
    secrets = make_tokens(tokens, *TOKENS)
    options = ("--tls-cert", files.cert, "--tls-key", files.key, "--tokens", str(tokens))
    with agent(*options, "--log-level", "error", **QUICK) as process:
        port = urlsplit(process.event("serving")["url"]).port
        process.event("settled")
        yield Guarded(f"https://{HOST}:{port}", ca_of(files), secrets)


# -- httpx -----------------------------------------------------------------------------------------


def test_httpx_reads_writes_lists_and_watches(guarded: Guarded) -> None:
    httpx = pytest.importorskip("httpx", reason="httpx is not installed (pip install httpx)")
    context = ssl.create_default_context(cafile=guarded.ca)
    bearer = {"Authorization": f"Bearer {guarded.secrets['app']}"}
    with httpx.Client(base_url=guarded.url, verify=context, headers=bearer) as client:
        put = client.put("/kv/httpx/a", content=b"1", headers={"If-None-Match": "*"})
        assert put.status_code == 200
        assert client.put("/kv/httpx/a", content=b"2", headers={"If-None-Match": "*"}).is_error
        assert client.get("/kv/httpx/a").content == b"1"
        listed = client.get("/kv", params={"prefix": "httpx/"}).json()["entries"]
        assert [each["key"] for each in listed] == ["httpx/a"]
        watch = {"prefix": "httpx/", "values": "text", "since": "0"}
        with client.stream("GET", "/watch", params=watch) as stream:
            lines = iter(stream.iter_lines())
            assert client.put("/kv/httpx/b", content=b"\xc3\xa7").status_code == 200
            seen = next(line for line in lines if "httpx/b" in line)
        assert json.loads(seen.removeprefix("data:"))["value"] == "\u00e7"
        assert client.delete("/kv/httpx/a").status_code == 200
    with httpx.Client(base_url=guarded.url, verify=context) as client:
        refused = client.get("/kv/httpx/b")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer ")
    # its own list of CAs does not have this one
    with httpx.Client(base_url=guarded.url) as client, pytest.raises(httpx.ConnectError):
        client.get("/healthz")


# -- py-consul -------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: str(script.__name__))
def test_py_consul_passes_its_own_tests_over_tls_with_a_token(
    script: Callable[[Any], None], guarded: Guarded
) -> None:
    client = consul.Consul(
        HOST, guarded.port, scheme="https", verify=guarded.ca, token=guarded.secrets["app"]
    )
    try:
        script(client)
        client.kv.delete("", recurse=True)
    finally:
        client.http.session.close()


def test_py_consul_without_a_token_is_told_so_over_tls(guarded: Guarded) -> None:
    client = consul.Consul(HOST, guarded.port, scheme="https", verify=guarded.ca)
    try:
        with pytest.raises(consul.ACLDisabled, match="no token is sent"):
            client.kv.get("foo")
    finally:
        client.http.session.close()


# -- curl ------------------------------------------------------------------------------------------


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_sends_a_token_over_tls(guarded: Guarded, tmp_path: Path) -> None:
    header = tmp_path / "header"
    header.write_text(f"Authorization: Bearer {guarded.secrets['app']}\n")

    def curl(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = ["curl", "-sS", "--fail", "--cacert", guarded.ca, *arguments]
        return subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S)

    url = f"{guarded.url}/kv/curl/a"
    # from a file, so that no list of processes shows it
    wrote = curl("-H", f"@{header}", "-X", "PUT", "--data-binary", "1", url)
    assert (wrote.returncode, wrote.stderr) == (0, b"")
    assert curl("-H", f"@{header}", url).stdout == b"1"
    assert curl("--oauth2-bearer", guarded.secrets["app"], url).stdout == b"1"
    refused = curl(url)
    assert (refused.returncode, refused.stdout) == (22, b"")
    assert b"401" in refused.stderr
    unknown = subprocess.run(["curl", "-sS", url], capture_output=True, check=False)
    assert unknown.returncode == 60
    assert b"certificate" in unknown.stderr


# -- Prometheus ------------------------------------------------------------------------------------

REFUSED = """
  - job_name: without-token
    scheme: https
    tls_config: {ca_file: CA}
    static_configs: [{targets: ["TARGET"]}]
  - job_name: without-ca
    scheme: https
    authorization: {credentials_file: TOKEN}
    static_configs: [{targets: ["TARGET"]}]
"""
"""Beside the job of the manual."""
PLACES = {
    "/etc/prometheus/kvgossip.token": "TOKEN",
    "/etc/prometheus/kvgossip-ca.pem": "CA",
    "kv1.example:7480": "TARGET",
}


@contextmanager
def prometheus(folder: Path, config: str) -> Iterator[str]:
    """A Prometheus with this configuration, and its URL."""
    (folder / "prometheus.yml").write_text(config)
    command = ["prometheus", f"--config.file={folder / 'prometheus.yml'}"]
    command += ["--web.listen-address=127.0.0.1:0", f"--storage.tsdb.path={folder / 'data'}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            found = (re.search(r"address=(127\.0\.0\.1:[1-9]\d*)", line) for line in process.stderr)
            address = next(each[1] for each in found if each is not None)
            yield f"http://{address}"
        finally:
            process.kill()


def asked(url: str, **query: str) -> Any:
    with urllib.request.urlopen(f"{url}?{urllib.parse.urlencode(query)}", timeout=30) as answer:
        return json.loads(answer.read())["data"]


@pytest.mark.skipif(
    shutil.which("prometheus") is None,
    reason="prometheus is not installed (Debian package prometheus)",
)
def test_prometheus_scrapes_over_tls_with_a_token(guarded: Guarded, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(guarded.secrets["monitoring"])
    (manual,) = blocks(DOCS / "security.md", "yaml")
    config = f"global: {{scrape_interval: 1s}}\n{manual.text}{REFUSED}"
    ours = {"TOKEN": str(token), "CA": guarded.ca, "TARGET": f"{HOST}:{guarded.port}"}
    for place, name in PLACES.items():
        assert place in manual.text
        config = config.replace(place, name)
    for name, text in ours.items():
        config = config.replace(name, text)
    with prometheus(tmp_path, config) as url:
        deadline = time.monotonic() + PATIENCE_S
        targets: dict[str, Any] = {}
        while not targets or any(each["health"] == "unknown" for each in targets.values()):
            assert time.monotonic() < deadline, targets
            time.sleep(0.1)
            targets = {
                each["labels"]["job"]: each
                for each in asked(f"{url}/api/v1/targets")["activeTargets"]
            }
        assert (targets["kvgossip"]["health"], targets["kvgossip"]["lastError"]) == ("up", "")
        assert "401 Unauthorized" in targets["without-token"]["lastError"]
        assert "certificate" in targets["without-ca"]["lastError"]
        (settled,) = asked(f"{url}/api/v1/query", query='kvgossip_settled{job="kvgossip"}')[
            "result"
        ]
        assert settled["value"][1] == "1"
