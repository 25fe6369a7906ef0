"""Inverting Gradients, as published: cosine distance, total variation, signed Adam within a box.

J. Geiping, H. Bauermeister, H. Droege, M. Moeller, "Inverting Gradients - How easy is it to break privacy in federated
learning?", NeurIPS 2020, equation 4: minimise ``1 - cos(gradient, seen) + alpha TV(x)`` over x in the box by Adam on
the sign of the slope (section 5), learning rate 0.1, divided by 10 after 3/8, 5/8 and 7/8 of the iterations, from a
standard normal start, best of several restarts; TV is the mean of absolute differences of neighbours across, plus down.

The weight alpha that its experiments use ranges from 1e-6 to 1e-1 with network and data, the iterations from 4800
(small images; the default of the authors' program) to 24000 (ImageNet); both are settings here. Labels are taken as
known there; where they are not, they are counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion.simulation import flat_gradient, relative_mismatch
from sealround.audit.inversion.trail import Trail, box, check_single, guess_labels

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import Observation, Reconstruction

__all__ = ["InvertingGradients", "attack", "total_variation"]

_IMAGE = 3  # Axes of one: channels, height, width.


@dataclass(frozen=True, slots=True)
class InvertingGradients:
    """Hyperparameters; the defaults are the published ones for small images.

    Attributes:
        iterations: Steps of Adam.
        learning_rate: The first.
        total_variation: alpha.
        restarts: How many starts, of which the one of least cost is returned.
        signed: Whether Adam sees the slope's sign only.
        every: Steps between two entries of the course.
        start: Inputs to start from instead of noise, ``(n, *shape)``.
    """

    iterations: int = 4800
    learning_rate: float = 0.1
    total_variation: float = 1e-2
    restarts: int = 1
    signed: bool = True
    every: int = 50
    start: torch.Tensor | None = None


def total_variation(images: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute difference of neighbours across, plus that down, ``()``; 0 for what is no image."""
    if images.ndim != 1 + _IMAGE or min(images.shape[2:]) == 1:
        return images.new_zeros(())
    across = (images[..., 1:] - images[..., :-1]).abs().mean()
    return across + (images[..., 1:, :] - images[..., :-1, :]).abs().mean()


def attack(
    seen: Observation,
    generator: torch.Generator,
    settings: InvertingGradients,
    clock: Callable[[], float],
    deadline: float,
) -> Reconstruction:
    """Rebuild the records behind one gradient.

    Args:
        seen: The round: one step of SGD.
        generator: Where the search starts.
        settings: How.
        clock: Tells the time, in seconds; asked before every step.
        deadline: When the best so far is returned.

    Returns:
        One record for each example, of least cost on the way; nothing is certified.

    Raises:
        UsageError: If the site took several steps.
        UnsupportedError: If survival times are not known.
    """
    check_single(seen)
    trail = Trail(seen, clock, deadline)
    labels = guess_labels(seen, generator).labels
    for _ in range(max(settings.restarts, 1)):
        start = settings.start
        if start is None:
            start = torch.randn((seen.examples, *seen.shape), generator=generator)
        _descend(trail, start.to(seen.model), labels, settings)
    note = "published attack, for comparison: cosine distance of gradients and total variation"
    return trail.reconstruction("Inverting Gradients", note)


def _descend(trail: Trail, start: torch.Tensor, labels: torch.Tensor, settings: InvertingGradients) -> None:
    seen, target = trail.seen, trail.seen.gradient
    gradient, length = flat_gradient(seen), target.norm()
    lower, upper = box(seen)
    inputs = start.clone().requires_grad_()
    trail.note(inputs, labels, float("inf"))
    optimizer = torch.optim.Adam([inputs], lr=settings.learning_rate)
    falls = [int(settings.iterations * share) for share in (3 / 8, 5 / 8, 7 / 8)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, falls, gamma=0.1)
    for step in range(settings.iterations):
        if not trail.going():
            break
        guessed = gradient(inputs, labels)
        tiny = torch.finfo(target.dtype).tiny
        cosine = (guessed @ target) / (guessed.norm() * length).clamp_min(tiny)
        cost = 1.0 - cosine + settings.total_variation * total_variation(inputs)
        trail.note(inputs, labels, float(cost.detach()))
        if step % settings.every == 0:
            trail.mark(relative_mismatch(seen, guessed.detach()))
        (slope,) = torch.autograd.grad(cost, [inputs])
        inputs.grad = slope.sign() if settings.signed else slope
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            inputs.copy_(torch.maximum(torch.minimum(inputs, upper), lower))
