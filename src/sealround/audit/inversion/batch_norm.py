"""Batch normalisation, twice a leak: statistics that travel with the update, and statistics inside the gradient.

- **Sent statistics.** A site in training mode moves the running mean and variance of every layer by a known share of
  its batch's. Who sees them before and after one step solves for the batch's own, exactly. A reconstruction is asked to
  have them too: the prior of GradInversion (Yin, Mallya, Vahdat, Alvarez, Kautz, Molchanov, "See through gradients",
  CVPR 2021, section 3.3), which took running averages for want of the batch's.
- **Training mode.** Every example's gradient depends on the batch. The round is played with all examples together in
  training mode, so the statistics follow the guess: a joint search, no statistics assumed.

Models of a study have group normalisation, which knows no batch and keeps no statistics: nothing of this applies to
them. It is here for modules from elsewhere, and to show what that choice avoids.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.func import functional_call, replace_all_batch_norm_modules_, vmap

from sealround.audit.inversion.descent import Pace, descend
from sealround.audit.inversion.least_squares import Damping, solve
from sealround.audit.inversion.observation import Observation, Reconstruction
from sealround.audit.inversion.simulation import flat_gradient, relative_mismatch
from sealround.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["BatchNorm", "Statistics", "attack", "batch_statistics", "sent_statistics"]

_SMALL = 1 << 24  # Numbers of the derivative that a last Gauss-Newton search may have: 128 MB.


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Of one layer's input over a batch, each channel: mean and unbiased variance, float64 ``(c,)``."""

    mean: torch.Tensor
    variance: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class BatchNorm:
    """How hard to try, and what was sent.

    Attributes:
        sent: Statistics of each layer, in the order of the network's modules, or ``()`` if none were sent.
        weight: Of their relative distance beside that of the gradients.
        variation: Of total variation, for images.
        restarts: Random starts.
        pace: Of Adam.
        damping: Of the last search, where its derivative is small enough to have.
    """

    sent: tuple[Statistics, ...] = ()
    weight: float = 0.1
    variation: float = 0.0
    restarts: int = 4
    pace: Pace = field(default_factory=lambda: Pace(iterations=500, learning_rate=0.1))
    damping: Damping = field(default_factory=lambda: Damping(iterations=30))


def sent_statistics(
    module: nn.Module, before: Mapping[str, torch.Tensor], after: Mapping[str, torch.Tensor]
) -> tuple[Statistics, ...]:
    """Return a batch's statistics from the running ones before and after one step on it.

    Running values move by a layer's momentum ``m``: ``after = (1 - m) before + m batch``, with the unbiased variance.

    Args:
        module: The network.
        before: Its buffers before the step, by name.
        after: The same after it.

    Raises:
        UnsupportedError: If a layer averages over all batches so far, or keeps no statistics.
    """
    found = []
    for name, layer in _layers(module):
        if layer.momentum is None or not layer.track_running_stats:
            msg = "a layer of batch normalisation without momentum does not show one batch's statistics"
            raise UnsupportedError(msg, hint="attack without them")
        share = layer.momentum
        mean, variance = (
            (after[f"{name}.{key}"].double() - (1.0 - share) * before[f"{name}.{key}"].double()) / share
            for key in ("running_mean", "running_var")
        )
        found.append(Statistics(mean, variance))
    return tuple(found)


def batch_statistics(seen: Observation) -> Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Return the function from a batch to the means and the variances of every layer's input, one vector each."""
    module = _stateless(seen.module)
    state = _state(module, seen.model)

    def statistics(inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        caught: list[torch.Tensor] = []
        handles = [
            layer.register_forward_pre_hook(lambda _, given: caught.append(given[0])) for _, layer in _layers(module)
        ]
        try:
            functional_call(module, state, (inputs,))
        finally:
            for handle in handles:
                handle.remove()
        flat = [given.transpose(0, 1).flatten(1) for given in caught]
        return torch.cat([one.mean(1) for one in flat]), torch.cat([one.var(1) for one in flat])

    return statistics


def attack(
    seen: Observation, generator: torch.Generator, settings: BatchNorm, clock: Callable[[], float], deadline: float
) -> Reconstruction:
    """Rebuild the examples of one gradient of a network with batch normalisation.

    Args:
        seen: The update of one step of SGD, labels known; its module's mode is the site's.
        generator: Draws the starts.
        settings: How.
        clock: Tells the time, in seconds.
        deadline: When the best so far is returned.

    Returns:
        All examples. None is certified.

    Raises:
        UnsupportedError: If labels are not known, or the update is not one gradient.
    """
    if seen.labels is None or not seen.plan.single_gradient:
        msg = "one gradient and its labels are needed"
        raise UnsupportedError(msg, hint="recover the labels first, and grant them")
    began, labels = clock(), seen.labels
    played = Observation(
        _stateless(seen.module),
        seen.objective,
        seen.model,
        seen.update,
        seen.plan,
        seen.examples,
        seen.shape,
        seen.domain,
    )
    gradient, target = flat_gradient(played), seen.gradient
    statistics = _relative(seen, settings)

    def residual(vector: torch.Tensor) -> torch.Tensor:
        inputs = vector.view(seen.examples, *seen.shape)
        distance = (gradient(inputs, labels) - target) / target.norm()
        return torch.cat([distance, settings.weight**0.5 * statistics(inputs)]) if settings.sent else distance

    def objective(inputs: torch.Tensor) -> torch.Tensor:
        cosine = 1.0 - torch.nn.functional.cosine_similarity(gradient(inputs, labels), target, dim=0)
        if settings.sent:
            cosine = cosine + settings.weight * statistics(inputs).square().sum()
        return cosine + settings.variation * _variation(inputs) if settings.variation else cosine

    starts = torch.randn(settings.restarts, seen.examples, *seen.shape, generator=generator, dtype=seen.model.dtype)

    def boxed(points: torch.Tensor) -> torch.Tensor:
        return torch.maximum(torch.minimum(points, seen.domain.upper), seen.domain.lower)

    found = descend(objective, starts, settings.pace, clock, deadline, boxed=boxed)
    points, told = found.points.flatten(1), found.course
    costs = vmap(residual)(points).square().sum(1)
    if seen.unknowns * target.numel() <= _SMALL:
        ended = solve(residual, points, settings.damping, clock, deadline)
        points, costs, told = ended.points, ended.costs, told + ended.course
    inputs = points[int(costs.argmin())].view(seen.examples, *seen.shape)
    return Reconstruction(
        attack="batch norm",
        inputs=inputs,
        labels=labels,
        mismatch=relative_mismatch(seen, gradient(inputs, labels)),
        certified=torch.zeros(seen.examples, dtype=torch.bool),
        seconds=clock() - began,
        course=tuple((when - began, value) for when, value in told),
        note=_note(seen, settings),
    )


def _note(seen: Observation, settings: BatchNorm) -> str:
    mode = "training mode, statistics follow the guess" if seen.module.training else "running statistics"
    known = f"; a batch's statistics of {len(settings.sent)} layers known" if settings.sent else ""
    return f"network in {mode}{known}"


def _relative(seen: Observation, settings: BatchNorm) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return how far a batch's statistics are from those sent, as a share of the latter's length."""
    if not settings.sent:
        return lambda inputs: inputs.new_zeros(0)
    statistics = batch_statistics(seen)
    mean = torch.cat([layer.mean for layer in settings.sent])
    variance = torch.cat([layer.variance for layer in settings.sent])
    long = mean.norm().clamp_min(1e-12), variance.norm().clamp_min(1e-12)

    def apart(inputs: torch.Tensor) -> torch.Tensor:
        means, variances = statistics(inputs)
        return torch.cat([(means - mean) / long[0], (variances - variance) / long[1]])

    return apart


def _variation(inputs: torch.Tensor) -> torch.Tensor:
    """Return total variation of images, a mean over pixels."""
    return inputs.diff(dim=-1).abs().mean() + inputs.diff(dim=-2).abs().mean()


def _layers(module: nn.Module) -> list[tuple[str, nn.BatchNorm1d | nn.BatchNorm2d | nn.BatchNorm3d]]:
    kinds = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
    return [(name, layer) for name, layer in module.named_modules() if isinstance(layer, kinds)]


def _stateless(module: nn.Module) -> nn.Module:
    """Return a copy that writes no running statistics: functions must not, and training does not read them."""
    if not module.training:
        return module
    module = copy.deepcopy(module)
    replace_all_batch_norm_modules_(module)
    return module


def _state(module: nn.Module, model: torch.Tensor) -> dict[str, torch.Tensor]:
    shapes = [(name, parameter.shape) for name, parameter in module.named_parameters()]
    pieces = torch.split(model, [shape.numel() for _, shape in shapes])
    return {name: piece.view(shape) for (name, shape), piece in zip(shapes, pieces, strict=True)}
