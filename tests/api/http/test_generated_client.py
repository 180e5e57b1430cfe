"""Whoever has a generator of clients needs no other: one that is made of /openapi.json reads, writes,
lists and watches. The page of HTTP says how it is made, and this test does as it says.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.api.http.test_openapi import agent
from tests.docs.pages import DOCS, blocks

NAME = "openapi-python-client"
PATH = f"{Path(sys.prefix) / 'generator' / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}"
PACKAGE = "kvgossip_client"


@pytest.fixture
def generator() -> str:
    found = os.environ.get("KVGOSSIP_GENERATOR") or shutil.which(NAME, path=PATH)
    if found is None and "KVGOSSIP_REQUIRE_GENERATOR" not in os.environ:
        pytest.skip(f"{NAME} is not there (make .venv/.generator)")
    assert found is not None
    return found


def part(name: str) -> Any:
    return importlib.import_module(f"{PACKAGE}.{name}")


def test_a_client_that_is_made_of_the_description_gets_puts_lists_and_watches(
    generator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (config,) = blocks(DOCS / "http.md", "yaml")
    (tmp_path / "client.yaml").write_text(f"{config.text}post_hooks: []\n")
    description = tmp_path / "openapi.json"
    with agent() as url:
        description.write_bytes(httpx.get(f"{url}/openapi.json").content)
        where = ("--output-path", str(tmp_path / PACKAGE), "--meta", "none")
        made = subprocess.run(
            [generator, "generate", "--path", str(description), "--config", "client.yaml", *where],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        # it warns of what it leaves out
        assert (made.returncode, "WARNING" in made.stdout + made.stderr) == (0, False), made
        monkeypatch.syspath_prepend(str(tmp_path))
        types, models = part("types"), part("models")
        with part("client").Client(base_url=url) as client:
            body = types.File(payload=BytesIO(b"dark"))
            stored = part("api.kv.kv_put").sync("config/theme", client=client, body=body)
            assert isinstance(stored, models.Stored)
            found = part("api.kv.kv_get").sync("config/theme", client=client)
            assert found.payload.read() == b"dark"
            page = part("api.kv.kv_page").sync(client=client, prefix="config/")
            assert [(each.key, each.version) for each in page.entries] == [
                ("config/theme", stored.version)
            ]
            watch = part("api.watch.watch").sync
            on = models.WatchPoll.TRUE
            begun = watch(client=client, prefix="config/", poll=on, since="0")
            assert begun.resync
            part("api.kv.kv_delete").sync("config/theme", client=client)
            polled = watch(client=client, prefix="config/", poll=on, since=begun.cursor)
            assert isinstance(polled, models.Polled)
            assert [(each.event.value, each.key) for each in polled.events] == [
                ("delete", "config/theme")
            ]
            missing = part("api.kv.kv_get").sync_detailed("config/theme", client=client)
            assert (missing.status_code, missing.parsed.error) == (404, "there is no such key")
            (member,) = part("api.status.status_members").sync(client=client).members
            assert (member.state.value, member.self_) == ("alive", True)
