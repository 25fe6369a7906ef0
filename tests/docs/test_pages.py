"""What pages show exists: make targets, files, and study files that load."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sealround.study import parse_study

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def _text(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_exist(page: Path) -> None:
    shown = set(re.findall(r"^\$ make ([a-z][a-z-]*)|`make ([a-z][a-z-]*)", _text(page), re.MULTILINE))
    targets = set(re.findall(r"^([a-z][a-z-]*):", MAKEFILE, re.MULTILINE))
    assert {first or second for first, second in shown} - targets == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_exist(page: Path) -> None:
    named = set(re.findall(r"\bexamples/[\w./-]*\w\.toml", _text(page)))
    assert {name for name in named if not (ROOT / name).is_file()} == set()


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")), ids=lambda page: page.name)
def test_links_of_the_front_pages_resolve(page: Path) -> None:
    """Within the documentation Sphinx checks them."""
    targets = re.findall(r"\]\((?!https?://)([^)#\s]+)", _text(page))
    assert [target for target in targets if not (page.parent / target).exists()] == []


def _studies() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        blocks = re.findall(r"^```toml\n(\[study\]\n.*?)^```", _text(page), re.MULTILINE | re.DOTALL)
        found += [(f"{page.relative_to(ROOT)}:{number}", block) for number, block in enumerate(blocks, 1)]
    return found


@pytest.mark.parametrize(("name", "text"), _studies())
def test_a_whole_study_on_a_page_loads(name: str, text: str) -> None:
    assert parse_study(text, name).study.name


def test_the_readme_shows_the_two_commands() -> None:
    shown = set(re.findall(r"^\$ make ([a-z-]+)", _text(ROOT / "README.md"), re.MULTILINE))
    assert {"run", "test"} <= shown
