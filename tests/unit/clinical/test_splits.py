from __future__ import annotations

import numpy as np
import pytest

from sealround.clinical import SplitName
from sealround.clinical.splits import carve, crossing_patients, draw_split, stratified_order
from sealround.federation.randomness import stream


def _rng(*words: str | int) -> np.random.Generator:
    return stream(1, *words)


@pytest.mark.parametrize("size", [1, 2, 7, 100, 999])
def test_every_stretch_of_the_order_has_the_mix(size: int) -> None:
    positive = np.arange(size) % 3 == 0
    order = stratified_order(positive, _rng("order"))
    assert sorted(order.tolist()) == list(range(size))
    expected = positive.mean() * np.arange(1, size + 1)
    assert np.abs(np.cumsum(positive[order]) - expected).max() <= 1.0


def test_a_split_has_its_shares_of_each_outcome() -> None:
    event = (np.arange(500) % 5 == 0).astype(np.float32)
    split = draw_split(np.arange(500), event, 0.1, 0.2, _rng("split"))
    assert np.bincount(split).tolist() == [350, 50, 100]
    assert [int(event[split == part].sum()) for part in SplitName] == [70, 10, 20]
    assert split.dtype == np.int8


def test_a_patient_with_one_positive_row_is_positive_and_stays_whole() -> None:
    patient = np.repeat(np.arange(100), 3)
    event = np.zeros(300, dtype=np.float32)
    event[::30] = 1  # ten patients have one positive row each
    split = draw_split(patient, event, 0.2, 0.3, _rng("split"))
    assert crossing_patients(patient, split).size == 0
    held = [np.unique(patient[(split == part) & (event > 0)]).size for part in SplitName]
    assert held == [5, 2, 3]


def test_few_patients_are_for_training_first() -> None:
    for size, expected in ((1, [1, 0, 0]), (2, [2, 0, 0]), (3, [2, 0, 1]), (5, [3, 1, 1])):
        split = draw_split(np.arange(size), np.zeros(size), 0.15, 0.2, _rng("split"))
        assert np.bincount(split, minlength=3).tolist() == expected


def test_carving_moves_training_patients_only() -> None:
    patient = np.repeat(np.arange(50), 2)
    split = np.where(patient < 40, SplitName.TRAIN, SplitName.TEST).astype(np.int8)
    carved = carve(split, patient, np.zeros(100), 0.25, _rng("carve"))
    assert (carved[split == SplitName.TEST] == SplitName.TEST).all()
    assert (carved == SplitName.VALIDATION).sum() == 20
    assert crossing_patients(patient, carved).size == 0
    np.testing.assert_array_equal(carve(split, patient, np.zeros(100), 0.0, _rng("carve")), split)


def test_crossing_patients_are_found() -> None:
    patient = np.array([0, 0, 1, 1, 2, 3])
    split = np.array([0, 0, 0, 2, 1, 2], dtype=np.int8)
    assert crossing_patients(patient, split).tolist() == [1]
