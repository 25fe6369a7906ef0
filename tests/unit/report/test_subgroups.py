"""How groups fare, on the page: words a clinician reads, silence where nothing is known, and no broken evidence."""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import pytest

from sealround.errors import ConsistencyError, SealroundError, UnsupportedError, VerificationError
from sealround.report import render

if TYPE_CHECKING:
    from collections.abc import Callable

Tree = dict[str, Any]
METRICS = ("fnr", "fpr", "ppv", "calibration", "auroc")


def _estimate(value: float, half: float = 0.05) -> Tree:
    return {"value": value, "low": max(value - half, -1.0), "high": min(value + half, 1.0), "of": 40}


def _group(name: str, terms: int, fnr: float | None, gap: float | None = None, half: float = 0.05) -> Tree:
    known = fnr is not None
    return {
        "group": name,
        "terms": [["c", str(number)] for number in range(terms)],
        "patients": 120 if known else None,
        "sites": 3 if known else None,
        "positives": 50 if known else None,
        "assessable": known,
        "withheld": None if known else "few",
        "metrics": {metric: _estimate(fnr) if known else None for metric in METRICS},
        "gaps": {metric: None if gap is None else _estimate(gap, half) for metric in METRICS},
    }


def _subgroups(half: float = 0.05) -> Tree:
    groups = [
        _group("everybody", 0, 0.2),
        _group("sex = female", 1, 0.41, 0.31, half),
        _group("sex = male", 1, 0.1, -0.31, half),
        _group("age < 50", 1, None),
        _group("age ≥ 50 <b>", 1, 0.2, 0.0),
    ]
    largest = dict.fromkeys(METRICS) | {"fnr": {"group": "sex = female", "gap": _estimate(0.31, half)}}
    model = {"groups": groups, "largest": largest}
    return {
        "confidence": 0.95,
        "min_group": 11,
        "min_cell_count": 5,
        "intersections": True,
        "models": {"federated": model, "pooled": copy.deepcopy(model)},
    }


@pytest.fixture
def grouped(four: Tree) -> Tree:
    return four | {"subgroups": _subgroups()}


def _section(page: str) -> str:
    found = re.search(r'<section id="groups">.*?</section>', page, re.DOTALL)
    assert found is not None
    return re.sub(r"\s+", " ", found[0])


def test_the_section_says_who_is_missed_more_often(grouped: Tree) -> None:
    page = render(grouped)
    assert 'href="#groups"' in page
    section = _section(page)
    assert "those of the group sex = female are missed 31 percentage points more often" in section
    assert "can be chance." not in section
    assert "The largest of many is large by chance alone".lower() in section.lower()
    assert "0.41 (0.36–0.46)" in section
    assert "120 patients, 3 hospitals" in section


def test_a_gap_that_can_be_chance_says_so(four: Tree) -> None:
    section = _section(render(four | {"subgroups": _subgroups(half=0.4)}))
    assert "a difference of this size can be chance" in section


def test_what_is_not_known_is_no_pass(grouped: Tree) -> None:
    section = _section(render(grouped))
    assert "Nothing is known about how the model serves: age &lt; 50." in section
    assert "fewer than 11 such patients" in section
    assert section.count("not assessable") >= 3  # both figures and the table


def test_names_are_escaped(grouped: Tree) -> None:
    page = render(grouped)
    assert "≥ 50 &lt;b&gt;" in page
    assert "50 <b>" not in page


def test_open_studies_say_that_hospitals_leave_patients_out(grouped: Tree) -> None:
    assert "A hospital leaves out a group of which it has fewer than 5 patients" in _section(render(grouped))
    grouped["subgroups"]["min_cell_count"] = None
    assert "leaves out a group" not in _section(render(grouped))


def test_gaps_and_models_are_in_tables(grouped: Tree) -> None:
    section = _section(render(grouped))
    assert "Gaps to everybody else" in section
    assert "+0.31 (0.26–0.36) *" in section
    assert "Missed, by model" in section
    del grouped["subgroups"]["models"]["pooled"]
    assert "by model" not in _section(render(grouped))


def test_many_pairs_are_in_the_table_only(grouped: Tree) -> None:
    for model in grouped["subgroups"]["models"].values():
        model["groups"] += [_group(f"pair {number}", 2, 0.3, 0.1) for number in range(15)]
    section = _section(render(grouped))
    drawn = section[: section.index("<table")]
    assert "sex = male" in drawn
    assert "pair 3" not in drawn
    assert "pair 3" in section


def test_a_study_without_groups_has_no_section(four: Tree) -> None:
    page = render(four)
    assert 'id="groups"' not in page
    assert 'href="#groups"' not in page


def test_sealed_studies_have_the_section(sealed: Tree) -> None:
    section = _section(render(sealed | {"subgroups": _subgroups() | {"min_cell_count": None}}))
    assert "sex = female" in section


def _federated(tree: Tree) -> Tree:
    found: Tree = tree["subgroups"]["models"]["federated"]
    return found


BROKEN: list[tuple[Callable[[Tree], object], type[SealroundError]]] = [
    (lambda tree: tree["subgroups"]["models"].pop("federated"), VerificationError),
    (lambda tree: tree["subgroups"]["models"].update(best={}), UnsupportedError),
    (lambda tree: _federated(tree)["groups"].pop(), ConsistencyError),
    (lambda tree: _federated(tree)["groups"][0].update(terms=[["a", "b"]]), VerificationError),
    (lambda tree: _federated(tree)["groups"][1]["metrics"].update(tpr=_estimate(0.5)), UnsupportedError),
    (lambda tree: _federated(tree)["groups"][1]["metrics"].update(fnr=_estimate(1.5)), VerificationError),
    (lambda tree: _federated(tree)["groups"][1].update(assessable=False), ConsistencyError),
    (lambda tree: _federated(tree)["groups"][3].update(patients=4), ConsistencyError),
    (lambda tree: _federated(tree)["groups"][1].update(withheld="secret"), VerificationError),
    (lambda tree: tree["subgroups"].pop("min_group"), VerificationError),
]


@pytest.mark.parametrize(("spoil", "kind"), BROKEN)
def test_broken_evidence_is_refused(grouped: Tree, spoil: Callable[[Tree], object], kind: type[SealroundError]) -> None:
    spoil(grouped)
    with pytest.raises(kind, match="evidence"):
        render(grouped)
