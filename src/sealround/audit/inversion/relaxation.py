"""Table rows as functions of free numbers: categories by softmax, in the encoding of the study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion.unknowns import label_shape, nearest_labels

if TYPE_CHECKING:
    from sealround.audit.inversion.observation import Domain, Observation

__all__ = ["Relaxation", "relaxation_of"]


_LEAST_SHARE = 1e-3  # Of a level, so that a search can still come to it.


@dataclass(frozen=True, slots=True, eq=False)
class Relaxation:
    """From one vector of free numbers to records and labels.

    A vector has for each record its numbers, then for each group one number a level, then what stands for its label.

    Attributes:
        domain: Of the records.
        examples: How many.
        columns: How many encoded columns, p.
        numbers: Columns that hold numbers.
        label: Shape of one label; its numbers go through a sigmoid or a softmax.
        labels: Known labels, or ``None``.
    """

    domain: Domain
    examples: int
    columns: int
    numbers: tuple[int, ...]
    label: tuple[int, ...]
    labels: torch.Tensor | None

    @property
    def cells(self) -> tuple[tuple[int, ...], ...]:
        """The columns of each cell."""
        return tuple((column,) for column in self.numbers) + self.domain.groups

    @property
    def fractional(self) -> tuple[int, ...]:
        """Columns of numbers that need not be whole."""
        return tuple(column for column in self.numbers if column not in set(self.domain.integer))

    @property
    def levels(self) -> tuple[int, ...]:
        """How many levels each group has."""
        pairs = zip(self.domain.groups, self.domain.implicit, strict=True)
        return tuple(len(group) + implicit for group, implicit in pairs)

    @property
    def unknowns(self) -> int:
        """Length of a vector."""
        return self.examples * sum(self._widths)

    @property
    def _widths(self) -> tuple[int, ...]:
        return (len(self.numbers), *self.levels, 0 if self.labels is not None else torch.Size(self.label).numel())

    def records(self, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return records ``(n, p)`` and labels."""
        numbers, *logits, label = self._parts(vector)
        inputs = self._encoded(numbers, [torch.softmax(part, 1) for part in logits])
        if self.labels is not None:
            return inputs, self.labels
        return inputs, torch.softmax(label, 1) if self.label else torch.sigmoid(label).squeeze(1)

    def given(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return the vector of records ``(n, p)``, with labels half way."""
        scale, mean = self.domain.scale.expand(self.columns), self.domain.mean.expand(self.columns)
        pieces = [inputs[:, list(self.numbers)]]
        for group, implicit in zip(self.domain.groups, self.domain.implicit, strict=True):
            share = inputs[:, list(group)] * scale[list(group)] + mean[list(group)]
            if implicit:
                share = torch.cat([1.0 - share.sum(1, keepdim=True), share], 1)
            pieces.append(share.clamp(_LEAST_SHARE, 1.0).log())
        pieces.append(inputs.new_zeros(self.examples, self._widths[-1]))
        return torch.cat(pieces, 1).flatten()

    def discrete(self, vector: torch.Tensor) -> torch.Tensor:
        """Return records of one level each, ``(n, p)``."""
        numbers, *logits, _ = self._parts(vector)
        return self._encoded(numbers, [nearest_labels(part) for part in logits])

    def shares(self, vectors: torch.Tensor) -> list[torch.Tensor]:
        """Return each group's softmax, ``(members, n, levels)`` for vectors ``(members, unknowns)``."""
        return [torch.softmax(part, 2) for part in self._parts(vectors)[1:-1]]

    def pooled(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return one vector for several: the median of numbers, the logarithm of the mean of softmaxes."""
        numbers, *_, label = self._parts(vectors)
        tiny = torch.finfo(vectors.dtype).tiny
        shares = [part.mean(0).clamp_min(tiny).log() for part in self.shares(vectors)]
        return torch.cat([numbers.median(0).values, *shares, label.mean(0)], 1).flatten()

    def ordered(self, vector: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """Return the vector of the same records, record ``place[i]`` at place i."""
        return vector.view(self.examples, -1)[place].flatten()

    def boxed(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return vectors ``(members, unknowns)`` whose numbers are within bounds."""
        numbers, *rest = self._parts(vectors)
        lower, upper = (bound.expand(self.columns)[list(self.numbers)] for bound in self._bounds)
        return torch.cat([torch.clamp(numbers, lower, upper), *rest], 2).flatten(1)

    def clamped(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return records whose numbers are within bounds."""
        lower, upper = (bound.expand(self.columns)[list(self.numbers)] for bound in self._bounds)
        where = torch.tensor(self.numbers, dtype=torch.int64)
        return inputs.index_copy(1, where, torch.clamp(inputs[:, where], lower, upper))

    def rounded(self, inputs: torch.Tensor) -> torch.Tensor:
        """Return records whose whole numbers are whole, in raw units."""
        if not self.domain.integer:
            return inputs
        raw = self.domain.raw(inputs)
        scale, mean = self.domain.scale.expand(self.columns), self.domain.mean.expand(self.columns)
        where = torch.tensor(self.domain.integer)
        return inputs.index_copy(1, where, (raw[:, where].round() - mean[where]) / scale[where])

    @property
    def _bounds(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.domain.lower, self.domain.upper

    def _parts(self, vectors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        rows = vectors.reshape(*vectors.shape[:-1], self.examples, -1)
        return tuple(torch.split(rows, list(self._widths), dim=-1))

    def _encoded(self, numbers: torch.Tensor, shares: list[torch.Tensor]) -> torch.Tensor:
        """Put numbers and levels into their columns; levels are 0 or 1 before they are standardised."""
        pieces, where = [numbers], [torch.tensor(self.numbers, dtype=torch.int64)]
        scale, mean = self.domain.scale.expand(self.columns), self.domain.mean.expand(self.columns)
        for share, group, implicit in zip(shares, self.domain.groups, self.domain.implicit, strict=True):
            columns = torch.tensor(group)
            pieces.append((share[:, int(implicit) :] - mean[columns]) / scale[columns])
            where.append(columns)
        return torch.cat(pieces, 1)[:, torch.cat(where).argsort()]


def relaxation_of(seen: Observation) -> Relaxation:
    """Return the relaxation of an observation's table rows."""
    (columns,) = seen.shape
    grouped = {column for group in seen.domain.groups for column in group}
    numbers = tuple(column for column in range(columns) if column not in grouped)
    return Relaxation(seen.domain, seen.examples, columns, numbers, label_shape(seen), seen.labels)
