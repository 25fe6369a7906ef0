"""A site's look at the model it is sent, before it trains: what it knows of the study, of the past, of its own records.

Always on, in every training, for the coordinator also names the training. In the first round the model must be the
study's: the seed, the inputs and their levels give it, and nothing planted is. Later it must not be built, nor have
moved, nor treat this site's records as no honest model was seen to (`sealround.monitoring`).

In a private study only what needs no record is looked at: a refusal is seen, and would tell of the records without
noise. Noise also moves models as no training does, so neither is the change. What protects there is the guarantee,
which holds for any sequence of models, planted ones among them.

A site that has not trained in a training before, or was started anew, has no model to compare with. It takes the
study's initial one, and reckons from its gradient there how far rounds may have led since: that is a weaker check, the
weaker the later the round.
"""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch
from torch import nn

from sealround.clinical.cohort import SplitName
from sealround.errors import ProtocolViolationError
from sealround.learning.clipped import Batch, PatientGradients
from sealround.learning.losses import BinaryLoss
from sealround.learning.models import Network, initial_model, is_linear
from sealround.learning.predictors import NetworkPredictor
from sealround.learning.steps import scheduled
from sealround.learning.vector import named_parameters
from sealround.monitoring import (
    Before,
    Finding,
    Reach,
    change_findings,
    start_findings,
    structure_findings,
    use_findings,
)
from sealround.study.sections import DifferentialPrivacy, FedAvg, Sgd
from sealround.vocabulary import COORDINATOR, RoundId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.federation.interfaces import InputShape, TrainOrder
    from sealround.learning.encodings import Encoding
    from sealround.learning.losses import Targets
    from sealround.monitoring import Sign
    from sealround.study.sections import Study
    from sealround.vocabulary import Update

__all__ = ["IncomingModels", "measured_use", "reach_of"]

_Measured: TypeAlias = "dict[Sign, dict[str, float]]"

_RECORDS = 512
"""Records of a table that a model is tried on."""

_SLOPES = 128
"""Records of a table whose gradients are told apart."""

_PICTURES = 16
"""The same of images: as much work as one small batch."""

_FEWEST = 32
"""Fewer records than these make any share of them large."""

_KEPT = 4
"""Trainings whose last model is remembered."""

_HINT = (
    "do not train on it: ask who runs the coordinator, and whether another site's update moved the model that far; "
    "see docs/how-to/refuse-planted-models.md"
)


@dataclass(frozen=True, slots=True)
class _Slope(BinaryLoss):
    """The output itself, in the place of a loss: what is left of a gradient without the residual."""

    def derivative(self, outputs: torch.Tensor, targets: Targets) -> torch.Tensor:
        """Return one for each example, over their number."""
        return torch.full_like(outputs, 1.0 / len(targets))


@dataclass(frozen=True, slots=True, eq=False)
class _Accepted:
    """The last model of one training that this site trained on, and its own longest update of each array so far."""

    round: RoundId
    model: Update
    own: Mapping[str, float]


class IncomingModels:
    """Every model that one site is sent to train on.

    Args:
        study: The study.
        inputs: What one example looks like.
    """

    def __init__(self, study: Study, inputs: InputShape) -> None:
        self._study = study
        self._inputs = inputs
        self._reach = reach_of(study)
        self._accepted: dict[str, _Accepted] = {}
        self._private = isinstance(study.protection.privacy, DifferentialPrivacy)

    def check(self, order: TrainOrder, encoding: Encoding) -> None:
        """Refuse a planted model.

        Args:
            order: Of the round.
            encoding: Of the site's records; its predictor holds the model afterwards.

        Raises:
            ProtocolViolationError: If the model shows a sign of having been made to give records away. Nothing of
                it was used.
        """
        found = self.findings(order, encoding)
        if found:
            signs = "; ".join(map(str, found))
            msg = f"sent a model for round {order.round} that shows signs of being planted: {signs}"
            raise ProtocolViolationError(msg, party=COORDINATOR, hint=_HINT)

    def findings(self, order: TrainOrder, encoding: Encoding) -> tuple[Finding, ...]:
        """Return every sign; none where the site has nothing to train on, and so nothing to give away."""
        if not len(encoding.parts[SplitName.TRAIN]):
            return ()
        module = encoding.predictor.flat.module
        parameters = named_parameters(module, order.model)
        if self._first(order):
            expected = initial_model(self._study)(self._inputs, order.statistics)
            found = start_findings(parameters, named_parameters(module, expected))
            if order.control is not None and order.control.any():
                found += (Finding("far-control", "", float(np.abs(order.control).max()), 0.0),)
            return found
        found = structure_findings(parameters)
        if self._private or any(finding.sign == "not-finite" for finding in found):
            return found
        before = self._before(order, encoding)
        if any(before.own.values()):
            control = None if order.control is None else named_parameters(module, self._drift(order, encoding))
            found += change_findings(parameters, before, self._reach_beside(order, encoding), control=control)
        encoding.predictor.flat.load(order.model)
        return found + use_findings(measured_use(encoding, linear=is_linear(self._study.model)))

    def trained(self, order: TrainOrder, update: Update, encoding: Encoding) -> None:
        """Remember a model that was trained on, and how far this site's own training moved it."""
        named = named_parameters(encoding.predictor.flat.module, update)
        own = {name: float(np.linalg.norm(array)) for name, array in named.items()}
        before = self._accepted.pop(order.job, None)
        if before is not None and self._same_training(before.round, order.round):
            own = {name: max(length, before.own[name]) for name, length in own.items()}
        # A view into a message stays as it is; what can be written to may not.
        model = np.array(order.model) if order.model.flags.writeable else order.model
        self._accepted[order.job] = _Accepted(order.round, model, own)
        for oldest in list(self._accepted)[:-_KEPT]:
            del self._accepted[oldest]

    def _first(self, order: TrainOrder) -> bool:
        """Whether a round is the first of the study's rounds; those beyond the last are trained anew."""
        return (order.round - 1) % self._study.study.rounds == 0

    def _same_training(self, earlier: RoundId, later: RoundId) -> bool:
        rounds = self._study.study.rounds
        return earlier < later and (earlier - 1) // rounds == (later - 1) // rounds

    def _before(self, order: TrainOrder, encoding: Encoding) -> Before:
        """Return what an order is compared with: the last model of the same training, or the study's initial one."""
        module, kept = encoding.predictor.flat.module, self._accepted.get(order.job)
        if kept is not None and self._same_training(kept.round, order.round):
            return Before(named_parameters(module, kept.model), kept.own, order.round - kept.round)
        initial = initial_model(self._study)(self._inputs, order.statistics)
        pulled = _gradient(encoding, initial) + self._study.training.optimizer.weight_decay * initial
        gradient = named_parameters(module, pulled)
        optimizer, steps = self._study.training.optimizer, self._steps(len(encoding.parts[SplitName.TRAIN]))
        # Gradients grow before they shrink, and of images only a few are looked at.
        path = 2.0 * optimizer.learning_rate * steps
        if isinstance(optimizer, Sgd):
            path /= max(1.0 - optimizer.momentum, 1e-3)
            own = {name: path * float(np.linalg.norm(array)) for name, array in gradient.items()}
        else:
            own = {name: path * float(np.sqrt(array.size)) for name, array in gradient.items()}
        since = (order.round - 1) % self._study.study.rounds
        return Before(named_parameters(module, initial), own, since, imagined=True)

    def _reach_beside(self, order: TrainOrder, encoding: Encoding) -> Reach:
        """Return the server's reach, knowing that all other records could be one site's."""
        if self._study.training.local_epochs is None:
            return self._reach
        own = self._steps(len(encoding.parts[SplitName.TRAIN]))
        return dataclasses.replace(self._reach, longer=self._steps(int(order.statistics.examples)) / own)

    def _steps(self, records: int) -> int:
        """Return how many local steps so many records make in a round."""
        training = self._study.training
        if training.local_steps is not None:
            return training.local_steps
        return (training.local_epochs or 1) * max(1, -(-records // training.batch_size))

    def _drift(self, order: TrainOrder, encoding: Encoding) -> Update:
        """Return how far the server's control variate alone would move the model in one round."""
        training, rounds = self._study.training, self._study.study.rounds
        rate = scheduled(training.optimizer.learning_rate, training.schedule, (order.round - 1) % rounds + 1, rounds)
        steps = self._steps(len(encoding.parts[SplitName.TRAIN]))
        assert order.control is not None  # noqa: S101  (for the type checker: asked only where there is one)
        return np.asarray(order.control * np.float32(rate * steps))


def reach_of(study: Study) -> Reach:
    """Return how much further than a mean update the study's server moves the model."""
    server = study.training.server
    if isinstance(server, FedAvg):
        return Reach(gain=server.learning_rate / max(1.0 - server.momentum, 1e-3))
    return Reach(gain=0.0, step=server.learning_rate)


@torch.no_grad()
def measured_use(encoding: Encoding, *, linear: bool) -> _Measured:
    """Measure how the loaded model treats the site's own training records.

    Args:
        encoding: The records, and the predictor that holds the model.
        linear: Whether it is a linear model: its gradients by the output are the inputs, whatever it is.

    Returns:
        By sign and layer: the share of a hidden linear layer's neurons that fire for one or two records, and for none,
        and the mean loss of outcomes that are no times (over the inputs' mean square where that is more than 1), where
        there are 32 records or more; the share of the squared gradient of all outputs that one record holds. A dead
        layer has no gradient, and no share of it.
    """
    examples, predictor = encoding.parts[SplitName.TRAIN], encoding.predictor
    pictures = len(examples.inputs.shape) > 1
    number = min(len(examples), _PICTURES if pictures else _RECORDS)
    device = predictor.flat.values.device
    inputs, targets = next(examples.batches(torch.arange(number, device=device), number))
    firing: dict[str, torch.Tensor] = {}
    outputs = _watched(encoding, inputs, firing)
    measured: _Measured = {}
    if number >= _FEWEST:
        if targets.rank is None:
            # A step moves outputs by the inputs' mean square, which is 1 where they are standardised: where they are
            # not, honest training overshoots by as much.
            unit = max(1.0, float(inputs.square().mean()))
            measured["misfit"] = {"": encoding.loss.total([outputs], [targets])[0] / number / unit}
        counts = {name: fires.sum(0) for name, fires in firing.items()}
        measured["lone-rows"] = {n: float(((c == 1) | (c == 2)).float().mean()) for n, c in counts.items()}  # noqa: PLR2004
        measured["silent-rows"] = {name: float((c == 0).float().mean()) for name, c in counts.items()}
    if not linear and number > 1:
        rows = torch.arange(min(number, _PICTURES if pictures else _SLOPES), device=device)
        squares = _squared_slopes(encoding, *next(examples.batches(rows, rows.numel())))
        total = float(squares.sum())
        measured["one-record"] = {"": float(squares.max()) / total if total else 0.0}
    return measured


def _gradient(encoding: Encoding, model: Update) -> Update:
    """Return the gradient of the mean loss on the site's training records, or on as many as are enough, at a model."""
    examples, predictor = encoding.parts[SplitName.TRAIN], encoding.predictor
    device = predictor.flat.values.device
    number = min(len(examples), _PICTURES if len(examples.inputs.shape) > 1 else _RECORDS)
    inputs, targets = next(examples.batches(torch.arange(number, device=device), number))
    predictor.flat.load(model)
    predictor.seed(torch.Generator(device).manual_seed(0))
    outputs = predictor.outputs(inputs)
    predictor.backward(inputs, outputs, encoding.loss.derivative(outputs.detach(), targets))
    gradient: Update = np.array(predictor.flat.gradient.numpy(force=True))
    return gradient


def _watched(encoding: Encoding, inputs: torch.Tensor, firing: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return outputs, and note which neurons of hidden linear layers are above 0, bool ``(n, width)`` by layer."""
    module = encoding.predictor.flat.module
    assert isinstance(module, Network)  # noqa: S101  (for the type checker: every predictor's is)

    def note(name: str) -> Callable[..., None]:
        def seen(_layer: nn.Module, _given: object, output: torch.Tensor) -> None:
            firing[name] = output > 0

        return seen

    hooks = [
        layer.register_forward_hook(note(f"features.{name}"))
        for name, layer in module.features.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        return encoding.predictor.predict(inputs)
    finally:
        for hook in hooks:
            hook.remove()


@functools.lru_cache(maxsize=4)
def _gradients_of(predictor: NetworkPredictor) -> PatientGradients:
    """Look at a model's layers once, not in each round."""
    return PatientGradients(predictor)


def _squared_slopes(encoding: Encoding, inputs: torch.Tensor, targets: Targets) -> torch.Tensor:
    """Return the squared length of the gradient of each record's output, float64 ``(n,)``."""
    predictor = encoding.predictor
    assert isinstance(predictor, NetworkPredictor)  # noqa: S101  (for the type checker: no linear model comes here)
    predictor.seed(torch.Generator(inputs.device).manual_seed(0))
    parts = _gradients_of(predictor).of(inputs, targets, _Slope(), Batch(len(targets), 1))
    return torch.stack([part.squares() for part in parts]).sum(0)
