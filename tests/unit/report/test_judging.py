"""The part of the page that says whose updates counted."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from sealround.errors import ConsistencyError, VerificationError
from sealround.report import render


def judged(evidence: dict[str, Any], **changes: Any) -> dict[str, Any]:
    found = copy.deepcopy(evidence)
    sites = {
        site: {"rounds": 30, "left_out": 12 * place, "mean": 0.4 / (place + 1), "reason": f"reason <{place}>"}
        for place, site in enumerate(sorted(found["cohort"]["sites"]))
    }
    found["robustness"] = {"rule": "multi-krum", "num_byzantine": 1, "mixing": False, "sites": sites} | changes
    return found


def test_a_page_says_whose_updates_counted(four: dict[str, Any]) -> None:
    page = render(judged(four))
    assert "Whose updates counted" in page
    assert "The rule multi-krum is made for rounds in which no more than one hospital lies." in page
    assert '<td class="n">36</td><td class="n">10.0\N{NO-BREAK SPACE}%</td><td>reason &lt;3&gt;</td>' in page


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"num_byzantine": 3, "mixing": True}, "after each was replaced by the mean of its nearest is made for rounds"),
        ({"num_byzantine": 3}, "no more than 3 hospitals lie"),
        ({"rule": "norm-clipping", "num_byzantine": 0}, "assumes that nobody lies"),
        (
            {"rule": "adaptive", "memory": 0.9},
            "the mean of all updates that a hospital has sent, in which each counts 0.9",
        ),
        ({"rule": "foolsgold", "num_byzantine": 0, "memory": 1.0}, "point the same way as another&#39;s"),
        ({"rule": "foolsgold", "num_byzantine": 0, "memory": 1.0}, "has sent. To be left out"),
        ({"rule": "fltrust", "num_byzantine": 0, "root": "Cleveland"}, "the way of Cleveland, the root of trust"),
        (
            {"rule": "fltrust", "num_byzantine": 0, "root": "Cleveland"},
            "differ from those of Cleveland is trusted less",
        ),
    ],
)
def test_the_rule_in_words(four: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    assert words in render(judged(four, **changes))


def test_without_a_rule_the_page_is_silent(four: dict[str, Any]) -> None:
    assert "Whose updates counted" not in render(four)
    assert "Whose updates counted" not in render(four | {"robustness": None})


def test_a_name_is_escaped_and_must_be_a_site(four: dict[str, Any]) -> None:
    with pytest.raises(ConsistencyError, match="does not list"):
        render(judged(four, sites={"<b>": {"rounds": 1, "left_out": 0, "mean": 1.0}}))
    with pytest.raises(ConsistencyError, match="does not list"):
        render(judged(four, rule="fltrust", root="<b>"))
    with pytest.raises(VerificationError):
        render(judged(four, num_byzantine=-1))
    with pytest.raises(VerificationError):
        render(judged(four, memory=1.5))


def test_evidence_of_before_reasons_were_kept_is_still_read(four: dict[str, Any]) -> None:
    old = judged(four)
    for entry in old["robustness"]["sites"].values():
        del entry["reason"]
    assert "<td>\N{EN DASH}</td>" in render(old)
