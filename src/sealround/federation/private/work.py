"""A site's work with noise: what leaves the site is private, whatever the work underneath returns.

Nothing passes that is not named here. Before anything is computed whose noised value leaves, its event is entered into
the site's allowance: a crash can only over-count.

Randomness is a function of the site's own secret, its records, the study and the exact question: who asks the same
again after a crash gets the same bytes, which tell nothing new; anything else draws anew, and is entered anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

import numpy as np

from sealround import wire
from sealround.crypto.discrete_gaussian import DiscreteGaussian
from sealround.crypto.kdf import Label, derive
from sealround.crypto.masks import WordStream
from sealround.errors import ProtocolViolationError, UsageError
from sealround.federation import tally
from sealround.federation.interfaces import LocalWork, TrainOutcome
from sealround.federation.private.histograms import CELL_COUNT, coarse, spread
from sealround.federation.private.terms import CLIP_NORMS, SCALE_BITS
from sealround.federation.statistics import Statistics
from sealround.vocabulary import COORDINATOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.crypto import Secret
    from sealround.federation.groups import Group
    from sealround.federation.interfaces import CompareOrder, EvaluateOrder, InputShape, TrainOrder
    from sealround.federation.private.terms import PrivacyTerms
    from sealround.federation.statistics import Layout
    from sealround.privacy.events import PrivacyEvent
    from sealround.vocabulary import PartyId, Tally, Update
    from sealround.wire import Value

__all__ = ["Allowance", "ClippedUnits", "ClippingWork", "PrivateWork"]


class Allowance(Protocol):
    """What a site may still spend of its patients' privacy; lasting."""

    def spend(self, event: PrivacyEvent, question: bytes) -> None:
        """Enter an event before its noise is used.

        Args:
            event: What leaves.
            question: Hash of what it answers: the same event for the same question is entered once.

        Raises:
            PrivacyBudgetError: If more would be spent than is allowed; nothing is entered.
            ServiceError: If it cannot be written down.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ClippedUnits:
    """What became of some units' gradients.

    Attributes:
        total: Their clipped sum, ``(d,)``.
        within: How many were within the norm.
    """

    total: np.ndarray
    within: int


class ClippingWork(LocalWork, Protocol):
    """Work that can be made private: sums in which one unit of privacy counts no more than it may."""

    @property
    def records_digest(self) -> bytes:
        """Hash of this site's records (32 bytes)."""
        ...

    @property
    def units(self) -> int:
        """How many patients (or records, as the study says) this site trains on."""
        ...

    def clipped_sum(
        self, model: Update, statistics: Statistics, chosen: np.ndarray, l2_clip_norm: float
    ) -> ClippedUnits:
        """Return the sum of the clipped gradients of some units, and how many were short enough.

        Args:
            model: At which, float32 ``(d,)``.
            statistics: What inputs are encoded with.
            chosen: Which units, int64 ``(m,)``, ascending.
            l2_clip_norm: Longest gradient of one unit.

        Returns:
            The sum, ``(d,)``: one unit more or less changes it by ``l2_clip_norm`` at the most, but for rounding.
        """
        ...

    def stepped(self, model: Update, gradient: np.ndarray, round_: int) -> Update:
        """Return the model after a local step against a mean gradient, with the learning rate of a round."""
        ...

    def logits_by_unit(self, order: EvaluateOrder, split: str) -> Tally:
        """Return a histogram of a model's predictions in which each unit of a split counts one.

        Args:
            order: The model, as it is used.
            split: ``"validation"`` or ``"test"``.

        Returns:
            Negatives, then positives by bin of the recalibrated logit, float64 ``(2 * BINS,)``.
        """
        ...


def _clipped(update: Update, l2_clip_norm: float) -> np.ndarray:
    """Return an update no longer than a norm, float64 ``(d,)``."""
    wide: np.ndarray = update.astype(np.float64)
    norm = float(np.linalg.norm(wide))
    return wide if norm <= l2_clip_norm else wide * (l2_clip_norm * (1.0 - 2.0**-40) / norm)


class PrivateWork(LocalWork):
    """Differentially private work of one site.

    Args:
        work: What it computes on its own records.
        terms: Of the training.
        party: This site, to name it.
        secret: This site's own; whoever knows it can take the noise off.
        study: Digest of the study (32 bytes).
        allowance: What may be spent; ``None`` in a simulation that keeps no books.
    """

    def __init__(
        self,
        work: ClippingWork,
        terms: PrivacyTerms,
        party: PartyId,
        secret: Secret,
        study: bytes,
        allowance: Allowance | None = None,
    ) -> None:
        self._work, self._terms, self._party = work, terms, party
        self._secret, self._study, self._allowance = secret, study, allowance

    @property
    def inputs(self) -> InputShape:
        """What one example looks like."""
        return self._work.inputs

    @property
    def layout(self) -> Layout:
        """Names of the inputs, all of the study."""
        return self._work.layout

    @property
    def groups(self) -> tuple[Group, ...]:
        """None: counts by group are not released."""
        return ()

    @property
    def levels_with_threshold(self) -> int:
        """None, likewise."""
        return 0

    def levels(self, min_cell_count: int) -> Mapping[str, tuple[str, ...]]:
        """Refuse: a level is told by whoever has it."""
        del min_cell_count
        self._refuse("which levels there are")

    def counts(self, layout: Layout, min_cell_count: int) -> Tally:
        """Refuse: counts have no noise."""
        del layout, min_cell_count
        self._refuse("counts of the inputs")

    def squares(self, layout: Layout, min_cell_count: int, mean: Tally) -> Tally:
        """Refuse, likewise."""
        del layout, min_cell_count, mean
        self._refuse("the spread of the inputs")

    def compare(self, order: CompareOrder) -> Tally:
        """Refuse, likewise."""
        del order
        self._refuse("how groups of patients fare")

    def group_histograms(self, order: EvaluateOrder) -> Tally:
        """Return nothing: there are no groups."""
        del order
        return np.zeros(0)

    def train(self, order: TrainOrder) -> TrainOutcome:
        """Take the private steps of a round; nothing else is told, neither losses nor how many patients were drawn.

        Raises:
            ProtocolViolationError: If more is asked for than a private round answers.
            PrivacyBudgetError: If the site's allowance is used up; nothing was computed.
        """
        if order.candidate is not None or order.control is not None or order.weights is not None:
            raise ProtocolViolationError("asks for more than a private round answers", party=COORDINATOR)
        clip_norm = self._clip_norm(order)
        question = self._question("round", order.job, order.round, clip_norm, order.model, order.statistics)
        if self._allowance is not None:
            self._allowance.spend(self._terms.round_event(), question)
        # A tally as long as any, and but for a noised count without a word.
        silent = np.zeros(tally.size("binary"))
        if self._terms.options.trust == "sealed":
            units, silent[0] = self._noised_sum(order, order.model, question, 0)
            update = units.astype(np.float32) * np.float32(2.0**-SCALE_BITS)
        else:
            model, clip = order.model, self._terms.noise(order.model.size).clip
            to_mean = clip_norm / clip / self._terms.expected
            for step in range(self._terms.steps):
                noised, _ = self._noised_sum(order, model, question, step)
                model = self._work.stepped(model, noised * to_mean, order.round)
            update = model - order.model
        return TrainOutcome(update=update, weight=1.0, tally=silent)

    def validate(self, order: EvaluateOrder) -> Tally:
        """Return a noised histogram of validation logits, in place of a tally; zeros where nothing is released."""
        return self._released(order, "validation")

    def evaluate(self, order: EvaluateOrder) -> Mapping[str, Value]:
        """Return a noised histogram of test logits, and no metric; an empty one where nothing is released."""
        return {"n": None, "positives": None, "metrics": {}, "histogram": self._released(order, "metrics")}

    def evaluate_here(self, order: EvaluateOrder) -> Mapping[str, Value]:
        """Return the test results as they are: for this site's own eyes."""
        return self._work.evaluate(order)

    def drawn(self, question: bytes, step: int) -> np.ndarray:
        """Return who is drawn into a step, int64, ascending: each unit by itself, by 64 bits of its own.

        Raises:
            UsageError: If there are more than chance can give.
        """
        q = self._terms.options.sampling_probability
        words = np.empty(self._work.units, dtype="<u8")
        WordStream(derive(self._secret, Label.PRIVATE_SAMPLE, question, step)).fill(words)
        # A probability of 1 is one more than the largest word.
        chosen = np.arange(words.size) if q >= 1.0 else np.flatnonzero(words < np.uint64(int(q * 2.0**64)))
        if chosen.size > self._terms.most_drawn:
            raise UsageError(
                f"{self._party}: {chosen.size} units drawn, where chance gives no more than {self._terms.most_drawn}",
                hint="protection.privacy.patients is smaller than this site alone; it is a number of all sites",
            )
        return chosen

    def _clip_norm(self, order: TrainOrder) -> float:
        """Return the norm of a round.

        Any norm is as private: the noise grows with it.

        Raises:
            ProtocolViolationError: If one is given where the study has its own, or none where it follows, or no norm.
        """
        follows = self._terms.first_clip_norm is not None
        if (order.clip_norm is not None) != follows:
            raise ProtocolViolationError("clips to another norm than the study", party=COORDINATOR)
        if order.clip_norm is None:
            return self._terms.options.l2_clip_norm
        if not CLIP_NORMS[0] <= order.clip_norm <= CLIP_NORMS[1]:
            raise ProtocolViolationError("clips to what is no norm", party=COORDINATOR)
        return order.clip_norm

    def _noised_sum(self, order: TrainOrder, model: Update, question: bytes, step: int) -> tuple[np.ndarray, float]:
        """Return one step's sum in units of the grid, integers as float64 ``(d,)``; and the noised count, or 0."""
        options, noise, clip_norm = self._terms.options, self._terms.noise(model.size), self._clip_norm(order)
        count = 0.0
        if options.unit == "site":
            total = -_clipped(self._work.train(order).update, clip_norm)  # an update goes down, not up
        else:
            chosen = self.drawn(question, step)
            found = self._work.clipped_sum(model, order.statistics, chosen, clip_norm)
            total = found.total.astype(np.float64)
            if self._terms.count_sigma is not None:
                scale, sigma = self._terms.count_noise()
                key = derive(self._secret, Label.PRIVATE_COUNT, question, step)
                count = scale * (found.within - chosen.size / 2) + float(DiscreteGaussian(sigma).draw(1, key)[0])
        total *= noise.clip / clip_norm
        np.rint(total, out=total)
        np.clip(total, -noise.limit, noise.limit, out=total)
        key = derive(self._secret, Label.PRIVATE_NOISE, question, step)
        total += DiscreteGaussian(noise.sigma).draw(total.size, key)
        return total, count

    def _released(self, order: EvaluateOrder, what: str) -> Tally:
        """Return a tally whose histogram has noise and whose other numbers are 0."""
        released = np.zeros(tally.size("binary"))
        if what not in self._terms.releases:
            return released
        calibration: Value = list(order.calibration)
        question = self._question(what, order.job, order.threshold, calibration, order.model, order.statistics)
        if self._allowance is not None:
            self._allowance.spend(self._terms.release(what), question)
        split = "test" if what == "metrics" else "validation"
        cells = coarse(self._work.logits_by_unit(order, split))
        scale, sigma = self._terms.release_noise(2 * CELL_COUNT)
        units = np.rint(cells * scale)
        units += DiscreteGaussian(sigma).draw(units.size, derive(self._secret, Label.PRIVATE_NOISE, question, 0))
        released[-2 * tally.BINS :] = spread(units / scale)
        return released

    def _question(self, what: str, *words: Value | Statistics) -> bytes:
        """Return the hash of all that decides what is computed and with what noise (32 bytes)."""
        told = [word.to_wire() if isinstance(word, Statistics) else word for word in words]
        return wire.digest(["sealround private v1", self._study, self._work.records_digest, what, *told])

    def _refuse(self, what: str) -> NoReturn:
        raise ProtocolViolationError(f"asks for {what}, in a study whose answers are private", party=COORDINATOR)
