"""Streams are AES-256-CTR, whatever the block they are cut into, and go in and out again."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sealround.crypto import Secret, add_masks, keystream
from sealround.crypto.masks import BLOCK_BYTES
from sealround.errors import UsageError

BLOCK = BLOCK_BYTES // 4
KEYS = [Secret(bytes([number]) * 32) for number in range(1, 5)]


def test_the_stream_is_aes_256_in_counter_mode() -> None:
    """NIST SP 800-38A has no counter that starts at 0, so the single blocks say it: AES(key, 0), AES(key, 1)."""
    block = Cipher(algorithms.AES256(KEYS[0].reveal()), modes.ECB()).encryptor()  # noqa: S305  (single blocks, on purpose)
    expected = block.update(bytes(16) + bytes(15) + b"\x01")
    assert keystream(KEYS[0], 32) == expected
    assert keystream(KEYS[0], 0) == b""


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 7])
def test_every_length_is_masked_whole(size: int) -> None:
    vector = np.arange(size, dtype="<u4")
    add_masks(vector, plus=KEYS[:2], minus=KEYS[2:])
    expected = np.arange(size, dtype="<u4")
    for key, sign in zip(KEYS, (1, 1, -1, -1), strict=True):
        stream = np.frombuffer(keystream(key, 4 * size), dtype="<u4")
        expected = expected + stream if sign > 0 else expected - stream
    assert np.array_equal(vector, expected)


def test_masks_come_off_in_any_order() -> None:
    vector = np.arange(BLOCK + 5, dtype="<u4")
    add_masks(vector, plus=KEYS)
    assert not np.array_equal(vector[:100], np.arange(100))
    for key in reversed(KEYS):
        add_masks(vector, minus=[key])
    assert np.array_equal(vector, np.arange(BLOCK + 5))


def test_memory_is_a_block_whatever_the_number_of_keys() -> None:
    vector = np.zeros(20 * BLOCK, dtype="<u4")
    keys = KEYS * 10
    tracemalloc.start()
    add_masks(vector, plus=keys)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * BLOCK_BYTES


@pytest.mark.parametrize(
    "vector",
    [
        np.zeros(4, dtype="<i4"),
        np.zeros(4, dtype=">u4"),
        np.zeros((2, 2), dtype="<u4"),
        np.zeros(8, dtype="<u4")[::2],
        np.frombuffer(bytes(16), dtype="<u4"),
    ],
)
def test_other_vectors_are_refused(vector: np.ndarray) -> None:
    with pytest.raises(UsageError, match="masks are added"):
        add_masks(vector, plus=KEYS)
