"""What may be said of groups: metrics, gaps, and silence about the few."""

from __future__ import annotations

import numpy as np
import pytest

from sealround.errors import UsageError
from sealround.fairness.cells import CELLS
from sealround.fairness.counting import Examples, count
from sealround.fairness.results import GroupResult, describe, largest_gap
from sealround.fairness.suppression import Terms

SEX: list[Terms] = [(("sex", "female"),), (("sex", "male"),)]


def _results(
    sizes: tuple[int, int], missed: tuple[float, float] = (0.2, 0.2), nameless: int = 0
) -> tuple[GroupResult, ...]:
    """Half of each group is sick; these shares of them are missed."""
    sex = np.repeat([0, 1, -1], [*sizes, nameless])
    place = np.concatenate([np.arange(size) for size in (*sizes, nameless)])
    positive = place % 2 > 0
    share = np.where(sex == 0, *missed)
    size = np.where(sex == 0, *sizes)
    risk = np.where(positive & (place >= share * size), 0.9, 0.1)
    member = np.stack((np.ones(sex.size, dtype=bool), sex == 0, sex == 1), axis=1)
    return describe(count(risk, 0.5, Examples(positive, np.arange(sex.size), member)), SEX, 0.95, 11)


def _value(found: GroupResult, metric: str) -> float:
    estimate = found.metrics[metric]
    assert estimate is not None
    return estimate.value


def test_a_group_that_is_missed_more_often_is_seen() -> None:
    everybody, women, men = _results((200, 400), (0.6, 0.1))
    assert (women.patients, women.sites, women.positives, women.withheld) == (200, 1, 100, "")
    assert _value(women, "fnr") == pytest.approx(0.6)
    assert _value(men, "fnr") == pytest.approx(0.1)
    gap = women.gaps["fnr"]
    assert gap is not None
    assert gap.value == pytest.approx(0.5)
    assert gap.low > 0.35
    assert everybody.gaps["fnr"] is None
    assert largest_gap((everybody, women, men), "fnr") == 1
    assert largest_gap((everybody, women, men), "auroc") == 1


def test_a_group_of_few_is_not_assessable_and_does_not_follow_from_the_others() -> None:
    everybody, women, men = _results((10, 400))
    assert (women.withheld, men.withheld) == ("few", "complement")
    for found in (women, men):
        assert (found.patients, found.sites, found.positives) == (None, None, None)
        assert not any(found.metrics.values())
        assert not any(found.gaps.values())
    assert everybody.patients == 410
    assert _value(everybody, "fpr") == 0.0
    assert largest_gap((everybody, women, men), "fnr") is None


def test_nobody_is_not_assessable_either() -> None:
    _, women, men = _results((0, 400))
    assert (women.withheld, men.withheld) == ("few", "")
    assert men.gaps["fnr"] is None


def test_others_are_those_whose_level_is_known() -> None:
    _, women, _ = _results((100, 100), (0.4, 0.1), nameless=500)
    gap = women.gaps["fnr"]
    assert gap is not None
    assert gap.value == pytest.approx(0.3)


def test_a_rate_of_few_says_nothing() -> None:
    _, women, _ = _results((20, 400))
    assert women.patients == 20
    assert women.positives is None
    assert women.metrics["fnr"] is None
    assert women.gaps["fnr"] is None
    assert women.metrics["calibration"] is not None


def test_counts_have_to_be_of_these_groups() -> None:
    with pytest.raises(UsageError, match="not counts of 2 groups"):
        describe(np.zeros((4, CELLS)), SEX, 0.95, 11)
