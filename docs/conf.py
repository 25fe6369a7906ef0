"""Sphinx configuration: warnings are errors, every cross-reference resolves, nothing is fetched from a network."""

from __future__ import annotations

import sys
from pathlib import Path

import sealround

sys.path.insert(0, str(Path(__file__).resolve().parent / "_ext"))

project = "sealround"
author = "The sealround authors"
project_copyright = "The sealround authors, Apache-2.0"
version = release = sealround.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.doctest",
    "api_pages",
    "plain_names",
]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]

default_role = "py:obj"
nitpicky = True
# Names of other projects: their inventories would have to be fetched, and a build must not need a network.
_PROJECTS = (
    "annotated_types|collections|enum|markupsafe|nn|np|numpy|pathlib|pl|polars|pydantic|pydantic_core|torch|types"
)
_NAMES = "BaseModel|Callable|ErrorDetails|Generator|IO|Iterable|Iterator|Mapping|Markup|NoneType|Path|Sequence"
nitpick_ignore_regex = [("py:.*", rf"({_PROJECTS})\..*"), ("py:.*", _NAMES)]
# Two packages may each have a `Training`; an annotation that says no more links to the first.
suppress_warnings = ["ref.python"]

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath", "fieldlist"]
myst_heading_anchors = 3

autodoc_default_options = {"member-order": "bysource", "exclude-members": "model_config"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # the signature has the types

html_theme = "furo"
html_title = f"sealround {release}"
html_static_path = ["_static"]
