"""Gradients of single records at the model that a site started from, sketched if the model is large."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.func import vmap

from sealround.audit.inversion.objectives import Cox
from sealround.audit.inversion.simulation import flat_gradient
from sealround.audit.membership.updates import ShownGradient
from sealround.errors import UnsupportedError

if TYPE_CHECKING:
    from sealround.audit.identity.sketch import CountSketch
    from sealround.audit.inversion.observation import Observation

__all__ = ["example_gradients", "shown_gradient"]

_NUMBERS = 1 << 24  # Of gradients in memory at a time: 128 MiB.


def example_gradients(
    seen: Observation, inputs: torch.Tensor, labels: torch.Tensor, sketch: CountSketch | None = None
) -> np.ndarray:
    """Return the gradient of each record's own loss, float64 ``(n, d)``, or its sketch ``(n, width)``.

    Args:
        seen: The update; its module, objective and model are used. A module that normalises over the batch has no
            gradient of one record: have it in `eval` mode.
        inputs: Encoded records, float64 ``(n, *shape)``.
        labels: In the objective's shape, ``(n, ...)``.
        sketch: To apply at once, so that not all long gradients are in memory together.

    Raises:
        UnsupportedError: If the loss is Cox's, in which one record alone has none.
        UsageError: If the sketch does not fit the model.
    """
    if isinstance(seen.objective, Cox):
        raise UnsupportedError(
            "in Cox's likelihood a record has no gradient of its own", hint="ask who is in a released survival model"
        )
    gradient = flat_gradient(seen)
    each = vmap(lambda record, label: gradient(record.unsqueeze(0), label.unsqueeze(0)))
    size = max(1, _NUMBERS // seen.model.numel())
    found = []
    for records, theirs in zip(torch.split(inputs, size), torch.split(labels, size), strict=True):
        part = each(records, theirs).detach().numpy()
        found.append(part if sketch is None else sketch.apply(part))
    return np.concatenate(found)


def shown_gradient(seen: Observation, sketch: CountSketch | None = None) -> ShownGradient:
    """Return the mean gradient that an update shows, for comparison with `example_gradients` under the same sketch.

    A sketched coordinate is a sum of d/width signed ones, so that its blur is larger by the square root of that.

    Args:
        seen: The update, of plain steps.
        sketch: That of the records' gradients.

    Raises:
        UsageError: If the steps were Adam's, or the sketch does not fit.
    """
    vector = seen.gradient.numpy()
    blur = seen.blur / (seen.plan.learning_rate * seen.plan.steps)
    if sketch is None:
        return ShownGradient(vector, seen.examples, blur)
    return ShownGradient(sketch.apply(vector[None])[0], seen.examples, blur * math.sqrt(vector.size / sketch.width))
