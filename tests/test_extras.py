"""What a node loads, and what it says where a package of an extra is missing."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from kvgossip import Config, Node
from kvgossip.extras import EXTRAS, MissingPackageError, index_name, require
from kvgossip.protocol.membership.identity import Identity, objection_to
from kvgossip.protocol.wire.keyring import Keyring
from kvgossip.protocol.wire.message import Join
from kvgossip.protocol.wire.seal import Seals
from tests.api.serving import ANYWHERE, Served
from tests.protocol.net import member

ROOT = Path(__file__).parent.parent
HEAVY = {*EXTRAS, "aiohttp", "pydantic", "zstandard"}
KEY = "00" * 32


def loaded_by(program: str) -> set[str]:
    """The packages that a fresh interpreter has loaded at the end of a program."""
    program = f"{program}\nimport json, sys\nprint(json.dumps(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout))


def command_without(package: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`kvgossip ARGUMENTS` where a package is not installed."""
    program = (
        f"import sys; sys.modules[{package!r}] = None; from kvgossip.__main__ import main; main()"
    )
    command = [sys.executable, "-c", program, *arguments]
    # who has set PYTHONMALLOC has chosen: an agent does not start anew, with all packages
    clean = {name: value for name, value in os.environ.items() if not name.startswith("KVGOSSIP_")}
    environment = {**clean, "PYTHONMALLOC": "pymalloc"}
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=environment
    )


def hide(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)


# -- what is loaded ----------------------------------------------------------------------------------------------


def test_the_import_of_a_node_loads_no_package_that_only_some_nodes_need() -> None:
    loaded = loaded_by("from kvgossip import Node")
    assert "msgspec" in loaded
    assert loaded & HEAVY == set()


RUN = """
import asyncio
from kvgossip import Config, Node
from kvgossip.config import Address

async def main():
    config = Config(name="a", gossip=Address("127.0.0.1", 0), founding_s=0.0)
    async with Node(config) as node:
        await node.put("a", b"1")
        assert node.get("a") == b"1"
        node.status()

asyncio.run(main())
"""


def test_a_memory_only_node_without_a_keyring_runs_without_them() -> None:
    assert loaded_by(RUN) & HEAVY == set()


def test_the_http_server_loads_aiohttp_and_no_other_of_them() -> None:
    assert loaded_by("from kvgossip.api.server import ApiServer") & HEAVY == {"aiohttp"}


# -- what is missing ---------------------------------------------------------------------------------------------


def test_every_package_is_in_the_extra_that_is_named_where_it_is_missing() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = document["project"]["optional-dependencies"]
    for package, extra in EXTRAS.items():
        names = [re.split(r"[^\w.-]", requirement)[0] for requirement in extras[extra]]
        assert index_name(package) in names


def test_what_the_project_requires_is_locked_with_hashes_and_everywhere_in_one_release() -> None:
    document = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    project, groups = document["project"], document["dependency-groups"]
    extras = project["optional-dependencies"]
    needed = {
        "build": groups["build"],
        "all": [
            *project["dependencies"],
            *(extras[extra] for extra in ("disk", "sealed", "cli", "metrics")),
        ],
        "dev": [
            *groups["dev"],
            *(requirements for name, requirements in extras.items() if name != "all"),
        ],
    }
    assert set(document["build-system"]["requires"]) <= set(groups["build"])
    locked = {name: locked_releases(name) for name in needed}
    for name, requirements in needed.items():
        flat = [
            each
            for entry in requirements
            for each in (entry if isinstance(entry, list) else [entry])
        ]
        names = {name_of(requirement) for requirement in flat if isinstance(requirement, str)}
        assert names <= locked[name].keys()
        assert locked[name].items() <= locked["dev"].items()


def locked_releases(name: str) -> dict[str, str]:
    """The releases of a lock file by the names of their packages; each has hashes."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text(encoding="utf-8")
    entries = re.split(r"^(?=\w)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
    found = [re.match(r"([\w.-]+)==(\S+)", entry) for entry in entries]
    return {name_of(match[1]): match[2] for match in found if match is not None}


def name_of(requirement: str) -> str:
    """The package that a requirement is about, as indexes write it."""
    return re.sub(r"[-_.]+", "-", re.split(r"[^\w.-]", requirement)[0]).lower()


def test_a_package_that_lacks_one_of_its_own_is_not_called_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "rocksdict.py").write_text("import nowhere_to_be_found\n")
    monkeypatch.delitem(sys.modules, "rocksdict", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="nowhere_to_be_found"):
        require("rocksdict", "a data directory")


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("openfeature", "openfeature"),
        ("pydantic", "pydantic_settings"),
        ("django", "django"),
        ("constance", "constance"),
        ("dynaconf", "dynaconf"),
    ],
)
def test_a_contribution_without_its_library_is_a_line_that_names_the_extra(
    module: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [each for each in sys.modules if each.startswith("kvgossip.contrib.")]:
        monkeypatch.delitem(sys.modules, name)
    hide(package, monkeypatch)
    with pytest.raises(MissingPackageError) as caught:
        import_module(f"kvgossip.contrib.{module}")
    line = (
        f"kvgossip.contrib.{module} needs the package {index_name(package)}, which is not installed"
    )
    assert (str(caught.value), caught.value.hint) == (line, f"pip install 'kvgossip[{module}]'")


async def test_a_data_directory_without_rocksdict_is_a_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hide("rocksdict", monkeypatch)
    node = Node(Config(name="a", gossip=ANYWHERE, data_dir=str(tmp_path / "data")))
    with pytest.raises(MissingPackageError) as caught:
        await node.start()
    assert (
        str(caught.value) == "a data directory needs the package rocksdict, which is not installed"
    )
    assert caught.value.hint == "pip install 'kvgossip[disk]'"
    assert not (tmp_path / "data").exists()


async def test_a_keyring_or_an_identity_without_cryptography_is_a_line_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    hide("cryptography", monkeypatch)
    for purpose, config in {
        "a keyring": Config(name="a", gossip=ANYWHERE, keyring=(KEY,)),
        "an identity": Config(name="a", gossip=ANYWHERE, identity=str(tmp_path / "identity")),
    }.items():
        with pytest.raises(MissingPackageError) as caught:
            await Node(config).start()
        assert (
            str(caught.value) == f"{purpose} needs the package cryptography, which is not installed"
        )
        assert caught.value.hint == "pip install 'kvgossip[sealed]'"


def test_a_seal_needs_cryptography_and_a_keyring_alone_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hide("cryptography", monkeypatch)
    keyring = Keyring([bytes.fromhex(KEY)])
    with pytest.raises(MissingPackageError):
        Seals(keyring, b"pool", 1, 1, 10)


def test_a_member_that_cannot_prove_an_identity_gives_its_name_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    identity = Identity(bytes(32))
    newcomer = member("b", identity=identity.fingerprint)
    signature = identity.sign("default", "lan:dc1", newcomer)
    join = Join("b", newcomer.site, identity=identity.public, signature=signature)
    assert objection_to(join, newcomer, None, "default", "lan:dc1", False) == ""
    hide("cryptography", monkeypatch)
    objection = objection_to(join, newcomer, None, "default", "lan:dc1", False)
    assert (
        "the identity of 'b' needs the package cryptography, which is not installed on the member"
        in objection
    )
    assert "pip install 'kvgossip[sealed]'" in objection


async def test_metrics_without_prometheus_client_are_a_501_that_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, served: Served
) -> None:
    hide("prometheus_client", monkeypatch)
    reply = await served.call("GET", "/metrics")
    assert reply.status == 501
    assert reply.json == {
        "error": "/metrics needs the package prometheus-client, which is not installed",
        "hint": "pip install 'kvgossip[metrics]'",
    }
    monkeypatch.undo()
    assert (await served.call("GET", "/metrics")).status == 200


@pytest.mark.parametrize("package", ["typer", "rich"])
@pytest.mark.parametrize("arguments", [["--help"], ["get", "a"], ["agent", "--help"]], ids=" ".join)
def test_the_command_without_its_packages_is_a_line_that_names_the_extra(
    package: str, arguments: list[str]
) -> None:
    done = command_without(package, *arguments)
    line = f"kvgossip: the command kvgossip needs the package {package}, which is not installed: pip install 'kvgossip[cli]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", line)


def test_an_agent_without_rocksdict_says_so_in_a_line_and_a_hint(tmp_path: Path) -> None:
    anywhere = ("--http", "127.0.0.1:0", "--gossip", "127.0.0.1:0")
    done = command_without("rocksdict", "agent", *anywhere, "--data-dir", str(tmp_path / "data"))
    assert done.returncode == 2
    assert done.stderr.splitlines()[-2:] == [
        "kvgossip: a data directory needs the package rocksdict, which is not installed",
        "hint: pip install 'kvgossip[disk]'",
    ]
