"""Imprints: every neuron of a layer measures the same thing against another threshold, and neighbours are subtracted.

With rows ``c_i m`` and biases ``-c_i t_i`` neuron i fires for the records x whose measurement ``u = <m, x>`` is above
``t_i``. Its gradient is the sum, over those records, of ``a_i delta x``, and that of its bias the sum of ``a_i delta``:
the difference of two neighbours, each divided by its ``a_i``, is over the records between two thresholds. Where that is
one, the quotient of the two differences *is* the record, whatever the batch was.

Source: L. Fowl, J. Geiping, W. Czaja, M. Goldblum, T. Goldstein, "Robbing the Fed: Directly Obtaining Private Data in
Federated Learning with Modified Models", ICLR 2022, section 4 and Algorithm 1.
Differences: they insert a layer, here an existing one is overwritten; their next layer has equal columns, here any
known ``a_i`` will do, which hides more and gives the same; ReLU as they have it. Their variant for several local steps
needs another activation, and the architecture is not the coordinator's to change: after several steps the neurons
have drifted by another amount each, and the quotients are as exact as that drift is small.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.malicious.layers import Dense, hidden_layers, rows_of
from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.learning.models import Network
    from sealround.vocabulary import Update

__all__ = ["Candidates", "Imprint", "ImprintOptions", "extract_imprint", "plant_imprint", "quotients"]

_FLOOR = 1e-6
"""A bin holds nobody where its bias's difference is less than this part of the largest: float32 leaves no more."""


@dataclass(frozen=True, slots=True, eq=False)
class ImprintOptions:
    """What an attacker chooses.

    Attributes:
        mean: Of the measurement, as the attacker guesses it; 0 for standardised inputs. Thresholds are the quantiles of
            a normal distribution.
        deviation: Of the measurement; 1 for standardised inputs.
        auxiliary: Inputs of the layer that the attacker has, of public records or of a site that colludes, float64
            ``(n, p)``: thresholds are then their quantiles.
        scale: Length of a row; near that of the rows it replaces it is no outlier.
        outgoing: Sum of the ``a_i``. A small one leaves the predictions, and with them the residuals, in the middle; a
            large one is moved less by local steps, beside its size.
        noise: Of independent directions added to every row, as a part of its length: what hides the copies, and blurs
            the measurement.
        shuffle: Put the bins in random places; in order, their biases are a ladder that is easily seen.
        scatter: Rows and outgoing weights are multiplied by factors of up to ``1 + scatter``, and biases to match.
    """

    mean: float = 0.0
    deviation: float = 1.0
    scale: float = 1.0
    outgoing: float = 2.0
    noise: float = 0.0
    scatter: float = 0.0
    shuffle: bool = False
    auxiliary: np.ndarray | None = None

    def thresholds(self, measurement: np.ndarray, bins: int) -> np.ndarray:
        """Return thresholds between which the measurement falls about equally often, ascending, ``(bins,)``."""
        parts = (np.arange(bins) + 0.5) / bins
        if self.auxiliary is not None:
            return np.asarray(np.quantile(self.auxiliary @ measurement, parts))
        return self.mean + self.deviation * np.array([NormalDist().inv_cdf(part) for part in parts])


@dataclass(frozen=True, slots=True, eq=False)
class Imprint:
    """A planted model, and what its author keeps.

    Attributes:
        parameters: What is sent, float32 ``(d,)``.
        layer: Which layer is planted.
        measurement: m, of length 1, float64 ``(p,)``.
        thresholds: t_i, ascending, float64 ``(k,)``.
        outgoing: a_i up to a common factor, float64 ``(k,)``.
        places: Which neuron is bin i, int64 ``(k,)``.
    """

    parameters: Update
    layer: Dense
    measurement: np.ndarray
    thresholds: np.ndarray
    outgoing: np.ndarray
    places: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Records that an update may hold, with nothing yet known about which of them are.

    Attributes:
        inputs: What the attacked layer saw, a row each, float64 ``(m, p)``.
        weight: How much of the update each makes up, largest 1, float64 ``(m,)``.
    """

    inputs: np.ndarray
    weight: np.ndarray


def plant_imprint(
    network: Network, reference: Update, options: ImprintOptions, draw: np.random.Generator, *, layer: int = 0
) -> Imprint:
    """Overwrite a hidden linear layer with an imprint, and what follows it with one path that all its bins share.

    Args:
        network: The study's model; its values are not used.
        reference: The model to plant into, float32 ``(d,)``; it is not changed.
        options: The attacker's choices.
        draw: Where direction and noise come from.
        layer: Which hidden linear layer, from 0.

    Returns:
        The planted model with its secrets.

    Raises:
        UnsupportedError: If the model has no hidden linear layer.
        UsageError: If there is no such layer.
    """
    layers = hidden_layers(network)
    if not 0 <= layer < len(layers) - 1:
        raise UsageError(f"there is no hidden linear layer {layer}", hint=f"there are {len(layers) - 1}, from 0")
    planted, following = layers[layer], layers[layer + 1 :]
    k, p = planted.outputs, planted.inputs
    measurement = draw.normal(size=p)
    measurement /= np.linalg.norm(measurement)
    thresholds = options.thresholds(measurement, k)
    factors, others = 1.0 + options.scatter * draw.random((2, k))
    directions = measurement + options.noise * draw.normal(size=(k, p)) / np.sqrt(p)
    rows = options.scale * factors[:, None] * directions / np.linalg.norm(directions, axis=1, keepdims=True)
    vector = np.array(reference, dtype=np.float32)
    places = draw.permutation(k) if options.shuffle else np.arange(k)
    bin_at = np.argsort(places)
    planted.put(vector, rows[bin_at], (-options.scale * factors * thresholds)[bin_at])
    outgoing = options.outgoing / k * others
    _share_one_path(vector, following, outgoing[bin_at])
    return Imprint(vector, planted, measurement, thresholds, outgoing, places)


def extract_imprint(update: Update, imprint: Imprint) -> Candidates:
    """Return the quotient of each two neighbours' differences.

    Args:
        update: A site's, or the sum of several, float32 ``(d,)``: minus some learning rate times gradients. The rate
            drops out; local Adam does not, which divides each gradient by a number of its own.
        imprint: What was planted.

    Returns:
        One candidate for each bin that somebody is in. A bin with two records gives their weighted mean.
    """
    weight, bias = rows_of(update, imprint.layer)
    weight, bias = weight[imprint.places], bias[imprint.places]
    weight, bias = weight / imprint.outgoing[:, None], bias / imprint.outgoing
    # The last bin is open above: minus nothing.
    apart = weight - np.vstack((weight[1:], np.zeros_like(weight[:1])))
    mass = bias - np.append(bias[1:], 0.0)
    return quotients(apart, mass)


def quotients(weight: np.ndarray, bias: np.ndarray) -> Candidates:
    """Divide gradients of rows, ``(k, p)``, by those of their biases, ``(k,)``, where these are not nothing."""
    size = np.abs(bias)
    held = size > _FLOOR * max(float(size.max(initial=0.0)), np.finfo(np.float64).tiny)
    return Candidates(weight[held] / bias[held, None], size[held] / max(float(size.max(initial=0.0)), 1e-300))


def _share_one_path(vector: Update, following: tuple[Dense, ...], outgoing: np.ndarray) -> None:
    """Set the layers after the planted one so that bin i's derivative is ``a_i`` times one common number."""
    incoming = outgoing
    for dense in following:
        last = dense is following[-1]
        # Every neuron a multiple of the same sum, which is not negative: ReLU lets all of them through.
        share = np.ones(dense.outputs) if last else np.linspace(0.5, 1.5, dense.outputs)
        dense.put(vector, np.outer(share, incoming), np.zeros(dense.outputs))
        incoming = np.full(dense.outputs, 1.0 / dense.outputs)
