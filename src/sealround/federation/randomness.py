"""Randomness by name: every random choice has a stream of its own, derived from the study's seed, and none has state.

A stream depends on what it is for and on nothing that happened before, so that a study can stop after any round, resume
elsewhere, or run its sites in any order, and draw the same numbers.
"""

from __future__ import annotations

import numpy as np

from sealround import wire

__all__ = ["stream"]


def stream(seed: int, *words: str | int) -> np.random.Generator:
    """Return the random stream called ``words`` of a study.

    Args:
        seed: The study's seed.
        words: What the numbers are for, e.g. ``"batches", job, site, round``.

    Returns:
        Philox4x64-10 (Salmon et al. 2011) keyed with 128 bits of the SHA-256 of the name.
    """
    key = np.frombuffer(wire.digest(["sealround stream v1", seed, *words])[:16], dtype="<u8")
    return np.random.Generator(np.random.Philox(key=key.astype(np.uint64)))
