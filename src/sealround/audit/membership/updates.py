"""Membership from one update of a site: is this record's gradient part of the sum?

The attacker computes the gradients of records that it knows at the global model that the site started from, and looks
for them in the mean gradient that the update shows. Nobody has to train reference models.

==================  ===================================================================================================
Score               Of a record with gradient g, in the mean gradient u of B records
==================  ===================================================================================================
inner product       u·g / ‖g‖
cosine              u·g / (‖u‖ ‖g‖): large networks' gradients of different records are nearly at right angles
difference          ‖u‖² - ‖u - g/B‖², what taking the record out of the mean would explain
likelihood ratio    log p(u | g is in the mean) - log p(u | an average record is), others' gradients normal
==================  ===================================================================================================

Source: J. Li, N. Li, B. Ribeiro, "Effective Passive Membership Inference Attacks in Federated Learning against
Overparameterized Models", ICLR 2023: cosine, and difference (theirs takes away g, not g/B, which is the same for
batches of one). The likelihood ratio is the test that they approximate: their gradients are isotropic, while here the
mean and the covariance come from gradients of reference records. What all records of a class have in common says
nothing of one of them, and is what the other three mostly see.

After several local steps the update is not the gradient at the global model. The scores stay scores; the likelihood
ratio then is too sure of itself.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sealround.audit.membership.shrinkage import spectrum
from sealround.errors import UsageError

__all__ = [
    "ShownGradient",
    "gradient_cosine",
    "gradient_difference",
    "gradient_inner_product",
    "update_likelihood_ratio",
]


@dataclass(frozen=True, slots=True, eq=False)
class ShownGradient:
    """The mean gradient that an update shows.

    Attributes:
        vector: float64 ``(d,)``; sketched as the gradients that it is compared with, if these are.
        examples: B, how many records it is the mean of; of several sites, all of theirs.
        blur: Standard deviation of what noise or rounding adds to each coordinate of `vector`.

    Raises:
        UsageError: If there is no record, or a number is negative or not finite.
    """

    vector: np.ndarray
    examples: int
    blur: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no update shows."""
        if self.vector.ndim != 1 or not np.isfinite(self.vector).all():
            raise UsageError("an update shows one vector of finite numbers")
        if self.examples < 1 or not 0.0 <= self.blur < np.inf:
            raise UsageError(f"{self.examples} examples and a blur of {self.blur} are not those of an update")


def gradient_inner_product(gradients: np.ndarray, shown: ShownGradient) -> np.ndarray:
    """Return each record's gradient times the shown one, over its own length, ``(n,)``; 0 for a gradient of 0.

    Args:
        gradients: Of the records in question, ``(n, d)``.
        shown: By the update.

    Raises:
        UsageError: If the two have different lengths.
    """
    lengths = np.linalg.norm(_fitting(gradients, shown), axis=1)
    products = gradients @ shown.vector
    return np.asarray(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0.0))


def gradient_cosine(gradients: np.ndarray, shown: ShownGradient) -> np.ndarray:
    """Return the cosine between each record's gradient and the shown one, ``(n,)``: the inner product, on one scale.

    Raises:
        UsageError: If the two have different lengths.
    """
    length = float(np.linalg.norm(shown.vector))
    return gradient_inner_product(gradients, shown) / (length or 1.0)


def gradient_difference(gradients: np.ndarray, shown: ShownGradient) -> np.ndarray:
    """Return how much shorter the shown gradient gets without the record's part of it, ``(n,)``, squared lengths.

    Raises:
        UsageError: If the two have different lengths.
    """
    parts = _fitting(gradients, shown) / shown.examples
    return np.asarray(2.0 * parts @ shown.vector - np.einsum("nd,nd->n", parts, parts))


def update_likelihood_ratio(gradients: np.ndarray, shown: ShownGradient, references: np.ndarray) -> np.ndarray:
    """Return log p(u | the record is in the mean) - log p(u | an average record is in its place), ``(n,)``.

    The other B - 1 records are normal: u has mean ((B - 1) μ + g)/B if the record is in it and μ if not, and covariance
    (B - 1) C/B² plus that of the blur. μ and C are those of the reference records' gradients, C shrunk.

    An unknown record in place of an average one would make the covariances differ, C/B against (B - 1) C/B². Gradients
    have heavier tails than normal ones, and that ratio then judges how far apart the whole batch is and not the record:
    scores of several updates no longer compare.

    Args:
        gradients: Of the records in question, ``(n, d)``.
        shown: By the update.
        references: Gradients of records of the same kind that are not in the update, ``(m, d)``, at least two. None of
            them may be among those in question.

    Raises:
        UsageError: If lengths differ, there are too few references, or of one record without any blur: then the record
            is in the mean if and only if its gradient is the mean.
    """
    size = shown.examples
    if size == 1 and shown.blur == 0.0:
        raise UsageError("an update of one record is its gradient", hint="compare the two, or state the blur")
    found = spectrum(np.asarray(_fitting(references, shown), dtype=np.float64))
    spread = (size - 1) / size**2
    along, beside = spread * found.values + shown.blur**2, spread * found.floor + shown.blur**2
    parts, seen = (_fitting(gradients, shown) - found.mean) / size, shown.vector - found.mean
    part_axes, part_rest = found.project(parts)
    seen_axes = found.axes @ seen
    # seen·part - |part|²/2, whitened: along the axes, and in all directions at right angles to them.
    inner = (part_axes * (seen_axes - part_axes / 2.0) / along).sum(axis=1)
    return np.asarray(inner + (parts @ seen - part_axes @ seen_axes - part_rest / 2.0) / beside)


def _fitting(gradients: np.ndarray, shown: ShownGradient) -> np.ndarray:
    if gradients.ndim != 2 or gradients.shape[1] != shown.vector.size:  # noqa: PLR2004  (examples, parameters)
        raise UsageError(f"gradients {gradients.shape} do not fit an update of {shown.vector.size} parameters")
    return gradients
