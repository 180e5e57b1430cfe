"""The design pages hold: what is cited exists, maps tell every module, links lead somewhere.

Each check is a function of text, and is shown to fail on a planted mistake.
"""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from kvgossip.config import Config, config_from

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "kvgossip"
DOCS = ROOT / "docs"
PAGES = [
    *sorted(
        ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")
    ),
    *sorted(DOCS.rglob("*.md")),
]
#: The changelog tells of files as they were.
PAGES_OF_TODAY = [page for page in PAGES if page.name != "CHANGELOG.md"]
SOURCES = sorted(
    path
    for folder in ("kvgossip", "tests", "benchmarks")
    for path in (ROOT / folder).rglob("*.py")
    if path != Path(__file__)
)
PACKAGES = sorted(path.parent for path in PACKAGE.rglob("__init__.py"))
COLUMNS_MAX = 100
#: Extras that repeat others, or are no part of what runs.
NO_DEPENDENCY = ("all", "dev", "docs")


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


# -- sections and laws -----------------------------------------------------------------------------

_NUMBERS = r"(\d+(?:(?:\s*,\s*|\s+and\s+|\s*,\s*and\s+)\d+)*)\b"
_SECTION = re.compile(rf"protocol\.md\s+sections?\s+{_NUMBERS}")
_LAW = re.compile(rf"\b(?:lessons?|laws?)(?:\.md)?\s+{_NUMBERS}", re.IGNORECASE)
_TEST_OF_A_LAW = re.compile(r"test_lesson_(\d+)(?:_and_(\d+))?")


def _unbroken(source: str) -> str:
    """Comments and texts that go over several lines, as one."""
    return re.sub(r"\s*\n\s*(?:#:?\s*)?", " ", source)


def _numbers(found: Iterable[str]) -> set[int]:
    return {int(number) for text in found for number in re.findall(r"\d+", text)}


def cited_sections(source: str) -> set[int]:
    """The sections of protocol.md that a source cites."""
    return _numbers(_SECTION.findall(_unbroken(source)))


def cited_laws(source: str) -> set[int]:
    """The laws that a source cites, as lessons or in the names of tests."""
    named = (number for pair in _TEST_OF_A_LAW.findall(source) for number in pair)
    return _numbers([*_LAW.findall(_unbroken(source)), *named])


def numbered(page: str, level: int) -> dict[int, str]:
    """What stands under each heading `N. ...` of this level, by number."""
    parts = re.split(rf"^{'#' * level} (\d+)\. ", page, flags=re.MULTILINE)
    numbers = [int(number) for number in parts[1::2]]
    assert numbers == list(range(1, len(numbers) + 1)), "the numbers do not follow each other"
    return dict(zip(numbers, parts[2::2], strict=True))


SECTIONS = numbered(text_of(DOCS / "protocol.md"), level=2)
LAWS = numbered(text_of(DOCS / "laws.md"), level=3)


def test_every_section_of_the_protocol_that_is_cited_exists() -> None:
    assert SECTIONS
    cited = {relative(path): cited_sections(text_of(path)) - set(SECTIONS) for path in SOURCES}
    assert {path: missing for path, missing in cited.items() if missing} == {}


def test_every_law_that_is_cited_exists() -> None:
    assert LAWS
    cited = {relative(path): cited_laws(text_of(path)) - set(LAWS) for path in SOURCES}
    assert {path: missing for path, missing in cited.items() if missing} == {}


def test_citations_are_found_however_they_are_written() -> None:
    assert cited_sections("(protocol.md section 6)") == {6}
    assert cited_sections("# see docs/protocol.md\n    # sections 2, 5 and 18.") == {2, 5, 18}
    assert cited_sections("Laws (protocol.md section\n7)") == {7}
    assert cited_sections("Demers et al. 1987, section 1.4; protocol.md says so") == set()
    assert cited_laws("(lesson 13) and lessons.md 21, Law 7, laws 8 and 99") == {13, 21, 7, 8, 99}
    assert cited_laws("def test_lesson_12_and_15_two_pools() -> None:") == {12, 15}
    assert cited_laws("no lesson at all, and law and order") == set()


def test_numbers_with_a_hole_are_found() -> None:
    assert numbered("## 1. One\n\na\n\n## 2. Two\n\nb\n", level=2)[2] == "Two\n\nb\n"
    with pytest.raises(AssertionError, match="do not follow"):
        numbered("## 1. One\n\n## 3. Three\n", level=2)


# -- the tests of the laws -------------------------------------------------------------------------

NOT_HELD = "not yet held by a test"


def named_tests(source: str) -> set[str]:
    """The names of the test functions of a source."""
    return set(re.findall(r"^\s*(?:async )?def (test_\w+)", source, re.MULTILINE))


def mistakes_in_law(number: int, text: str, known: set[str]) -> Iterator[str]:
    """A test that is not there or is another law's; a law that neither has a test nor says so."""
    named = re.findall(r"`(test_\w+)`", text)
    if not named and NOT_HELD not in text.lower():
        yield f"law {number} has no test, and does not say so"
    for name in named:
        if name not in known:
            yield f"law {number}: there is no {name}"
        if number not in cited_laws(name):
            yield f"law {number}: {name} is of another law"


def test_every_law_has_its_tests_or_says_that_it_has_none() -> None:
    known = set().union(*(named_tests(text_of(path)) for path in SOURCES))
    found = [mistake for law in LAWS.items() for mistake in mistakes_in_law(*law, known)]
    assert found == []


def test_a_law_whose_test_is_gone_is_found() -> None:
    known = named_tests("async def test_lesson_01_a() -> None: ...\ndef test_lesson_02_b(): ...\n")
    assert known == {"test_lesson_01_a", "test_lesson_02_b"}

    def mistakes(text: str) -> list[str]:
        return list(mistakes_in_law(1, text, known))

    assert mistakes("Held by: `test_lesson_01_a`") == []
    assert mistakes("Not yet held by a test.") == []
    assert mistakes("Held by hope.") == ["law 1 has no test, and does not say so"]
    assert mistakes("`test_lesson_01_b`") == ["law 1: there is no test_lesson_01_b"]
    assert mistakes("`test_lesson_02_b`") == ["law 1: test_lesson_02_b is of another law"]


# -- maps of packages ------------------------------------------------------------------------------

_LINE_OF_A_MAP = re.compile(r"^ *(\w+)/? {2,}\S")


def mapped(docstring: str) -> list[str]:
    """The modules that the map in a package's docstring tells: a name, some blanks, what it is."""
    found = map(_LINE_OF_A_MAP.match, docstring.splitlines())
    return [line.group(1) for line in found if line is not None]


def modules_of(package: Path) -> set[str]:
    """The modules and packages that lie in a package."""
    files = {path.stem for path in package.glob("*.py")} - {"__init__"}
    return files | {path.parent.name for path in package.glob("*/__init__.py")}


def mistakes_in_map(docstring: str, modules: set[str]) -> list[str]:
    told = mapped(docstring)
    return [
        *(f"{name} is not in the map" for name in sorted(modules - set(told))),
        *(f"there is no {name}" for name in sorted(set(told) - modules)),
        *(f"{name} is in the map twice" for name in sorted(set(told)) if told.count(name) > 1),
    ]


@pytest.mark.parametrize("package", PACKAGES, ids=relative)
def test_every_module_stands_in_the_map_of_its_package(package: Path) -> None:
    docstring = ast.get_docstring(ast.parse(text_of(package / "__init__.py"))) or ""
    assert mistakes_in_map(docstring, modules_of(package)) == []


def test_a_module_that_is_missing_in_a_map_or_gone_is_found() -> None:
    docstring = (
        "What everything else speaks of.\n\n"
        "    hlc             the hybrid logical clock\n"
        "    entry           a key with its value or tombstone,\n"
        "                    and the order that decides every merge\n"
        "    wire/           messages to bytes and back\n\n"
        "The end of it.\n"
    )
    assert mapped(docstring) == ["hlc", "entry", "wire"]
    assert mistakes_in_map(docstring, {"hlc", "entry", "wire"}) == []
    assert mistakes_in_map(docstring, {"hlc", "wire"}) == ["there is no entry"]
    missing = mistakes_in_map(docstring, {"hlc", "entry", "wire", "member"})
    assert missing == ["member is not in the map"]
    assert mistakes_in_map("hlc   one\nhlc   two", {"hlc"}) == ["hlc is in the map twice"]


def test_what_lies_in_a_package_is_found(tmp_path: Path) -> None:
    for name in ("__init__.py", "__main__.py", "entry.py", "wire/__init__.py", "notes/read.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    assert modules_of(tmp_path) == {"__main__", "entry", "wire"}


# -- links -----------------------------------------------------------------------------------------

_FENCE = re.compile(r"^[ ]*```.*?^[ ]*```", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)(?:\s+\"[^\"]*\")?\)")
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def links_in(page: str) -> list[str]:
    """Where the relative links of a page lead; code is none of them."""
    prose = _CODE.sub("code", _FENCE.sub("", page))
    return [target for target in _LINK.findall(prose) if not _ELSEWHERE.match(target)]


def anchors_in(page: str) -> set[str]:
    """The names of the headings of a page, as links write them."""
    headings = re.findall(r"^#+ +(.*)$", _FENCE.sub("", page), re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    words = (re.sub(r"[^\w\- ]", "", heading).strip().lower() for heading in plain)
    return {re.sub(r"\s", "-", heading) for heading in words}


def broken_links(page: Path) -> list[str]:
    broken = []
    for link in links_in(text_of(page)):
        file, _, anchor = link.partition("#")
        target = page.parent / file if file else page
        leads = target.exists()
        if leads and anchor:
            leads = target.suffix == ".md" and anchor in anchors_in(text_of(target))
        if not leads:
            broken.append(link)
    return broken


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    assert broken_links(page) == []


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# 8. Honest *reads*, `always`\n", encoding="utf-8")
    page = tmp_path / "page.md"

    def broken(text: str) -> list[str]:
        page.write_text(text, encoding="utf-8")
        return broken_links(page)

    assert broken("[a](other.md), [b](other.md#8-honest-reads-always), ![c](other.md)") == []
    assert broken("[a](https://example.org/gone.md) [b](mailto:a@example.org)") == []
    assert broken("```\n[a](gone.md)\n```\n`[b](gone.md)` \n# A b\n[c](#a-b)") == []
    assert broken("[a](gone.md)\n[b](other.md#gone) [c](#gone) ![d](gone.svg)") == [
        "gone.md",
        "other.md#gone",
        "#gone",
        "gone.svg",
    ]
    assert broken("[`code`](gone.md)") == ["gone.md"]


# -- the glossary ----------------------------------------------------------------------------------


def rows(page: str) -> list[list[str]]:
    """The cells of all tables of a page, without their heads."""
    lines = [line for line in _FENCE.sub("", page).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in lines]
    heads = [at - 1 for at, row in enumerate(cells) if all(re.fullmatch(r":?-+:?", c) for c in row)]
    return [row for at, row in enumerate(cells) if at not in heads and at - 1 not in heads]


def mistakes_in_glossary(page: str) -> list[str]:
    table = rows(page)
    words = [row[0].casefold() for row in table]
    meanings = [row[1].casefold() for row in table]
    return [
        *(f"{word} stands there twice" for word in sorted(set(words)) if words.count(word) > 1),
        *(f"two words mean: {m}" for m in sorted(set(meanings)) if meanings.count(m) > 1),
        *(f"{word} has no meaning" for word, m in zip(words, meanings, strict=True) if not m),
        *(f"{b} stands after {a}" for a, b in pairwise(words) if b < a),
    ]


def test_every_word_of_the_glossary_stands_there_once_in_its_place() -> None:
    page = text_of(DOCS / "glossary.md")
    assert len(rows(page)) > 100
    assert mistakes_in_glossary(page) == []


def test_a_word_that_is_told_twice_or_out_of_place_is_found() -> None:
    def mistakes(*lines: str) -> list[str]:
        return mistakes_in_glossary("\n".join(["| word | means |", "|---|---|", *lines]))

    assert mistakes("| ack | a |", "| HLC | b |", "| hot | c |") == []
    assert mistakes("| hot | c |", "| ack | a |") == ["ack stands after hot"]
    assert mistakes("| ack | a |", "| Ack | b |") == ["ack stands there twice"]
    assert mistakes("| ack | a |", "| hot | a |") == ["two words mean: a"]
    assert mistakes("| ack | a |", "| hot |  |") == ["hot has no meaning"]


# -- paths and functions ---------------------------------------------------------------------------

_PATH = re.compile(r"`((?:kvgossip|protocol|runtime|api|cli|sim|tests|benchmarks|docs)/[\w./-]*)`")


def paths_in(page: str) -> list[str]:
    """The files and folders of the repository that a page names as code."""
    return _PATH.findall(_FENCE.sub("", page))


def missing_paths(page: str, root: Path) -> list[str]:
    """Those that are not there; `protocol/...` is `kvgossip/protocol/...`."""
    return [
        path
        for path in paths_in(page)
        if not any((home / path).exists() for home in (root, root / "kvgossip"))
    ]


def functions_in(source: str) -> set[str]:
    """The functions of a module, and the methods of its classes as `Class.method`."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    body = ast.parse(source).body
    methods = {
        f"{cls.name}.{node.name}"
        for cls in body
        if isinstance(cls, ast.ClassDef)
        for node in cls.body
        if isinstance(node, kinds)
    }
    return methods | {node.name for node in body if isinstance(node, kinds)}


def steps_of(page: str) -> list[tuple[str, str]]:
    """The file and the function of each step of a walk."""
    return [(row[1].strip("`"), row[2].strip("`")) for row in rows(page) if row[0].isdecimal()]


def mistakes_in_walk(page: str, root: Path) -> list[str]:
    found = []
    for file, function in steps_of(page):
        if not (root / file).is_file():
            found.append(f"there is no {file}")
        elif function not in functions_in(text_of(root / file)):
            found.append(f"there is no {function} in {file}")
    return found


def walk_of_a_put() -> str:
    page = text_of(DOCS / "architecture.md")
    return page.split("\n## Where does a PUT go?\n")[1].split("\n## ")[0]


def test_every_step_of_the_walk_of_a_put_is_there() -> None:
    assert len(steps_of(walk_of_a_put())) > 20
    assert mistakes_in_walk(walk_of_a_put(), ROOT) == []


@pytest.mark.parametrize("page", PAGES_OF_TODAY, ids=relative)
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    assert missing_paths(text_of(page), ROOT) == []


def test_a_step_or_a_path_that_is_gone_is_found(tmp_path: Path) -> None:
    (tmp_path / "kvgossip" / "protocol").mkdir(parents=True)
    source = "class A:\n    async def put(self): ...\n\ndef encode(): ...\n"
    (tmp_path / "kvgossip" / "protocol" / "a.py").write_text(source, encoding="utf-8")
    file = "kvgossip/protocol/a.py"

    def mistakes(file: str, function: str) -> list[str]:
        head = "| step | file | function | what |\n|--:|---|---|---|\n"
        return mistakes_in_walk(f"{head}| 1 | `{file}` | `{function}` | so |\n", tmp_path)

    assert mistakes(file, "A.put") == mistakes(file, "encode") == []
    assert mistakes(file, "A.get") == [f"there is no A.get in {file}"]
    assert mistakes("kvgossip/b.py", "A.put") == ["there is no kvgossip/b.py"]
    named = "`protocol/a.py`, `kvgossip/protocol/`, `protocol/b.py`, `kvgossip/api/`, `a/b`"
    assert missing_paths(named, tmp_path) == ["protocol/b.py", "kvgossip/api/"]


# -- dependencies ----------------------------------------------------------------------------------


def _name(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement)[0].lower()


def dependencies_of(project: str) -> dict[str, str]:
    """What each dependency of a pyproject.toml comes with."""
    told = tomllib.loads(project)["project"]
    extras: dict[str, list[str]] = told.get("optional-dependencies", {})
    found = {
        _name(requirement): f"`[{extra}]`"
        for extra, requirements in extras.items()
        if extra not in NO_DEPENDENCY
        for requirement in requirements
    }
    return found | {_name(requirement): "always" for requirement in told["dependencies"]}


def dependencies_told(page: str) -> dict[str, str]:
    table = page.split("\n## Dependencies\n")[1].split("\n## ")[0]
    for name, _, reason, replacement in rows(table):
        assert reason, f"{name} has no reason"
        assert replacement, f"nothing would replace {name}"
    return {row[0].lower(): row[1] for row in rows(table)}


def test_every_dependency_has_its_reason_and_what_would_replace_it() -> None:
    told = dependencies_told(text_of(DOCS / "architecture.md"))
    assert told == dependencies_of(text_of(ROOT / "pyproject.toml"))


def test_dependencies_are_read_and_one_without_a_reason_is_found() -> None:
    project = (
        '[project]\ndependencies = ["A-b>=1", "c; python_version < \'3.14\'"]\n'
        '[project.optional-dependencies]\ndisk = ["d[x]>=2"]\nall = ["p[disk]"]\ndev = ["e"]\n'
    )
    assert dependencies_of(project) == {"a-b": "always", "c": "always", "d": "`[disk]`"}
    head = "\n## Dependencies\n\n| package | comes with | why | instead |\n|---|---|---|---|\n"
    assert dependencies_told(head + "| d | `[disk]` | so | e |\n\n## Style\n") == {"d": "`[disk]`"}
    with pytest.raises(AssertionError, match="d has no reason"):
        dependencies_told(head + "| d | `[disk]` |  | e |\n")


# -- figures of the protocol -----------------------------------------------------------------------

_FIGURE = re.compile(r"`(\w+)`\s+\(([\d,.]+)(?: (s|h|KiB|MiB))?\)")
_UNITS = {"": 1, "s": 1, "h": 3600, "KiB": 2**10, "MiB": 2**20}


def figures_in(page: str) -> list[tuple[str, float]]:
    """The defaults that a page tells of parameters: `name` (number unit)."""
    found = _FIGURE.findall(page)
    return [(name, float(number.replace(",", "")) * _UNITS[unit]) for name, number, unit in found]


def test_the_profiles_are_those_of_the_protocol() -> None:
    profiles = [config_from({}, profile) for profile in ("lan", "wan", "local")]
    table = {row[0].strip("`"): [float(cell) for cell in row[1:]] for row in rows(SECTIONS[2])}
    assert len(table) > 10
    assert table == {name: [getattr(each, name) for each in profiles] for name in table}


def test_defaults_that_the_protocol_tells_are_those_of_the_configuration() -> None:
    told = figures_in(text_of(DOCS / "protocol.md"))
    assert len(told) > 5
    assert told == [(name, getattr(Config(), name)) for name, _ in told]


def test_figures_are_read_with_their_units() -> None:
    page = "`a_s` (72 h), `b_max`\n(8,192) and `c` (256 KiB), `d` (see below), `e` (10 s)"
    assert figures_in(page) == [("a_s", 259_200), ("b_max", 8192), ("c", 262_144), ("e", 10)]


# -- columns ---------------------------------------------------------------------------------------


def wide_lines(page: str) -> list[str]:
    """Lines of prose that are too long. Tables, and what cannot be broken, may be."""
    return [
        line
        for line in page.splitlines()
        if len(line) > COLUMNS_MAX and not line.startswith("|") and " " in line.strip(" -#>")
    ]


@pytest.mark.parametrize("page", PAGES_OF_TODAY, ids=relative)
def test_prose_is_at_most_100_columns_wide(page: Path) -> None:
    assert wide_lines(text_of(page)) == []


def test_a_wide_line_is_found() -> None:
    assert wide_lines("a" * 101 + "\n| " + "a " * 60 + "|\n- `" + "a" * 120 + "`") == []
    assert wide_lines("a " * 50 + "\n" + "b " * 51) == ["b " * 51]
