"""The gate on the page: its verdict in words that are true, its tables, and evidence that contradicts itself."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sealround.errors import ConsistencyError, UnsupportedError, VerificationError
from sealround.report import render
from sealround.report.gate import GateSection, gate_section
from sealround.report.reading import read_evidence
from sealround.report.voice import Voice

Tree = dict[str, Any]


def finding(group: str, metric: str = "fnr", verdict: str = "not worse", **more: Any) -> Tree:
    known = {"candidate": 0.1, "reference": 0.11, "rise": -0.01, "low": -0.08, "p": 1.0, "detectable": 0.14, "why": ""}
    return (
        {"group": group, "metric": metric, "hospitals": 4, "patients": 90, "n": 60, "verdict": verdict} | known | more
    )


WORSE = {"candidate": 0.46, "reference": 0.13, "rise": 0.33, "low": 0.21, "p": 0.0004}
BLIND = {"detectable": 0.6, "why": "a rise of 20 percentage points would go unfound too often"}


def look(round_: int, groups: list[Tree], **more: Any) -> Tree:
    failed = [[entry["group"], entry["metric"]] for entry in groups if entry["verdict"] == "worse"]
    return {
        "round": round_,
        "without": [],
        "groups": groups,
        "failed": failed,
        "attribution": None,
        "untraced": "",
    } | more


def part(site: str, rise: float, *, traced: bool) -> Tree:
    return {
        "site": site, "n": 55, "with": 0.46, "without": 0.46 - rise, "rise": rise, "low": rise - 0.08, "traced": traced,
    }  # fmt: skip


def gate(outcome: str, looks: list[Tree], **more: Any) -> Tree:
    return {
        "reference": {"kind": "alone", "name": None},
        "metrics": ["fnr"],
        "tolerance": 0.0,
        "confidence": 0.95,
        "min_group": 11,
        "min_sites": 3,
        "largest_undetected": 0.2,
        "unassessable": "report",
        "on_failure": "exclude",
        "outcome": outcome,
        "without": [],
        "looks": looks,
    } | more


def harmed(sites: list[str]) -> Tree:
    parts = [part(sites[0], 0.35, traced=True), *(part(site, -0.1, traced=False) for site in sites[1:])]
    attribution = {"group": "sex = female", "metric": "fnr", "sites": parts}
    groups = [finding("everybody"), finding("sex = female", verdict="worse", **WORSE), finding("sex = male")]
    return look(30, groups, attribution=attribution)


FINE = [finding("everybody"), finding("sex = female"), finding("sex = male")]


def withheld(four: Tree) -> Tree:
    """Evidence as a run writes it whose model did not pass."""
    empty: Tree = {"sites": {}, "mean": {}, "worst": {}, "gap": {}, "all": {}}
    models = {**four["models"], "federated": empty}
    return {
        **four,
        "models": models,
        "differences": {},
        "gate": gate("withheld", [harmed(list(four["cohort"]["sites"]))]),
    }


def section(tree: Tree) -> GateSection:
    found = gate_section(Voice(read_evidence(tree)))
    assert found is not None
    return found


def text_of(page: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))


def test_a_study_without_a_gate_has_no_such_section(four: Tree) -> None:
    assert gate_section(Voice(read_evidence(four))) is None
    assert 'id="gate"' not in render(four)


def test_a_model_that_passes_is_said_to_pass_and_no_more(four: Tree) -> None:
    found = section({**four, "gate": gate("released", [look(30, FINE)])})
    assert (found.tone, found.verdict) == ("yes", "Released")
    (said,) = found.said
    assert "no group was found to be worse off than with the model that each hospital has alone" in said
    assert "That is no proof that none is" in said
    assert found.warning == ""


def test_what_nobody_can_judge_is_never_a_pass(four: Tree) -> None:
    groups = [finding("everybody"), finding("sex = female", verdict="not assessable", **BLIND)]
    found = section({**four, "gate": gate("released", [look(30, groups)])})
    assert found.tone == "yes"
    assert "in 1 of 2 comparisons" in found.said[0]
    assert "Nothing is known about sex = female (missed)" in found.warning
    assert "That is not a pass" in found.warning


def test_a_gate_that_could_judge_nothing_says_so(four: Tree) -> None:
    groups = [finding("everybody", verdict="not assessable", **BLIND)]
    found = section({**four, "gate": gate("released", [look(30, groups)])})
    assert (found.tone, found.verdict) == ("unknown", "Released, and not judged")
    assert found.said[-1].startswith("Nobody knows")


def test_a_withheld_model_is_the_first_thing_the_page_says(four: Tree) -> None:
    page = render(withheld(four))
    text = text_of(page)
    assert (
        page.index("No model was released.") < page.index('<section id="gate">') < page.index('<section id="patients">')
    )
    assert "no result of the model trained together" not in text, "nobody was left out of a test that never was"
    assert "in the group sex = female, 46 of 100 patients with" in text
    assert "with the model that each hospital has alone, 13 are" in text
    for anchor in ("sites", "roc", "decision"):
        assert f'id="{anchor}"' not in page, "of a model that nobody tested there is nothing to show"
    for anchor in re.findall(r'href="#([^"]+)"', page):
        assert f'id="{anchor}"' in page


def test_whom_it_is_traced_to_is_named_without_an_accusation(four: Tree) -> None:
    ((said, table),) = section(withheld(four)).tracing
    first = next(iter(four["cohort"]["sites"]))
    assert said.startswith(f"It is traced to {first}:")
    assert "no proof of bad intent" in said
    assert [row[-1] for row in table.rows] == ["yes", "–", "–", "–"]
    assert "overshoot" in table.note


def test_harm_that_nobody_stands_out_in_is_traced_to_nobody(four: Tree) -> None:
    tree = withheld(four)
    for entry in tree["gate"]["looks"][0]["attribution"]["sites"]:
        entry["traced"] = False
    assert "No hospital's updates stand out" in section(tree).tracing[0][0]


def test_a_model_that_was_trained_again_tells_both_looks(four: Tree) -> None:
    sites = list(four["cohort"]["sites"])
    looks = [harmed(sites), look(60, FINE, without=sites[:1])]
    found = section({**four, "gate": gate("released", looks, without=sites[:1])})
    assert found.verdict == f"Released without {sites[0]}"
    assert found.said[0].startswith("At first, no: in the group sex = female")
    assert "The rounds were trained again without it" in found.said[1]
    (before,) = found.earlier
    assert before.caption == "Look 1: the model of round 30"
    assert f"traced to {sites[0]}" in text_of(render({**four, "gate": gate("released", looks, without=sites[:1])}))


def test_a_sealed_study_says_why_nobody_was_looked_into(four: Tree) -> None:
    tree = withheld(four)
    tree["gate"]["looks"][0] |= {"attribution": None, "untraced": "updates are sealed, so that nobody can tell"}
    found = section(tree)
    assert found.tracing == ()
    assert found.note.endswith("Nobody was looked into: updates are sealed, so that nobody can tell.")


def test_too_little_known_to_release_is_said_as_that(four: Tree) -> None:
    tree = withheld(four)
    groups = [finding("everybody"), finding("sex = female", verdict="not assessable", **BLIND)]
    failed = [["sex = female", "fnr"]]
    tree["gate"] |= {"unassessable": "withhold", "looks": [look(30, groups, failed=failed)]}
    assert section(tree).said[0].startswith("No: too little is known about sex = female")


def test_an_approved_model_is_named(four: Tree) -> None:
    approved = gate("released", [look(30, FINE)], reference={"kind": "model", "name": "<b>.safetensors"})
    page = render({**four, "gate": approved})
    assert "the approved model (&lt;b&gt;.safetensors)" in page


CONTRADICTIONS: dict[str, tuple[Any, type[Exception]]] = {
    "released and failed": (lambda tree: tree["gate"].update(outcome="released"), ConsistencyError),
    "a stranger": (lambda tree: tree["gate"].update(without=["nowhere"]), ConsistencyError),
    "no look": (lambda tree: tree["gate"].update(looks=[]), VerificationError),
    "an unknown key": (lambda tree: tree["gate"].update(colour="red"), UnsupportedError),
    "an unknown verdict": (
        lambda tree: tree["gate"]["looks"][0]["groups"][0].update(verdict="fine"),
        VerificationError,
    ),
    "a rate above one": (
        lambda tree: tree["gate"]["looks"][0]["groups"][0].update(candidate=1.5),
        VerificationError,
    ),
}


@pytest.mark.parametrize("change", CONTRADICTIONS)
def test_evidence_that_contradicts_itself_is_refused(four: Tree, change: str) -> None:
    tree = withheld(four)
    edit, error = CONTRADICTIONS[change]
    edit(tree)
    with pytest.raises(error):
        render(tree)
