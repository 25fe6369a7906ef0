"""Seeds put together."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from sealround.engines.drill.grid import Wishes, lay_out
from sealround.engines.drill.outcomes import Pooling, half_life
from sealround.federation.groups import Group
from sealround.testing import small_study
from sealround.vocabulary import PartyId

STUDY = small_study(study={"rounds": 10})
ROSTER = tuple(PartyId(f"site-{number}") for number in range(1, 5))
GRID = lay_out(STUDY, ROSTER, Wishes(attacks=("alie", "badnets"), seeds=2))
POOLING = Pooling(STUDY, GRID, (Group((("sex", "female"),)),))


def _found(metric: float, spread: float = 0.0, **changed: Any) -> dict[str, Any]:
    """One training whose replicates are the metric plus the same noise for everybody."""
    noise = np.random.default_rng(0).normal(size=200)
    moment = {
        "metric": [metric, *(metric + spread * noise).tolist()],
        "worst": metric - 0.1,
        "groups": [[40, 10, 5, 45], [20, 0, 2, 18]],
        "successes": {"badnets": [1, 20]},
    }
    return {
        "liars": ["site-1"],
        "why_not": None,
        "stopped": None,
        "withheld": False,
        "parts": {},
        "moments": {"6": moment, "10": moment},
        "curve": {"round": [0, 6, 10], "metric": [0.5, metric, metric], "success": [None, None, None]},
    } | changed


def test_a_loss_is_paired_over_patients() -> None:
    # Both metrics vary a lot with the patients, and their difference not at all.
    entry = POOLING.pooled("alie", [_found(0.7, 0.1)] * 2, [_found(0.8, 0.1)] * 2)
    assert entry["loss"]["value"] == pytest.approx(0.1)
    assert entry["loss"]["high"] - entry["loss"]["low"] < 1e-9
    assert entry["metric"]["high"] - entry["metric"]["low"] > 0.2
    assert entry["metric"]["worst"] == pytest.approx(0.6)


def test_seeds_that_differ_widen_the_interval() -> None:
    entry = POOLING.pooled("alie", [_found(0.7), _found(0.8)], [_found(0.8)] * 2)
    assert entry["loss"]["value"] == pytest.approx(0.05)
    assert entry["loss"]["low"] == pytest.approx(0.0)
    assert entry["loss"]["high"] == pytest.approx(0.1)


def test_lower_is_better_for_some() -> None:
    brier = small_study(study={"rounds": 10}, evaluation={"primary": "brier"})
    entry = dataclasses.replace(POOLING, study=brier).pooled("alie", [_found(0.3)] * 2, [_found(0.2)] * 2)
    assert entry["loss"]["value"] == pytest.approx(0.1)


def test_the_same_patients_twice_are_not_twice_as_many() -> None:
    entry = POOLING.pooled("alie", [_found(0.8)] * 2, [_found(0.8)] * 2)
    everybody, women = entry["groups"]
    assert (everybody["group"], everybody["n"]) == ("everybody", 100)
    assert everybody["fnr"]["value"] == pytest.approx(0.1)
    assert (women["group"], women["n"]) == ("sex = female", 40)
    # Wilson's interval of 2 of 20, not of 4 of 40.
    assert women["fnr"]["low"] == pytest.approx(0.0279, abs=1e-3)
    assert women["fnr"]["high"] == pytest.approx(0.3010, abs=1e-3)


def test_a_small_group_is_not_shown() -> None:
    few = _found(0.8)
    few["moments"]["10"]["groups"][1] = [3, 1, 1, 4]
    women = POOLING.pooled("alie", [few] * 2, [few] * 2)["groups"][1]
    assert women["n"] is None
    assert not women["assessable"]
    assert women["fnr"] is women["fpr"] is women["rise"] is None


def test_a_training_that_stopped_counts_and_has_no_number() -> None:
    stopped = _found(0.8, stopped="site-1: diverged")
    del stopped["moments"]
    entry = POOLING.pooled("alie", [stopped, _found(0.7)], [_found(0.8)] * 2)
    assert (entry["stopped_seeds"], entry["stopped"]) == (1, "site-1: diverged")
    assert entry["metric"]["value"] == pytest.approx(0.7)


def test_an_attack_that_cannot_be_played_says_why() -> None:
    entry = POOLING.pooled("alie", [{"liars": [], "why_not": "too few", "stopped": None}] * 2, [_found(0.8)] * 2)
    assert (entry["seeds"], entry["why_not"], entry["loss"]) == (0, "too few", None)


def test_success_is_compared_with_what_happens_anyway_and_followed_after_the_attack() -> None:
    lied = _found(0.8)
    lied["moments"]["6"] = lied["moments"]["6"] | {"successes": {"badnets": [18, 20]}}
    lied["curve"] = {"round": [0, 4, 6, 8, 10], "metric": [0.8] * 5, "success": [0.0, 0.5, 0.9, 0.5, 0.1]}
    entry = POOLING.pooled("badnets", [lied] * 2, [_found(0.8)] * 2)
    assert entry["success"]["value"] == pytest.approx(0.9)
    assert entry["success_without"] == pytest.approx(0.05)
    assert entry["success_rise"]["low"] > 0.5
    assert entry["durability"] == {
        "stopped_after": 6,
        "rounds": [6, 8, 10],
        "success": [0.9, 0.5, 0.1],
        "half_life": 4,
    }


@pytest.mark.parametrize(
    ("success", "without", "expected"),
    [
        ([0.8, 0.6, 0.4, 0.2], 0.0, 10),
        ([0.8, 0.7, 0.6, 0.5], 0.0, None),
        ([0.8, 0.7, 0.5, 0.5], 0.2, 10),
        ([0.1, 0.1, 0.1, 0.1], 0.1, None),
    ],
)
def test_half_life(success: list[float], without: float, expected: int | None) -> None:
    assert half_life([20, 25, 30, 35], success, without) == expected


def test_who_lies_with_one_seed_is_judged_by_the_others_as_honest() -> None:
    def part(left_out: int) -> dict[str, float]:
        return {"rounds": 10, "part": 2.0, "left_out": left_out, "put_down": left_out}

    first = _found(0.7, parts={"site-1": part(10), "site-2": part(1), "site-3": part(0)}, liars=["site-1"])
    second = _found(0.7, parts={"site-1": part(4), "site-2": part(8), "site-3": part(2)}, liars=["site-2"])
    sites = POOLING.pooled("alie", [first, second], [_found(0.8)] * 2)["exclusion"]["sites"]
    assert sites["site-1"] == {"lies": True, "part": 0.2, "left_out": 1.0, "left_out_honest": 0.4}
    assert sites["site-2"] == {"lies": True, "part": 0.2, "left_out": 0.8, "left_out_honest": 0.1}
    assert sites["site-3"] == {"lies": False, "part": 0.2, "left_out": 0.1, "left_out_honest": 0.1}
