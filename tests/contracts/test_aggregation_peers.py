"""Rules against byzfl's and flwr's, where they are the same.

Each peer has an environment of its own (`benchmarks/aggregation_rules.py` says how to make them). Their interpreters
are given in ``SEALROUND_BYZFL`` and ``SEALROUND_FLWR``; without one its tests are skipped. What our rules must come to
without anybody else is in ``tests/unit/aggregation``.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.aggregation import Settings, aggregate

if TYPE_CHECKING:
    from collections.abc import Iterator

PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"
PROBES = 64
CASES = [(7, 1, 64), (12, 2, 5000), (25, 5, 64), (50, 10, 3000)]
"""n, f, d: below and above a block, sorting networks and sorts."""

RULES: dict[str, dict[str, Any]] = {
    "multi-krum": {"rule": "multi-krum"},
    "median": {"rule": "median"},
    "trimmed-mean": {"rule": "trimmed-mean"},
    "meamed": {"rule": "meamed"},
    "centered-clipping": {"rule": "centered-clipping", "iterations": 5},
    "NNM, trimmed-mean": {"rule": "trimmed-mean", "mixing": True},
    "bulyan": {"rule": "bulyan"},
}
"""byzfl's geometric median stops after three steps, and flwr has none: nothing to compare ours with."""


class Peer:
    def __init__(self, interpreter: str, script: str) -> None:
        environment = os.environ | {"FLWR_TELEMETRY_ENABLED": "0", "OMP_NUM_THREADS": "1"}
        self.child = subprocess.Popen(
            [interpreter, str(PEERS / script)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment,
        )  # fmt: skip
        assert self.answer(), "a peer says its version first"

    def answer(self) -> dict[str, Any]:
        assert self.child.stdout is not None
        found: dict[str, Any] = json.loads(self.child.stdout.readline())
        return found

    def ask(self, rule: str, n: int, f: int, d: int) -> np.ndarray | None:
        """Return the peer's result at some parameters; ``None`` if it has no such rule, or not for such numbers."""
        assert self.child.stdin is not None
        request = {"rule": rule, "sites": n, "parameters": d, "num_byzantine": f, "repeats": 1, "budget": 1}
        self.child.stdin.write(json.dumps(request) + "\n")
        self.child.stdin.flush()
        found = self.answer()
        return np.array(found["probes"]) if found else None


def peer(variable: str, script: str) -> Iterator[Peer]:
    interpreter = os.environ.get(variable)
    if not interpreter:
        pytest.skip(f"no {variable}: the interpreter of an environment that has the peer")
    found = Peer(interpreter, script)
    yield found
    found.child.communicate()


@pytest.fixture(scope="module")
def byzfl() -> Iterator[Peer]:
    yield from peer("SEALROUND_BYZFL", "byzfl_rules.py")


@pytest.fixture(scope="module")
def flwr() -> Iterator[Peer]:
    yield from peer("SEALROUND_FLWR", "flower_rules.py")


def agrees(other: Peer, rule: str, n: int, f: int, d: int) -> None:
    """Compare results on the updates that peers make for themselves: normal, f of them three deviations away."""
    theirs = other.ask(rule, n, f, d)
    assert theirs is not None
    x = np.random.default_rng(n).standard_normal((n, d), dtype=np.float32)
    x[:f] += 3
    bound = {"clip_norm": float(d) ** 0.5} if rule == "centered-clipping" else {}
    ours = aggregate(Settings(num_byzantine=f, **RULES[rule], **bound), x).update
    places = np.linspace(0, d - 1, PROBES).astype(np.int64)
    np.testing.assert_allclose(ours[places], theirs, atol=2e-6)


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule != "bulyan"])
@pytest.mark.parametrize(("n", "f", "d"), CASES)
def test_as_byzfl(byzfl: Peer, rule: str, n: int, f: int, d: int) -> None:
    agrees(byzfl, rule, n, f, d)


@pytest.mark.parametrize("rule", ["multi-krum", "median", "trimmed-mean"])
@pytest.mark.parametrize(("n", "f", "d"), CASES)
def test_as_flwr(flwr: Peer, rule: str, n: int, f: int, d: int) -> None:
    agrees(flwr, rule, n, f, d)


@pytest.mark.parametrize(("n", "f", "d"), [(12, 2, 5000), (25, 5, 64), (50, 11, 3000)])
def test_as_flwr_in_bulyan(flwr: Peer, n: int, f: int, d: int) -> None:
    """With f = 1 the last scores are equal in pairs, and flwr takes the first: nothing to compare."""
    agrees(flwr, "bulyan", n, f, d)
