"""Tables, as commands print them."""

from __future__ import annotations

import pytest

from kvgossip.cli.output import _folded, _plain, print_table

TABLES = {
    "cells of all lengths": [
        ("key", "bytes", "type"),
        ("a", "1", "text/plain"),
        ("bcdefg", "", ""),
    ],
    "no rows": [("key", "bytes")],
    "empty cells": [("a", "b"), ("", "")],
}


@pytest.mark.parametrize("rows", TABLES.values(), ids=TABLES)
def test_a_table_looks_the_same_whether_rich_is_loaded_or_not(rows: list[tuple[str, ...]]) -> None:
    assert _plain(rows) == _folded(rows, 100)


def test_characters_that_are_two_columns_wide_are_counted_as_two(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_table(("k", "b"), [("\N{KATAKANA LETTER A}" * 2, "y"), ("abcd", "z")])
    _, _, wide, narrow = capsys.readouterr().out.splitlines()
    assert (wide.index("y"), narrow.index("z")) == (5, 7)
