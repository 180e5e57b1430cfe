"""`make soak` compiles the machine and its simulator; what mypyc cannot compile stays as it is, and
the Makefile names it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PARTS = ("protocol", "sim")
KEYWORDS = frozenset(
    [
        "alignof",
        "asm",
        "attribute",
        "auto_type",
        "complex",
        "const",
        "extension",
        "func",
        "imag",
        "inline",
        "int128",
        "label",
        "null",
        "real",
        "restrict",
        "signed",
        "thread",
        "typeof",
        "volatile",
    ]
)
"""Words that C has behind two underscores: mypyc puts one before the name of an attribute."""


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


def files() -> list[Path]:
    """Those that are compiled, or stand in the list."""
    return [path for part in PARTS for path in sorted((ROOT / "kvgossip" / part).rglob("*.py"))]


def compiled() -> list[Path]:
    left_out = interpreted()
    return [
        path
        for path in files()
        if path.name != "__init__.py" and str(path.relative_to(ROOT)) not in left_out
    ]


def structs(path: Path) -> list[str]:
    """The classes of msgspec's that a file defines, by their bases there."""
    classes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef)]
    return [
        node.name
        for node in classes
        if any(ast.unparse(base) in ("msgspec.Struct", "Struct", "Message") for base in node.bases)
    ]


def test_what_has_classes_of_msgspec_is_not_compiled() -> None:
    having = {str(path.relative_to(ROOT)) for path in files() if structs(path)}
    assert len(having) >= 5
    assert having <= interpreted(), having - interpreted()


def test_no_class_that_sets_items_in_its_own_way_is_compiled() -> None:
    having = {
        str(path.relative_to(ROOT))
        for path in files()
        if "def __setitem__" in (text := path.read_text()) and "def __delitem__" not in text
    }
    assert having
    assert having <= interpreted(), having - interpreted()


def keywords(text: str) -> list[str]:
    """The attributes, in this source, whose names would be keywords of C."""
    attributes = [
        node.attr for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)
    ]
    return [name for name in attributes if name[:1] == "_" and name[1:] in KEYWORDS]


def test_no_attribute_has_a_name_that_is_a_keyword_of_c() -> None:
    assert keywords("self._signed = other._chosen") == ["_signed"]
    having = {str(path): words for path in compiled() if (words := keywords(path.read_text()))}
    assert having == {}


def named_slices(text: str) -> list[str]:
    """The slices to which this module gives names."""
    return [
        ast.unparse(node)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        and isinstance(node.value, ast.Call)
        and ast.unparse(node.value.func) == "slice"
    ]


def test_nothing_that_takes_parts_by_a_named_slice_is_compiled() -> None:
    """Compiled, `some_bytes[_SITE]` raises TypeError: the slice is taken for an index."""
    assert named_slices("_SITE = slice(1, 2)\nother: slice = slice(3)")
    having = {str(path): names for path in compiled() if (names := named_slices(path.read_text()))}
    assert having == {}


def copies(text: str) -> list[str]:
    """What this source imports that makes objects without their `__init__`."""
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)]
    plain = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)]
    modules = [node.module or "" for node in imports]
    modules += [alias.name for node in plain for alias in node.names]
    return [name for name in modules if name in ("copy", "copyreg", "pickle")]


def test_nothing_that_is_compiled_copies_or_pickles_objects() -> None:
    """A compiled class makes none without its `__init__`, and its functions have no copy."""
    assert copies("from copy import deepcopy\nimport pickle") == ["copy", "pickle"]
    having = {str(path): names for path in compiled() if (names := copies(path.read_text()))}
    assert having == {}


def test_the_makefile_names_no_file_that_is_not_there() -> None:
    assert [name for name in sorted(interpreted()) if not (ROOT / name).is_file()] == []
