"""A site's part in the gate: two models on its validation patients, one of which it may train itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.fairness.pairing import Judged
from sealround.federation.interfaces import TrainOrder
from sealround.federation.optimizers import Average, server_step
from sealround.learning.evaluation import risk_of
from sealround.vocabulary import RoundId

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.federation.interfaces import Contender, TrainOutcome
    from sealround.federation.statistics import Statistics
    from sealround.study.sections import Study
    from sealround.vocabulary import Labels, Update
    from sealround.wire import Value

__all__ = ["judged", "train_alone"]


def judged(logits: Labels, contender: Contender, threshold: np.ndarray) -> Judged:
    """Return what a model says of patients, given its logits, ``(n,)``, and their decision thresholds."""
    risk = risk_of(logits, (contender.slope, contender.intercept))
    return Judged(risk, risk >= threshold)


def train_alone(
    study: Study, job: str, start: Update, statistics: Statistics, train: Callable[[TrainOrder], TrainOutcome]
) -> Update:
    """Train the model that a site would have without the others: a federation of one, for as many rounds.

    Args:
        study: The study.
        job: Names the streams of randomness: those of the comparison of the same site alone.
        start: The initial model, float32 ``(d,)``.
        statistics: What inputs are encoded with.
        train: One round at this site.

    Returns:
        float32 ``(d,)``: the model after the last round, or the running mean of models where the study asks for one.

    Raises:
        DivergenceError: If the training diverged.
    """
    options, model = study.training, start
    average = Average(options.ema, np.zeros_like(start)) if options.ema else None
    control: Update | None = None
    state: Mapping[str, np.ndarray] = {}
    memory: Mapping[str, Value] = {}
    for number in range(1, study.study.rounds + 1):
        order = TrainOrder(job, RoundId(number), model, statistics, None, control, memory)
        outcome = train(order)
        if outcome.weight:
            model, state = server_step(options.server, model, outcome.update, state)
        if outcome.control is not None:
            control = outcome.control if control is None else control + outcome.control
        average = None if average is None else average.add(model)
        memory = outcome.memory
    return model if average is None else average.value
