"""Writes one API page for each package before Sphinx reads: a new public module cannot be forgotten.

A module is public when it has an ``__all__``; names with a leading underscore, and the command line (which has a
reference page of its own), are left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import sealround

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_SOURCE = Path(sealround.__file__).resolve().parent
_FOLDER = Path(__file__).resolve().parents[1] / "reference" / "api" / "generated"
_ELSEWHERE = {"cli"}
_TREES = {"sealround.errors"}  # where bases matter
_PUBLIC = re.compile(r"^__all__ = ", re.MULTILINE)


def _modules(package: Path) -> list[Path]:
    """Return the public modules of a package (a folder or a single file), the package's own first."""
    found = sorted(package.rglob("*.py")) if package.is_dir() else [package]
    public = [path for path in found if path.name == "__init__.py" or not path.name.startswith("_")]
    return [path for path in public if _PUBLIC.search(path.read_text(encoding="utf-8"))]


def _dotted(path: Path) -> str:
    parts = path.relative_to(_SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _page(package: Path) -> str:
    lines = [f"# `{_dotted(package)}`\n"]
    for path in _modules(package):
        is_package = path.name == "__init__.py"
        if _dotted(path) != _dotted(package):
            lines.append(f"## `{_dotted(path)}`\n")
        # A package re-exports; its names are documented where they are defined, under their one full name.
        members = "" if is_package else "\n   :members:"
        members += "\n   :show-inheritance:" if _dotted(path) in _TREES else ""
        if ">>> " in path.read_text(encoding="utf-8"):  # an example may use the names of its module
            lines.append(f"```{{eval-rst}}\n.. testsetup::\n\n   from {_dotted(path)} import *\n```\n")
        lines.append(f"```{{eval-rst}}\n.. automodule:: {_dotted(path)}{members}\n```\n")
    return "\n".join(lines)


def _write_pages(_: Sphinx) -> None:
    _FOLDER.mkdir(parents=True, exist_ok=True)
    packages = [path.parent for path in _SOURCE.glob("*/__init__.py")]
    files = [path for path in _SOURCE.glob("*.py") if not path.name.startswith("_")]
    pages = {_FOLDER / f"{path.stem}.md": _page(path) for path in packages + files if path.stem not in _ELSEWHERE}
    for stale in set(_FOLDER.glob("*.md")) - set(pages):
        stale.unlink()
    for path, text in pages.items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:  # an unchanged page is not read again
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("builder-inited", _write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
