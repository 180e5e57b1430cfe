"""`make soak` compiles the machine and its simulator; what mypyc cannot compile stays as it is, and
the Makefile names it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ("protocol", "sim")


def interpreted() -> set[str]:
    """The files that the Makefile leaves out."""
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    listed = re.search(r"^INTERPRETED := (.*)$", text, re.MULTILINE)
    assert listed is not None
    return {
        prefix + name
        for prefix, names in re.findall(r"\$\(addprefix ([^,]+),([^)]*)\)", listed[1])
        for name in names.split()
    }


def structs(path: Path) -> list[str]:
    """The classes of msgspec's that a file defines, by their bases there."""
    classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    return [
        node.name
        for node in classes
        if any(ast.unparse(base) in ("msgspec.Struct", "Struct", "Message") for base in node.bases)
    ]


def test_what_has_classes_of_msgspec_is_not_compiled() -> None:
    files = [path for part in PARTS for path in sorted((ROOT / "kvgossip" / part).rglob("*.py"))]
    having = {str(path.relative_to(ROOT)) for path in files if structs(path)}
    assert len(having) >= 5
    assert having <= interpreted(), having - interpreted()


def test_no_class_that_sets_items_in_its_own_way_is_compiled() -> None:
    files = [path for part in PARTS for path in sorted((ROOT / "kvgossip" / part).rglob("*.py"))]
    having = {
        str(path.relative_to(ROOT))
        for path in files
        if "def __setitem__" in (text := path.read_text()) and "def __delitem__" not in text
    }
    assert having
    assert having <= interpreted(), having - interpreted()


def test_the_makefile_names_no_file_that_is_not_there() -> None:
    assert [name for name in sorted(interpreted()) if not (ROOT / name).is_file()] == []
