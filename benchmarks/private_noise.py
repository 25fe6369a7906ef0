"""What noise inside a sum costs, and whether epsilon is what others compute.

    python benchmarks/private_noise.py [--opacus PYTHON]

First: nanoseconds a parameter, one core, the least of some calls: drawing integers of several widths, and everything
that a site does to a sum of gradients (scale, round, cut, draw, add). Beside them numpy's Gaussians, which are neither
integers nor from a cipher, and AES alone.

Second: epsilon of some plans by our accountant, by dp-accounting called by hand, and (in an environment that has it:
`python -m venv opacus && opacus/bin/pip install torch==2.13.0 opacus==1.6.0 --no-deps`, and what it asks for) by
Opacus's PRV accountant.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import time
from typing import TYPE_CHECKING

import numpy as np

from sealround.crypto import Secret
from sealround.crypto.discrete_gaussian import DiscreteGaussian
from sealround.crypto.masks import WordStream
from sealround.privacy import PrivacyEvent, epsilon_of

if TYPE_CHECKING:
    from collections.abc import Callable

NUMBER = 1_000_000
WIDTHS = (30.0, 128.0, 1000.0, 3000.0, 8000.0, 16000.0)
PLANS = ((0.01, 1.0, 1000), (0.02, 0.8, 500), (0.1, 1.7, 100), (0.25, 3.0, 60), (0.001, 0.6, 10_000), (1.0, 5.0, 20))
DELTA = 1e-5
PEER = """
import json, sys, warnings
warnings.filterwarnings("ignore")
from opacus.accountants import PRVAccountant, RDPAccountant
found = []
for q, sigma, steps in json.loads(sys.argv[1]):
    row = []
    for kind in (PRVAccountant, RDPAccountant):
        accountant = kind()
        accountant.history = [(sigma, q, steps)]
        row.append(float(accountant.get_epsilon(delta=float(sys.argv[2]))))
    found.append(row)
print(json.dumps(found))
"""


def least(work: Callable[[], object], repeats: int = 7) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) / NUMBER * 1e9


def noised(total: np.ndarray, drawn: DiscreteGaussian, key: Secret) -> np.ndarray:
    units = total.astype(np.float64)
    units *= 12345.6
    np.rint(units, out=units)
    np.clip(units, -1.6e7, 1.6e7, out=units)
    units += drawn.draw(units.size, key)
    return units


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--opacus", help="interpreter of an environment that has opacus")
    options = parser.parse_args()
    key = Secret(b"k" * 32)
    total = np.random.default_rng(1).normal(0, 3, NUMBER).astype(np.float32)
    words = np.empty(NUMBER, dtype="<u8")
    print(f"nanoseconds a parameter, {NUMBER} of them, one core")
    print(f"  AES-256-CTR, 8 bytes        {least(lambda: WordStream(key).fill(words)):6.2f}")
    print(f"  numpy standard_normal       {least(lambda: np.random.default_rng(1).standard_normal(NUMBER)):6.2f}")
    for width in WIDTHS:
        drawn = DiscreteGaussian(width)
        drawn.draw(10, key)
        alone, whole = least(lambda: drawn.draw(NUMBER, key)), least(lambda: noised(total, drawn, key))  # noqa: B023
        print(
            f"  width {width:<8g} {len(drawn.widths)} terms     {alone:6.2f}   with scaling and rounding {whole:6.2f}"
        )

    import dp_accounting
    from dp_accounting import pld

    peers = [[float("nan")] * 2] * len(PLANS)
    if options.opacus:
        command = [options.opacus, "-c", PEER, json.dumps(PLANS), str(DELTA)]
        peers = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
    print(f"\nepsilon at delta {DELTA:g}; behind others their ratio to ours")
    heads = (("q", 8), ("noise", 8), ("steps", 8), ("ours", 10), ("dp-accounting", 22), ("Opacus PRV", 20))
    print("".join(f"{name:>{wide}}" for name, wide in (*heads, ("ours, RDP", 11), ("Opacus RDP", 11))))
    for (q, sigma, steps), (prv, rdp) in zip(PLANS, peers, strict=True):
        ours = epsilon_of((PrivacyEvent("training", sigma, q, steps),), DELTA, "add-or-remove-one")
        own_rdp = epsilon_of((PrivacyEvent("training", sigma, q, steps),), DELTA, "add-or-remove-one", "rdp")
        by_hand = pld.PLDAccountant(dp_accounting.NeighboringRelation.ADD_OR_REMOVE_ONE)
        event: dp_accounting.DpEvent = dp_accounting.GaussianDpEvent(sigma)
        by_hand.compose(event if q >= 1.0 else dp_accounting.PoissonSampledDpEvent(q, event), steps)
        theirs = by_hand.get_epsilon(DELTA)
        print(
            f"{q:8g}{sigma:8g}{steps:8d}{ours:10.4f}{theirs:13.4f} ({theirs / ours:.4f}){prv:11.4f} ({prv / ours:.4f})"
            f"{own_rdp:11.4f}{rdp:11.4f}"
        )


if __name__ == "__main__":
    main()
