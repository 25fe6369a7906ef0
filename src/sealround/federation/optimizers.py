"""Server optimisers: from the mean update of a round to the next global model.

Each is a function of (model, mean update, state) and returns (model, state), with state a tree fit for
`sealround.wire`. All arithmetic is elementwise on flat float32 vectors.

Source: Reddi et al., "Adaptive Federated Optimization", ICLR 2021, Algorithm 2 (FedAdam, FedYogi; no bias correction,
second moment starts at tau**2); Hsu et al. 2019 for server momentum.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, assert_never

import numpy as np

from sealround.study.sections import FedAdam, FedAvg, FedYogi

if TYPE_CHECKING:
    from sealround.study.sections import ServerOptimizer
    from sealround.vocabulary import Update

__all__ = ["Average", "server_step"]

State: TypeAlias = Mapping[str, np.ndarray]


def server_step(optimizer: ServerOptimizer, model: Update, mean_update: Update, state: State) -> tuple[Update, State]:
    """Take one server step.

    Args:
        optimizer: Which rule, with its constants.
        model: Global model, float32 ``(d,)``.
        mean_update: Weighted mean of the sites' updates, float32 ``(d,)``.
        state: What the last step returned; empty at the first.

    Returns:
        The next model, and the state for the next step.
    """
    match optimizer:
        case FedAvg(learning_rate=rate, momentum=momentum):
            if not momentum:
                return model + np.float32(rate) * mean_update, {}
            velocity = mean_update + np.float32(momentum) * state.get("velocity", np.float32(0))
            return model + np.float32(rate) * velocity, {"velocity": velocity}
        case FedAdam() | FedYogi():
            return _adaptive(optimizer, model, mean_update, state)
        case _:
            assert_never(optimizer)


def _adaptive(optimizer: FedAdam | FedYogi, model: Update, mean_update: Update, state: State) -> tuple[Update, State]:
    beta1, beta2, tau = (np.float32(x) for x in (optimizer.beta1, optimizer.beta2, optimizer.tau))
    square = mean_update * mean_update
    first = beta1 * state.get("first", np.zeros_like(model)) + (1 - beta1) * mean_update
    second = state.get("second", np.full_like(model, tau * tau))
    if isinstance(optimizer, FedYogi):
        second = second - (1 - beta2) * square * np.sign(second - square)
    else:
        second = beta2 * second + (1 - beta2) * square
    step = np.float32(optimizer.learning_rate) * first / (np.sqrt(second) + tau)
    return model + step, {"first": first, "second": second}


@dataclass(frozen=True, slots=True)
class Average:
    """Exponential moving average of the global models, without bias towards the start.

    Attributes:
        decay: Weight of the past, 0 <= decay < 1; 0 gives the last model.
        total: Sum of decay**(t-i) * (1-decay) * model_i, float32 ``(d,)``.
        models: How many models went in.
    """

    decay: float
    total: Update
    models: int = 0

    def add(self, model: Update) -> Average:
        """Return the average with one more model in it."""
        decay = np.float32(self.decay)
        return Average(self.decay, decay * self.total + (1 - decay) * model, self.models + 1)

    @property
    def value(self) -> Update:
        """The average, divided by the weight that the models so far have (Kingma and Ba 2015, section 3)."""
        # Of the decay as `add` rounds it; the decay itself would leave 0.02 % of the start at 0.9999.
        weight = 1.0 - float(np.float32(self.decay)) ** self.models
        return (self.total / np.float32(weight)).astype(np.float32)
