"""The repository's own housekeeping: nothing of one machine in it, and changelog fragments that build."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FORBIDDEN = [f"/{folder}/" for folder in ("work", "root", "home", "Users", "tmp/lab")]


def _tracked() -> list[Path]:
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "-C", ROOT, "ls-files", "-z"], capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def test_no_file_names_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text}"
        for path in _tracked()
        for text in FORBIDDEN
        if text.encode() in path.read_bytes()
    ]
    assert found == []


def test_changelog_fragments_have_a_known_type() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
    known = {kind["directory"] for kind in settings["type"]}
    fragments = [path.name for path in (ROOT / settings["directory"]).glob("*.md") if path.name != "README.md"]
    assert fragments
    assert [name for name in fragments if name.split(".")[-2] not in known] == []


def test_the_changelog_builds() -> None:
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "0.0.0", "--date", "today"]
    draft = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    assert "### Added" in draft.stdout


def test_constraints_pin_every_requirement() -> None:
    pinned = {
        line.partition("==")[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    }
    tool = [sys.executable, str(ROOT / "tools" / "requirements.py")]
    lists = ["build", "core", "learning", "backbone", "test", "lint", "docs"]
    declared = subprocess.run([*tool, *lists], capture_output=True, check=True, text=True).stdout.split()
    names = {
        line.split("=")[0].split(">")[0].split("<")[0].split("[")[0].lower().replace("_", "-") for line in declared
    }
    assert names - pinned == set()
