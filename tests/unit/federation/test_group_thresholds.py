"""Thresholds by group against a search over patients, and what a site accepts of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sealround.errors import MalformedMessageError, ProtocolViolationError
from sealround.federation import Site, tally
from sealround.federation.group_thresholds import group_thresholds, histograms_size, levels_with_threshold
from sealround.federation.groups import Group
from sealround.federation.interfaces import Contender
from sealround.federation.messages import AskGroups, Envelope, pack, unpack
from sealround.study import study_digest
from sealround.testing import GroupedWork, small_study
from sealround.vocabulary import COORDINATOR, PartyId

SEXES = (Group((("sex", "f"),)), Group((("sex", "m"),)))
FEMALE_OLD = Group((("age", "≥ 50"), ("sex", "f")))


def cells(logits: np.ndarray, sick: np.ndarray) -> np.ndarray:
    return tally.binary_tally((0.0, 0), (0.0, 0), logits, sick.astype(float))[4:]


def patients(seed: int, number: int = 600) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two groups, of which the model finds the second's sick with a smaller risk."""
    draw = np.random.default_rng(seed)
    group, sick = draw.integers(0, 2, number), draw.random(number) < 0.4
    return draw.normal(size=number) + 2.5 * sick - 1.0 - 1.2 * group * sick, sick, group


def chosen(
    seed: int, common: float, calibration: tuple[float, float] = (1.0, 0.0), fewest: int = 11
) -> tuple[float, ...]:
    logits, sick, group = patients(seed)
    tail = np.concatenate([cells(logits[group == g], sick[group == g]) for g in (0, 1)])
    total = tally.binary_tally((0.0, 0), (0.0, 0), logits, sick.astype(float))
    return group_thresholds(total, tail, common, calibration, fewest)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("calibration", [(1.0, 0.0), (0.7, 0.4)])
def test_no_group_finds_fewer_of_its_sick_than_everybody_does_at_the_common_threshold(
    seed: int, calibration: tuple[float, float]
) -> None:
    logits, sick, group = patients(seed)
    risk = 1 / (1 + np.exp(-(calibration[0] * logits + calibration[1])))
    common = tally.recalibrated(0.5, calibration)  # the edge of a bin, where a histogram is exact
    everybody = (risk[sick] >= common).mean()
    before = [(risk[sick & (group == g)] >= common).mean() for g in (0, 1)]
    assert before[0] - before[1] > 0.1, "the example has nothing to mend"
    for g, threshold in enumerate(chosen(seed, common, calibration)):
        found = (risk[sick & (group == g)] >= threshold).mean()
        # One patient fewer would be too few: the threshold gives away no healthy one for nothing.
        assert everybody <= found < everybody + 0.05


def test_a_group_of_few_sick_has_the_common_threshold() -> None:
    assert chosen(0, 0.5, fewest=10_000) == (0.5, 0.5)
    assert group_thresholds(np.zeros(4 + 2 * tally.BINS), np.zeros(4 * tally.BINS), 0.3, (1.0, 0.0), 0) == (0.3, 0.3)


@given(st.integers(0, 2**16), st.floats(0.05, 0.95))
def test_a_group_that_is_everybody_keeps_the_common_threshold(seed: int, common: float) -> None:
    logits, sick, _ = patients(seed, 80)
    total = tally.binary_tally((0.0, 0), (0.0, 0), logits, sick.astype(float))
    (own,) = group_thresholds(total, cells(logits, sick), common, (1.0, 0.0), 1)
    if sick.any():
        # To a bin's width, which is all that a histogram can say of a threshold inside one.
        wide = 1 / 8
        logit = np.log(common / (1 - common))
        assert abs(np.log(own / (1 - own)) - logit) <= wide + 1e-9


def test_a_survival_study_has_none_and_its_tally_is_not_read() -> None:
    total = np.zeros(tally.size("survival"))
    assert group_thresholds(total, np.zeros(0), 0.5, (1.0, 0.0), 5) == ()


def test_only_the_groups_of_one_column_have_a_threshold_of_their_own() -> None:
    study = small_study(fairness={"group_thresholds": "sex"})
    assert levels_with_threshold(study, (*SEXES, FEMALE_OLD)) == SEXES
    assert levels_with_threshold(small_study(), (*SEXES, FEMALE_OLD)) == ()
    assert histograms_size(2) == 4 * tally.BINS


def asked(contender: Contender) -> bytes:
    groups = GroupedWork(1).groups
    return pack(Envelope(bytes(32), 1, AskGroups(groups, contender, (), own=True)))


def test_thresholds_travel_and_must_be_numbers() -> None:
    contender = Contender(np.zeros(3, dtype=np.float32), 0.5, group_thresholds=(0.25, 0.75))
    message = unpack(asked(contender), sender=COORDINATOR).message
    assert isinstance(message, AskGroups)
    assert message.candidate.group_thresholds == (0.25, 0.75)
    broken = asked(Contender(np.zeros(3, dtype=np.float32), 0.5, group_thresholds=("half",)))  # type: ignore[arg-type]
    with pytest.raises(MalformedMessageError, match="is not a float"):
        unpack(broken, sender=COORDINATOR)


def test_a_site_takes_no_thresholds_that_the_study_does_not_permit() -> None:
    study = small_study()
    site = Site(PartyId("hospital"), study_digest(study), GroupedWork(1), 5)
    with pytest.raises(ProtocolViolationError, match="thresholds of other groups"):
        site._check_thresholds((0.5, 0.5))
