"""A site's examples as tensors, taken in batches: tables in float32, images in eight bits until they are needed."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from sealround.learning.losses import Targets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sealround.clinical.cohort import Outcome
    from sealround.vocabulary import Rows

__all__ = ["Examples", "Features", "Images", "Inputs", "shared", "targets_of"]

_BLOCK = 1 << 16  # Rows gathered at a time: batches of a table are slices of one copy, which stays small.


class Inputs(Protocol):
    """What the model sees of some examples."""

    def __len__(self) -> int:
        """How many examples."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example as the model sees it."""
        ...

    def batches(self, rows: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        """Yield the examples ``rows``, int64 ``(m,)``, in float32 batches of ``size``; the last may be shorter."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Encoded features.

    Attributes:
        matrix: float32 ``(n, p)``.
    """

    matrix: torch.Tensor

    def __len__(self) -> int:
        """How many examples."""
        return self.matrix.shape[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """``(p,)``."""
        return (self.matrix.shape[1],)

    def batches(self, rows: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        """Yield float32 ``(size, p)``."""
        for block in torch.split(rows, size * max(1, _BLOCK // size)):
            yield from torch.split(self.matrix.index_select(0, block), size)


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images, normalised when a batch is taken: a site's images are in memory once, with eight bits a pixel.

    Attributes:
        pixels: All images of the site, uint8 ``(m, h, w)`` or ``(m, h, w, c)``.
        where: Which of them these examples are, int64 ``(n,)``.
        mean: Of each channel, in pixel values, float32 ``(c, 1, 1)``.
        scale: Standard deviation of each channel, float32 ``(c, 1, 1)``.
    """

    pixels: torch.Tensor
    where: torch.Tensor
    mean: torch.Tensor
    scale: torch.Tensor

    def __len__(self) -> int:
        """How many examples."""
        return self.where.numel()

    @property
    def shape(self) -> tuple[int, ...]:
        """``(c, h, w)``."""
        _, height, width, *channels = self.pixels.shape
        return (channels[0] if channels else 1, height, width)

    def batches(self, rows: torch.Tensor, size: int) -> Iterator[torch.Tensor]:
        """Yield float32 ``(size, c, h, w)``."""
        for chosen in torch.split(self.where[rows], size):
            batch = self.pixels.index_select(0, chosen)
            batch = batch.unsqueeze(1) if batch.ndim == 3 else batch.permute(0, 3, 1, 2)  # noqa: PLR2004
            yield batch.to(torch.float32).sub_(self.mean).div_(self.scale)


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Inputs and targets of some examples."""

    inputs: Inputs
    targets: Targets

    def __len__(self) -> int:
        """How many examples."""
        return len(self.targets)

    def batches(self, rows: torch.Tensor, size: int) -> Iterator[tuple[torch.Tensor, Targets]]:
        """Yield inputs and targets of ``rows``, int64 ``(m,)``, in batches of ``size``; the last may be shorter."""
        return zip(self.inputs.batches(rows, size), self.targets.batches(rows, size), strict=True)


def shared(array: np.ndarray, device: torch.device) -> torch.Tensor:
    """View an array as a tensor that nobody writes to; on the CPU nothing is copied."""
    with warnings.catch_warnings():
        # The array may be a read-only view into a message or into shared memory.
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable", category=UserWarning)
        return torch.from_numpy(array).to(device)


def targets_of(outcome: Outcome, rows: Rows, device: torch.device) -> Targets:
    """Return the targets of some rows of a cohort."""
    event = torch.tensor(outcome.event[rows], dtype=torch.float32, device=device)
    if outcome.time is None:
        return Targets(event)
    _, position = np.unique(-outcome.time[rows], return_inverse=True)
    return Targets(event, torch.tensor(position, dtype=torch.int64, device=device))
