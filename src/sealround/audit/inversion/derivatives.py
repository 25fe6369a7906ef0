"""Products of an update's derivative with vectors, where the derivative itself is too large to have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.func import jvp, vjp

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["energy", "influence_bound", "largest_singular", "sketched"]

_LANCZOS, _PROBES = 24, 8


def influence_bound(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, change: torch.Tensor) -> float:
    """Return how far, at least, a perturbation of an update moves the best reconstruction.

    That is ``|J p| / lambda_max(J J^T)`` (I2F, Zhang et al., NeurIPS 2023, section 4).

    J is never had: one product with it, and some forty with vectors for the largest eigenvalue, which Lanczos' method
    has from below; the bound is then too large by as much as that is too small (in tests less than a millionth).

    Args:
        function: From records to an update ``(d,)``.
        at: The records.
        change: p, ``(d,)``.

    Returns:
        Euclidean length, encoded numbers; infinite where the update does not depend on the records.
    """
    largest = largest_singular(function, at, torch.Generator().manual_seed(0))
    return float(_pull(function, at)(change).norm()) / largest**2 if largest > 0.0 else math.inf


def largest_singular(
    function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, draw: torch.Generator
) -> float:
    """Return the largest singular value of a function's derivative, from below.

    Lanczos' method on ``J J^T`` with full reorthogonalisation (Golub and Van Loan 2013, section 10.3), a derivative
    forward and one backward a step.

    Args:
        function: From any shape to a vector.
        at: Where.
        draw: Where it starts.
    """
    pull = _pull(function, at)
    steps = min(_LANCZOS, at.numel())
    basis = [torch.randn(at.numel(), dtype=at.dtype, generator=draw)]
    basis[0] = basis[0] / basis[0].norm()
    diagonal, beside = [], []
    for step in range(steps):
        image = pull(_push(function, at, basis[-1])).flatten()
        diagonal.append(float(image @ basis[-1]))
        known = torch.stack(basis)
        for _ in range(2):  # Twice is enough (Kahan and Parlett).
            image = image - known.T @ (known @ image)
        length = float(image.norm())
        if step + 1 == steps or length <= 1e-12 * max(diagonal):
            break
        beside.append(length)
        basis.append(image / length)
    band = torch.diag(torch.tensor(diagonal, dtype=torch.float64))
    off = torch.tensor(beside, dtype=torch.float64)
    band = band + torch.diag(off, 1) + torch.diag(off, -1) if beside else band
    return math.sqrt(max(float(torch.linalg.eigvalsh(band)[-1]), 0.0))


def energy(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, draw: torch.Generator) -> float:
    """Return an estimate of ``tr(J J^T)``: the mean square of products with 8 vectors of signs (Hutchinson 1990).

    Its relative error is at most about a half (one standard deviation: sqrt(2 / 8), for a J of rank 1), and smaller the
    more singular values are alike.
    """
    signs = torch.randint(0, 2, (_PROBES, at.numel()), generator=draw, dtype=torch.float64) * 2.0 - 1.0
    return sum(float(_push(function, at, sign).square().sum()) for sign in signs) / _PROBES


def sketched(
    update: Callable[[torch.Tensor], torch.Tensor], coordinates: int, sums: int, draw: torch.Generator
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Add coordinates up in random groups with random signs, which keeps ``J J^T`` in expectation.

    Charikar, Chen, Farach-Colton 2002. With s sums for u unknowns singular values are off by a factor of about
    1 +- sqrt(u / s); the rank is never larger than the true one.
    """
    group = torch.randint(0, sums, (coordinates,), generator=draw)
    sign = torch.randint(0, 2, (coordinates,), generator=draw, dtype=torch.float64) * 2.0 - 1.0
    return lambda inputs: torch.zeros(sums, dtype=torch.float64).index_add(0, group, update(inputs) * sign)


def _push(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    pushed: torch.Tensor = jvp(function, (at,), (direction.view_as(at),))[1]
    return pushed


def _pull(function: Callable[[torch.Tensor], torch.Tensor], at: torch.Tensor) -> Callable[[torch.Tensor], torch.Tensor]:
    back = vjp(function, at)[1]

    def pull(vector: torch.Tensor) -> torch.Tensor:
        pulled: torch.Tensor = back(vector)[0]
        return pulled

    return pull
