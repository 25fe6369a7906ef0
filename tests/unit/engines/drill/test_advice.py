"""What a drill suggests: the rule under which the worst attack does least, and nothing where nothing is better."""

from __future__ import annotations

from typing import Any

import pytest

from sealround.engines.drill.advice import suggestions
from sealround.engines.drill.grid import Grid, Wishes, lay_out
from sealround.study import Study
from sealround.testing import small_study
from sealround.vocabulary import PartyId

ROSTER = tuple(PartyId(f"site-{number}") for number in range(1, 6))
PRIVACY = {"unit": "none", "reason": "made up for a test"}
OPEN = {"mode": "none", "reason": "made up for a test"}
MEAN = {"rule": "mean", "reason": "made up for a test"}


def _study(secure_aggregation: dict[str, Any] = OPEN) -> Study:
    return small_study(
        cohort={"sites": {"kind": "iid", "number": 5}},
        protection={"secure_aggregation": secure_aggregation, "robustness": MEAN, "privacy": PRIVACY},
    )


def _grid(study: Study) -> Grid:
    wishes = Wishes(attacks=("sign-flip", "badnets"), rules=("own", "median", "geometric-median"))
    return lay_out(study, ROSTER, wishes)


def _cell(rule: str, attack: str, value: float | None, success: float | None = None, **other: Any) -> dict[str, Any]:
    return {
        "heterogeneity": "as-is",
        "rule": rule,
        "attack": attack,
        "metric": {"value": value},
        "baseline": 0.85,
        "success": None if success is None else {"value": success},
        "success_without": None if success is None else 0.02,
        "stopped": None,
        "groups": [],
        "verdict": "holds",
    } | other


def _rule_suggested(cells: list[dict[str, Any]]) -> tuple[str, str] | None:
    found = [each for each in suggestions(_study(), _grid(_study()), cells) if each["text"].startswith("Aggregate by")]
    assert len(found) <= 1
    return (found[0]["text"], found[0]["why"]) if found else None


OWN = [_cell("mean", "sign-flip", 0.60, verdict="fails"), _cell("mean", "badnets", 0.84, 0.7, verdict="fails")]


def test_the_rule_under_which_the_worst_attack_does_least_is_suggested() -> None:
    # The geometric median fails against one attack, the median against two, and less.
    cells = [
        *OWN,
        _cell("median", "sign-flip", 0.74, verdict="fails"),
        _cell("median", "badnets", 0.84, 0.14, verdict="fails"),
        _cell("geometric-median", "sign-flip", 0.66, verdict="fails"),
        _cell("geometric-median", "badnets", 0.84, 0.02),
    ]
    found = _rule_suggested(cells)
    assert found is not None
    text, why = found
    assert 'rule = "median"' in text
    assert why.startswith("2 attacks succeed in place of 2")
    assert "70 % of the patients it is aimed at" in why, "the own worst case is the backdoor: 0.68 against 0.25"


def test_a_backdoor_is_harm_though_the_metric_stays() -> None:
    cells = [
        *OWN,
        _cell("median", "sign-flip", 0.83),
        _cell("median", "badnets", 0.85, 0.69, verdict="fails"),
        _cell("geometric-median", "sign-flip", 0.62, verdict="fails"),
        _cell("geometric-median", "badnets", 0.84, 0.02),
    ]
    found = _rule_suggested(cells)
    assert found is not None
    assert 'rule = "geometric-median"' in found[0]


def test_no_model_is_the_worst_case_of_all() -> None:
    cells = [
        *OWN,
        _cell("median", "sign-flip", None, baseline=None, stopped="site-1: no finite update", verdict="fails"),
        _cell("median", "badnets", 0.85, 0.0),
    ]
    assert _rule_suggested(cells) is None


def test_a_study_that_ends_without_a_model_is_told_what_ends_with_one() -> None:
    stopped = _cell("mean", "sign-flip", None, baseline=None, stopped="site-1: no finite update", verdict="fails")
    found = _rule_suggested([stopped, OWN[1], _cell("median", "sign-flip", 0.8), _cell("median", "badnets", 0.84, 0.2)])
    assert found is not None
    assert "in place of 2; " in found[1]
    assert found[1].endswith("in place of no model (Opposite update).")


@pytest.mark.parametrize("better", [0.0, 0.015])
def test_what_is_hardly_better_is_not_suggested(better: float) -> None:
    cells = [
        *OWN,
        _cell("median", "sign-flip", 0.60, verdict="fails"),
        _cell("median", "badnets", 0.84, 0.7 - better, verdict="fails"),
    ]
    assert _rule_suggested(cells) is None


def test_a_metric_for_which_less_is_better_is_read_so() -> None:
    study = small_study(
        cohort={"sites": {"kind": "iid", "number": 5}},
        protection={"secure_aggregation": OPEN, "robustness": MEAN, "privacy": PRIVACY},
        evaluation={"primary": "brier"},
    )
    cells = [
        _cell("mean", "sign-flip", 0.40, baseline=0.15, verdict="fails"),
        _cell("median", "sign-flip", 0.17, baseline=0.15),
    ]
    texts = [each["text"] for each in suggestions(study, _grid(study), cells)]
    assert any('rule = "median"' in text for text in texts)


def test_where_nothing_is_wrong_nothing_is_suggested() -> None:
    cells = [_cell(rule, attack, 0.85) for rule in ("mean", "median") for attack in ("sign-flip",)]
    assert suggestions(_study(), _grid(_study()), cells) == []


def test_a_sealed_study_is_told_that_rules_cannot_see() -> None:
    study = _study({"mode": "pairwise"})
    texts = [each["text"] for each in suggestions(study, lay_out(study, ROSTER, Wishes()), OWN)]
    assert texts[0].startswith("Decide which matters more here")


def test_a_study_that_one_site_can_end_is_told_so() -> None:
    cells = [_cell("mean", "not-finite", None, stopped="site-1: sent an update that is not finite", verdict="fails")]
    texts = [each["text"] for each in suggestions(_study(), _grid(_study()), cells)]
    assert any("drop-site" in text for text in texts)
