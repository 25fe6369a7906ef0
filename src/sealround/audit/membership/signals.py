"""What a model says about examples: the one number an example from which membership is inferred.

The signal is the log odds that the model gives the true label, log(p / (1 - p)). It is nearly normal over trainings,
where the loss and the probability are piled up at an end (Carlini et al. 2022, section IV-C), and it does not saturate.
Higher always means that the model fits the example better.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sealround.errors import UsageError

__all__ = ["Signals", "log_odds", "log_probability"]

_AXES = (2, 3)


@dataclass(frozen=True, slots=True, eq=False)
class Signals:
    """What the attacked model and reference models say about the same examples.

    Reference models are trained as the attacked one was, on the attacker's records: some with an example and some
    without (online attacks), or all without (offline).

    Attributes:
        target: The attacked model's, float64 ``(n,)``; or ``(n, q)`` for q queries an example, such as augmented
            images or the global models of q rounds.
        references: Those of k reference models, float64 ``(k, n)`` or ``(k, n, q)``.
        inside: Which examples each reference model was trained on, bool ``(k, n)``.
        population: The attacked model's on m other records that nobody trained on, float64 ``(m,)``; RMIA only.
        population_references: Those of the reference models on these, float64 ``(k, m)``.

    Raises:
        UsageError: If shapes differ or a number is not finite.
    """

    target: np.ndarray
    references: np.ndarray
    inside: np.ndarray
    population: np.ndarray | None = None
    population_references: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Refuse what does not fit together."""
        target, references, inside = self.target, self.references, self.inside
        if references.shape[1:] != target.shape or not target.size or references.ndim not in _AXES:
            raise UsageError(f"reference signals {references.shape} do not fit target signals {target.shape}")
        if inside.shape != references.shape[:2] or inside.dtype != np.bool_:
            raise UsageError(
                f"{inside.shape} of type {inside.dtype} do not say who is in {references.shape[:2]} trainings"
            )
        if (self.population is None) != (self.population_references is None):
            raise UsageError("signals of a population are the attacked model's and the reference models'")
        arrays = [target, references]
        if self.population is not None and self.population_references is not None:
            expected = (len(references), *self.population.shape)
            if self.population_references.shape != expected or not self.population.size:
                raise UsageError(f"population signals {self.population_references.shape} should be {expected}")
            arrays += [self.population, self.population_references]
        if not all(np.isfinite(array).all() for array in arrays):
            raise UsageError("a signal is not a finite number", hint="log_odds never gives one for finite outputs")

    @property
    def models(self) -> int:
        """How many reference models."""
        return len(self.references)

    @property
    def queries(self) -> tuple[np.ndarray, np.ndarray]:
        """Target ``(n, q)`` and reference signals ``(k, n, q)``, with q = 1 where there is one query."""
        if self.target.ndim == 1:
            return self.target[:, None], self.references[:, :, None]
        return self.target, self.references


def log_odds(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the log odds that a model gives the true labels, float64, without going through a probability.

    Source: Carlini et al. 2022, section IV-C; of several classes, the output of the true one minus the log of the
    summed exponentials of the others, as their appendix has it for stability.

    Args:
        outputs: Logits of the risk ``(..., n)``, or of c classes ``(..., n, c)``. A prior offset that the loss adds
            belongs to them.
        labels: 0 or 1 ``(n,)`` for logits of the risk; the class, integers ``(n,)``, for those of classes.

    Raises:
        UsageError: If labels fit neither.
    """
    outputs, labels = np.asarray(outputs, dtype=np.float64), np.asarray(labels)
    if outputs.shape[-1:] == labels.shape and labels.ndim == 1:
        if not np.isin(labels, (0, 1)).all():
            raise UsageError("labels of one logit are 0 or 1")
        return outputs * (2.0 * labels - 1.0)
    if outputs.ndim < 2 or outputs.shape[-2:-1] != labels.shape:  # noqa: PLR2004  (examples and classes)
        raise UsageError(f"outputs {outputs.shape} do not fit labels {labels.shape}")
    mine = np.eye(outputs.shape[-1], dtype=np.bool_)[labels.astype(np.int64)]
    others = np.where(mine, -np.inf, outputs)
    return np.asarray(np.where(mine, outputs, 0.0).sum(-1) - np.logaddexp.reduce(others, axis=-1))


def log_probability(odds: np.ndarray) -> np.ndarray:
    """Return the log of the probability that log odds stand for: -log(1 + e^-odds)."""
    return np.asarray(-np.logaddexp(0.0, -odds))
