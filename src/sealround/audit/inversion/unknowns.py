"""What an attack on a round solves for: records, as far as they are free, and labels, where they are not granted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion.arrangement import batches_in, order_free
from sealround.audit.inversion.objectives import Cox
from sealround.audit.inversion.simulation import flat_gradient
from sealround.audit.inversion.unrolled import unrolled_update
from sealround.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.first_layer import RowSpace
    from sealround.audit.inversion.observation import Observation

__all__ = ["Unknowns", "label_shape", "nearest_labels", "tied"]

_TIE = 0.1  # Weight of the passes' agreement beside the relative distance of updates.


def label_shape(seen: Observation) -> tuple[int, ...]:
    """Return the shape of one label: ``()`` for an outcome, ``(classes,)`` for classes.

    Raises:
        UnsupportedError: If ranks of survival times would have to be found, of which no loss has a derivative.
    """
    if seen.labels is not None:
        return tuple(seen.labels.shape[1:])
    if isinstance(seen.objective, Cox):
        msg = "survival times cannot be searched for with the records"
        raise UnsupportedError(msg, hint="grant the attacker the labels")
    with torch.no_grad():
        return tuple(seen.module(torch.zeros((2, *seen.shape), dtype=seen.model.dtype)).shape[1:])


def nearest_labels(labels: torch.Tensor) -> torch.Tensor:
    """Return the labels that a search without bounds is nearest to."""
    if labels.ndim == 1:
        return (labels > 0.5).to(labels.dtype)  # noqa: PLR2004  (half way)
    return torch.nn.functional.one_hot(labels.argmax(1), labels.shape[1]).to(labels.dtype)


@dataclass(frozen=True, slots=True, eq=False)
class Unknowns:
    """One vector of unknowns: of each pass the records' coordinates, then, after all passes, labels.

    Attributes:
        seen: The round.
        space: Row space that the records lie in, or ``None``.
        labels: Known labels of the first pass, or ``None``.
        orders: The records in the order of each pass, int64 ``(passes, n)``.
        tie: Of records and labels of each pass, 0 where they agree but for the order: then every pass has records of
            its own. ``None`` where they are the same ones in these orders.
    """

    seen: Observation
    space: RowSpace | None
    labels: torch.Tensor | None
    orders: torch.Tensor
    tie: Callable[[torch.Tensor], torch.Tensor] | None = None

    @property
    def copies(self) -> int:
        """How many times each record is unknown: once, or once a pass."""
        return 1 if self.tie is None else len(self.orders)

    @property
    def width(self) -> int:
        """How many numbers the records of one pass are."""
        return self.seen.unknowns if self.space is None else self.space.unknowns(self.seen.examples)

    def given(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the vector for records ``(n, *shape)`` and labels, the same in every pass."""
        flat = inputs.flatten() if self.space is None else self.space.coordinates(inputs)
        searched = self.copies - (self.labels is not None)
        return torch.cat([flat.repeat(self.copies), labels.flatten().repeat(searched)])

    def records(self, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return records ``(copies, n, *shape)`` and labels ``(copies, n, ...)``."""
        n, shape = self.seen.examples, self.seen.shape
        places = vector[: self.copies * self.width].view(self.copies, self.width)
        if self.space is None:
            inputs = places.view(self.copies, n, *shape)
        else:
            place = self.space.place(n)
            inputs = torch.stack([place(one) for one in places])
        searched = vector[self.copies * self.width :].view(-1, n, *label_shape(self.seen))
        if self.labels is None:
            return inputs, searched
        return inputs, torch.cat([self.labels.unsqueeze(0), searched])

    def residual(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return how far the round played with a vector is from the one seen, as shares of the latter's length."""
        seen, n = self.seen, self.seen.examples
        scale = 1.0 / seen.update.norm().clamp_min(torch.finfo(seen.update.dtype).tiny)
        offsets = torch.arange(self.copies).unsqueeze(1) * n if self.copies > 1 else 0
        batches = batches_in(seen.plan, self.orders + offsets)

        def apart(vector: torch.Tensor) -> torch.Tensor:
            inputs, labels = self.records(vector)
            played = unrolled_update(seen, inputs.flatten(0, 1), labels.flatten(0, 1), batches)
            distance: torch.Tensor = (played - seen.update) * scale
            if self.tie is None:
                return distance
            both = torch.cat([inputs.flatten(2), labels.flatten(2) if labels.ndim > 2 else labels.unsqueeze(2)], 2)  # noqa: PLR2004
            return torch.cat([distance, _TIE * self.tie(both)])

        return apart

    def mean_residual(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the same of the gradient of all records together, as if the model had not moved in between."""
        gradient, target = flat_gradient(self.seen), self.seen.gradient
        scale = 1.0 / target.norm().clamp_min(torch.finfo(target.dtype).tiny)

        def apart(vector: torch.Tensor) -> torch.Tensor:
            inputs, labels = self.records(vector)
            distance: torch.Tensor = (gradient(inputs[0], labels[0]) - target) * scale
            return distance

        return apart


def tied(seen: Observation, generator: torch.Generator) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what ties the records and labels of passes, for `Unknowns.tie`."""
    classes = torch.Size(label_shape(seen)).numel()
    width = torch.Size(seen.shape).numel() + classes
    return order_free(torch.zeros(1, width, dtype=seen.model.dtype), generator)
