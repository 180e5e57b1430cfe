"""What docker-compose.yml says, without an engine: that it is safe, and what its service `init` makes.

The script of `init` runs here in two directories, with the command of this tree, and agents start
with the settings of its services.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from kvgossip.cli.settings import load_config, unknown_variables
from kvgossip.config.exposure import has_tokens, open_doors
from tests.cli.test_cli import CLEAN, PATIENCE_S, agent, run

from .base_image import ROOT
from .cluster import NAMES

SECRETS, CA = "/etc/kvgossip", "/var/lib/kvgossip"
IMAGE_ENVIRONMENT = {
    "KVGOSSIP_HTTP": "0.0.0.0:7480",
    "KVGOSSIP_GOSSIP": "0.0.0.0:7481",
    "KVGOSSIP_DATA_DIR": "/var/lib/kvgossip",
}
"""Of the Dockerfile."""


def services() -> dict[str, Any]:
    """As compose reads them where the environment sets nothing."""
    text = re.sub("^#.*", "", (ROOT / "docker-compose.yml").read_text(), flags=re.MULTILINE)
    text = re.sub(r"(?<!\$)\$\{\w+:-([^}]*)\}", r"\1", text)
    assert not re.search(r"(?<!\$)\$(?!\$)", text), "a variable without a default"
    found: dict[str, Any] = yaml.safe_load(text.replace("$$", "$"))["services"]
    return found


SERVICES = services()
SCRIPT: str = SERVICES["init"]["command"][0]


# -- what the file says ----------------------------------------------------------------------------


def test_the_file_has_three_nodes_and_what_makes_their_secrets() -> None:
    assert SERVICES.keys() == {"init", *NAMES, "prometheus"}
    assert SERVICES["prometheus"]["profiles"] == ["monitoring"]
    for setting, value in IMAGE_ENVIRONMENT.items():
        assert f" {setting}={value}" in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", ["init", *NAMES, "prometheus"])
def test_a_container_can_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "user", "devices", "pid", "ipc"}


@pytest.mark.parametrize("name", NAMES)
def test_a_node_waits_for_its_secrets_and_has_no_key_of_the_ca(name: str) -> None:
    service = SERVICES[name]
    assert service["depends_on"] == {"init": {"condition": "service_completed_successfully"}}
    assert service["volumes"] == [f"secrets:{SECRETS}", f"data{name[2:]}:/var/lib/kvgossip"]
    assert SERVICES["init"]["volumes"] == [f"secrets:{SECRETS}", f"ca:{CA}"]
    assert SERVICES["init"]["restart"] == "no"
    assert SERVICES["init"]["network_mode"] == "none"


@pytest.mark.parametrize("name", NAMES)
def test_a_node_is_sealed_asks_for_tokens_and_serves_tls_on_loopback(name: str) -> None:
    environment = IMAGE_ENVIRONMENT | SERVICES[name]["environment"]
    assert unknown_variables(environment) == []
    config = load_config({}, environment, None, None)
    assert open_doors(config) == ()
    assert has_tokens(config)
    assert not config.open_http
    assert config.tls_cert
    assert str(config.keyring).startswith(f"{SECRETS}/{name}/"), "a node rewrites its own"
    (port,) = SERVICES[name]["ports"]
    assert re.fullmatch(r"127\.0\.0\.1:\d+:7480", port)


def test_prometheus_scrapes_every_node_with_the_token_and_the_ca_that_init_makes() -> None:
    settings = yaml.safe_load((ROOT / "ops" / "prometheus.yml").read_text())
    (job,) = settings["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"{name}:7480" for name in NAMES]}]
    assert job["authorization"]["credentials_file"] == f"{SECRETS}/prometheus.token"
    assert job["tls_config"]["ca_file"] == f"{SECRETS}/ca.pem"
    assert f"secrets:{SECRETS}:ro" in SERVICES["prometheus"]["volumes"]


# -- what init makes -------------------------------------------------------------------------------

REAL = f'exec {sys.executable} -m kvgossip "$@"'
FAKE = r"""
set -eu
new() { [ ! -e "$1" ] && cat > "$1"; }
case "$1 $2" in
    keygen*) echo "key $$" | new "$2" ;;
    "tls new")
        [ -e "$3/ca.pem" ] || { echo "CA $$" | new "$3/ca.pem"; new "$3/ca.key" < "$3/ca.pem"; }
        new "$3/$5.pem" < "$3/ca.key"
        new "$3/$5.key" < /dev/null ;;
    "token new") echo "hash of $$" >> "$6"; echo "$$" ;;
esac
"""
"""As the real ones: they overwrite nothing, and a later certificate is of the CA that is there."""
CUT = """#!/bin/sh
read -r calls < {calls}
calls=$((calls + 1))
echo $calls > {calls}
[ $calls != "$CUT_AT" ] || kill -9 $PPID
{command}
"""


class Volumes:
    """The two directories of `init`, and the commands of its script, which may be cut short."""

    def __init__(self, root: Path, kvgossip: str) -> None:
        self.secrets, self.ca, self._bin = root / "secrets", root / "ca", root / "bin"
        for each in (self.secrets, self.ca, self._bin):
            each.mkdir(mode=0o700)
        self._calls = root / "calls"
        for name in ("cat", "cp", "mkdir", "mv", "rm"):
            self._command(name, f'exec {shutil.which(name)} "$@"')
        self._command("kvgossip", kvgossip)

    def _command(self, name: str, text: str) -> None:
        (self._bin / name).write_text(CUT.format(calls=self._calls, command=text))
        (self._bin / name).chmod(0o755)

    def init(self, cut_at: int = 0) -> subprocess.CompletedProcess[str]:
        """The service, killed where its so manieth command begins."""
        self._calls.write_text("0\n")
        path = f"{self._bin}:{os.environ['PATH']}"
        return subprocess.run(
            [*SERVICES["init"]["entrypoint"], self.here(SCRIPT)],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
            env={**CLEAN, "PATH": path, "PYTHONPATH": str(ROOT), "CUT_AT": str(cut_at)},
        )

    def here(self, text: str) -> str:
        return text.replace(SECRETS, str(self.secrets)).replace(CA, str(self.ca))

    def environment(self, name: str) -> dict[str, str]:
        """That of a node which joins nobody, on free ports of the loopback."""
        given = {key: self.here(text) for key, text in SERVICES[name]["environment"].items()}
        del given["KVGOSSIP_URL"], given["KVGOSSIP_JOIN"]
        return given

    def files(self) -> dict[str, str]:
        return {
            str(path.relative_to(root.parent)): path.read_text()
            for root in (self.secrets, self.ca)
            for path in sorted(root.rglob("*"))
            if path.is_file()
        }


ALL = {
    "ca/ca.key",
    "ca/ca.pem",
    "secrets/ca.pem",
    "secrets/prometheus.token",
    "secrets/token",
    "secrets/tokens",
    *(f"secrets/{name}/{file}" for name in NAMES for file in ("keyring", "cert.pem", "cert.key")),
    *(f"ca/{name}.{end}" for name in NAMES for end in ("pem", "key")),
}


def test_init_makes_all_secrets_at_the_first_start_and_keeps_them_at_the_second(
    tmp_path: Path,
) -> None:
    volumes = Volumes(tmp_path, REAL)
    first = volumes.init()
    assert (first.returncode, first.stderr) == (0, "")
    made = volumes.files()
    assert made.keys() == ALL
    assert len({made[f"secrets/{name}/keyring"] for name in NAMES}) == 1
    for path in volumes.secrets.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path
    secret = made["secrets/token"].strip()
    line = f"curl --cacert ca.pem -H 'Authorization: Bearer {secret}' https://127.0.0.1:7480/"
    assert first.stdout.count(line) == 1

    second = volumes.init()
    assert (second.returncode, second.stderr) == (0, "")
    assert "are kept" in second.stdout
    assert secret not in second.stdout
    assert volumes.files() == made
    check_a_node(volumes.environment("kv1"))


def check_a_node(environment: dict[str, Any]) -> None:
    """It serves the commands of its container, and nobody who has no token."""
    with agent(**environment) as process:
        url = process.event("serving")["url"]
        assert url.startswith("https://")
        assert run("put", "a", "1", KVGOSSIP_URL=url, **environment).returncode == 0
        got = run("get", "a", KVGOSSIP_URL=url, **environment)
        assert (got.returncode, got.stdout) == (0, b"1")
        status = run("status", "-o", "json", KVGOSSIP_URL=url, **environment)
        assert json.loads(status.stdout)["open"] == []
        no_token = {**environment, "KVGOSSIP_TOKEN_FILE": ""}
        assert b"no token is sent" in run("get", "a", KVGOSSIP_URL=url, **no_token).stderr
        process.popen.send_signal(signal.SIGTERM)
        code, _, log = process.end()
    assert code == 0
    warnings = [line for line in log.splitlines() if " WARNING " in line]
    assert len(warnings) == 1, log  # the audit log's
    assert "refused with 401" in warnings[0]


def test_init_that_is_cut_short_anywhere_leaves_no_half_for_the_next_start(tmp_path: Path) -> None:
    for cut_at in range(1, 100):
        root = tmp_path / str(cut_at)
        root.mkdir()
        volumes = Volumes(root, FAKE)
        if volumes.init(cut_at).returncode == 0:
            break  # it was never cut
        # nodes do not start before it has ended well
        done = volumes.init()
        assert (done.returncode, done.stderr) == (0, ""), cut_at
        made = volumes.files()
        assert made.keys() == ALL, cut_at
        tokens = (made["secrets/token"], made["secrets/prometheus.token"])
        assert made["secrets/tokens"] == "".join(f"hash of {token}" for token in tokens)
        assert len({made[f"secrets/{name}/keyring"] for name in NAMES}) == 1
        authorities = {made[f"secrets/{name}/cert.pem"] for name in NAMES}
        assert authorities == {made["secrets/ca.pem"]} == {made["ca/ca.key"]}, cut_at
    assert cut_at > 20


@pytest.mark.parametrize("name", ["kv1", "kv3"])
def test_a_node_that_is_added_gets_the_keyring_of_today_and_a_certificate_of_the_same_ca(
    name: str, tmp_path: Path
) -> None:
    volumes = Volumes(tmp_path, FAKE)
    assert volumes.init().returncode == 0
    shutil.rmtree(volumes.secrets / name)
    for path in volumes.secrets.glob("*/keyring"):
        path.write_text("rotated")
    before = volumes.files()
    assert volumes.init().returncode == 0
    after = volumes.files()
    assert after[f"secrets/{name}/keyring"] == "rotated"
    assert after[f"secrets/{name}/cert.pem"] == after["secrets/ca.pem"]
    assert before.items() <= after.items()


def test_a_certificate_that_was_taken_away_is_made_anew_and_nothing_else(tmp_path: Path) -> None:
    volumes = Volumes(tmp_path, FAKE)
    assert volumes.init().returncode == 0
    before = volumes.files()
    (volumes.secrets / "kv1" / "cert.pem").unlink()
    assert volumes.init().returncode == 0
    assert volumes.files() == before
