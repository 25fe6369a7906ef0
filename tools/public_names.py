"""Print every public name, one a line: what the packages export through ``__all__``, read without importing them.

``make generated`` writes the list that a test pins, so that a change of the public surface is seen in review.
"""

from __future__ import annotations

import ast
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src" / "sealround"


def exported(path: Path) -> list[str]:
    """Return ``__all__`` of one module; empty where it has none."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == ["__all__"]:
            return list(ast.literal_eval(node.value))
    return []


def public_names() -> list[str]:
    """Return ``package.name`` for every package and top-level module, sorted."""
    modules = {path.parent.name: path for path in SOURCE.glob("*/__init__.py")}
    modules |= {path.stem: path for path in SOURCE.glob("*.py") if not path.name.startswith("_")}
    return sorted(f"sealround.{module}.{name}" for module, path in modules.items() for name in exported(path))


if __name__ == "__main__":
    print("\n".join(public_names()))
