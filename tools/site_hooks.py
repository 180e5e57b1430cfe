"""Gives pages of the site the text of files that have to stand at the root of the repository."""

from __future__ import annotations

from pathlib import Path
from typing import Any

FILES = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    """Called by mkdocs with the text of each page; returns the text to show."""
    name = FILES.get(page.file.src_uri)
    if name is None:
        return markdown
    root = Path(config.config_file_path).parent
    return (root / name).read_text(encoding="utf-8").replace("](docs/", "](")
