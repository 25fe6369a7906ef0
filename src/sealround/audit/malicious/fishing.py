"""Fishing: weights at which all but few records have no residual, so that the update is those few's.

A binary loss passes ``(sigmoid(z) - y) / n`` back through the whole network. Where z is far on the right side that is
nothing, and where it is far on the wrong side it is one: a head that sorts records by a threshold makes the update of
*any* model, also of a linear one, a sum over chosen records with known weights.

Sources: Y. Wen, J. Geiping, L. Fowl, M. Goldblum, T. Goldstein, "Fishing for User Data in Large-Batch Federated
Learning via Gradient Magnification", ICML 2022, sections 3.2 (class fishing) and 3.3 (feature fishing).
Differences: theirs has one output for each class, ours one logit, whose bias alone isolates a class; they divide the
classes' outputs by a large number so that gradients survive averaging, which one logit does not need. The sweep takes
two rounds with two thresholds and subtracts: in a linear model no layer is left to magnify.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.malicious.imprint import Candidates, quotients
from sealround.audit.malicious.layers import Dense, dense_layers, rows_of

if TYPE_CHECKING:
    from sealround.learning.models import Network
    from sealround.vocabulary import Update

__all__ = ["Sweep", "extract_sweep", "plant_class", "plant_sweep"]


@dataclass(frozen=True, slots=True, eq=False)
class Sweep:
    """A head that cuts records in two.

    Attributes:
        parameters: What is sent, float32 ``(d,)``.
        head: The head's place.
        direction: Of length 1, in the space of the head's inputs, float64 ``(width,)``.
        threshold: Where it cuts.
    """

    parameters: Update
    head: Dense
    direction: np.ndarray
    threshold: float


def plant_class(network: Network, reference: Update, event: int, logit: float = 15.0) -> Update:
    """Silence one class: move the intercept until only records with ``event`` have a residual.

    Args:
        network: The study's model.
        reference: The model to plant into, float32 ``(d,)``; it is not changed.
        event: Whose records the update shall be made of: 1 or 0.
        logit: How far; the other class counts about e^-logit.

    Returns:
        What is sent, float32 ``(d,)``.
    """
    head = dense_layers(network)[-1]
    vector = np.array(reference, dtype=np.float32)
    vector[head.bias] = -logit if event else logit
    return vector


def plant_sweep(
    network: Network, reference: Update, direction: np.ndarray, threshold: float, steepness: float = 300.0
) -> Sweep:
    """Let the head be a step at ``threshold`` along ``direction``.

    Args:
        network: The study's model.
        reference: The model to plant into, float32 ``(d,)``; it is not changed.
        direction: In the space of the head's inputs, ``(width,)``; scaled to length 1.
        threshold: Where the step is.
        steepness: Of the logit; a record within 15 / steepness of the threshold blurs, and a local step must move the
            head by little beside it.

    Returns:
        The planted model.
    """
    head = dense_layers(network)[-1]
    unit = np.asarray(direction, dtype=np.float64) / np.linalg.norm(direction)
    vector = np.array(reference, dtype=np.float32)
    head.put(vector, steepness * unit, np.array([-steepness * threshold]))
    return Sweep(vector, head, unit, threshold)


def extract_sweep(updates: tuple[Update, Update], sweeps: tuple[Sweep, Sweep]) -> Candidates:
    """Return what lies between two thresholds: a record, or a weighted mean of records, of the head's inputs.

    The update at threshold t sums -1 times the positives below t and +1 times the negatives above: everybody below the
    one threshold or above the other cancels in the difference.

    Args:
        updates: Of the same site to both models, at the same number of local steps and examples in each.
        sweeps: Both, with the same direction.

    Returns:
        One candidate, or none where nobody lies between.
    """
    (first, first_bias), (second, second_bias) = (
        rows_of(update, sweep.head) for update, sweep in zip(updates, sweeps, strict=True)
    )
    apart, mass = first - second, first_bias - second_bias
    nothing = np.abs(mass) <= 1e-3 * np.abs(first_bias).max(initial=np.finfo(np.float64).tiny)
    return quotients(apart[~nothing], mass[~nothing])
