"""Records of mixed type, numbers and categories, and how sure the attacker is of every cell.

TabLeak (Vero, Balunovic, Dimitrov, Vechev, "TabLeak: tabular data leakage in federated learning", ICML 2023):

1. categories are relaxed to the softmax of free numbers (section 4.1), and the update's cosine distance descended by
   Adam from many random records;
2. the reconstructions are brought into the order of the best and pooled (section 4.2): the median of numbers, the mean
   of softmaxes;
3. where they agree, the attacker may believe them: the entropy over the ensemble, without any ground truth
   (section 4.3).

Added here: a few of the best are solved by Levenberg-Marquardt before pooling, members that explain the update badly do
not vote, and the outcome is made whole (one level, whole numbers in raw units) and its other numbers solved again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch.func import vmap

from sealround.audit.inversion.assignment import assign
from sealround.audit.inversion.descent import Pace, descend
from sealround.audit.inversion.least_squares import Damping, ranked, solve
from sealround.audit.inversion.observation import Reconstruction
from sealround.audit.inversion.relaxation import Relaxation, relaxation_of
from sealround.audit.inversion.table_cells import cells_of
from sealround.audit.inversion.unknowns import nearest_labels
from sealround.audit.inversion.unrolled import batches_of, unrolled_update

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.observation import Observation

__all__ = ["TabLeak", "Table", "attack"]

_FINEST = 1e-9  # Spread that no ensemble is below.
_VOTES = 4.0  # Members vote whose distance is at most this many times the best one's.


@dataclass(frozen=True, slots=True, eq=False)
class TabLeak:
    """How hard to try.

    Attributes:
        ensemble: Random starts.
        pace: Of Adam, on all of them together.
        refined: How many of the best are solved by Levenberg-Marquardt; 0 for the published attack.
        damping: Of that, and of the last solve.
        start: Records of another attack, one more member of the ensemble, ``(n, p)``.
    """

    ensemble: int = 16
    pace: Pace = field(default_factory=Pace)
    refined: int = 4
    damping: Damping = field(default_factory=lambda: Damping(iterations=30))
    start: torch.Tensor | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rebuilt records, and the attacker's own confidence.

    Attributes:
        reconstruction: The records.
        cells: Columns of each cell: numbers, then groups, as `sealround.audit.inversion.table_cells.Cells` has them.
        confidence: Probability that a cell is right, were the ensemble a sample of what the records may be; float64
            ``(n, cells)``. Categories: the level's share in the pooled softmax. Numbers: what a normal distribution
            fitted to the members has within the tolerance. The share of the update left unexplained counts as doubt.
        entropy: Of the same distributions, in nats; the paper's measure. Of numbers it is differential, in encoded
            units: numbers compare with numbers, and categories of as many levels with each other.
    """

    reconstruction: Reconstruction
    cells: tuple[tuple[int, ...], ...]
    confidence: torch.Tensor
    entropy: torch.Tensor


def attack(
    seen: Observation, generator: torch.Generator, settings: TabLeak, clock: Callable[[], float], deadline: float
) -> Table:
    """Rebuild the table rows behind an update.

    Args:
        seen: The update, of one step or several; records keep their order from one pass to the next.
        generator: Draws the starts.
        settings: How.
        clock: Tells the time, in seconds.
        deadline: When the best so far is returned.

    Returns:
        One record for each example. None is certified.
    """
    return _Attack(seen, relaxation_of(seen), settings, clock, deadline, clock()).run(generator)


@dataclass(frozen=True, slots=True, eq=False)
class _Attack:
    seen: Observation
    relaxed: Relaxation
    settings: TabLeak
    clock: Callable[[], float]
    deadline: float
    began: float
    course: list[tuple[float, float]] = field(default_factory=list)

    def run(self, generator: torch.Generator) -> Table:
        starts = torch.randn(
            max(self.settings.ensemble, 1), self.relaxed.unknowns, generator=generator, dtype=torch.float64
        )
        members = self._descended(starts)
        if self.settings.start is not None:
            members = torch.cat([self.relaxed.given(self.settings.start.double()).unsqueeze(0), members])
        members, costs = self._refined(members)
        order = ranked(costs)
        members, costs = members[order], costs[order]
        members = self._aligned(members[costs <= _VOTES * costs[0].clamp_min(1e-12)])
        pooled = self.relaxed.pooled(members)
        best = min((self._whole(each) for each in (pooled, members[0])), key=lambda guess: guess[2])
        reconstruction = Reconstruction(
            attack="TabLeak",
            inputs=best[0],
            labels=best[1],
            mismatch=best[2],
            certified=torch.zeros(self.seen.examples, dtype=torch.bool),
            seconds=self.clock() - self.began,
            course=tuple(self.course),
            note=f"{len(members)} of {len(order)} members of the ensemble explain the update well enough to vote",
        )
        return Table(reconstruction, self.relaxed.cells, *self._agreement(members, best[0], best[2]))

    def _played(self, vector: torch.Tensor) -> torch.Tensor:
        inputs, labels = self.relaxed.records(vector)
        return self._update(inputs, labels)

    def _update(self, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return unrolled_update(self.seen, inputs, labels, batches_of(self.seen.plan, self.seen.examples))

    def _residual(self, vector: torch.Tensor) -> torch.Tensor:
        off: torch.Tensor = (self._played(vector) - self.seen.update) / self.seen.update.norm()
        return off

    def _descended(self, starts: torch.Tensor) -> torch.Tensor:
        """Descend the cosine distance from every start."""

        def distance(vector: torch.Tensor) -> torch.Tensor:
            return 1.0 - torch.nn.functional.cosine_similarity(self._played(vector), self.seen.update, dim=0)

        found = descend(distance, starts, self.settings.pace, self.clock, self.deadline, boxed=self.relaxed.boxed)
        return found.points

    def _refined(self, members: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Solve for the best members; return all, and their distances from the update seen."""
        costs = vmap(self._residual)(members).norm(dim=1)
        chosen = ranked(costs)[: self.settings.refined]
        if len(chosen):
            found = solve(self._residual, members[chosen], self.settings.damping, self.clock, self.deadline)
            self.course.extend((when - self.began, cost**0.5) for when, cost in found.course)
            members = members.index_copy(0, chosen, found.points)
            costs = costs.index_copy(0, chosen, found.costs.sqrt())
        return members, costs

    def _aligned(self, members: torch.Tensor) -> torch.Tensor:
        """Bring every member's records into the order of the first's."""
        first, *others = (self.relaxed.records(member)[0] for member in members)
        aligned = [members[0]]
        for member, inputs in zip(members[1:], others, strict=True):
            cost = torch.cdist(first, inputs).square()
            if self.seen.labels is not None:
                # A record's place is tied to its label.
                known = self.seen.labels.view(len(inputs), -1)
                cost = cost + 1e6 * (torch.cdist(known, known) > 0)
            place = assign(cost.numpy())
            aligned.append(self.relaxed.ordered(member, torch.from_numpy(place)))
        return torch.stack(aligned)

    def _whole(self, vector: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
        """Make categories and labels whole, solve the numbers, make whole ones whole, and solve the others."""
        labels = self.relaxed.records(vector)[1]
        labels = labels if self.seen.labels is not None else nearest_labels(labels)
        inputs = self._solved(self.relaxed.discrete(vector), labels, self.relaxed.numbers)
        inputs = self.relaxed.rounded(inputs)
        inputs = self._solved(inputs, labels, self.relaxed.fractional)
        distance = (self._update(inputs, labels) - self.seen.update).norm() / self.seen.update.norm()
        return inputs, labels, float(distance)

    def _solved(self, inputs: torch.Tensor, labels: torch.Tensor, columns: tuple[int, ...]) -> torch.Tensor:
        """Solve for some columns, all else as it is."""
        if not columns:
            return inputs
        where = torch.tensor(columns)

        def placed(numbers: torch.Tensor) -> torch.Tensor:
            return inputs.index_copy(1, where, numbers.view(len(inputs), -1))

        def residual(numbers: torch.Tensor) -> torch.Tensor:
            off: torch.Tensor = (self._update(placed(numbers), labels) - self.seen.update) / self.seen.update.norm()
            return off

        start = inputs[:, where].reshape(1, -1)
        found = solve(residual, start, self.settings.damping, self.clock, self.deadline)
        return self.relaxed.clamped(placed(found.points[0]))

    def _agreement(self, members: torch.Tensor, inputs: torch.Tensor, mismatch: float) -> tuple[torch.Tensor, ...]:
        """Return confidence in each cell of the records returned, and the members' entropy, both ``(n, cells)``."""
        cells, numbers = cells_of(self.seen.domain, self.relaxed.columns), list(self.relaxed.numbers)
        voted = torch.stack([self.relaxed.records(member)[0] for member in members])[:, :, numbers]
        spread = (voted.var(0, correction=0) + mismatch**2).clamp_min(_FINEST**2).sqrt()
        scale = self.seen.domain.scale.abs().expand(self.relaxed.columns)[numbers]
        tolerance = torch.where(cells.whole, 0.5, cells.tolerance) / scale
        off = inputs[:, numbers] - voted.median(0).values
        within = torch.special.ndtr((off + tolerance) / spread) - torch.special.ndtr((off - tolerance) / spread)
        sure, entropy = [within], [(spread * math.sqrt(2.0 * math.pi * math.e)).log()]
        doubt = min(mismatch, 1.0)
        chosen = self.relaxed.shares(self.relaxed.given(inputs).unsqueeze(0))
        for shares, one in zip(self.relaxed.shares(members), chosen, strict=True):
            mean = shares.mean(0) * (1.0 - doubt) + doubt / shares.shape[2]
            sure.append(mean.gather(1, one[0].argmax(1, keepdim=True)))
            entropy.append(torch.special.entr(mean).sum(1, keepdim=True))
        return torch.cat(sure, 1), torch.cat(entropy, 1)
