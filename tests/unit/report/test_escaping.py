"""Names, questions and reasons are hostile until escaped."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sealround.report import render

Tree = dict[str, Any]
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>&amp;{{7*7}}{% raw %}"


def _rename(tree: Any, old: str, new: str) -> Any:
    if isinstance(tree, dict):
        return {(new if key == old else key): _rename(value, old, new) for key, value in tree.items()}
    if isinstance(tree, list):
        return [_rename(value, old, new) for value in tree]
    return new if tree == old else tree


def _assert_inert(page: str) -> None:
    assert "<script" not in page
    assert "<img" not in page
    assert "{{7*7}}" in page
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert "&amp;amp;" in page  # Shown as it was written, not decoded.


@pytest.mark.parametrize("which", ["four", "six", "many"])
def test_site_names_are_text(which: str, request: pytest.FixtureRequest) -> None:
    evidence = request.getfixturevalue(which)
    worst = evidence["models"]["federated"]["worst"][evidence["study"]["primary"]]["site"]
    evidence["excluded"] = [{"site": worst, "round": 1, "why": "x"}]
    _assert_inert(render(_rename(evidence, worst, HOSTILE)))


@pytest.mark.parametrize(
    "path",
    [
        ("study", "name"),
        ("study", "question"),
        ("study", "model"),
        ("study", "digest"),
        ("study", "outcome"),
        ("cohort", "source"),
        ("cohort", "attribution"),
        ("cohort", "partition"),
        ("protection", 0, "name"),
        ("protection", 0, "reason"),
        ("protection", 0, "meaning"),
        ("environment", "platform"),
        ("cost", "device"),
        ("sealround",),
    ],
    ids=str,
)
def test_every_text_of_the_evidence_is_text(four: Tree, path: tuple[str | int, ...]) -> None:
    place: Any = four
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = HOSTILE
    _assert_inert(render(four))


def test_feature_names_levels_and_units_are_text(four: Tree) -> None:
    for site in four["cohort"]["sites"].values():
        for feature in site["features"]:
            feature["name"] = HOSTILE + feature["name"]
            if feature["kind"] == "numeric":
                feature["unit"] = HOSTILE
            else:
                feature["levels"] = {HOSTILE: 12}
    _assert_inert(render(four))


def test_a_refusal_does_not_repeat_values(four: Tree) -> None:
    four["models"]["federated"]["sites"]["Cleveland"]["n"] = "Jane Doe, born 1961"
    with pytest.raises(Exception, match="Cleveland") as refused:
        render(four)
    assert "Jane" not in json.dumps(str(refused.value))
