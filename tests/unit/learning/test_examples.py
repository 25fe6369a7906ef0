from __future__ import annotations

import numpy as np
import pytest
import torch

from sealround.clinical.cohort import Outcome
from sealround.learning.examples import Examples, Features, Images, shared, targets_of

CPU = torch.device("cpu")


def _images(array: np.ndarray, where: list[int], mean: list[float], scale: list[float]) -> Images:
    columns = (torch.tensor(values).reshape(-1, 1, 1) for values in (mean, scale))
    return Images(shared(array, CPU), torch.tensor(where), *columns)


def test_grey_images_are_normalised_as_they_are_taken() -> None:
    array = np.arange(3 * 2 * 2, dtype=np.uint8).reshape(3, 2, 2)
    images = _images(array, [2, 0], [4.0], [2.0])
    batches = list(images.batches(torch.tensor([1, 0, 1]), 2))
    assert [tuple(batch.shape) for batch in batches] == [(2, 1, 2, 2), (1, 1, 2, 2)]
    assert torch.equal(batches[0][0, 0], (torch.tensor(array[0]).float() - 4.0) / 2.0)
    assert torch.equal(batches[0][1, 0], (torch.tensor(array[2]).float() - 4.0) / 2.0)
    assert (len(images), images.shape) == (2, (1, 2, 2))


def test_colour_images_have_their_channels_first_and_each_its_scale() -> None:
    array = np.random.default_rng(0).integers(0, 256, size=(2, 4, 5, 3), dtype=np.uint8)
    images = _images(array, [0, 1], [1.0, 2.0, 3.0], [1.0, 10.0, 100.0])
    (batch,) = images.batches(torch.tensor([0, 1]), 8)
    assert images.shape == tuple(batch.shape[1:]) == (3, 4, 5)
    for channel, (mean, scale) in enumerate(((1.0, 1.0), (2.0, 10.0), (3.0, 100.0))):
        assert np.allclose(batch[:, channel], (array[..., channel] - mean) / scale)


def test_images_are_not_copied_and_taking_them_does_not_change_them() -> None:
    array = np.full((4, 3, 3), 9, dtype=np.uint8)
    array.flags.writeable = False  # no warning either
    images = _images(array, [0, 1, 2, 3], [1.0], [1.0])
    assert np.shares_memory(images.pixels.numpy(), array)
    list(images.batches(torch.arange(4), 2))
    assert (array == 9).all()


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_inputs_and_targets_of_a_batch_belong_together(size: int) -> None:
    matrix = torch.arange(14.0).reshape(7, 2)
    examples = Examples(Features(matrix), targets_of(Outcome(np.arange(7.0), np.arange(7.0)), np.arange(7), CPU))
    rows = torch.tensor([6, 0, 3, 3, 1])
    batches = list(examples.batches(rows, size))
    assert torch.equal(torch.cat([inputs for inputs, _ in batches]), matrix[rows])
    assert torch.cat([targets.event for _, targets in batches]).tolist() == rows.tolist()
    assert torch.cat([targets.rank for _, targets in batches]).tolist() == [6 - row for row in rows.tolist()]
    assert [len(targets) for _, targets in batches] == [len(inputs) for inputs, _ in batches]


def test_ranks_count_distinct_times_from_the_latest() -> None:
    outcome = Outcome(np.array([1.0, 0.0, 1.0, 1.0]), np.array([5.0, 9.0, 5.0, 1.0]))
    assert targets_of(outcome, np.arange(4), CPU).rank.tolist() == [1, 0, 1, 2]
    assert targets_of(outcome, np.array([0, 3]), CPU).rank.tolist() == [0, 1]
    assert targets_of(Outcome(outcome.event), np.arange(4), CPU).rank is None
