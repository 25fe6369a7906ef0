"""Print the requirements that pyproject.toml declares, one a line: the set-up's input for any pip.

Usage: ``python tools/requirements.py build core learning docs``. ``build`` is the build system, ``core`` the package's
own dependencies; every other word names an extra or a dependency group.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path


def requirements(words: list[str]) -> list[str]:
    """Return the requirements of each list named in ``words``."""
    declared = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    lists: dict[str, list[str]] = {
        "build": declared["build-system"]["requires"],
        "core": declared["project"]["dependencies"],
        **declared["project"]["optional-dependencies"],
        **declared["dependency-groups"],
    }
    return [requirement for word in words for requirement in lists[word]]


if __name__ == "__main__":
    print("\n".join(requirements(sys.argv[1:])))
