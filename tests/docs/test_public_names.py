"""What the packages export is pinned: a change of the public surface shows up as a change of ``public_names.txt``."""

from __future__ import annotations

import importlib
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PINNED = Path(__file__).with_name("public_names.txt").read_text(encoding="utf-8").split()


def test_the_exported_names_are_the_pinned_ones() -> None:
    exported = runpy.run_path(str(ROOT / "tools" / "public_names.py"))["public_names"]()
    assert exported == PINNED, "if the change is meant: make generated"


@pytest.mark.parametrize("module", sorted({name.rpartition(".")[0] for name in PINNED}))
def test_every_pinned_name_exists(module: str) -> None:
    package = importlib.import_module(module)
    names = [name.rpartition(".")[2] for name in PINNED if name.rpartition(".")[0] == module]
    assert [name for name in names if not hasattr(package, name)] == []
