"""What a drill goes through, and words that are none."""

from __future__ import annotations

from typing import Any

import pytest

from sealround.engines.drill.grid import Grid, Wishes, lay_out
from sealround.engines.drill.plays import NOBODY, PLAYS, QUICK
from sealround.errors import UsageError
from sealround.study import Study
from sealround.testing import small_study
from sealround.vocabulary import PartyId

ROSTER = tuple(PartyId(f"site-{number}") for number in range(1, 6))
_OFF = {"mode": "none", "reason": "made up for a test"}


def _protected(robustness: dict[str, Any], aggregation: dict[str, Any] = _OFF) -> Study:
    privacy = {"unit": "none", "reason": "made up for a test"}
    return small_study(
        cohort={"sites": {"kind": "iid", "number": 5}},
        protection={"secure_aggregation": aggregation, "robustness": robustness, "privacy": privacy},
    )


MEDIAN = _protected({"rule": "median", "num_byzantine": 2})


def _grid(study: Study = MEDIAN, **wishes: Any) -> Grid:
    return lay_out(study, ROSTER, Wishes(**wishes))


def test_the_studys_own_rule_comes_first_and_nobody_lies_first() -> None:
    grid = _grid()
    assert (grid.rules[0].key, grid.rules[0].own) == ("median", True)
    assert [rule.own for rule in grid.rules].count(True) == 1
    assert grid.attacks[0] == NOBODY
    assert set(grid.attacks[1:]) == set(QUICK)
    assert grid.num_byzantine == 2
    assert grid.cells[0].attack == NOBODY


def test_every_cell_is_there_once() -> None:
    grid = _grid(attacks=("alie", "ipm"), rules=("mean",), heterogeneity=("as-is", "dirichlet-0.1"), seeds=2)
    assert len(grid.cells) == len(set(grid.cells)) == 3 * 2 * 2 * 2


def test_what_is_compared_with_is_trained_first() -> None:
    grid = _grid(attacks=("alie",), heterogeneity=("as-is", "dirichlet-0.1"))
    for mix in grid.mixes:
        own = [cell.attack for cell in grid.cells if cell.heterogeneity == mix.key]
        assert own == sorted(own, key=lambda attack: attack != NOBODY)


def test_a_rule_that_cannot_run_says_why_and_has_no_cells() -> None:
    grid = _grid(rules=("bulyan", "fltrust"))
    bulyan, fltrust = grid.rules[1:]
    assert bulyan.refused is not None
    assert "11 sites" in bulyan.refused
    assert fltrust.refused is not None
    assert {cell.rule for cell in grid.cells} == {"median"}


def test_mixing_is_part_of_a_rules_word() -> None:
    grid = _grid(rules=("median+mixing",))
    assert [rule.key for rule in grid.rules] == ["median", "median+mixing"]
    assert grid.rules[1].title == "median after mixing"
    assert grid.rules[1].section["mixing"] is True


def test_sealed_sums_leave_no_rule_but_the_studys_own() -> None:
    sealed = _protected({"rule": "mean", "reason": "made up for a test"}, {"mode": "pairwise"})
    grid = _grid(sealed)
    assert {cell.rule for cell in grid.cells} == {"mean"}
    assert all("seals" in str(rule.refused) for rule in grid.rules[1:])


def test_a_mix_that_is_the_studys_own_is_played_once() -> None:
    assert [mix.key for mix in _grid(heterogeneity=("as-is", "iid")).mixes] == ["as-is"]


def test_the_studys_own_sites_are_always_played() -> None:
    assert [mix.key for mix in _grid(heterogeneity=("dirichlet-0.1",)).mixes] == ["as-is", "dirichlet-0.1"]


def test_all_plays_everything() -> None:
    assert _grid(attacks=("all",)).attacks == tuple(PLAYS)
    assert len(_grid(rules=("all",)).rules) > 10


@pytest.mark.parametrize(
    ("wishes", "near"),
    [
        ({"attacks": ("label-flp",)}, "label-flip"),
        ({"rules": ("multikrum",)}, "multi-krum"),
        ({"rules": ("average",)}, "mean"),
        ({"heterogeneity": ("dirichlet",)}, "dirichlet-"),
        ({"heterogeneity": ("as_is",)}, "as-is"),
    ],
)
def test_a_typo_is_told_the_nearest_word(wishes: dict[str, Any], near: str) -> None:
    with pytest.raises(UsageError) as caught:
        _grid(**wishes)
    assert near in caught.value.hint


@pytest.mark.parametrize(
    "wishes",
    [
        {"attacks": ("zzzz",)},
        {"heterogeneity": ("dirichlet-0",)},
        {"heterogeneity": ("dirichlet-x",)},
        {"num_byzantine": 0},
        {"num_byzantine": 5},
        {"seeds": 0},
        {"rounds": 0},
        {"rounds": 4, "stop_after": 5},
        {"stop_after": 0},
    ],
)
def test_what_does_not_fit_is_refused(wishes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        _grid(**wishes)


def test_one_site_cannot_be_drilled() -> None:
    with pytest.raises(UsageError, match="two sites"):
        lay_out(MEDIAN, ROSTER[:1], Wishes())


def test_targeted_attacks_stop_early_and_others_go_on() -> None:
    grid = _grid(rounds=10)
    assert grid.last_lie("badnets") == 6
    assert grid.last_lie("alie") == 10
    assert _grid(rounds=10, stop_after=3).last_lie("alie") == 3


def test_the_mean_is_drilled_with_one_liar() -> None:
    assert _grid(_protected({"rule": "mean", "reason": "made up for a test"})).num_byzantine == 1
    assert _grid(_protected({"rule": "norm-clipping", "num_byzantine": 0})).num_byzantine == 1
