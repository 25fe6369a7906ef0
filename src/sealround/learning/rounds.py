"""A round as the study describes it: how long, how fast, and what ties a site to the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from sealround.federation.randomness import stream
from sealround.learning.steps import scheduled
from sealround.learning.training import Recipe
from sealround.study.sections import FedProx, Scaffold

if TYPE_CHECKING:
    import numpy as np

    from sealround.federation.interfaces import TrainOrder
    from sealround.learning.losses import Loss
    from sealround.study.sections import Study
    from sealround.vocabulary import PartyId

__all__ = ["Control", "fine_tuning", "local_round", "randomness"]


@dataclass(frozen=True, slots=True, eq=False)
class Control:
    """SCAFFOLD's control variates (Karimireddy et al. 2020, Algorithm 1).

    Attributes:
        server: c, float32 ``(d,)``.
        own: c_i of this site, float32 ``(d,)``.
    """

    server: torch.Tensor
    own: torch.Tensor

    @classmethod
    def of(cls, study: Study, order: TrainOrder, like: torch.Tensor) -> Control | None:
        """Return the variates of a round, 0 where there is none yet; ``None`` for other algorithms."""
        if not isinstance(study.training.algorithm, Scaffold):
            return None
        own = order.memory.get("control")
        vectors = [
            torch.zeros_like(like) if vector is None else torch.tensor(vector, dtype=torch.float32, device=like.device)
            for vector in (order.control, own)
        ]
        return cls(vectors[0], vectors[1])

    @property
    def correction(self) -> torch.Tensor:
        """What is added to every gradient: c - c_i (line 10)."""
        return self.server - self.own

    def change(self, update: torch.Tensor, path: float) -> torch.Tensor:
        """Return c_i+ - c_i by option II (line 12): c_i+ = c_i - c + (x - y_i) / (K * learning rate).

        Args:
            update: y_i - x.
            path: K times the learning rate.
        """
        return -(self.server + update / path)


def local_round(study: Study, site: PartyId, round_: int, loss: Loss, control: Control | None) -> Recipe:
    """Return how a site trains in a round; one after the last is the first of rounds that are trained anew."""
    training, rounds = study.training, study.study.rounds
    rate = scheduled(training.optimizer.learning_rate, training.schedule, (round_ - 1) % rounds + 1, rounds)
    return Recipe(
        site=site,
        occasion=f"round {round_}",
        loss=loss,
        optimizer=training.optimizer,
        learning_rate=rate,
        batch_size=training.batch_size,
        epochs=training.local_epochs,
        steps=training.local_steps,
        augmentation=training.augmentation,
        proximal=training.algorithm.mu if isinstance(training.algorithm, FedProx) else 0.0,
        correction=None if control is None else control.correction,
    )


def fine_tuning(study: Study, site: PartyId, loss: Loss, epochs: int) -> Recipe:
    """Return how a site goes on by itself after the last round: as in training, with nothing that ties it to others."""
    training = study.training
    return Recipe(
        site=site,
        occasion="fine-tuning",
        loss=loss,
        optimizer=training.optimizer,
        learning_rate=training.optimizer.learning_rate,
        batch_size=training.batch_size,
        epochs=epochs,
        steps=None,
        augmentation=training.augmentation,
    )


def randomness(
    seed: int, job: str, site: PartyId, occasion: str | int, device: torch.device
) -> tuple[np.random.Generator, torch.Generator]:
    """Return the streams of a training: one for the order of examples, one for augmentation and dropout."""
    noise = torch.Generator(device)
    noise.manual_seed(int(stream(seed, "noise", job, site, occasion).integers(2**63)))
    return stream(seed, "batches", job, site, occasion), noise
