"""`kvgossip conflicts`: two writers that did not know of each other, and what an operator does."""

from __future__ import annotations

import json
from pathlib import Path

from tests.cli.test_cli import agent, run
from tests.cli.test_tokens import new


def test_a_write_that_was_lost_is_listed_and_written_again(tmp_path: Path) -> None:
    tokens, archive = tmp_path / "tokens", tmp_path / "archive"
    ops, cart = new(tokens, "ops", "--admin"), new(tokens, "cart", "--read", "cart/")
    with agent("--tokens", str(tokens), "--name", "here") as here, agent() as elsewhere:
        url = here.event("serving")["url"]
        other = elsewhere.event("serving")["url"]
        at, reads = ("--url", url, "--token-file", ops), ("--url", url, "--token-file", cart)
        assert run("put", "cart/7", "lost", *at).returncode == 0
        assert run("put", "cart/7", "kept", "--url", other).returncode == 0
        assert run("export", str(archive), "--url", other).returncode == 0
        assert run("import", str(archive), *at).returncode == 0
        assert run("get", "cart/7", *at).stdout == b"kept"

        (conflict,) = json.loads(run("conflicts", "cart/", "-o", "json", *reads).stdout)[
            "conflicts"
        ]
        assert (conflict["key"], conflict["lost"]["by"]) == ("cart/7", "here")
        version = conflict["lost"]["version"]
        listed = run("conflicts", *at).stdout.decode()
        assert version in listed
        assert conflict["kept"]["version"] in listed
        denied = run("conflicts", *reads)
        assert (denied.returncode, denied.stdout) == (1, b"")
        assert b"cart lacks the right 'read'" in denied.stderr
        denied = run("conflicts", "--restore", "cart/7", version, *reads)
        assert b"cart lacks the right 'write' for 'cart/7'" in denied.stderr

        assert run("conflicts", "--restore", "cart/7", version, *at).returncode == 0
        assert run("get", "cart/7", *at).stdout == b"lost"
        unknown = run("conflicts", "--restore", "cart/7", f"{1:016x}-{1:016x}", *at)
        assert (unknown.returncode, unknown.stdout) == (1, b"")
        assert b"is not remembered here" in unknown.stderr
