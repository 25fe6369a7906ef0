"""Canaries in a whole training, and its sums as the coordinator sees them: for audits of what is deployed.

A `CanaryWork` is a site whose patients are canaries: each one's clipped gradient is the clip norm along a coordinate of
its own, whatever the model is. `sealround.federation.private.PrivateWork` draws, sums, rounds and noises
them as it would any patient. `sealed_sums` and `local_sums` run the training to its end and return what was opened,
as `sealround.audit.privacy` takes it. Clipping is `sealround.learning`'s: tests plant canaries there as records.

Assumes: server learning rate 1 without momentum, so that a step of the global model is the sum times public numbers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.audit.privacy import coins
from sealround.errors import UsageError
from sealround.federation import Coordinator, Plan, Site
from sealround.federation import tally as tallies
from sealround.federation.learned import Learned
from sealround.federation.messages import Trained, unpack
from sealround.federation.plan import FEDERATED
from sealround.federation.private import ClippedUnits, PrivacyTerms
from sealround.study import study_digest
from sealround.study.sections import FedAvg
from sealround.testing.network import Network
from sealround.testing.parties import sealed_training
from sealround.testing.work import ClippingWork, NumpyWork

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.audit.privacy import Canaries
    from sealround.federation.interfaces import EvaluateOrder, InputShape, LocalWork, ModelFactory
    from sealround.federation.statistics import Statistics
    from sealround.study import Study
    from sealround.vocabulary import PartyId, Rows, Tally, Update

__all__ = ["CanaryWork", "dealt", "local_sums", "sealed_sums"]

_EXAMPLES = 4


class CanaryWork(NumpyWork):
    """A `sealround.federation.private.ClippingWork` whose units are canaries.

    Args:
        axes: The coordinate of each canary that is in the run, ascending, int64 ``(m,)``.
        dimension: d, model parameters.
    """

    layout = ClippingWork.layout

    def __init__(self, axes: np.ndarray, dimension: int) -> None:
        super().__init__(0, _EXAMPLES)
        self._axes, self._dimension = axes, dimension

    @property
    def records_digest(self) -> bytes:
        """Hash of the canaries."""
        return hashlib.sha256(np.array([self._dimension, *self._axes], dtype=np.int64).tobytes()).digest()

    @property
    def units(self) -> int:
        """How many canaries."""
        return int(self._axes.size)

    def clipped_sum(self, model: Update, statistics: Statistics, chosen: Rows, l2_clip_norm: float) -> ClippedUnits:
        """Sum of the canaries' gradients, float64 ``(d,)``: the clip norm along the axis of each one that is chosen."""
        del model, statistics
        total = np.zeros(self._dimension)
        total[self._axes[chosen]] = l2_clip_norm
        return ClippedUnits(total, int(chosen.size))

    def stepped(self, model: Update, gradient: np.ndarray, round_: int) -> Update:
        """A step of gradient descent, with a learning rate of 1."""
        del round_
        moved: Update = (model - gradient).astype(np.float32)
        return moved

    def logits_by_unit(self, order: EvaluateOrder, split: str) -> Tally:
        """An empty histogram: there is nothing to predict."""
        del order, split
        return np.zeros(2 * tallies.BINS)


def dealt(canaries: Canaries, sites: int) -> tuple[np.ndarray, ...]:
    """Return the axes of the canaries that are in the run and at each site, int64, ascending: i is at site i mod n.

    Args:
        canaries: On axes.
        sites: n.

    Raises:
        UsageError: If the canaries have random directions.
    """
    if not canaries.axes:
        raise UsageError("canaries of a site have a coordinate each", hint="say axes=True")
    included = np.flatnonzero(coins(canaries))
    return tuple(included[included % sites == site] for site in range(sites))


def sealed_sums(study: Study, works: Mapping[PartyId, LocalWork], dimension: int) -> tuple[np.ndarray, Coordinator]:
    """Run a sealed training and return the sums of gradients that were opened, float64 ``(T, d)``, in clip norms.

    They are read off the global models, as anybody can to whom these are sent.

    Args:
        study: Private and sealed.
        works: What leaves each site, by ascending name.
        dimension: d, model parameters.

    Returns:
        The sums, and the coordinator at the end.

    Raises:
        UsageError: If the study is another, or its server's steps are not plain sums.
    """
    options = _terms(study, len(works)).options
    coordinator, network = sealed_training(study, works, _zeros(dimension))
    models = [np.zeros(dimension)]

    def watched() -> bool:
        if coordinator.round == len(models):
            learned = Learned.from_bytes(coordinator.snapshot(), coordinator.plan.lineage)
            models.append(learned.known_model.astype(np.float64))
        return False

    network.run(watched)
    scale = options.sampling_probability * options.patients / options.l2_clip_norm
    return -scale * np.diff(np.array(models), axis=0), coordinator


def local_sums(study: Study, works: Mapping[PartyId, LocalWork], dimension: int) -> np.ndarray:
    """Run a training in which each message is private by itself, and return what the coordinator was sent.

    Args:
        study: Private with ``trust = "local"`` and one local step a round.
        works: What leaves each site, by ascending name.
        dimension: d, model parameters.

    Returns:
        Sums of gradients, float64 ``(T, d)``, in clip norms: coordinate i of what site i mod n sent (`dealt`).

    Raises:
        UsageError: If the study is another.
    """
    terms = _terms(study, len(works))
    if terms.steps != 1:
        raise UsageError(f"{terms.steps} sums a round cannot be told apart", hint="say local_steps = 1")
    plan = Plan(study, FEDERATED, tuple(works), tuple(works))
    taps = {party: _Tap(Site(party, study_digest(study), work, _EXAMPLES), party) for party, work in works.items()}
    everybody: dict[PartyId, Any] = {**taps}
    Network(Coordinator(plan, _zeros(dimension)), everybody).run()
    sent = np.array([tap.updates for tap in taps.values()])
    place = np.arange(dimension)
    return np.asarray(-terms.expected / terms.options.l2_clip_norm * sent[place % len(taps), :, place].T)


class _Tap:
    """A site, and what it sends."""

    def __init__(self, site: Site, party: PartyId) -> None:
        self._site, self._party = site, party
        self.updates: list[np.ndarray] = []

    def handle(self, payload: bytes) -> bytes:
        reply = self._site.handle(payload)
        message = unpack(reply, sender=self._party).message
        if isinstance(message, Trained):
            self.updates.append(message.update.astype(np.float64))
        return reply


def _terms(study: Study, sites: int) -> PrivacyTerms:
    terms, server = PrivacyTerms.of(study, sites), study.training.server
    if terms is None:
        raise UsageError("a study without differential privacy has nothing to audit")
    if not isinstance(server, FedAvg) or server.momentum or server.learning_rate != 1.0:
        raise UsageError("sums are read off a server without momentum, of learning rate 1")
    return terms


def _zeros(dimension: int) -> ModelFactory:
    def zeros(inputs: InputShape, statistics: Statistics) -> Update:
        del inputs, statistics
        return np.zeros(dimension, dtype=np.float32)

    return zeros
