"""Trap weights: neurons that hardly ever fire, so that one which does holds one record.

A neuron's weights get a gradient from the records it fires for only. If that is one record, the gradient of its weights
divided by that of its bias is the record (Phong et al. 2018, section 3). A trained or random network has such neurons
by accident; a planted one has them by design.

Source: F. Boenisch, A. Dziedzic, R. Schuster, A. S. Shamsabadi, I. Shumailov, N. Papernot, "When the Curious Abandon
Honesty: Federated Learning Is Not Private", EuroS&P 2023, section 5.
Differences: they give each row as many negative weights as positive ones, these scaled down, so that inputs from 0 to 1
give a negative sum nearly always. Inputs here are standardised, and such a row fires for half of all records: rare
firing is had from the biases, which they leave alone. Their rows are random, and so are these: nothing is a copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.malicious.imprint import Candidates, quotients
from sealround.audit.malicious.layers import Dense, hidden_layers, rows_of
from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.learning.models import Network
    from sealround.vocabulary import Update

__all__ = ["Traps", "agreeing", "extract_rows", "extract_traps", "plant_traps"]

_SAME = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Traps:
    """A planted model.

    Attributes:
        parameters: What is sent, float32 ``(d,)``.
        layer: Which layer holds the traps.
        rows: Which of its neurons are traps, int64 ``(t,)``.
    """

    parameters: Update
    layer: Dense
    rows: np.ndarray


def plant_traps(
    network: Network,
    reference: Update,
    rate: float,
    draw: np.random.Generator,
    *,
    traps: int | None = None,
    gain: float = 1.0,
) -> Traps:
    """Let neurons of the first hidden linear layer fire for a part ``rate`` of standardised records.

    With one trap, and ``rate`` near 1 over the number of records of all sites, it is the shape of attack that outlives
    a sum: the neuron's two gradients hold one record, however many others, and other sites, are in the sum. ``gain``
    lifts it over rounding and noise (as Wen et al., "Fishing for User Data in Large-Batch Federated Learning via
    Gradient Magnification", ICML 2022, do to a class or a feature).

    Args:
        network: The study's model; its values are not used.
        reference: The model to plant into, float32 ``(d,)``; it is not changed.
        rate: How often a trap should fire, 0 < rate < 1.
        draw: Where directions and places come from.
        traps: How many neurons; all if ``None``.
        gain: What the traps' outgoing weights are multiplied by.

    Returns:
        The planted model.

    Raises:
        UnsupportedError: If the model has no hidden linear layer.
        UsageError: If the rate is none, or there are fewer neurons.
    """
    layer, following, *_ = hidden_layers(network)
    number = layer.outputs if traps is None else traps
    if not 0.0 < rate < 1.0 or not 1 <= number <= layer.outputs:
        raise UsageError(f"{number} traps that fire at {rate:g} do not fit {layer.outputs} neurons")
    vector = np.array(reference, dtype=np.float32)
    rows = np.sort(draw.choice(layer.outputs, size=number, replace=False))
    weight, bias = rows_of(vector, layer)
    lengths = np.linalg.norm(weight[rows], axis=1)
    directions = draw.normal(size=(number, layer.inputs))
    weight[rows] = directions * (lengths / np.linalg.norm(directions, axis=1))[:, None]
    bias[rows] = -NormalDist().inv_cdf(1.0 - rate) * lengths
    layer.put(vector, weight, bias)
    outgoing, outgoing_bias = rows_of(vector, following)
    outgoing[:, rows] *= gain
    following.put(vector, outgoing, outgoing_bias if following.has_bias else None)
    return Traps(vector, layer, rows)


def extract_traps(update: Update, traps: Traps) -> Candidates:
    """Return the quotient of each trap that somebody fell into."""
    weight, bias = rows_of(update, traps.layer)
    return quotients(weight[traps.rows], bias[traps.rows])


def extract_rows(update: Update, layer: Dense) -> Candidates:
    """Return the quotient of every neuron of a layer: what an honest model gives away by accident, the baseline."""
    return quotients(*rows_of(update, layer))


def agreeing(candidates: Candidates, *, times: int = 2) -> np.ndarray:
    """Return the candidates that several neurons agree on, one of each, float64 ``(m, p)``.

    Neurons that fire for different records give different blends, so what several agree on is mostly one record: an
    attacker who has none to compare with learns which candidates are real. It is no proof: neurons that happen to fire
    for the same two records agree on their blend.

    Args:
        candidates: Of all neurons.
        times: How many must agree.
    """
    inputs = candidates.inputs
    distances = np.linalg.norm(inputs[:, None] - inputs[None], axis=2)
    same = distances <= _SAME * (1.0 + np.linalg.norm(inputs, axis=1))[:, None]
    first = same.argmax(axis=1) == np.arange(len(inputs))
    chosen: np.ndarray = inputs[first & (same.sum(axis=1) >= times)]
    return chosen
