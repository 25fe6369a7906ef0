"""Conditions, ties, few sites, and what a rule says about each site."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sealround.aggregation import (
    COORDINATE_RULES,
    RULES,
    Known,
    Settings,
    aggregate,
    fewest_sites,
    geometric_median,
    gram,
    krum,
    most_byzantine,
    multi_krum,
    require,
    weigh,
)
from sealround.errors import UsageError


def normal(n: int, d: int = 40, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def bound(rule: str, value: float) -> float | None:
    return value if "clipping" in rule else None


@pytest.mark.parametrize(
    ("rule", "f", "needed"),
    [("krum", 3, 9), ("multi-krum", 1, 5), ("bulyan", 2, 11), ("median", 3, 7), ("trimmed-mean", 1, 3),
     ("meamed", 2, 5), ("geometric-median", 4, 9), ("centered-clipping", 1, 3),
     ("dnc", 2, 5), ("flame", 1, 3), ("mean", 0, 1)],
)  # fmt: skip
def test_too_few_sites_are_refused_with_the_numbers(rule: str, f: int, needed: int) -> None:
    assert fewest_sites(rule, f) == needed
    require(rule, needed, f)
    with pytest.raises(UsageError, match=f"{rule} needs {needed} sites to withstand {f} .* there are {needed - 1}"):
        require(rule, needed - 1, f)


@pytest.mark.parametrize("rule", [rule for rule in RULES if fewest_sites(rule, 1) > 1])
def test_the_hint_names_the_most_that_can_be_withstood(rule: str) -> None:
    for sites in range(fewest_sites(rule, 1), 40):
        most = most_byzantine(rule, sites)
        assert fewest_sites(rule, most) <= sites < fewest_sites(rule, most + 1)
        with pytest.raises(UsageError, match=f"set num_byzantine to {most} at the most"):
            require(rule, sites, most + 1)


@pytest.mark.parametrize("rule", [rule for rule in RULES if fewest_sites(rule, 1) > 1])
def test_every_rule_checks_its_condition_itself(rule: str) -> None:
    f = 3
    needed = fewest_sites(rule, f)
    with pytest.raises(UsageError, match=f"needs {needed} sites"):
        aggregate(Settings(rule=rule, num_byzantine=f), normal(needed - 1))


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"rule": "mean", "num_byzantine": 1}, "withstands no Byzantine site"),
        ({"rule": "median", "num_byzantine": -1}, "negative"),
        ({"rule": "voting"}, "no rule 'voting'"),
        ({"rule": "centered-clipping"}, "needs clip_norm"),
        ({"rule": "centered-clipping", "clip_norm": -1.0}, "above 0"),
        ({"rule": "centered-clipping", "clip_norm": float("nan")}, "above 0"),
        ({"rule": "centered-clipping", "clip_norm": 1.0, "iterations": 0}, "at least 1"),
        ({"rule": "norm-clipping", "clip_norm": 0.0}, "above 0"),
        ({"rule": "norm-clipping", "num_byzantine": 4, "mixing": True}, "mixing needs 9 sites"),
        ({"rule": "multi-krum", "num_byzantine": 1, "num_selected": 8}, "from 1 to n - f = 7"),
        ({"rule": "multi-krum", "num_byzantine": 1, "num_selected": 0}, "from 1 to n - f = 7"),
        ({"rule": "foolsgold", "mixing": True}, "copies"),
        ({"rule": "fltrust"}, "root"),
        ({"rule": "median", "clip_norm": 1.0}, "median has no clip_norm"),
        ({"rule": "krum", "num_selected": 2}, "krum has no num_selected"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        aggregate(Settings(**settings), normal(8))


@pytest.mark.parametrize("shares", [np.ones(3), np.array([1.0, -1.0, 1.0, 1.0]), np.zeros(4), np.full(4, np.nan)])
def test_shares_that_are_none_are_refused(shares: np.ndarray) -> None:
    with pytest.raises(UsageError, match="shares are 4 finite numbers"):
        aggregate(Settings(rule="mean"), normal(4), Known(shares=shares))


def test_other_misuse_is_refused() -> None:
    with pytest.raises(UsageError, match="parameter by parameter"):
        weigh(Settings(rule="median"), gram(normal(5)))
    with pytest.raises(UsageError, match="shape of updates"):
        aggregate(Settings(rule="foolsgold"), normal(5), Known(totals=normal(4)))
    with pytest.raises(UsageError, match="tolerance"):
        geometric_median(gram(normal(5)), num_byzantine=1, tolerance=0.0)
    with pytest.raises(UsageError, match="from 1 to n - f"):
        multi_krum(gram(normal(5)), num_byzantine=1, num_selected=5)


@pytest.mark.parametrize("rule", RULES)
def test_as_few_sites_as_there_can_be(rule: str) -> None:
    """With f = 0 from the fewest that the condition allows, and one of them whatever it is where that is one."""
    needed = fewest_sites(rule, 0)
    x = normal(needed, 5)
    found = aggregate(Settings(rule=rule, clip_norm=bound(rule, 100.0)), x, Known(root=x[0]))
    assert np.isfinite(found.update).all()
    assert found.influence.shape == (needed,)
    if needed == 1:
        np.testing.assert_allclose(found.update, x[0], rtol=1e-6)


def test_of_two_nearest_to_each_other_the_one_nearer_to_all_comes_first() -> None:
    line = np.array([[0.0], [1.0], [3.0]], dtype=np.float32)
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2]):
        assert line[krum(gram(line[order]), num_byzantine=0).weights[np.argsort(order)] > 0] == 1.0


def test_ties_go_to_the_earlier_site() -> None:
    square = np.array([[1, 0], [0, 1], [-1, 0], [0, -1], [0, 0]], dtype=np.float32)
    assert krum(gram(square[:4]), num_byzantine=0).weights.tolist() == [1.0, 0.0, 0.0, 0.0]
    assert multi_krum(gram(square[:4]), num_byzantine=0, num_selected=2).weights.tolist() == [0.5, 0.5, 0.0, 0.0]


def test_of_two_values_as_near_the_median_the_smaller_counts() -> None:
    x = np.array([[-2.0], [0.0], [2.0]], dtype=np.float32)
    assert aggregate(Settings(rule="meamed", num_byzantine=1), x).update.tolist() == [-1.0]


@pytest.mark.parametrize("rule", RULES)
def test_a_reason_for_each_site(rule: str) -> None:
    x = normal(12)
    settings = Settings(rule=rule, num_byzantine=0 if rule == "mean" else 2, clip_norm=bound(rule, 3.0))
    found = aggregate(settings, x, Known(root=x[0]))
    assert len(found.reasons) == 12
    assert all(0 < len(reason) < 80 for reason in found.reasons)
    assert (found.weights is None) == (rule in COORDINATE_RULES)


def test_reasons_say_who_is_left_out() -> None:
    x = normal(7)
    x[3] += 100
    reasons = aggregate(Settings(rule="multi-krum", num_byzantine=1), x).reasons
    assert [reason.startswith("left out") for reason in reasons] == [site == 3 for site in range(7)]
    assert reasons[3].endswith("7 of 7")
    mixed = aggregate(Settings(rule="geometric-median", num_byzantine=1, mixing=True), x)
    assert mixed.reasons[3].startswith("in 0 of")
    assert not mixed.kept[3]


def test_influence_of_coordinate_rules_shows_who_is_cut_off() -> None:
    x = normal(9, 60_000)
    x[0] += 30
    for rule in ("median", "trimmed-mean", "meamed", "bulyan"):
        found = aggregate(Settings(rule=rule, num_byzantine=1), x)
        assert found.influence[0] < 1e-3, rule
        assert found.influence.sum() == pytest.approx(1.0)


@pytest.mark.parametrize("rule", COORDINATE_RULES)
@pytest.mark.parametrize(("n", "d"), [(9, 1_200_000), (30, 70_000)])
def test_threads_do_not_show(rule: str, n: int, d: int) -> None:
    x, settings = normal(n, d), Settings(rule=rule, num_byzantine=1)  # enough for two threads to be worth it
    one, two = aggregate(settings, x), aggregate(settings, x, threads=2)
    assert one.update.tobytes() == two.update.tobytes()
    assert one.influence.tobytes() == two.influence.tobytes()
