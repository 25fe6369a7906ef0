"""Networks with kinks (ReLU, max pooling): descent with a prior first, exact steps wherever those lead further.

Across a kink the gradient of a network *jumps* with its input, so the equations that
`sealround.audit.inversion.levenberg_marquardt` solves are piecewise smooth with jumps in between, and from afar its
steps end in a wrong piece. Descent along the cosine distance with total variation (Geiping et al., NeurIPS 2020,
equation 4) crosses pieces. Two things there are changed, with which a fraction of the published iterations comes to
about the same image on a small convolutional ReLU network (`benchmarks/inversion.py`, part ``relu``):

- the start is the middle of the box instead of noise, which total variation would first have to take away;
- the step falls to 0 along a cosine from the first iteration on, so that some hundred are enough.

From where that ends, Levenberg-Marquardt alternates: solve within the present piece, look which piece that is in, solve
again. Its result is kept only if a tenth of the mismatch is left: with kinks in between a somewhat smaller one is often
a worse image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion import levenberg_marquardt
from sealround.audit.inversion.inverting_gradients import total_variation
from sealround.audit.inversion.levenberg_marquardt import LevenbergMarquardt
from sealround.audit.inversion.simulation import flat_gradient, relative_mismatch
from sealround.audit.inversion.trail import Trail, box, check_single, guess_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import Observation, Reconstruction

__all__ = ["Kinked", "attack"]

_BETA1, _BETA2, _TINY = 0.9, 0.999, 1e-8
_CLEARLY = 0.1  # Share of the mismatch that a polish must leave at most, to be kept.
_NEAR = 0.3  # Relative mismatch beyond which exact steps are not tried.
_SPREAD = 0.1  # Of later starts, as a share of the box's width.


@dataclass(frozen=True, slots=True, eq=False)
class Kinked:
    """How to search.

    Attributes:
        iterations: Steps of signed Adam.
        learning_rate: The first; falls to 0 along a cosine. A share of the box's width.
        total_variation: Weight of the prior.
        restarts: Descents, from near the middle of the box; their mean is a guess too.
        polish: How to alternate at kinks afterwards; ``None`` not to.
        every: Steps between two entries of the course.
    """

    iterations: int = 1000
    learning_rate: float = 0.1
    total_variation: float = 1e-2
    restarts: int = 1
    polish: LevenbergMarquardt | None = field(
        default_factory=lambda: LevenbergMarquardt(restarts=1, iterations=8, products=100)
    )
    every: int = 20


def attack(
    seen: Observation,
    generator: torch.Generator,
    settings: Kinked,
    clock: Callable[[], float],
    deadline: float,
) -> Reconstruction:
    """Rebuild the images behind one gradient of a network with kinks.

    Args:
        seen: The round: one step of SGD.
        generator: Later starts.
        settings: How.
        clock: Tells the time, in seconds; asked before every step.
        deadline: When the best so far is returned.

    Returns:
        One record for each example; certified as by `sealround.audit.inversion.levenberg_marquardt.attack`, where the
        polish explains the gradient. At a solution strictly within a piece the proof is the same as without kinks.

    Raises:
        UsageError: If the site took several steps.
        UnsupportedError: If survival times are not known.
    """
    check_single(seen)
    trail = Trail(seen, clock, deadline)
    labels = guess_labels(seen, generator).labels
    lower, upper = box(seen)
    bounded = lower.isfinite() & upper.isfinite()
    middle = torch.where(bounded, (lower + upper) / 2, 0.0)
    width = torch.where(bounded, upper - lower, 1.0)
    trail.note(middle, labels, math.inf)
    ends = []
    for number in range(max(settings.restarts, 1)):
        if number and not trail.going():
            break
        drawn = torch.randn(middle.shape, generator=generator, dtype=torch.float64).to(middle)
        # Equal examples of one class would stay equal.
        spread = 0.0 if number == 0 and seen.examples == 1 else _SPREAD
        ends.append(_descended(trail, middle + spread * width * drawn, labels, settings))
    if len(ends) > 1 and seen.examples == 1:
        mean = torch.stack(ends).mean(0)
        trail.note(mean, labels, _cost(seen, mean, labels, settings)[0])
    found = trail.reconstruction("descent and exact steps at kinks", "nothing is proven of these images")
    if settings.polish is None or not trail.going() or not found.mismatch < _NEAR:
        return found
    polish = replace(settings.polish, start=found.inputs)
    polished = levenberg_marquardt.attack(replace(seen, labels=labels), generator, polish, clock, deadline)
    kept = polished if polished.mismatch <= _CLEARLY * found.mismatch else found
    course = found.course + tuple((found.seconds + after, mismatch) for after, mismatch in polished.course)
    return replace(kept, attack=found.attack, seconds=found.seconds + polished.seconds, course=course)


def _cost(
    seen: Observation, inputs: torch.Tensor, labels: torch.Tensor, settings: Kinked
) -> tuple[float, torch.Tensor, float]:
    """Return cost, its slope and the relative mismatch."""
    target = seen.gradient
    inputs = inputs.detach().requires_grad_()
    guessed = flat_gradient(seen)(inputs, labels)
    length = (guessed.norm() * target.norm()).clamp_min(torch.finfo(target.dtype).tiny)
    cost = 1.0 - (guessed @ target) / length + settings.total_variation * total_variation(inputs)
    (slope,) = torch.autograd.grad(cost, [inputs])
    return float(cost.detach()), slope, relative_mismatch(seen, guessed.detach())


def _descended(trail: Trail, start: torch.Tensor, labels: torch.Tensor, settings: Kinked) -> torch.Tensor:
    """Descend along the sign of the slope within the box; return where that ends."""
    seen = trail.seen
    lower, upper = box(seen)
    width = torch.where(lower.isfinite() & upper.isfinite(), upper - lower, 1.0)
    inputs = torch.maximum(torch.minimum(start, upper), lower)
    mean, square = torch.zeros_like(inputs), torch.zeros_like(inputs)
    for step in range(settings.iterations):
        if not trail.going():
            break
        cost, slope, mismatch = _cost(seen, inputs, labels, settings)
        trail.note(inputs, labels, cost)
        if step % settings.every == 0:
            trail.mark(mismatch)
        mean = _BETA1 * mean + (1.0 - _BETA1) * slope.sign()
        square = _BETA2 * square + (1.0 - _BETA2) * slope.sign().square()
        rate = settings.learning_rate * 0.5 * (1.0 + math.cos(math.pi * step / settings.iterations))
        moved = (mean / (1.0 - _BETA1 ** (step + 1))) / ((square / (1.0 - _BETA2 ** (step + 1))).sqrt() + _TINY)
        inputs = torch.maximum(torch.minimum(inputs - rate * width * moved, upper), lower)
    return inputs
