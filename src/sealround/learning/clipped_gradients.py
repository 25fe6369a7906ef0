"""The sum of patients' clipped gradients: what differential privacy adds noise to (Abadi et al. 2016, Algorithm 1).

The unit of privacy is the patient, with all his rows: his gradient is that of the mean loss over his own rows, and that
is clipped. How the gradients are kept apart is in `sealround.learning.clipped`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sealround.errors import UnsupportedError, UsageError
from sealround.learning.clipped import Batch, PatientGradients, check_separable
from sealround.learning.losses import BinaryLoss
from sealround.learning.predictors import LinearPredictor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealround.learning.clipped import Part
    from sealround.learning.examples import Examples
    from sealround.learning.losses import Loss
    from sealround.learning.predictors import Predictor

__all__ = ["ClippedSum", "check_separable", "clipped_sum"]

_LINEAR, _NETWORK = 1024, 256
"""Examples taken at a time, by a linear model and by a network on features."""

_PIXELS, _FEWEST, _MOST = 64 * 28 * 28, 8, 256
"""Pixels taken at a time, and the fewest and the most images."""

_MARGIN = 1.0 - 2.0**-20
"""Gradients are clipped to this much of the norm: more than rounding the factor, and each product with it, can add."""

_LONGEST = 1e18
"""Squares of longer gradients do not fit float32."""

_SHORTEST_CLIP, _LONGEST_CLIP = 1e-12, 1e12
"""Between these, squares of what is clipped and the factors it is clipped with are normal float32 numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class ClippedSum:
    """A sum of clipped gradients; the counts are of patients, and as secret as the sum before noise.

    Attributes:
        gradient: In the order of the model's flat vector, float32 ``(d,)``.
        patients: How many were added up.
        clipped: How many of them had a longer gradient than allowed.
        unusable: How many had a gradient that is not finite, or longer than 10^18; they add nothing.
    """

    gradient: torch.Tensor
    patients: int
    clipped: int
    unusable: int


@torch.no_grad()
def clipped_sum(
    predictor: Predictor,
    examples: Examples,
    rows: torch.Tensor,
    patients: torch.Tensor,
    loss: Loss,
    l2_clip_norm: float,
    *,
    chunk: int | None = None,
) -> ClippedSum:
    """Return the sum over patients of the gradient of each one's mean loss, clipped.

    Guarantee:
        One patient more or less, with all his rows, changes the sum by at most ``l2_clip_norm`` in L2 norm, whatever
        his rows hold: gradients that are not finite add nothing.

    Assumes:
        That each row is one patient's, and that the loss and the model's values do not depend on who was chosen.
        Dropout draws for each example anew.

    Not covered:
        Rounding of the sum, below. What the loss and the encoding know of the data: class weights, a site's log odds,
        means and scales. The counts of the result. Time and memory, which tell how many rows there are.

    Rounding:
        Lengths are taken from float32 gradients to about one part in 10^7, products that may cancel in float64, and
        factors clip to ``1 - 2^-20`` of the norm: no clipped gradient was found to be longer than the norm. Sums are
        float32: with N terms, their order left open, an error of at most ``N 2^-24`` of the sum of the terms' lengths
        (Higham 2002, section 3.1). N is the patients of a chunk plus the number of chunks; for a kernel or several
        rows, times its places, whose terms are longer than their sum where they cancel. Who is missing also moves
        others into batches of other sizes, which may round their gradients otherwise. All that together was measured
        as less than ``2^-24`` of the norm for each patient that is added up; tests hold it to ``2^-20``.

    =========================== ================================================
    given                       result
    =========================== ================================================
    no rows                     zeros; 0 patients
    a gradient of 0             adds 0, not clipped
    a gradient of infinity, NaN adds 0, counted as unusable
    one patient                 his gradient, clipped
    =========================== ================================================

    Args:
        predictor: The model, loaded with the values to take gradients at; seeded, if it has dropout.
        examples: The site's.
        rows: Which of them, int64 ``(m,)``.
        patients: Number of the patient whose row that is, int64 ``(m,)``, in any order.
        loss: A sum of one term for each example.
        l2_clip_norm: C, from 10^-12 to 10^12.
        chunk: Examples taken at a time, else as many as suit their size; a patient's rows are always taken together.

    Returns:
        The sum.

    Raises:
        UsageError: If rows and patients differ in number, or the norm or the chunk is out of range.
        UnsupportedError: If the loss or a layer of the model mixes patients.
    """
    _check(rows, patients, l2_clip_norm, chunk)
    if not isinstance(loss, BinaryLoss):
        msg = f"{type(loss).__name__} has no term for each patient: a patient changes the gradients of others"
        raise UnsupportedError(msg, hint='train for task "binary", such as survival up to a fixed time')
    check_separable(predictor.flat.module)
    chunk = _fitting(predictor, examples.inputs.shape) if chunk is None else chunk
    gradients = PatientGradients(predictor)
    total = torch.zeros_like(predictor.flat.values)
    counts = [0, 0, 0]
    for chosen, count in _by_count(rows, patients):
        size = gradients.at_a_time(count, chunk) * count
        for inputs, targets in examples.batches(chosen.to(total.device), size):
            parts = gradients.of(inputs, targets, loss, Batch(len(targets) // count, count))
            counts = [sum(pair) for pair in zip(counts, _add_clipped(parts, l2_clip_norm, total), strict=True)]
    return ClippedSum(total, *counts)


def _fitting(predictor: Predictor, shape: tuple[int, ...]) -> int:
    """Return how many examples are taken at a time: as few as let what is kept of them stay small."""
    match shape:
        case (_, height, width):
            return min(max(_PIXELS // (height * width), _FEWEST), _MOST)
        case _:
            return _LINEAR if isinstance(predictor, LinearPredictor) else _NETWORK


def _check(rows: torch.Tensor, patients: torch.Tensor, l2_clip_norm: float, chunk: int | None) -> None:
    if rows.ndim != 1 or rows.shape != patients.shape:
        msg = f"{tuple(rows.shape)} rows do not fit {tuple(patients.shape)} patients"
        raise UsageError(msg, hint="give each row the number of its patient")
    if not _SHORTEST_CLIP <= l2_clip_norm <= _LONGEST_CLIP:
        msg = f"a clip norm of {l2_clip_norm:g} is not between {_SHORTEST_CLIP:g} and {_LONGEST_CLIP:g}"
        raise UsageError(msg)
    if chunk is not None and chunk < 1:
        msg = f"a chunk of {chunk} examples is none"
        raise UsageError(msg)


def _by_count(rows: torch.Tensor, patients: torch.Tensor) -> Iterator[tuple[torch.Tensor, int]]:
    """Yield the rows of patients with one row each, with two, and so on, a patient's together; and that number.

    Batches of equally many rows need no padding. There are at most ``sqrt(2 m)`` different numbers.
    """
    _, inverse, counts = np.unique(patients.cpu().numpy(), return_inverse=True, return_counts=True)
    if len(counts) == len(rows):
        # Tables have one row each: no sorting.
        yield from [(rows, 1)] if len(rows) else []
        return
    of_row = torch.from_numpy(counts[inverse])
    order = torch.argsort(of_row * len(counts) + torch.from_numpy(inverse))
    numbers, sizes = torch.unique_consecutive(of_row[order], return_counts=True)
    pieces = torch.split(rows.cpu()[order], sizes.tolist())
    yield from zip(pieces, numbers.tolist(), strict=True)


def _add_clipped(parts: list[Part], l2_clip_norm: float, total: torch.Tensor) -> tuple[int, int, int]:
    """Add a batch's clipped gradients to ``total``; return how many patients, clipped and unusable ones there were."""
    norms = torch.stack([part.squares() for part in parts]).sum(0).sqrt_()
    usable = norms <= _LONGEST  # False for NaN.
    scale = (l2_clip_norm * _MARGIN / norms).clamp_(max=1.0).to(torch.float32)
    unusable = len(norms) - int(usable.sum())
    if unusable:
        scale = torch.where(usable, scale, 0.0)
        for part in parts:
            part.forget(~usable)
    while parts:
        parts.pop().add(total, scale)  # What it kept is free for the next.
    return len(norms), int((norms > l2_clip_norm).logical_and_(usable).sum()), unusable
