"""The answer says what the numbers support, and no more."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sealround.report.answer import answer, verdict
from sealround.report.evidence import Estimate
from sealround.report.reading import read_evidence
from sealround.report.voice import Voice

Tree = dict[str, Any]


def _say(evidence: Tree) -> str:
    """Return the sentences as plain words."""
    made = answer(Voice(read_evidence(evidence)))
    text = " ".join(re.sub(r"<[^>]+>", "", sentence) for sentence in made.sentences)
    return text.replace("\u202f%\xa0", " % ")


def _set(evidence: Tree, part: str, value: float, low: float | None, high: float | None) -> None:
    numbers = {"value": value, "low": low, "high": high}
    primary = evidence["study"]["primary"]
    if part.startswith("federated-"):
        evidence["differences"][part][primary] = numbers
    else:
        evidence["models"][part]["mean"][primary] = numbers


@pytest.fixture
def known(four: Tree) -> Tree:
    _set(four, "federated", 0.87, 0.83, 0.90)
    _set(four, "alone", 0.79, 0.75, 0.83)
    _set(four, "pooled", 0.88, 0.84, 0.91)
    _set(four, "federated-alone", 0.08, 0.04, 0.12)
    _set(four, "federated-pooled", -0.01, -0.02, 0.01)
    return four


@pytest.mark.parametrize(
    ("low", "high", "higher", "lower"),
    [
        (0.01, 0.1, "better", "worse"),
        (-0.1, -0.01, "worse", "better"),
        (-0.1, 0.1, "unclear", "unclear"),
        (0.0, 0.1, "unclear", "unclear"),
        (-0.1, 0.0, "unclear", "unclear"),
        (None, 0.1, "unknown", "unknown"),
    ],
)
def test_a_verdict_needs_an_interval_on_one_side_of_zero(
    low: float | None, high: float | None, higher: str, lower: str
) -> None:
    assert verdict(Estimate(0.02, low, high), higher_is_better=True) == higher
    assert verdict(Estimate(0.02, low, high), higher_is_better=False) == lower
    assert verdict(None, higher_is_better=True) == "unknown"


def test_a_clear_gain_is_stated_with_its_interval(known: Tree) -> None:
    said = _say(known)
    assert "Trained together, the four hospitals reach an AUROC of 0.87 (95 % CI 0.83–0.90) on average" in said
    assert "they reach 0.79: training together is better by 0.08 (95 % CI 0.04–0.12)." in said
    assert "Pooling all records in one place would give 0.88; this run cannot tell the two apart" in said
    assert "the difference is −0.01 (95 % CI −0.02 to 0.01)." in said


def test_a_gain_that_may_be_chance_is_not_sold_as_one(known: Tree) -> None:
    _set(known, "federated-alone", 0.08, -0.01, 0.17)
    said = _say(known)
    assert "+0.08 (95 % CI −0.01 to 0.17) may be chance" in said
    assert "does not show that training together helps" in said
    assert "better by" not in said


def test_a_loss_is_called_a_loss(known: Tree) -> None:
    _set(known, "federated-alone", -0.05, -0.09, -0.01)
    _set(known, "federated-pooled", -0.06, -0.1, -0.02)
    said = _say(known)
    assert "in this run training together is worse, by 0.05 (95 % CI 0.01–0.09)" in said
    assert "would give 0.88; that is better than together by 0.06 (95 % CI 0.02–0.10)" in said


def test_no_interval_no_verdict(known: Tree) -> None:
    known["differences"] = {}
    said = _say(known)
    assert "No interval of the difference was computed, so it may be chance." in said
    assert "better" not in said


def test_where_lower_is_better_the_signs_turn(known: Tree) -> None:
    known["study"]["primary"] = "brier"
    _set(known, "federated-alone", -0.05, -0.09, -0.01)
    said = _say(known)
    assert "reach a Brier score of" in said
    assert "training together is better by 0.05 (95 % CI 0.01–0.09)" in said


def test_a_difference_never_ends_in_a_false_zero(known: Tree) -> None:
    _set(known, "federated-alone", 0.04, -0.003, 0.08)
    assert "+0.040 (95 % CI −0.003 to 0.080) may be chance" in _say(known)


def test_digits_follow_the_interval(known: Tree) -> None:
    _set(known, "federated", 0.9621, 0.9574, 0.9668)
    assert "AUROC of 0.962 (95 % CI 0.957–0.967)" in _say(known)


def test_sites_without_a_number_are_not_counted_in(known: Tree) -> None:
    sites = known["models"]["federated"]["sites"]
    del sites["Hungary"]
    sites["Switzerland"]["metrics"]["auroc"] = {"value": None, "low": None, "high": None}
    assert "Trained together, two of the four hospitals reach" in _say(known)
    tiles = answer(Voice(read_evidence(known))).tiles
    assert tiles[0].note.endswith("; 2 of 4 hospitals")


def test_the_worst_site_is_named_beside_the_mean(known: Tree) -> None:
    known["models"]["federated"]["worst"]["auroc"] = {"value": 0.71, "low": 0.55, "high": 0.88, "site": "Switzerland"}
    said = _say(known)
    assert (
        "The average hides Switzerland, where it works least well: 0.71 (95 % CI 0.55–0.88), on 37 test patients"
        in said
    )


def test_without_baselines_nothing_is_claimed_about_them(known: Tree) -> None:
    del known["models"]["alone"], known["models"]["pooled"]
    known["differences"] = {}
    said = _say(known)
    assert "What each hospital reaches alone was not measured." in said
    assert "Pooling" not in said
    made = answer(Voice(read_evidence(known)))
    assert [tile.value for tile in made.tiles[1:3]] == ["–", "–"]
    assert [tile.note for tile in made.tiles[1:3]] == ["not run", "not run"]
    assert made.differences_axis is None
    assert len(made.means) == 1


def test_one_site_is_not_called_a_federation(known: Tree) -> None:
    only = "Cleveland"
    known["cohort"]["sites"] = {only: known["cohort"]["sites"][only]}
    for model in known["models"].values():
        model["sites"] = {only: model["sites"][only]}
    for entry in known["rounds"]:
        entry["sites"] = {only: entry["sites"][only]}
    assert _say(known) == (
        "This run has a single hospital: nothing was trained together. "
        "Its model reaches an AUROC of 0.87 (95 % CI 0.83–0.90)."
    )


def test_an_undefined_result_is_said_to_be_none(known: Tree) -> None:
    known["models"]["federated"]["mean"]["auroc"] = {"value": None, "low": None, "high": None}
    assert _say(known) == "This run gives no answer: AUROC is not defined for the model trained together."


def test_tiles_are_the_five_key_numbers(known: Tree) -> None:
    tiles = answer(Voice(read_evidence(known))).tiles
    assert [tile.label for tile in tiles] == ["Together", "Alone", "Pooled", "Worst hospital", "Gap, best to worst"]
    assert [tile.value for tile in tiles[:3]] == ["0.87", "0.79", "0.88"]
    assert [tile.accent for tile in tiles] == [True, False, False, False, False]
