"""`kvgossip config`: what an agent would go by, and where each value is from; its schema; a sample."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from kvgossip.cli.settings import Sources
from kvgossip.config import PARAMETERS, config_sample, config_schema
from tests.test_config import command
from tools.make_configuration import SAMPLE

KEY = "5" * 64


def test_each_value_is_shown_with_where_it_is_from_and_the_stronger_place_wins(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(
        "profile = 'local'\nlog_level = 'error'\nname = 'n1'\nrumor_k = 4\ncluster = 'c1'\n"
        "http = ['127.0.0.1:7', 'unix:/run/kv']\n"
    )
    monkeypatch.setenv("KVGOSSIP_CONFIG", str(file))
    monkeypatch.setenv("KVGOSSIP_RUMOR_K", "5")
    monkeypatch.setenv("KVGOSSIP_CLUSTER", "c2")
    monkeypatch.setenv("KVGOSSIP_LOG_FORMAT", "json")
    monkeypatch.delenv("KVGOSSIP_FOUNDING_S", raising=False)
    options = ("--cluster", "c3", "--join", "10.0.0.5", "--join", "10.0.0.6:1")
    assert command("config", *options, "-o", "json") == 0
    found = json.loads(capsys.readouterr().out)
    assert {name: (each["value"], each["from"]) for name, each in found.items()}.items() >= {
        "profile": ("local", str(file)),
        "log_level": ("error", str(file)),
        "log_format": ("json", "environment"),
        "name": ("n1", str(file)),
        "rumor_k": (5, "environment"),
        "cluster": ("c3", "command line"),
        "founding_s": (0.0, "profile"),
        "gossip": ("0.0.0.0:7481", "default"),
        "http": ("127.0.0.1:7", str(file)),
    }.items()
    assert found["join"] == {"value": ["10.0.0.5", "10.0.0.6:1"], "from": "command line"}
    assert found["http_also"] == {"value": ["unix:/run/kv"], "from": str(file)}
    assert list(found) == ["profile", "log_level", "log_format", *PARAMETERS]

    assert command("config", *options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 + len(found)
    assert [line for line in lines if re.fullmatch(r'cluster +"c3" +command line *', line)]


def test_the_table_is_read_at_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    assert command("config") == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_no_key_is_shown_and_a_mistake_is_named_with_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text(f"keyring = ['{KEY}']\n")
    for output in ("json", "table"):
        assert command("config", "--config", str(file), "-o", output) == 0
        shown = capsys.readouterr().out
        assert KEY not in shown
        assert "1 key, not shown" in shown
    file.write_text("rumor_k = 'many'\n")
    assert command("config", "--config", str(file)) == 2
    assert f"{file}: rumor_k = 'many' is not a whole number" in capsys.readouterr().err


def test_the_sample_changes_nothing_and_each_of_its_lines_can_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("config", "--sample") == 0
    text = capsys.readouterr().out
    assert text == config_sample() == SAMPLE.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 80
    assert tomllib.loads(text) == {}
    lines = re.findall(r"^#(\w+ = .*)$", text, re.MULTILINE)
    used = tomllib.loads("\n".join(lines))
    assert list(used) == ["profile", "log_level", "log_format", *PARAMETERS]
    assert jsonschema_rs.Draft202012Validator(config_schema()).is_valid(used)
    default = Sources({}, {}).read()
    for name, value in used.items():
        file = tmp_path / "agent.toml"
        file.write_text("gateway = true\n" if name == "advertise_wan" else "")
        with file.open("a") as more:
            more.write(next(line for line in lines if line.startswith(f"{name} = ")))
        taken: Any = Sources({}, {}, file).read()
        if name in default.own:
            assert taken.own == default.own, name
        elif PARAMETERS[name].default is not None:
            assert taken.config == default.config, name
        else:
            assert str(getattr(taken.config, name)) == value


def test_the_schema_is_printed_by_its_option_and_by_its_older_command(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (("--schema",), ("schema",)):
        assert command("config", *words) == 0
        assert json.loads(capsys.readouterr().out) == config_schema()
