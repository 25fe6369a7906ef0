"""From a template and what it says to one HTML document: no script, no network, no font, no clock."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["document", "illustrated"]

_FOLDER = resources.files("sealround.report") / "templates"


def _template(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


@functools.cache
def _environment() -> Environment:
    return Environment(
        loader=FunctionLoader(_template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@functools.cache
def _style(sheets: tuple[str, ...], *, pictures: bool) -> tuple[Markup, str]:
    """Return the style sheets as one, and the policy that lets nothing in but it, and pictures that the page holds.

    The hash covers the element's text to the byte (CSP level 3, section 8.3); inline styles and scripts are refused.
    """
    css = "".join(_template(sheet) for sheet in sheets)
    digest = base64.b64encode(hashlib.sha256(css.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    policy = f"{policy}; img-src data:" if pictures else policy
    return Markup(css), policy  # noqa: S704 (files of this package, without any value)


def document(template: str, sheets: tuple[str, ...], **said: object) -> str:
    """Render one document.

    Guarantee: the same words give the same bytes; every text is escaped; the document loads nothing and runs no script.

    Args:
        template: A file of this package's templates.
        sheets: Its style sheets, in order.
        said: What the template asks for.

    Returns:
        One HTML document.
    """
    css, policy = _style(sheets, pictures=False)
    return _environment().get_template(template).render(css=css, policy=policy, **said)


def illustrated(template: str, sheets: tuple[str, ...], **said: object) -> str:
    """Render one document that holds pictures: like `document`, and its policy lets in their ``data:`` addresses."""
    css, policy = _style(sheets, pictures=True)
    return _environment().get_template(template).render(css=css, policy=policy, **said)
