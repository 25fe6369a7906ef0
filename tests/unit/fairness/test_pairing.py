"""Two models on the same examples, counted by group: against a loop over examples, and by what a sum must keep."""

from __future__ import annotations

import numpy as np
import pytest

from sealround.errors import UsageError
from sealround.fairness.cells import (
    COMPARED,
    COMPARED_CANDIDATE,
    COMPARED_NEGATIVES,
    COMPARED_POSITIVES,
    COMPARED_REFERENCE,
    CROSS_ERROR,
    PATIENTS,
    SITES,
)
from sealround.fairness.counting import Examples
from sealround.fairness.pairing import Judged, compared


def examples(seed: int, number: int = 60) -> tuple[Examples, Judged, Judged]:
    draw = np.random.default_rng(seed)
    member = np.concatenate((np.ones((number, 1), dtype=bool), draw.random((number, 3)) < 0.4), axis=1)
    found = Examples(draw.random(number) < 0.4, draw.integers(0, 40, number), member)
    risks = draw.random((2, number))
    return found, Judged(risks[0], risks[0] >= 0.5), Judged(risks[1], risks[1] >= 0.3)


@pytest.mark.parametrize("seed", range(4))
def test_counts_are_those_of_a_loop_over_examples(seed: int) -> None:
    found, candidate, reference = examples(seed)
    counts = compared(found, candidate, reference)
    assert counts.shape == (4, COMPARED)
    for group in range(4):
        cells = np.zeros((2, 4))
        sums = np.zeros(5)
        for row in np.flatnonzero(found.member[:, group]):
            sick = bool(found.positive[row])
            wrong = (bool(candidate.positive[row]) != sick) + 2 * (bool(reference.positive[row]) != sick)
            cells[0 if sick else 1, wrong] += 1
            c, r = candidate.risk[row] - sick, reference.risk[row] - sick
            sums += c, c * c, r, r * r, c * r
        assert counts[group, COMPARED_POSITIVES].tolist() == cells[0].tolist()
        assert counts[group, COMPARED_NEGATIVES].tolist() == cells[1].tolist()
        told = [*counts[group, COMPARED_CANDIDATE], *counts[group, COMPARED_REFERENCE], counts[group, CROSS_ERROR]]
        assert told == pytest.approx(sums.tolist(), abs=2.0**-11)
        assert counts[group, PATIENTS] == np.unique(found.patient[found.member[:, group]]).size
        assert counts[group, SITES] == 1.0


def test_sums_of_risks_are_rounded_so_that_they_do_not_tell_their_addends() -> None:
    counts = compared(*examples(0))
    sums = counts[:, COMPARED_CANDIDATE.start :]
    assert (sums * 1024 == np.rint(sums * 1024)).all()


def test_who_may_not_be_told_in_a_group_is_not_counted_in_it() -> None:
    found, candidate, reference = examples(1)
    hidden = found.member.copy()
    hidden[:, 2] = False
    counts = compared(Examples(found.positive, found.patient, hidden), candidate, reference)
    assert counts[2].tolist() == [0.0] * COMPARED
    assert counts[1].tolist() == compared(found, candidate, reference)[1].tolist()


def test_a_site_without_patients_adds_nothing() -> None:
    nobody = Examples(np.zeros(0, dtype=bool), np.zeros(0, dtype=np.int64), np.zeros((0, 3), dtype=bool))
    none = Judged(np.zeros(0), np.zeros(0, dtype=bool))
    assert compared(nobody, none, none).tolist() == np.zeros((3, COMPARED)).tolist()


def test_what_a_model_says_of_patients_is_not_in_a_log() -> None:
    assert repr(examples(0)[1]) == "Judged()"


def test_a_model_compared_with_itself_differs_nowhere() -> None:
    found, candidate, _ = examples(2)
    counts = compared(found, candidate, candidate)
    assert counts[:, [3, 4, 7, 8]].sum() == 0.0
    assert counts[:, COMPARED_CANDIDATE].tolist() == counts[:, COMPARED_REFERENCE].tolist()


def test_models_that_speak_of_other_examples_are_refused() -> None:
    found, candidate, _ = examples(3)
    with pytest.raises(UsageError, match="the same examples"):
        compared(found, candidate, Judged(np.zeros(3), np.zeros(3, dtype=bool)))
