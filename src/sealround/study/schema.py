"""The study file's description, for programs (JSON schema) and people (a reference page), made from the sections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sealround.study.grammar import Grammar, Node, describe, inline_toml
from sealround.study.sections import Study
from sealround.study.site_file import SiteFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

__all__ = ["render_reference", "site_schema", "study_schema"]

_DRAFT = "https://json-schema.org/draft/2020-12/schema"

_INTRODUCTION = """\
# The study file

One `study.toml` says what a study asks, of which data, how it is trained and measured, and what protects it. Every site
holds the same file. `sealround check study.toml` prints every mistake in it at once.

Unknown words are refused, never ignored. A protection has no default: switching one off is said, with a reason, and the
reason is printed in every report. The *digest* of a study, which `sealround check` prints, covers every value below,
defaults included, and nothing else: comments, the order of keys and layout do not change it.

```toml
[study]
name = "heart-disease"
question = "Does this patient have coronary artery disease?"
rounds = 30
seed = 42

[cohort]
source = { kind = "builtin", name = "heart-disease" }
sites = { kind = "column" }

[model]
kind = "logistic"

[training]
optimizer = { kind = "sgd", learning_rate = 0.1 }
local_epochs = 1

[protection]
secure_aggregation = { mode = "none", reason = "simulation on public data, on one computer" }
robustness = { rule = "mean", reason = "simulation on public data, on one computer" }
privacy = { unit = "none", reason = "simulation on public data, on one computer" }
```

`sealround schema` prints the same as a JSON schema, for editors. This page is made by `sealround schema --markdown`.
"""

_SITE_INTRODUCTION = """\
## The site file

Each site may keep a `site.toml` of its own: where its data is, what it computes with, and what it insists on. It can
make a study stricter and never laxer, it is never sent, and it does not change the study's digest.
`sealround check study.toml --site site.toml` says whether the site would take part, and if not, why.
`sealround run study.toml --site site.toml` simulates sites that all insist on it.

```toml
[site]
name = "cleveland"

[data]
folder = "/srv/sealround/data"

[floors]
min_cell_count = 10
min_sites = 3
require = ["secure-aggregation"]

[floors.secure_aggregation]
modes = ["replicated"]
n_min = 5
```
"""


def study_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a study file."""
    return _export(Study, "urn:sealround:study:1", "sealround study file")


def site_schema() -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a site file."""
    return _export(SiteFile, "urn:sealround:site:1", "sealround site file")


def render_reference() -> str:
    """Return the reference page of study and site file, as Markdown."""
    parts = [_INTRODUCTION, *_sections(Grammar(Study), "##"), _SITE_INTRODUCTION, *_sections(Grammar(SiteFile), "###")]
    return "\n".join(parts)


def _export(model: type[BaseModel], identity: str, title: str) -> dict[str, Any]:
    return {"$schema": _DRAFT, "$id": identity, **_tidied(Grammar(model).schema), "title": title}


def _tidied(node: Any) -> Any:  # noqa: ANN401  (any JSON)
    """Leave out what says nothing about a TOML file: null, titles made from names, and OpenAPI's discriminator."""
    if isinstance(node, list):
        return [_tidied(item) for item in node]
    if not isinstance(node, dict):
        return node
    if "anyOf" in node:
        choices = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
        if len(choices) == 1:
            node = {**choices[0], **{key: value for key, value in node.items() if key != "anyOf"}}
    return {
        key: _without_null(item) if key == "default" else _tidied(item)
        for key, item in node.items()
        if not (key in {"title", "discriminator"} and "properties" not in node)
        and not (key == "default" and item is None)
    }


def _without_null(value: Any) -> Any:  # noqa: ANN401  (any JSON)
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return value


def _sections(grammar: Grammar, heading: str) -> Iterator[str]:
    for name, node in grammar.root["properties"].items():
        required = name in grammar.root["required"]
        yield f"{heading} `[{name}]`\n"
        yield from _table(grammar, node, name, heading, "" if required else "May be left out.")


def _table(grammar: Grammar, node: Node, path: str, heading: str, note: str = "") -> Iterator[str]:
    """Describe one table: its meaning, its keys, then the tables below it."""
    node = grammar.resolve(node)
    if meaning := " ".join(part for part in (_full_stop(node.get("description", "")), note) if part):
        yield f"{meaning}\n"
    if grammar.branches(node):
        for tags, branch in _tagged(grammar, node):
            yield f"{heading}# `{path}` with {tags}\n"
            yield from _table(grammar, branch, path, f"{heading}#")
        return
    yield from _keys(grammar, node)
    for name, below in node.get("properties", {}).items():
        target = grammar.resolve(below)
        if "discriminator" in target or "properties" in target:
            yield f"{heading}# `{path}.{name}`\n"
            yield from _table(grammar, target, f"{path}.{name}", f"{heading}#")
        for entry in target.get("patternProperties", {}).values():
            yield f"{heading}# `{path}.{name}.<name>`\n"
            yield from _table(
                grammar, {**entry, "description": target["description"]}, f"{path}.{name}.<name>", heading + "#"
            )


def _tagged(grammar: Grammar, node: Node) -> Iterator[tuple[str, Node]]:
    """Yield every alternative with the words that choose it; one that many words choose, once and last."""
    tag, branches = node["discriminator"]["propertyName"], grammar.branches(node)
    shared = [branch for branch in branches.values() if list(branches.values()).count(branch) > 1]
    for word, branch in branches.items():
        chosen = f"`{tag} = {inline_toml(word)}`"
        if grammar.branches(branch):
            yield from ((f"{chosen}, {further}", leaf) for further, leaf in _tagged(grammar, branch))
        elif branch not in shared:
            yield chosen, branch
    yield from ((f"any other `{tag}`", branch) for branch in shared[:1])


def _keys(grammar: Grammar, table: Node) -> Iterator[str]:
    properties = table.get("properties", {})
    if not properties:
        return
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for name, below in properties.items():
        node = grammar.resolve(below)
        default = "required" if name in table.get("required", []) else _default(node)
        meaning = _full_stop(node.get("description", "")) if "const" not in node else ""
        rows.append(f"| `{name}` | {describe(node)} | {default} | {meaning} |")
    yield "\n".join(rows) + "\n"


def _default(node: Node) -> str:
    value = _without_null(node.get("default"))
    return "none" if value is None else f"`{inline_toml(value)}`"


def _full_stop(text: str) -> str:
    text = " ".join(text.split())
    return text if not text or text.endswith(".") else f"{text}."
