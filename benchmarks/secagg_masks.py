"""What a mask costs: nanoseconds of processor time for each parameter and mask.

    python benchmarks/secagg_masks.py [--parameters 1000000]

Beside the bar of 0.75 ns stand the two floors it is made of, measured in the same run: AES-256-CTR into a buffer in the
cache, and an addition in the cache.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from sealround.crypto import Secret, add_masks
from sealround.crypto.masks import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable

REPEATS = 15
BAR_NS = 0.75


def seconds(work: Callable[[], object]) -> float:
    """Median processor seconds."""
    work()
    taken = []
    for _ in range(REPEATS):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parameters", type=int, default=1_000_000)
    d = parser.parse_args().parameters
    vector = np.zeros(d, dtype="<u4")
    for masks in (1, 10, 100):
        keys = [Secret(bytes([number]) * 32) for number in range(masks)]
        ns = seconds(lambda keys=keys: add_masks(vector, plus=keys)) / d / masks * 1e9
        print(f"{masks:4d} masks, {d} parameters: {ns:.3f} ns/parameter/mask (bar {BAR_NS})")

    words = BLOCK_BYTES // 4
    zeros, scratch, block = bytes(BLOCK_BYTES), np.empty(words, dtype="<u4"), np.zeros(words, dtype="<u4")
    stream = Cipher(algorithms.AES256(bytes(32)), modes.CTR(bytes(16))).encryptor()
    rounds = max(1, d // words)
    encrypt = seconds(lambda: [stream.update_into(zeros, memoryview(scratch).cast("B")) for _ in range(rounds)])
    add = seconds(lambda: [np.add(block, scratch, out=block) for _ in range(rounds)])
    print(f"floors: AES-256-CTR {encrypt / rounds / words * 1e9:.3f}, addition {add / rounds / words * 1e9:.3f} ns")


if __name__ == "__main__":
    main()
