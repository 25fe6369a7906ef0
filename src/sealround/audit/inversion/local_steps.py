"""FedAvg: records from the update of a whole round of local steps.

The round is played with guessed records and differentiated through (Dimitrov, Balunovic, Konstantinov, Vechev, "Data
leakage in federated averaging", TMLR 2022); where they descend, Gauss-Newton steps are taken here, and two things are
read off first that hold for any number of steps:

- the records lie in the row space of the first layer's change, which leaves r - 1 unknowns a record instead of p;
- there, neurons that a record left off tell it from the others (`sealround.audit.inversion.first_layer`).

From there, and from random records of that space, Levenberg-Marquardt solves for the records and (where not granted)
the labels, first on the mean gradient, which costs one step, then on the round itself. Labels end as whole ones.

What stays true of rounds of several passes over hundreds of records: d numbers cannot determine more than d unknowns.
The note says how many of both there were.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from sealround.audit.inversion.arrangement import Arrangement, arranged, batches_in, matched
from sealround.audit.inversion.assignment import assign
from sealround.audit.inversion.first_layer import records_of, rounding, row_space, sparse_directions
from sealround.audit.inversion.least_squares import Damping, Solution, ranked, solve
from sealround.audit.inversion.observation import Reconstruction
from sealround.audit.inversion.simulation import jacobian
from sealround.audit.inversion.unknowns import Unknowns, label_shape, nearest_labels, tied
from sealround.audit.inversion.unrolled import passes_of, unrolled_update
from sealround.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.inversion.first_layer import RowSpace
    from sealround.audit.inversion.observation import Observation

__all__ = ["LocalSteps", "attack"]

_TOP = 3  # Solutions that are worth looking for their order.
_NEAR = 0.1  # Distance from which the records are likely behind some kink.
_KICKS = 16
_TRIES = 12  # Orders to begin with, where the records are right.
_FITS = 0.97  # Share of neurons on and off as they should be, where columns alone do not tell records apart.
_CLEARLY = 0.2  # Share of neurons that no mixture of records is off in by chance.
_ROUNDINGS = 4.0  # Distance that counts as none, in the update's own rounding.
_SURE = 0.01  # Largest typical error of a record that is certified, in encoded units.
_MOST = 1 << 25  # Numbers of the derivative: 256 MB.


@dataclass(frozen=True, slots=True, eq=False)
class LocalSteps:
    """How hard to try, and what else is known.

    Attributes:
        restarts: Random starts.
        rounds: Of 4096 sets of neurons each, at most, that are searched for sparse columns.
        warm: Steps on the mean gradient before the round itself is played.
        damping: Of the search on the round.
        order: The site's order of the records in each pass, int64 ``(passes, n)``, if the attacker knows it.
        start: Records of another attack to start from as well, ``(n, *shape)``.
        first_layer: Whether to use what the first layer shows; without, this is the published attack with another
            solver.
    """

    restarts: int = 16
    rounds: int = 24
    warm: int = 15
    damping: Damping = field(default_factory=Damping)
    order: torch.Tensor | None = None
    start: torch.Tensor | None = None
    first_layer: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class _Guess:
    """Records with labels ``(n, ...)``, the orders they were played in, and the cost of the round so played."""

    inputs: torch.Tensor
    labels: torch.Tensor
    orders: torch.Tensor
    cost: float


def attack(
    seen: Observation,
    generator: torch.Generator,
    settings: LocalSteps,
    clock: Callable[[], float],
    deadline: float,
) -> Reconstruction:
    """Rebuild the records behind a round of local steps.

    Args:
        seen: The round, of one site; its examples are those of one pass.
        generator: All randomness.
        settings: How.
        clock: Tells the time, in seconds.
        deadline: When the best so far is returned.

    Returns:
        One record for each example. Certified are those that explain the update to rounding, together with the others,
        and of which rounding hides less than 0.01 of an encoded unit: no other records nearby do.

    Raises:
        UnsupportedError: If the derivative does not fit in memory, or survival times are not known.
    """
    if seen.unknowns * seen.update.numel() > _MOST and row_space(seen) is None:
        msg = f"{seen.unknowns} unknowns in {seen.update.numel()} numbers are too many for Gauss-Newton steps"
        raise UnsupportedError(msg, hint="attack fewer records, or use an attack that descends along gradients")
    return _Attack(seen, generator, settings, clock, deadline, clock()).run()


@dataclass(frozen=True, slots=True, eq=False)
class _Attack:
    seen: Observation
    generator: torch.Generator
    settings: LocalSteps
    clock: Callable[[], float]
    deadline: float
    began: float
    course: list[tuple[float, float]] = field(default_factory=list)

    def run(self) -> Reconstruction:
        seen, settings = self.seen, self.settings
        order = settings.order
        if order is None:
            order = torch.arange(seen.examples).repeat(passes_of(seen.plan, seen.examples), 1)
        space = row_space(seen) if settings.first_layer else None
        unknowns = Unknowns(seen, space, seen.labels, order)
        starts, clear = self._starts(unknowns)
        best = self._polished(unknowns, *starts[0], tries=_TRIES if clear else 1)
        if self._enough < best.cost < _NEAR**2:
            best = self._kicked(unknowns, best)
        if best.cost > self._enough and clear:
            # Played in a wrong order, records that were told apart by their zeros would only be bent to fit.
            best = replace(best, inputs=starts[0][0])
        elif best.cost > self._enough:
            best = min(self._searched(unknowns, starts), best, key=lambda guess: guess.cost)
        return self._reconstruction(unknowns, best)

    @property
    def _enough(self) -> float:
        size = float(self.seen.update.square().sum()) / self.seen.update.numel()
        return float((_ROUNDINGS * rounding(self.seen)) ** 2 / max(size, torch.finfo(torch.float64).tiny))

    def _going(self) -> bool:
        return self.clock() < self.deadline

    def _solve(self, residual: Callable[[torch.Tensor], torch.Tensor], starts: torch.Tensor, most: int) -> Solution:
        damping = replace(self.settings.damping, iterations=most, enough=self._enough / _ROUNDINGS)
        return solve(residual, starts, damping, self.clock, self.deadline)

    # --- where to start ---

    def _starts(self, unknowns: Unknowns) -> tuple[list[tuple[torch.Tensor, torch.Tensor]], bool]:
        """Return records with labels: what the first layer tells apart, another attack's, then random ones.

        Returns:
            These, and whether the first are told apart beyond doubt.
        """
        guesses: list[torch.Tensor] = []
        clear = False
        if unknowns.space is not None:
            guesses, clear = self._told_apart(unknowns.space)
        if self.settings.start is not None:
            guesses.append(self.settings.start.to(self.seen.model))
        found = [self._labelled(unknowns, guess) for guess in guesses]
        shape = (max(self.settings.restarts, 1), self.seen.examples, *self.seen.shape)
        drawn = torch.randn(shape, generator=self.generator, dtype=self.seen.model.dtype)
        if unknowns.space is not None:
            drawn = drawn * (self.seen.shape[0] / unknowns.space.rank) ** 0.5
        drawn = torch.maximum(torch.minimum(drawn, self.seen.domain.upper), self.seen.domain.lower)
        return found + [(each, self._middle(unknowns)) for each in drawn], clear

    def _told_apart(self, space: RowSpace) -> tuple[list[torch.Tensor], bool]:
        """Return records from sparse directions; what is not found, and in turns some of the rest, is random."""
        sparse = sparse_directions(space, self.generator, self.settings.rounds, self._going)
        directions = sparse.directions
        guesses = []
        for turn in range(1 + self.settings.restarts // 2):
            kept = directions[: len(directions) - turn % (1 + space.rank // 2)]
            missing = space.rank - len(kept), space.rank
            others = torch.randn(missing, generator=self.generator, dtype=kept.dtype)
            records = records_of(space, torch.cat([kept, others]))
            more = torch.randn(self.seen.examples - space.rank, *self.seen.shape, generator=self.generator)
            guesses.append(torch.cat([records, more.to(records)]))
            if space.rank == 1:
                break
        fits = len(directions) == self.seen.examples and (space.signs is None or sparse.agreement >= _FITS)
        return guesses, fits and bool((sparse.zeros >= _CLEARLY).all())

    def _middle(self, unknowns: Unknowns) -> torch.Tensor:
        if unknowns.labels is not None:
            return unknowns.labels
        shape = label_shape(self.seen)
        return torch.full((self.seen.examples, *shape), 1.0 / (shape[0] if shape else 2), dtype=self.seen.model.dtype)

    def _labelled(self, unknowns: Unknowns, inputs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Find records' labels from the mean gradient, or their places among known labels."""
        free, middle = replace(unknowns, labels=None), self._middle(replace(unknowns, labels=None))
        if self.seen.plan.adaptive or (unknowns.labels is not None and len(torch.unique(unknowns.labels, dim=0)) == 1):
            return inputs, self._middle(unknowns)
        start = free.given(inputs, middle)
        residual, fixed = free.mean_residual(), start[: free.width]
        found = self._solve(lambda labels: residual(torch.cat([fixed, labels])), middle.reshape(1, -1), 5)
        labels = found.points[0].view(middle.shape)
        if unknowns.labels is None:
            return inputs, labels
        cost = torch.cdist(unknowns.labels.flatten().view(len(inputs), -1), labels.reshape(len(inputs), -1)).square()
        return inputs[torch.from_numpy(assign(cost.numpy()))], unknowns.labels

    # --- the search ---

    def _searched(self, unknowns: Unknowns, starts: list[tuple[torch.Tensor, torch.Tensor]]) -> _Guess:
        """Solve from all starts, and go on from the best, their order looked for."""
        points = torch.stack([unknowns.given(*start) for start in starts])
        if not self.seen.plan.adaptive and self.seen.plan.steps > 1:
            found = self._solve(unknowns.mean_residual(), points, self.settings.warm)
            points = found.points[ranked(found.costs)]
        if not self._shuffled:
            found = self._solve(unknowns.residual(), points, self.settings.damping.iterations)
            points = found.points[ranked(found.costs)[:_TOP]]
        best: list[_Guess] = []
        for point in points[: 2 * _TOP]:
            inputs, labels = unknowns.records(point)
            best.append(self._polished(unknowns, inputs[0], labels[0], tries=_TOP))
            if best[-1].cost <= self._enough or not self._going():
                break
        least = min(best, key=lambda guess: guess.cost)
        if least.cost > self._enough and self._shuffled and len(unknowns.orders) > 1:
            least = min(self._passes_apart(unknowns, points[:_TOP]), least, key=lambda guess: guess.cost)
        return least

    @property
    def _shuffled(self) -> bool:
        return self.settings.order is None and self.seen.plan.batch_size < self.seen.examples

    def _passes_apart(self, unknowns: Unknowns, points: torch.Tensor) -> _Guess:
        """Give every pass records of its own, tie them, match them, and go on from their means."""
        apart = replace(unknowns, tie=tied(self.seen, self.generator))
        starts = []
        for point in points:
            inputs, labels = unknowns.records(point)
            starts.append(apart.given(inputs[0], labels[0]))
        found = self._solve(apart.residual(), torch.stack(starts), self.settings.damping.iterations)
        inputs, labels = apart.records(found.points[found.best])
        mean, orders = matched(inputs)
        return self._polished(replace(unknowns, orders=orders), mean, labels[0])

    def _polished(self, unknowns: Unknowns, inputs: torch.Tensor, labels: torch.Tensor, tries: int = 1) -> _Guess:
        """Look for the order, and solve with whole labels, then with free ones, until nothing changes."""
        guess = _Guess(inputs, labels, unknowns.orders, float("inf"))
        for _ in range(_TOP):
            whole, orders = guess.labels if unknowns.labels is not None else nearest_labels(guess.labels), guess.orders
            if self._shuffled or unknowns.labels is None:
                found = self._placed(unknowns, guess.inputs, Arrangement(orders, whole, 0.0), tries)
                orders, whole = found.orders, found.labels
            tried = self._solved(unknowns, guess.inputs, whole, orders)
            if tried.cost > self._enough and unknowns.labels is None:
                free = self._solved(unknowns, guess.inputs, guess.labels, orders, whole=False)
                again = self._solved(unknowns, free.inputs, nearest_labels(free.labels), orders)
                tried = min(tried, again, key=lambda one: one.cost)
            same, better = torch.equal(orders, guess.orders), tried.cost < guess.cost
            guess = tried if better else guess
            if same or not better or guess.cost <= self._enough or not self._going():
                break
        return guess

    def _placed(self, unknowns: Unknowns, inputs: torch.Tensor, given: Arrangement, tries: int) -> Arrangement:
        """Find records' steps, and their labels too where those are not known, from several orders to begin with."""
        relabel, best = unknowns.labels is None, None
        for turn in range(tries if self._shuffled else 1):
            if turn:
                shuffled = torch.rand(given.orders.shape, generator=self.generator).argsort(1)
                given = replace(given, orders=shuffled)
            found = arranged(self.seen, inputs, given, self._going, relabel=relabel)
            best = found if best is None or found.distance < best.distance else best
            if best.distance < _NEAR / 10 or not self._going():
                break
        assert best is not None  # noqa: S101  (for the type checker: there is at least one try)
        return best

    def _kicked(self, unknowns: Unknowns, guess: _Guess) -> _Guess:
        """Start again from around a guess: a kink of the network can lie between it and the records."""
        fixed = replace(unknowns, labels=guess.labels, orders=guess.orders)
        point = fixed.given(guess.inputs, guess.labels)
        sizes = torch.logspace(-5, -1, _KICKS, dtype=point.dtype).unsqueeze(1)
        noise = torch.randn(_KICKS, point.numel(), generator=self.generator, dtype=point.dtype)
        found = self._solve(fixed.residual(), point + sizes * noise, self.settings.damping.iterations)
        inputs, labels = fixed.records(found.points[found.best])
        tried = _Guess(inputs[0], labels[0], guess.orders, float(found.costs[found.best]))
        return min(tried, guess, key=lambda one: one.cost)

    def _solved(
        self,
        unknowns: Unknowns,
        inputs: torch.Tensor,
        labels: torch.Tensor,
        orders: torch.Tensor,
        *,
        whole: bool = True,
    ) -> _Guess:
        """Solve from one start, labels as they are or free."""
        unknowns = replace(unknowns, labels=labels if whole else None, orders=orders)
        start = unknowns.given(inputs, labels).unsqueeze(0)
        found = self._solve(unknowns.residual(), start, self.settings.damping.iterations)
        self.course.extend((when - self.began, cost**0.5) for when, cost in found.course)
        inputs, labels = unknowns.records(found.points[0])
        return _Guess(inputs[0], labels[0], orders, float(found.costs[0]))

    # --- what came out ---

    def _reconstruction(self, unknowns: Unknowns, best: _Guess) -> Reconstruction:
        seen = self.seen
        fixed = replace(unknowns, labels=best.labels, orders=best.orders)
        certified = self._certified(fixed, best)
        inputs, mismatch = best.inputs, best.cost**0.5
        if not bool(certified.all()):
            inputs = torch.maximum(torch.minimum(inputs, seen.domain.upper), seen.domain.lower)
            played = unrolled_update(seen, inputs, best.labels, batches_in(seen.plan, best.orders))
            mismatch = float((played - seen.update).norm() / seen.update.norm())
        note = f"{seen.unknowns} unknown numbers in {seen.update.numel()} equations"
        if unknowns.space is not None:
            note += f", {fixed.width} of them free in the row space of the first layer's change"
        return Reconstruction(
            attack="local steps",
            inputs=inputs,
            labels=best.labels,
            mismatch=mismatch,
            certified=certified,
            seconds=self.clock() - self.began,
            course=tuple(self.course),
            note=note,
        )

    def _certified(self, fixed: Unknowns, best: _Guess) -> torch.Tensor:
        none = torch.zeros(self.seen.examples, dtype=torch.bool)
        if not best.cost <= self._enough or 2 * fixed.width > self.seen.update.numel() or not self._going():
            return none
        if not fixed.width:
            return ~none
        slopes = jacobian(fixed.residual(), fixed.given(best.inputs, best.labels))
        inverse, failed = torch.linalg.inv_ex(slopes @ slopes.mT)
        if int(failed):
            return none
        rounded = rounding(self.seen) / float(self.seen.update.norm())
        error = inverse.diagonal().clamp_min(0.0).view(self.seen.examples, -1).sum(1).sqrt() * rounded
        sure: torch.Tensor = (error <= _SURE) & error.isfinite()
        return sure
