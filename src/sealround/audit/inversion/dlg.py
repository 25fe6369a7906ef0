"""Deep Leakage from Gradients and its successor iDLG, as published: what a stronger attack has to beat.

DLG: L. Zhu, Z. Liu, S. Han, NeurIPS 2019, Algorithm 1. Inputs and the logits of labels start standard normal; the
squared distance of gradients is minimised in both by L-BFGS, learning rate 1, 300 iterations (section 4.1).
iDLG: B. Zhao, K. R. Mopuri, H. Bilen 2020: the label is read off the sign of the last layer's gradient, and only the
inputs are searched for. For batches, for which iDLG says nothing, labels are counted.

An "iteration" is one call of torch's L-BFGS, as in the authors' programs: up to 20 steps and 25 evaluations of its own,
without line search. The programs run in float32, this in float64. Such a search often stops moving at once where it
began badly; then it begins again, from another start, with the iterations that are left. The programs do not, so this
is a little stronger.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion.simulation import flat_gradient
from sealround.audit.inversion.trail import Trail, check_single, guess_labels, soft
from sealround.audit.inversion.unknowns import label_shape, nearest_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import Observation, Reconstruction

__all__ = ["Dlg", "attack"]


@dataclass(frozen=True, slots=True)
class Dlg:
    """Hyperparameters; the defaults are the published ones.

    Attributes:
        iterations: Calls of L-BFGS.
        learning_rate: Its step.
        improved: Whether labels are read off first (iDLG), and not searched for.
        enough: Squared relative distance at which it stops; the published attack does not.
        stalled: Calls without progress after which it begins again.
    """

    iterations: int = 300
    learning_rate: float = 1.0
    improved: bool = False
    enough: float = 1e-28
    stalled: int = 5


def attack(
    seen: Observation,
    generator: torch.Generator,
    settings: Dlg,
    clock: Callable[[], float],
    deadline: float,
) -> Reconstruction:
    """Rebuild the records behind one gradient.

    Args:
        seen: The round: one step of SGD.
        generator: Where the search starts.
        settings: How.
        clock: Tells the time, in seconds; asked before every call of L-BFGS.
        deadline: When the best so far is returned.

    Returns:
        One record for each example, of the least distance on the way; nothing is certified.

    Raises:
        UsageError: If the site took several steps.
        UnsupportedError: If survival times are not known.
    """
    check_single(seen)
    trail = Trail(seen, clock, deadline)
    known = guess_labels(seen, generator).labels if settings.improved or seen.labels is not None else None
    left = settings.iterations
    while left == settings.iterations or (left and trail.going() and trail.least > settings.enough):
        left -= _descend(trail, known, generator, settings, left)
    best, guessed = trail.best
    if known is None:
        trail.note(best, nearest_labels(guessed), -1.0)
    name = "iDLG" if settings.improved else "DLG"
    return trail.reconstruction(name, "published attack, for comparison: L-BFGS on the squared distance of gradients")


def _descend(
    trail: Trail, known: torch.Tensor | None, generator: torch.Generator, settings: Dlg, iterations: int
) -> int:
    """Search from one start; return how many calls of L-BFGS were made, at least one unless time is over."""
    seen = trail.seen
    # Drawn in float32, as the published programs draw it.
    inputs = torch.randn((seen.examples, *seen.shape), generator=generator).to(seen.model).requires_grad_()
    unknowns = [inputs]
    if known is None:
        logits = torch.randn((seen.examples, *label_shape(seen)), generator=generator).to(seen.model).requires_grad_()
        unknowns.append(logits)
    optimizer = torch.optim.LBFGS(unknowns, lr=settings.learning_rate)
    gradient, target = flat_gradient(seen), seen.gradient
    scale = float(target.square().sum().clamp_min(torch.finfo(target.dtype).tiny))

    def closure() -> torch.Tensor:
        guessed = soft(logits) if known is None else known
        distance = (gradient(inputs, guessed) - target).square().sum()
        for unknown, slope in zip(unknowns, torch.autograd.grad(distance, unknowns), strict=True):
            unknown.grad = slope
        trail.note(inputs, guessed, float(distance.detach()) / scale)
        return distance.detach()

    closure()
    idle, before = 0, float("inf")
    for made in range(iterations):
        if not trail.going() or idle >= settings.stalled:
            return max(made, 1)
        distance = float(optimizer.step(closure))  # type: ignore[no-untyped-call]
        trail.mark(trail.least**0.5)
        idle = idle + 1 if not distance < before * (1.0 - 1e-6) else 0
        before = distance
        if trail.least < settings.enough:
            return made + 1
    return iterations
