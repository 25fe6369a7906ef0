"""One site's training: batches, steps, and the watch over divergence.

Optimiser state is fresh in every round, as in FedAvg (McMahan et al. 2017, Algorithm 1): what a site remembers between
rounds is only what its algorithm asks for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import torch

from sealround.errors import DivergenceError
from sealround.learning.augmentation import augment, is_active
from sealround.learning.steps import step_for

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np

    from sealround.learning.examples import Examples
    from sealround.learning.losses import Loss, Targets
    from sealround.learning.predictors import Predictor
    from sealround.study.sections import Augmentation, LocalOptimizer
    from sealround.vocabulary import PartyId

__all__ = ["Fit", "Recipe", "fit"]

_EXPLOSION = 1000.0
"""A pass whose mean loss is this many times that of the first batch, and this many nats, has diverged.

The second condition is for models that are already good: 1000 nats a patient is certainty in the wrong answer at odds
of e^1000, which no sensible learning rate visits on the way to anything.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """How to train, once.

    Attributes:
        site: Who trains, to be named if it diverges.
        occasion: When, for the same message: ``"round 3"``.
        loss: What to minimise.
        optimizer: How.
        learning_rate: Of this round.
        batch_size: Examples a step.
        epochs: Passes over the data; ``None`` if ``steps`` says how long.
        steps: Steps; ``None`` if ``epochs`` does.
        augmentation: Of images.
        proximal: FedProx's mu, or 0.
        correction: SCAFFOLD's ``c - c_i``, float32 ``(d,)``, or ``None``.
    """

    site: PartyId
    occasion: str
    loss: Loss
    optimizer: LocalOptimizer
    learning_rate: float
    batch_size: int
    epochs: int | None
    steps: int | None
    augmentation: Augmentation
    proximal: float = 0.0
    correction: torch.Tensor | None = None


@dataclass(frozen=True, slots=True)
class Fit:
    """What a training did besides changing the model.

    Attributes:
        loss: Sum of the training loss over all steps, each before its step.
        count: How many examples went in, each as often as it was used.
        steps: Steps taken.
    """

    loss: float
    count: int
    steps: int


@torch.no_grad()
def fit(
    predictor: Predictor, examples: Examples, recipe: Recipe, shuffle: np.random.Generator, noise: torch.Generator
) -> Fit:
    """Train a model in place.

    Args:
        predictor: The model, loaded with the values to start from.
        examples: At least one.
        recipe: How.
        shuffle: Draws the order of the examples.
        noise: Draws augmentation and dropout, on the model's device.

    Returns:
        Loss and number of steps.

    Raises:
        DivergenceError: If the loss or a parameter became NaN or infinite, or the loss exploded.
    """
    predictor.seed(noise)
    step = step_for(
        recipe.optimizer,
        recipe.learning_rate,
        predictor.flat,
        proximal=recipe.proximal,
        correction=recipe.correction,
    )
    altered = recipe.augmentation if is_active(recipe.augmentation) else None
    loss, count, steps, limit = 0.0, 0, 0, math.inf
    for rows in _passes(len(examples), recipe, shuffle, predictor.flat.values.device):
        outputs: list[torch.Tensor] = []
        seen: list[Targets] = []
        for inputs, targets in examples.batches(rows, recipe.batch_size):
            batch = inputs if altered is None else augment(inputs, altered, noise)
            output = predictor.outputs(batch)
            outputs.append(output.detach())
            seen.append(targets)
            predictor.backward(batch, output, recipe.loss.derivative(outputs[-1], targets))
            step()
        if not steps:
            limit = _EXPLOSION * max(1.0, _mean(recipe.loss.total(outputs[:1], seen[:1])))
        pass_loss, pass_count = recipe.loss.total(outputs, seen)
        _check(recipe, (pass_loss, pass_count), limit)
        loss, count, steps = loss + pass_loss, count + pass_count, steps + len(outputs)
    if not bool(torch.isfinite(predictor.flat.values).all()):
        _diverged(recipe, "a parameter is not a finite number")
    return Fit(loss, count, steps)


def _passes(number: int, recipe: Recipe, shuffle: np.random.Generator, device: torch.device) -> Iterator[torch.Tensor]:
    """Yield the order of the examples in each pass, int64; the last pass ends when the steps are done."""
    if recipe.epochs is not None:
        left = recipe.epochs * number
    else:
        assert recipe.steps is not None  # noqa: S101  (for the type checker: the study has one of the two)
        steps_a_pass = math.ceil(number / recipe.batch_size)
        whole, rest = divmod(recipe.steps, steps_a_pass)
        left = whole * number + rest * recipe.batch_size
    while left > 0:
        order = torch.from_numpy(shuffle.permutation(number)[:left])
        yield order.to(device)
        left -= order.numel()


def _mean(total: tuple[float, int]) -> float:
    return total[0] / max(total[1], 1)


def _check(recipe: Recipe, total: tuple[float, int], limit: float) -> None:
    if not math.isfinite(total[0]):
        _diverged(recipe, "the loss is not a finite number")
    if _mean(total) > limit:
        _diverged(recipe, f"the loss grew {_EXPLOSION:.0f}-fold")


def _diverged(recipe: Recipe, why: str) -> NoReturn:
    msg = f"training diverged in {recipe.occasion}: {why}"
    raise DivergenceError(
        msg, party=recipe.site, hint="lower training.optimizer.learning_rate, or standardise the features"
    )
