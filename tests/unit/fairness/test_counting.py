"""Counts of groups: right one by one, additive over sites, and quiet about the few."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sealround.errors import UsageError
from sealround.fairness.cells import BINS, CELLS, CONFUSION, LOGITS, PATIENTS, RISK, SITES, VARIANCE
from sealround.fairness.counting import Examples, count
from sealround.fairness.suppression import equations_of

WOMEN, MEN = (("sex", "female"),), (("sex", "male"),)


def _examples(sex: np.ndarray, positive: np.ndarray, patient: np.ndarray | None = None) -> Examples:
    member = np.stack((np.ones(sex.size, dtype=bool), sex == 0, sex == 1), axis=1)
    return Examples(positive, np.arange(sex.size) if patient is None else patient, member)


def test_every_cell() -> None:
    risk = np.array([0.1, 0.6, 0.5, 0.2, 0.9, 0.0, 1.0])
    positive = np.array([False, False, True, True, True, False, True])
    found = count(risk, 0.5, _examples(np.array([0, 0, 0, 1, 1, -1, -1]), positive))
    assert found.shape == (3, CELLS)
    assert found[:, SITES].tolist() == [1, 1, 1]
    assert found[:, PATIENTS].tolist() == [7, 3, 2]
    assert found[0, CONFUSION].tolist() == [2, 1, 1, 3]  # a risk at the threshold is called positive
    assert found[1, CONFUSION].tolist() == [1, 1, 0, 1]
    assert found[2, CONFUSION].tolist() == [0, 0, 1, 1]
    assert found[1, RISK] == pytest.approx(1.2)
    assert found[1, VARIANCE] == pytest.approx(0.1 * 0.9 + 0.6 * 0.4 + 0.25)
    negatives, positives = found[0, LOGITS].reshape(2, BINS)
    assert (negatives.sum(), positives.sum()) == (3, 4)
    assert (negatives[0], positives[-1]) == (1, 1)  # risks of 0 and 1
    assert positives[BINS // 2] == 1  # a risk of a half, at the edge of the bin above


def test_patients_are_counted_once() -> None:
    examples = _examples(np.array([0, 0, 0, 1]), np.zeros(4, dtype=bool), np.array([7, 3, 7, 3]))
    assert examples.patients.tolist() == [2, 2, 1]


def test_nobody() -> None:
    found = count(np.zeros(0), 0.5, _examples(np.zeros(0), np.zeros(0, dtype=bool)))
    assert not found.any()


def test_few_patients_are_left_out_with_those_who_would_tell_them() -> None:
    sex, equations = np.repeat([0, 1], [4, 60]), equations_of([WOMEN, MEN])
    examples = _examples(sex, np.arange(64) % 2 > 0)
    found = count(np.full(64, 0.3), 0.5, examples.suppressed(equations, 5))
    assert found[0, PATIENTS] == 64
    assert not found[1:].any()
    untouched = count(np.full(64, 0.3), 0.5, examples.suppressed(equations, 4))
    assert untouched[:, PATIENTS].tolist() == [64, 4, 60]


def test_patients_not_rows_are_few() -> None:
    sex, patient = np.repeat([0, 1], [40, 40]), np.concatenate((np.repeat(np.arange(4), 10), np.arange(100, 140)))
    examples = _examples(sex, np.zeros(80, dtype=bool), patient).suppressed(equations_of([WOMEN, MEN]), 5)
    assert examples.patients.tolist() == [44, 0, 0]


@settings(max_examples=40, deadline=None)
@given(number=st.integers(0, 80), cut=st.integers(0, 80), seed=st.integers(0, 2**32))
def test_sites_add_up_and_so_do_the_groups_of_a_partition(number: int, cut: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    risk, positive, sex = draw.random(number), draw.random(number) < 0.4, draw.integers(0, 2, number)
    whole = count(risk, 0.4, _examples(sex, positive))
    parts = [count(risk[part], 0.4, _examples(sex[part], positive[part])) for part in (slice(cut), slice(cut, None))]
    np.testing.assert_allclose(np.sum(parts, axis=0)[:, PATIENTS:], whole[:, PATIENTS:])
    np.testing.assert_allclose(whole[1:, PATIENTS:].sum(axis=0), whole[0, PATIENTS:])
    np.testing.assert_array_equal(whole[:, LOGITS].sum(axis=1), whole[:, CONFUSION].sum(axis=1))


@pytest.mark.parametrize("risk", [np.zeros(3), np.array([0.5, 1.2]), np.array([0.5, np.nan])])
def test_risks_that_are_none_are_refused(risk: np.ndarray) -> None:
    with pytest.raises(UsageError, match="risks are of other examples"):
        count(risk, 0.5, _examples(np.zeros(2), np.zeros(2, dtype=bool)))


def test_shapes_have_to_fit() -> None:
    with pytest.raises(UsageError, match="different examples"):
        Examples(np.zeros(2, dtype=bool), np.zeros(3), np.zeros((2, 1), dtype=bool))
