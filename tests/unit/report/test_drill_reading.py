"""A drill's page is never rendered from half its evidence: what is foreign, broken or contradictory is refused."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest

from sealround.errors import ConsistencyError, SealroundError, UnsupportedError, VerificationError
from sealround.report import render, render_drill

if TYPE_CHECKING:
    from collections.abc import Callable

Tree = dict[str, Any]
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;{{7*7}}{% raw %}"


def _place(tree: Any, path: str) -> tuple[Any, Any]:
    *steps, last = path.split("/")
    for step in steps:
        tree = tree[int(step) if isinstance(tree, list) else step]
    return tree, int(last) if isinstance(tree, list) else last


def _set(tree: Tree, path: str, value: object) -> None:
    place, last = _place(tree, path)
    place[last] = value


@pytest.mark.parametrize("format_", ["sealround-drill/2", "sealround-evidence/1", ""])
def test_another_format_is_unsupported(drill: Tree, four: Tree, format_: str) -> None:
    drill["format"] = format_
    with pytest.raises(UnsupportedError, match="unknown format"):
        render_drill(drill)
    with pytest.raises(UnsupportedError, match="unknown format"):
        render_drill(four)


def test_a_drill_is_no_run(drill: Tree) -> None:
    with pytest.raises(UnsupportedError, match="unknown format"):
        render(drill)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("gate", {}),
        ("metric", "f1"),
        ("study/primary", "f1"),
        ("protection/0/state", "mostly"),
        ("verdicts/0/verdict", "passes"),
        ("cells/3/verdict", "HOLDS"),
    ],
)
def test_what_the_page_could_not_show_is_unsupported(drill: Tree, path: str, value: object) -> None:
    _set(drill, path, value)
    with pytest.raises(UnsupportedError) as refused:
        render_drill(drill)
    assert refused.value.hint


@pytest.mark.parametrize(
    "path",
    [
        "sites", "num_byzantine", "liars", "rules", "heterogeneity", "attacks", "seeds", "limits", "cells", "worst",
        "verdicts", "suggestions", "left_out", "cost", "environment", "protection", "study/digest", "limits/holds",
        "rules/0/own", "attacks/0/knows", "attacks/1/applicable", "cells/0/verdict", "cells/0/seeds", "worst/0/attack",
    ],
)  # fmt: skip
def test_what_is_missing_is_named(drill: Tree, path: str) -> None:
    place, last = _place(drill, path)
    del place[last]
    with pytest.raises(VerificationError) as refused:
        render_drill(drill)
    assert str(last) in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("cells/1/metric/value", math.nan),
        ("cells/1/metric/value", 1.2),
        ("cells/1/metric/value", "0.8"),
        ("cells/1/metric/worst", -0.1),
        ("cells/1/loss/low", -1.5),
        ("cells/1/groups/0/fnr/value", 2.0),
        ("cells/1/groups/0/assessable", 1),
        ("cells/1/groups/0/n", -3),
        ("cells/1/exclusion/precision", math.inf),
        ("cells/1/exclusion/sites/Hungary/lies", None),
        ("cells/1/curve/metric/4", "high"),
        ("cells/1/curve/round/4", 2.5),
        ("limits/degrades", 1.1),
        ("cost/seconds", -1),
        ("seeds/0", 1.5),
        ("sites", "Cleveland"),
        ("cells", {}),
    ],
)
def test_a_value_out_of_range_or_of_another_type_is_refused(drill: Tree, path: str, value: object) -> None:
    _set(drill, path, value)
    with pytest.raises(VerificationError, match="evidence: "):
        render_drill(drill)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("num_byzantine", 0),
        ("num_byzantine", 4),
        ("sites/1", "Cleveland"),
        ("liars/0", ["Zürich"]),
        ("rules/0/own", False),
        ("rules/1/own", True),
        ("rules/1/key", "geometric-median"),
        ("heterogeneity", []),
        ("attacks/0/key", "nobody"),
        ("limits/holds", 0.5),
        ("cells/1/attack", "alien"),
        ("cells/1/rule", "alien"),
        ("cells/1/heterogeneity", "alien"),
        ("cells/1/attack", "none"),
        ("cells/1/metric/low", 0.99),
        ("cells/1/curve/round", [1, 2]),
        ("cells/1/exclusion/sites/Zürich", {"lies": False, "part": 0.1, "left_out": 0.0}),
        ("worst/0/rule", "alien"),
        ("verdicts/0/attack", "alien"),
    ],
)
def test_what_contradicts_itself_is_refused(drill: Tree, path: str, value: object) -> None:
    _set(drill, path, value)
    with pytest.raises(ConsistencyError):
        render_drill(drill)


def test_a_refusal_does_not_repeat_values(drill: Tree) -> None:
    _set(drill, "cells/1/groups/0/n", "Jane Doe, born 1961")
    with pytest.raises(VerificationError, match=r"cells\[1\]\.groups\[0\]\.n") as refused:
        render_drill(drill)
    assert "Jane" not in f"{refused.value} {refused.value.hint}"


def _places(tree: Any, path: tuple[str | int, ...] = ()) -> dict[str, tuple[str | int, ...]]:
    """Return the first place of every kind in the tree."""
    found = {"/".join("#" if isinstance(step, int) else step for step in path): path} if path else {}
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, entry in entries:
        found = _places(entry, (*path, key)) | found
    return found


@pytest.mark.parametrize("value", [None, "x", -1, [], 10**400], ids=["null", "text", "negative", "list", "huge"])
def test_whatever_is_broken_ends_in_a_page_or_in_a_typed_refusal(drilled: Callable[..., Tree], value: object) -> None:
    tree = drilled(attacks=3, rules=2, seeds=1)
    refused = 0
    for path in _places(tree).values():
        place: Any = tree
        for step in path[:-1]:
            place = place[step]
        before, place[path[-1]] = place[path[-1]], value
        try:
            render_drill(tree)
        except SealroundError:
            refused += 1
        place[path[-1]] = before
    assert refused > 60


# --- names are hostile until escaped ----------------------------------------------------------------------------------


def _assert_inert(page: str) -> None:
    assert "<script" not in page
    assert "<img" not in page
    assert "{{7*7}}" in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "&amp;amp;" in page  # Shown as it was written, not decoded.


@pytest.mark.parametrize(
    "path",
    [
        "study/name", "study/question", "study/model", "study/digest", "study/outcome", "sealround", "rules/0/title",
        "rules/1/title", "heterogeneity/0/title", "attacks/0/title", "attacks/1/title", "attacks/1/what",
        "attacks/1/aim", "attacks/1/source", "attacks/1/knows/0", "attacks/9/why_not", "cells/1/sentence",
        "cells/1/stopped", "cells/1/groups/0/group", "verdicts/0/sentence", "suggestions/0/text", "suggestions/0/why",
        "left_out/0", "environment/platform", "protection/0/meaning", "protection/0/reason",
    ],
)  # fmt: skip
def test_every_text_of_the_evidence_is_text(drill: Tree, path: str) -> None:
    _set(drill, path, HOSTILE)
    _assert_inert(render_drill(drill))


def test_names_of_sites_are_text(drill: Tree) -> None:
    drill["sites"][3] = HOSTILE
    drill["liars"]["0"] = [HOSTILE]
    for cell in drill["cells"]:
        if cell["exclusion"] is not None:
            cell["exclusion"]["sites"][HOSTILE] = cell["exclusion"]["sites"].pop("VA Long Beach")
    _assert_inert(render_drill(drill))


def test_the_reason_why_a_rule_cannot_run_is_text(drilled: Callable[..., Tree]) -> None:
    tree = drilled(rules=12)
    next(rule for rule in tree["rules"] if rule["refused"])["refused"] = HOSTILE
    _assert_inert(render_drill(tree))
