"""What the gate and its intervals promise on average, by simulation: seeded, with a stated false-alarm rate.

Each bar is the promise plus four standard errors of the simulation: were the promise just kept, and the seeds drawn
anew, one such test in about 30,000 would fail.
"""

from __future__ import annotations

import numpy as np
import pytest

from sealround.fairness import GateRules, assess
from sealround.fairness import intervals as ivs
from sealround.fairness.cells import BINS, COMPARED
from sealround.fairness.counting import Examples, count

_ERRORS = 4.0


def _bar(share: float, draws: int) -> float:
    return share + _ERRORS * float(np.sqrt(share * (1 - share) / draws))


def _tables(draw: np.random.Generator, shape: tuple[int, int], number: int, rates: tuple[float, float]) -> np.ndarray:
    """Groups of so many sick patients; how likely only the candidate, only the reference, misses one."""
    cells = draw.multinomial(number, [0.75 - sum(rates), *rates, 0.25], size=shape)
    counts = np.zeros((*shape, COMPARED))
    counts[..., 0], counts[..., 1], counts[..., 2:6] = 4, number, cells
    return counts


@pytest.mark.parametrize(("number", "rate"), [(12, 0.2), (40, 0.05), (40, 0.2), (300, 0.02), (300, 0.2)])
@pytest.mark.parametrize("tolerance", [0.0, 0.05])
def test_nobody_worse_off_is_seldom_called_worse_off(number: int, rate: float, tolerance: float) -> None:
    """Over eight groups together, at most one run in twenty; each group just at the tolerance."""
    draws, names = 300, [str(group) for group in range(8)]
    counts = _tables(np.random.default_rng(number), (draws, 8), number, (rate + tolerance, rate))
    rules = GateRules(metrics=("fnr",), tolerance=tolerance)
    alarms = [any(found.verdict == "worse" for found in assess(one, names, rules)) for one in counts]
    assert np.mean(alarms) <= _bar(0.05, draws)


@pytest.mark.parametrize("number", [60, 150])
def test_a_rise_of_the_detectable_size_is_found_four_times_in_five(number: int) -> None:
    """At the first step of Holm's procedure, with seven groups beside it that are not harmed."""
    rules = GateRules(metrics=("fnr",), largest_undetected=1.0)
    draw, draws, names = np.random.default_rng(number), 300, [str(group) for group in range(8)]
    typical = _tables(draw, (1, 8), number, (0.03, 0.03))[0]
    typical[:, 2:6] = np.rint([0.94 * number, 0, 0.03 * number, 0.03 * number])
    (known, *_) = assess(typical, names, rules)
    assert known.detectable is not None
    other = (np.rint(0.03 * number) + 0.5) / (round(1.0 * typical[0, 2:6].sum()) + 1)
    counts = _tables(draw, (draws, 8), number, (other, other))
    counts[:, 0, 2:6] = draw.multinomial(
        number, [0.95 - 2 * other - known.detectable, other + known.detectable, other, 0.05], size=draws
    )
    found = np.mean([assess(one, names, rules)[0].verdict == "worse" for one in counts])
    assert found == pytest.approx(0.8, abs=_ERRORS * 0.023)


def test_well_calibrated_models_are_seldom_called_worse() -> None:
    draw, draws, number = np.random.default_rng(3), 600, 80
    risk = draw.beta(2, 3, size=(draws, number))
    event = draw.random((draws, number)) < risk
    # The reference is as well calibrated, and sees less.
    error, other = risk - event, 0.4 - event
    counts = np.zeros((draws, COMPARED))
    counts[:, 0], counts[:, 1], counts[:, 2] = 4, number, number
    counts[:, 10:] = np.stack(
        [error.sum(1), (error**2).sum(1), other.sum(1), (other**2).sum(1), (error * other).sum(1)], axis=1
    )
    rules = GateRules(metrics=("calibration",))
    found = np.mean([assess(one[None], ["a"], rules)[0].verdict == "worse" for one in counts])
    assert found <= _bar(0.05, draws)


def _covered(found: ivs.Estimate | None, truth: float) -> bool:
    return found is not None and found.low <= truth <= found.high


@pytest.mark.parametrize("number", [15, 60])
@pytest.mark.parametrize("truth", [0.7, 0.9])
def test_auroc_intervals_cover(number: int, truth: float) -> None:
    """Scores of two normals, in the bins of a group's counts: the bins blur an AUROC by less than a hundredth."""
    draw, draws = np.random.default_rng(int(100 * truth) + number), 600
    shift = 1.8 if truth == 0.9 else 0.7416  # 2 ** 0.5 times the normal quantile of it
    covered = []
    for _ in range(draws):
        scores = [np.clip(2 * draw.normal(at, 1.0, number), -7.9, 7.9) for at in (-shift / 2, shift / 2)]
        bins = [np.histogram(one, BINS, (-8.0, 8.0))[0].astype(float) for one in scores]
        covered.append(_covered(ivs.auroc(*bins, 0.95), truth))
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize("number", [20, 200])
def test_calibration_intervals_cover(number: int) -> None:
    draw, covered = np.random.default_rng(number), []
    for _ in range(600):
        risk = draw.beta(1, 3, number)
        row = count(
            risk, 0.5, Examples(draw.random(number) < risk, np.arange(number), np.ones((number, 1), dtype=bool))
        )
        covered.append(_covered(ivs.calibration(row[0], 0.95), 0.0))
    assert np.mean(covered) >= 0.93


@pytest.mark.parametrize(
    ("first", "second"), [((15, 0.1), (200, 0.1)), ((40, 0.3), (40, 0.1)), ((12, 0.02), (500, 0.2))]
)
def test_gaps_cover(first: tuple[int, float], second: tuple[int, float]) -> None:
    draw, covered = np.random.default_rng(first[0]), []
    for _ in range(1500):
        one, other = (ivs.wilson(draw.binomial(number, rate), number, 0.95) for number, rate in (first, second))
        assert one is not None
        assert other is not None
        covered.append(_covered(ivs.difference(one, other), first[1] - second[1]))
    assert np.mean(covered) >= 0.93
