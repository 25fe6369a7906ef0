"""Neurotoxin: a backdoor in the parameters that nobody else moves, so that it stays after the attacker has left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.vocabulary import Update, Updates

__all__ = ["neurotoxin", "quiet_parameters"]

KEPT = 0.95
"""The part of the parameters that is kept, as in the examples of the authors' program (``gradmask_ratio``)."""


def quiet_parameters(last_change: Update, *, kept: float = KEPT) -> np.ndarray:
    """Say which parameters moved least, bool ``(d,)``: floor(kept x d) of them, the first among equals.

    Args:
        last_change: The last global model minus the one before, float32 ``(d,)``.
        kept: Which part of them, 0 < kept <= 1.

    Raises:
        UsageError: If the part is out of range.
    """
    if not 0.0 < kept <= 1.0:
        raise UsageError(f"a part is above 0 and at most 1, not {kept}")
    number = int(kept * last_change.size)
    order = np.argsort(np.abs(last_change), kind="stable")
    quiet = np.zeros(last_change.size, dtype=np.bool_)
    quiet[order[:number]] = True
    return quiet


def neurotoxin(own: Updates, last_change: Update, *, kept: float = KEPT) -> Updates:
    """Project updates onto the parameters in which the model moved least in the last round.

    What honest sites learn next moves mostly the parameters that they moved last: the largest entries of g, the last
    observed change. An update that is zero there is not written over.

    Knows: the last two global models, which every site is sent.
    Aim: a backdoor that outlives the attack.
    Source: Z. Zhang, A. Panda, L. Song, Y. Yang, M. Mahoney, P. Mittal, K. Ramchandran, J. Gonzalez, "Neurotoxin:
    Durable Backdoors in Federated Learning", ICML 2022.
    Variants: the paper projects every step of the local training; here its result is projected, which for plain
    gradient steps leaves out only how the steps would have answered each other. The authors' program takes the
    gradient of clean data of the attacker's own in place of the last change. In a first round there is none, and
    nothing is projected: pass zeros.

    Args:
        own: What the malicious sites learned from poisoned data, float32 ``(f, d)``.
        last_change: The last global model minus the one before, float32 ``(d,)``.
        kept: Which part of the parameters stays.

    Returns:
        float32 ``(f, d)``.

    Raises:
        UsageError: If the part is out of range, or widths differ.
    """
    if own.ndim != 2 or own.shape[1:] != last_change.shape:  # noqa: PLR2004
        raise UsageError(f"updates have shape {own.shape}, and the last change {last_change.shape}")
    if not last_change.any():
        return own.copy()
    return np.where(quiet_parameters(last_change, kept=kept), own, np.float32(0.0))
