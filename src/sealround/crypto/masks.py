"""Mask streams: AES-256 in counter mode, added to a vector of the ring Z_2^32.

A key gives one stream, for one vector: the counter starts at 0, and word t of the stream is bytes 4t .. 4t+3, little
endian. The vector is walked once in blocks that stay in the processor's cache; in each block every key's stream is
written into one scratch buffer and added in place. Memory beyond the vector is one block, whatever the number of keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cryptography.hazmat.primitives.ciphers import CipherContext

    from sealround.crypto.secret import Secret

__all__ = ["BLOCK_BYTES", "WordStream", "add_masks", "keystream"]

BLOCK_BYTES = 256 * 1024
"""One block of the vector: it, its scratch buffer and the zeros fit the second-level cache."""

_MAX_WORDS = 2**36
"""Far below the 2^128 blocks of a counter; a bound on what a caller can ask for by mistake."""


def keystream(key: Secret, length: int) -> bytes:
    """Return the first bytes of a key's stream.

    Args:
        key: Used for this alone.
        length: How many bytes.
    """
    return _stream(key).update(bytes(length))


def add_masks(vector: np.ndarray, *, plus: Iterable[Secret] = (), minus: Iterable[Secret] = ()) -> None:
    """Add and subtract mask streams, in place, modulo 2^32.

    Guarantee: adding and subtracting the same keys, in any order and split over any calls, restores the vector.

    Args:
        vector: uint32, one axis, contiguous, writable, little endian.
        plus: Keys whose streams are added.
        minus: Keys whose streams are subtracted.

    Raises:
        UsageError: If the vector is anything else.
    """
    if vector.dtype != np.dtype("<u4") or vector.ndim != 1 or not vector.flags.c_contiguous:
        raise UsageError("masks are added to a contiguous one-dimensional uint32 vector")
    if not vector.flags.writeable or vector.size > _MAX_WORDS:
        raise UsageError("masks are added in place, to a writable vector of 2^36 elements at most")
    streams: list[tuple[np.ufunc, CipherContext]] = [(np.add, _stream(key)) for key in plus]
    streams += [(np.subtract, _stream(key)) for key in minus]
    words = min(BLOCK_BYTES // 4, vector.size)
    zeros, scratch = bytes(4 * words), np.empty(words, dtype="<u4")
    into = scratch.data.cast("B")
    for start in range(0, vector.size, words or 1):
        block = vector[start : start + words]
        mask = scratch[: block.size]
        source, sink = zeros if block.size == words else bytes(block.nbytes), into[: block.nbytes]
        for combine, stream in streams:
            stream.update_into(source, sink)
            combine(block, mask, out=block)


class WordStream:
    """A key's stream, taken a piece at a time: the randomness of one vector that is walked in blocks.

    Args:
        key: Used for this alone.
    """

    __slots__ = ("_stream",)

    def __init__(self, key: Secret) -> None:
        self._stream = _stream(key)

    def fill(self, words: np.ndarray) -> None:
        """Overwrite a contiguous little-endian uint32 array with the next words of the stream."""
        words[:] = 0
        self._stream.update_into(words.data.cast("B"), words.data.cast("B"))


def _stream(key: Secret) -> CipherContext:
    return Cipher(algorithms.AES256(key.reveal()), modes.CTR(bytes(16))).encryptor()
