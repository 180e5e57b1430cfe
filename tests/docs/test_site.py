"""The pages as a whole: links lead somewhere, the navigation has every page, lines are short."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.pages import DOCS, PAGES, README, ROOT

OUTSIDE = tuple(ROOT / f"{name}.md" for name in ("CONTRIBUTING", "CHANGELOG", "SECURITY"))
"""Pages whose links are those of the root of the repository."""

LINK = re.compile(r"\]\(([^)\s]+)\)")
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
COLUMNS = 100


def anchors_of(page: Path) -> set[str]:
    """The anchors of its headings, as both GitHub and mkdocs make them."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\s-]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, *OUTSIDE], ids=lambda page: page.name)
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name} links to {link}"
        if page.parent == DOCS:
            assert target.parent == DOCS, f"{link} leaves the site: word it as code"
        if anchor:
            assert anchor in anchors_of(target), f"{page.name} links to {link}"


def test_every_page_is_in_the_navigation() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    assert set(re.findall(r": (\w+\.md)$", navigation, re.MULTILINE)) >= {
        page.name for page in DOCS.glob("*.md")
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lines_are_short_but_those_of_tables_and_of_long_names(page: Path) -> None:
    lines = page.read_text(encoding="utf-8").splitlines()
    long = [line for line in lines if len(line) > COLUMNS and not line.startswith("|")]
    assert [line for line in long if " " in line.strip().removeprefix("- ")] == []


def test_the_readme_quotes_five_figures_of_the_page_of_performance() -> None:
    table = (
        README.read_text(encoding="utf-8")
        .partition("\n| what | figure |\n")[2]
        .partition("\n\n")[0]
    )
    quoted = [row.split("|")[2] for row in table.splitlines()[1:]]
    assert len(quoted) == 5
    measured = NUMBER.findall((DOCS / "performance.md").read_text(encoding="utf-8"))
    for figure in quoted:
        assert set(NUMBER.findall(figure)) <= set(measured), figure


def test_the_readme_is_read_in_five_minutes() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 130
