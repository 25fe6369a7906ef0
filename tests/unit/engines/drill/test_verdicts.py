"""The verdict table, and what is said."""

from __future__ import annotations

from typing import Any

import pytest

from sealround.engines.drill.verdicts import LIMITS, judge, zone


def _harm(value: float, low: float, high: float) -> dict[str, float | None]:
    return {"value": value, "low": low, "high": high}


@pytest.mark.parametrize(
    ("harm", "verdict"),
    [
        (_harm(0.004, -0.004, 0.012), "holds"),
        (_harm(-0.03, -0.06, 0.0), "holds"),
        (_harm(0.02, 0.02, 0.02), "holds"),
        (_harm(0.05, 0.03, 0.07), "degrades"),
        (_harm(0.05, 0.001, 0.2), "degrades"),
        (_harm(0.3, 0.2, 0.4), "fails"),
        (_harm(0.11, 0.01, 0.21), "fails"),
        (_harm(0.0, -0.05, 0.05), "not assessable"),  # looks fine, and may be not: no power is no proof
        (_harm(0.015, 0.005, 0.03), "not assessable"),
        (_harm(0.3, -0.01, 0.6), "not assessable"),
        ({"value": 0.3, "low": None, "high": None}, "not assessable"),
        (None, "not assessable"),
    ],
)
def test_zones(harm: dict[str, float | None] | None, verdict: str) -> None:
    assert zone(harm) == verdict


def test_limits_are_those_of_the_evidence() -> None:
    assert LIMITS == {"holds": 0.02, "degrades": 0.10}


def _entry(**changed: Any) -> dict[str, Any]:
    return {
        "why_not": None,
        "stopped": None,
        "stopped_seeds": 0,
        "withheld_seeds": 0,
        "baseline_stopped": None,
        "seeds": 3,
        "metric": {"value": 0.842, "low": 0.8, "high": 0.88, "worst": 0.8},
        "baseline": 0.846,
        "loss": _harm(0.004, -0.002, 0.011),
        "success": None,
        "success_without": None,
        "success_rise": None,
        "groups": [],
    } | changed


def test_what_holds_is_said_with_both_numbers() -> None:
    assert judge(_entry(), "auroc", honest=False) == ("holds", "AUROC 0.842 with the lie, 0.846 without.")


def test_no_model_is_failure() -> None:
    entry = _entry(stopped="b: sent an update that is not finite", stopped_seeds=2)
    verdict, said = judge(entry, "auroc", honest=False)
    assert verdict == "fails"
    assert said == "No model in 2 of 3 trainings: b: sent an update that is not finite."


def test_what_cannot_be_played_says_why() -> None:
    verdict, said = judge(_entry(why_not="it takes two sites"), "auroc", honest=False)
    assert (verdict, said) == ("not applicable", "Cannot be played here: it takes two sites.")


def test_a_backdoor_that_works_is_failure_whatever_the_metric_says() -> None:
    entry = _entry(success=_harm(0.6, 0.5, 0.7), success_without=0.01, success_rise=_harm(0.59, 0.48, 0.69))
    verdict, said = judge(entry, "auroc", honest=False)
    assert verdict == "fails"
    assert "works on 60 % of the patients it is aimed at, without the lie on 1 %" in said


def test_a_backdoor_of_unknown_success_does_not_hold() -> None:
    entry = _entry(success=_harm(0.1, 0.0, 0.4), success_without=0.1, success_rise=_harm(0.0, -0.4, 0.4))
    assert judge(entry, "auroc", honest=False)[0] == "not assessable"


def test_harm_to_a_group_is_not_hidden_by_the_mean() -> None:
    group = {"group": "sex = female", "rise": _harm(0.2, 0.1, 0.3), "rise_for_certain": 0.05}
    verdict, said = judge(_entry(groups=[group]), "auroc", honest=False)
    assert verdict == "degrades"
    assert "Of the sick with sex = female, 20 in a hundred more are missed." in said
    chance = group | {"rise_for_certain": 0.01}
    assert judge(_entry(groups=[chance]), "auroc", honest=False)[0] == "holds"


def test_a_withheld_model_harms_nobody_and_serves_nobody() -> None:
    entry = _entry(withheld_seeds=3, loss=_harm(0.5, 0.4, 0.6))
    verdict, said = judge(entry, "auroc", honest=False)
    assert verdict == "degrades"
    assert said.endswith("The gate withheld the model in 3 of 3 trainings.")
    assert judge(_entry(withheld_seeds=1, loss=_harm(0.5, 0.4, 0.6)), "auroc", honest=False)[0] == "fails"


def test_a_rule_that_trains_nothing_is_not_to_be_judged() -> None:
    nothing = {"value": None, "low": None, "high": None, "worst": None}
    verdict, said = judge(_entry(metric=nothing, baseline=None, baseline_stopped="b: diverged"), "auroc", honest=False)
    assert verdict == "not assessable"
    assert said == "With this rule there is no model even when nobody lies: b: diverged."


def test_an_undefined_metric_is_not_assessable() -> None:
    entry = _entry(metric={"value": None, "low": None, "high": None, "worst": None})
    assert judge(entry, "auroc", honest=False)[0] == "not assessable"
