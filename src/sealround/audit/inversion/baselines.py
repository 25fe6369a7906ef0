"""What somebody rebuilds who never saw an update: the figures that an attack has to beat before it shows a leak.

Every baseline is judged as a reconstruction is, assignment included. Some know more than nothing (the labels, which an
update mostly shows; the other eye), and some know the original itself: those show what a figure is worth, and no
attacker could make them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch

from sealround.audit.inversion.image_quality import field_of_view
from sealround.audit.inversion.table_cells import Cells, cells_of
from sealround.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

    from sealround.audit.inversion.observation import Domain, Victims

__all__ = ["Auxiliary", "Baseline", "Knowledge", "classes", "image_baselines", "table_baselines"]

Knowledge: TypeAlias = Literal["nothing", "labels", "other eye", "original"]
"""What a baseline is granted of the patient."""

_DRAWS = 8
_BLUR = 2.0  # Pixels.


@dataclass(frozen=True, slots=True, eq=False)
class Auxiliary:
    """Records that an attacker has of other patients, encoded alike.

    Attributes:
        inputs: float64 ``(a, *shape)``.
        labels: In the objective's shape.
    """

    inputs: torch.Tensor
    labels: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """A reconstruction from no update.

    Attributes:
        name: For the report.
        knows: What it is granted of the patient.
        guesses: Encoded records ``(n, *shape)``; of several, figures are averaged.
        labels: In the objective's shape, of each guess alike; ``None`` if it says nothing of them.
    """

    name: str
    knows: Knowledge
    guesses: tuple[torch.Tensor, ...]
    labels: torch.Tensor | None = None

    @property
    def blind(self) -> bool:
        """Whether an attacker without anything of the patient's records could have made it."""
        return self.knows in {"nothing", "labels"}


def classes(labels: torch.Tensor, *, survival: bool = False) -> torch.Tensor:
    """Return each example's class, int64 ``(n,)``: the outcome, the likeliest class, or whether the event happened."""
    if labels.ndim == 1:
        return labels.round().to(torch.int64)
    return labels[:, 0].round().to(torch.int64) if survival else labels.argmax(1)


def image_baselines(
    victims: Victims,
    auxiliary: Auxiliary,
    domain: Domain,
    draw: np.random.Generator,
    other_eyes: torch.Tensor | None = None,
) -> tuple[Baseline, ...]:
    """Return what can be said of images without an update.

    Args:
        victims: The patients.
        auxiliary: Images of other patients.
        domain: Of the images.
        draw: Which auxiliary images stand for a random one.
        other_eyes: Encoded photographs of each patient's other eye, ``(n, *shape)``.

    Raises:
        UsageError: If there are no auxiliary images.
    """
    found = _common(victims, auxiliary, draw)
    raw, others = domain.raw(victims.inputs), domain.raw(auxiliary.inputs)
    view = field_of_view(raw).unsqueeze(1)
    colour = (others * field_of_view(others).unsqueeze(1)).sum((0, 2, 3)) / field_of_view(others).sum()
    own = (raw * view).sum((2, 3), keepdim=True) / view.sum((2, 3), keepdim=True).clamp_min(1)

    def encoded(images: torch.Tensor) -> torch.Tensor:
        return (images - domain.mean) / domain.scale

    found += [
        Baseline("flat disc of the mean colour", "nothing", (encoded(colour.view(1, -1, 1, 1) * view),)),
        Baseline("flat disc of its own mean colour", "original", (encoded(own * view),)),
        Baseline("the original, blurred", "original", (encoded(_blurred(raw)),)),
    ]
    if other_eyes is not None:
        found.append(Baseline("the other eye, mirrored", "other eye", (other_eyes.flip(3),)))
    return tuple(found)


def table_baselines(
    victims: Victims,
    auxiliary: Auxiliary,
    domain: Domain,
    draw: np.random.Generator,
    *,
    tolerance: torch.Tensor | None = None,
    survival: bool = False,
) -> tuple[Baseline, ...]:
    """Return what can be said of table rows without an update.

    Args:
        victims: The patients.
        auxiliary: Rows of other patients.
        domain: Of the rows.
        draw: Which auxiliary rows stand for a random one.
        tolerance: As `sealround.audit.inversion.table_cells.cells_of` takes it.
        survival: Whether labels are events and ranks of times.

    Raises:
        UsageError: If there are no auxiliary rows.
    """
    found = _common(victims, auxiliary, draw, survival=survival)
    cells = cells_of(domain, victims.inputs.shape[1], tolerance)
    likely = _most_frequent(domain.raw(auxiliary.inputs), cells)
    likely = ((likely - domain.mean) / domain.scale).expand(victims.inputs.shape)
    mixed = likely.clone()
    mixed[:, list(cells.numbers)] = auxiliary.inputs[:, list(cells.numbers)].mean(0)
    return (
        *found,
        Baseline("column means, most frequent levels", "nothing", (mixed,)),
        Baseline("most frequent value of every column", "nothing", (likely,)),
    )


def _common(
    victims: Victims, auxiliary: Auxiliary, draw: np.random.Generator, *, survival: bool = False
) -> list[Baseline]:
    """Means, a random and the nearest auxiliary record."""
    inputs, known, size = victims.inputs, auxiliary.inputs, len(victims.inputs)
    if not len(known) or known.shape[1:] != inputs.shape[1:]:
        raise UsageError(
            f"auxiliary records of shape {tuple(known.shape)} say nothing of records {tuple(inputs.shape)}",
            hint="baselines take at least one record of another patient, encoded alike",
        )
    what = "image" if inputs.ndim == 4 else "record"  # noqa: PLR2004  (examples, channels, rows, columns)
    theirs, mine = (classes(labels, survival=survival) for labels in (auxiliary.labels, victims.labels))
    frequent = auxiliary.labels[int(torch.argmax((theirs == theirs.mode().values).to(torch.int8)))]
    mean = known.mean(0, keepdim=True)
    by_class = torch.cat([known[theirs == label].mean(0, keepdim=True) for label in mine])
    by_class = torch.where(by_class.isnan(), mean, by_class)
    random = tuple(
        known[torch.from_numpy(draw.choice(len(known), size, replace=len(known) < size))] for _ in range(_DRAWS)
    )
    nearest = known[torch.cdist(inputs.flatten(1), known.flatten(1)).argmin(1)]
    return [
        Baseline(f"mean {what}", "nothing", (mean.expand_as(inputs),), frequent.expand_as(victims.labels)),
        Baseline(f"mean {what} of the class", "labels", (by_class,)),
        Baseline(f"a random other {what}", "nothing", random),
        Baseline(f"the nearest other {what}", "original", (nearest,)),
    ]


def _most_frequent(raw: torch.Tensor, cells: Cells) -> torch.Tensor:
    """Return the guess, ``(p,)``, that is right for most of the records ``(a, p)``, cell by cell."""
    guess = torch.zeros(raw.shape[1], dtype=raw.dtype)
    for column, tolerance, whole in zip(cells.numbers, cells.tolerance.tolist(), cells.whole.tolist(), strict=True):
        ordered = raw[:, column].sort().values
        if whole:
            guess[column] = ordered.round().mode().values
            continue
        # As many as possible in a window of twice the tolerance: each starts at a value.
        reached = torch.searchsorted(ordered, ordered + 2.0 * tolerance, right=True) - torch.arange(len(ordered))
        guess[column] = ordered[int(reached.argmax())] + tolerance
    for group, implicit in zip(cells.groups, cells.implicit, strict=True):
        counts = raw[:, list(group)].sum(0)
        if not implicit or counts.max() >= len(raw) - counts.sum():
            guess[group[int(counts.argmax())]] = 1.0
    return guess


def _blurred(images: torch.Tensor) -> torch.Tensor:
    """Blur by a Gaussian; at the border by what of it is inside."""
    down, across = (
        torch.exp(
            -(torch.arange(size).unsqueeze(0) - torch.arange(size).unsqueeze(1)).double().square() / (2 * _BLUR**2)
        )
        for size in images.shape[2:]
    )
    return down / down.sum(1, keepdim=True) @ images @ (across / across.sum(0))
