"""From float updates to integers modulo 2^32 and back: clip, scale, round without bias, add, decode.

A site's coordinate x becomes q = round(w x 2^f), where w in (0, 1] is the site's weight; w itself is one more
coordinate, the last, so that the sum of the vectors carries the sum of the weights and no number travels beside it. The
rounding is stochastic: up with the probability of the fractional part, so the expectation of q is w x 2^f.

Guarantee: while ``parties * (max(B, 1) 2^f + 1) < 2^31``, the sum modulo 2^32 is the exact sum of the rounded integers,
and the decoded sum differs from that of the clipped, weighted updates by less than ``parties / 2^f`` in a coordinate.
Not covered: rounding may raise the L2 norm by up to sqrt(d) / 2^f; what needs a hard bound after rounding (differential
privacy) must round conditionally, which is not done here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.crypto.masks import WordStream
from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.crypto import Secret
    from sealround.vocabulary import Update

__all__ = ["RING_BITS", "FixedPoint", "clip"]

RING_BITS = 32
"""Sums are taken modulo 2^32."""

_HALF_RING = 2.0 ** (RING_BITS - 1)
_BLOCK = 2**15
"""Elements walked at a time: what is written about them stays in the second-level cache."""


@dataclass(frozen=True, slots=True)
class FixedPoint:
    """How updates are written as integers: checked against overflow when it is made.

    Attributes:
        scale_bits: f; a coordinate is a multiple of 2^-f.
        l2_clip_norm: C, the largest L2 norm of an update.
        linf_clip: B, the largest magnitude of a coordinate. The weight, up to 1, is a coordinate too.
        parties: How many vectors may be summed.

    Raises:
        UsageError: If a number is out of range, or the sum of ``parties`` vectors could overflow.
    """

    scale_bits: int
    l2_clip_norm: float
    linf_clip: float
    parties: int

    def __post_init__(self) -> None:
        """Check every number, then the bound on the sum."""
        if not 1 <= self.scale_bits <= RING_BITS - 2:
            raise UsageError(f"scale_bits is 1 .. {RING_BITS - 2}, not {self.scale_bits}")
        if not (math.isfinite(self.l2_clip_norm) and self.l2_clip_norm > 0):
            raise UsageError("l2_clip_norm is a positive number")
        if not (math.isfinite(self.linf_clip) and self.linf_clip > 0):
            raise UsageError("linf_clip is a positive number")
        if self.parties < 1:
            raise UsageError("at least one party is summed")
        if not self._fits(self.scale_bits):
            raise UsageError(
                f"the sum of {self.parties} updates of magnitude {self._magnitude:g} at {self.scale_bits} fractional "
                f"bits does not fit {RING_BITS} bits",
                hint=self._advice(),
            )

    @property
    def _magnitude(self) -> float:
        return max(self.linf_clip, 1.0)

    def _largest_sum(self, scale_bits: int) -> float:
        # + 1: rounding up adds less than one unit.
        return self.parties * (self._magnitude * math.ldexp(1.0, scale_bits) + 1)

    def _fits(self, scale_bits: int) -> bool:
        return self._largest_sum(scale_bits) < _HALF_RING

    def _advice(self) -> str:
        bits = next((bits for bits in range(self.scale_bits, 0, -1) if self._fits(bits)), None)
        if bits is None:
            return f"lower linf_clip: no number of fractional bits fits {self.parties} parties"
        largest = (_HALF_RING / self.parties - 1) / 2.0**self.scale_bits
        advice = f"lower scale_bits to {bits}"
        return advice + (f", or linf_clip below {largest:.6g}" if largest >= 1 else "")

    @property
    def error_bound(self) -> float:
        """How far a coordinate of a decoded sum can be from the sum before rounding, exclusive."""
        return self.parties / 2.0**self.scale_bits

    def quantize(self, update: Update, *, weight: float, seed: Secret) -> np.ndarray:
        """Clip, weight and round an update.

        Args:
            update: float32 ``"d"``; every number finite.
            weight: w in (0, 1].
            seed: Decides the rounding; a fresh secret for each update.

        Returns:
            uint32 ``"d+1"``, a new array: the rounded update modulo 2^32, then the rounded weight.

        Raises:
            UsageError: If a number is not finite, the weight is out of range or the array is another.
        """
        _check(update)
        if not 0 < weight <= 1:
            raise UsageError("a weight is above 0 and at most 1")
        scale = weight * 2.0**self.scale_bits
        factor, limit = scale * _l2_factor(update, self.l2_clip_norm), scale * self.linf_clip
        quantized = np.empty(update.size + 1, dtype="<u4")
        stream, exact, noise = WordStream(seed), np.empty(_BLOCK), np.empty(_BLOCK)
        for start in range(0, update.size, _BLOCK):
            block = update[start : start + _BLOCK]
            value = exact[: block.size]
            np.multiply(block, factor, out=value)
            np.clip(value, -limit, limit, out=value)
            _round_into(quantized[start : start + block.size], value, stream, noise[: block.size])
        _round_into(quantized[-1:], np.array([scale]), stream, noise[:1])
        return quantized

    def decode(self, total: np.ndarray) -> tuple[np.ndarray, float]:
        """Turn the sum of quantized vectors into the sum of weighted updates and the sum of weights.

        Args:
            total: uint32 ``"d+1"``, the sum modulo 2^32.

        Returns:
            float64 ``"d"``, and the sum of the weights.

        Raises:
            UsageError: If the array is another, or a number in it is beyond what ``parties`` vectors can sum to.
        """
        if total.dtype != np.dtype("<u4") or total.ndim != 1 or total.size < 1:
            raise UsageError("a sum is a one-dimensional uint32 array that ends with the weight")
        signed = total.view("<i4")
        bound = self._largest_sum(self.scale_bits)
        # The least integer has no positive twin in 32 bits: compare both ends instead of the magnitude.
        if not (-bound <= int(signed.min()) and int(signed.max()) <= bound):
            raise UsageError("a number of the sum is beyond what these parties can sum to: it was not a sum of updates")
        decoded = signed.astype(np.float64) / 2.0**self.scale_bits
        return decoded[:-1], float(decoded[-1])


def clip(update: Update, *, l2_clip_norm: float, linf_clip: float) -> np.ndarray:
    """Return the update scaled to at most an L2 norm, then cut to a magnitude: what `FixedPoint.quantize` rounds.

    Args:
        update: float32 ``"d"``; every number finite.
        l2_clip_norm: C.
        linf_clip: B.

    Returns:
        float64 ``"d"``, a new array.

    Raises:
        UsageError: If a number is not finite or the array is another.
    """
    _check(update)
    return np.clip(update.astype(np.float64) * _l2_factor(update, l2_clip_norm), -linf_clip, linf_clip)


def _check(update: np.ndarray) -> None:
    if update.dtype != np.dtype("<f4") or update.ndim != 1:
        raise UsageError("an update is a one-dimensional float32 array")


def _l2_factor(update: Update, l2_clip_norm: float) -> float:
    """min(1, C / norm), the norm in double precision, block by block: no copy of the vector, no overflow."""
    squares = 0.0
    for start in range(0, update.size, _BLOCK):
        block = update[start : start + _BLOCK].astype(np.float64)
        squares += float(block @ block)
    if not math.isfinite(squares):
        raise UsageError("an update holds NaN or infinity")
    return min(1.0, l2_clip_norm / math.sqrt(squares)) if squares > 0 else 1.0


def _round_into(out: np.ndarray, value: np.ndarray, stream: WordStream, noise: np.ndarray) -> None:
    """Write floor(value + u) modulo 2^32, with u uniform in [0, 1) from 32 random bits; ``value`` is overwritten."""
    stream.fill(out)
    np.multiply(out, 2.0**-RING_BITS, out=noise)
    np.add(value, noise, out=value)
    np.floor(value, out=value)
    np.copyto(out.view("<i4"), value, casting="unsafe")  # within +-2^31, as the bound on the sum says
