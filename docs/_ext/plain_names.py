"""Lets docstrings stay plain prose: `Name` in single backticks is a link where that name has a page, else code.

Three more adjustments, each for a way our docstrings are written:

- a type alias is data to Sphinx, but annotations look for a class: they are looked up as any object, and an alias or a
  private base without a page stays code;
- what a property is, or a function returns, may hold a colon, which napoleon would read as the end of a type;
- a section of the study file has fields and no constructor: its signature, pages long in pydantic's spelling, is
  dropped (the study file's reference page describes every field).
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel

import sealround

if TYPE_CHECKING:
    from docutils.nodes import Element, TextElement
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment


_SOURCE = Path(sealround.__file__).resolve().parent
_ALIAS = re.compile(r"^ *(\w+): TypeAlias\b|^ *(\w+) = (?:Annotated|Callable|Literal|Mapping|tuple)\[", re.MULTILINE)
_ALIASES = {a or b for path in _SOURCE.rglob("*.py") for a, b in _ALIAS.findall(path.read_text(encoding="utf-8"))}


def _look_again(app: Sphinx, env: BuildEnvironment, node: pending_xref, content: TextElement) -> Element | None:
    """Resolve what the Python domain could not."""
    if node.get("refdomain") != "py" or node["reftype"] not in ("class", "obj"):
        return None
    name = node["reftarget"].split(".")[-1]
    domain = env.domains.python_domain
    found = [match[0] for match in domain.find_obj(env, None, None, name, None, searchmode=1)]
    exact = [full for full in found if full.startswith("sealround.")]
    if len(exact) == 1:
        return domain.resolve_xref(env, node["refdoc"], app.builder, "obj", exact[0], node, content)
    plain = node["reftype"] == "obj" or name in _ALIASES or name.startswith("_")
    return content if plain else None


def _no_types_in_prose(_: Sphinx, what: str, __: str, ___: object, ____: object, lines: list[str]) -> None:
    """Write an empty type where napoleon would take the words before a colon for one."""
    if what in ("property", "attribute", "data") and lines:
        lines[0] = f": {lines[0]}"
    for number, line in enumerate(lines[:-1]):
        if line.strip() == "Returns:":
            following = lines[number + 1]
            lines[number + 1] = f"{following[: len(following) - len(following.lstrip())]}: {following.lstrip()}"


def _shorten_signature(
    _: Sphinx, __: str, ___: str, documented: object, ____: object, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Drop a section's constructor, and write a default that is made anew each time as Python can be written."""
    if inspect.isclass(documented) and issubclass(documented, BaseModel):
        return "", None
    return (signature.replace("<factory>", "..."), returns) if signature else None


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("missing-reference", _look_again)
    app.connect("autodoc-process-docstring", _no_types_in_prose, priority=400)  # napoleon comes at 500
    app.connect("autodoc-process-signature", _shorten_signature)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
