"""Networks order every input, as far as they are asked to: by the 0-1 principle, on all inputs of zeros and ones.

What minima and maxima make of an input, they make of its values cut at any threshold, which are zeros and ones. So a
network whose rank r is right on all of those is right on everything; and if only the sum over some ranks is, then the
values at these ranks are the right ones in some order (Knuth, The Art of Computer Programming 3, 5.3.4, Theorem Z).
"""

from __future__ import annotations

import numpy as np
import pytest

from sealround.aggregation.ordering import Network, Ranks, Sorting, network


def all_apart(m: int) -> Ranks:
    return tuple(range(rank, rank + 1) for rank in range(m))


def wanted(m: int) -> dict[str, Ranks]:
    """As rules ask: everything, the median, the middle without a fifth at either end, those ends apart."""
    f = m // 5
    apart = tuple(range(rank, rank + 1) for rank in (*range(f), *range(m - f, m)))
    return {
        "all": all_apart(m),
        "median": (range((m - 1) // 2, m // 2 + 1),),
        "inner": (range(f, m - f),),
        "near": (range(f, m - f), *apart),
        "none": (),
    }


def ordered(x: np.ndarray, ranks: Ranks) -> np.ndarray:
    found = Network(len(x), x.shape[1], ranks)
    found.buffer(x.shape[1])[:] = x
    return found.order(x.shape[1])


@pytest.mark.parametrize("m", range(1, 15))
def test_all_inputs_of_zeros_and_ones_are_ordered(m: int) -> None:
    inputs = (np.arange(2**m) >> np.arange(m)[:, None] & 1).astype(np.float32)
    expected = np.sort(inputs, axis=0)
    for name, ranks in wanted(m).items():
        found = ordered(inputs, ranks)
        for alike in ranks:
            part = slice(alike.start, alike.stop)
            np.testing.assert_array_equal(found[part].sum(axis=0), expected[part].sum(axis=0), err_msg=f"{name} {m}")


@pytest.mark.parametrize("m", range(15, 41))
def test_more_rows_are_ordered(m: int) -> None:
    random = np.random.default_rng(m)
    numbers = random.normal(size=(m, 4000)).astype(np.float32)
    bits = (random.random((m, 4000)) < random.random(4000)).astype(np.float32)
    x = np.hstack([numbers, bits])
    expected = np.sort(x, axis=0)
    for ranks in wanted(m).values():
        found = ordered(x, ranks)
        for alike in ranks:
            part = slice(alike.start, alike.stop)
            np.testing.assert_array_equal(np.sort(found[part], axis=0), expected[part])


@pytest.mark.parametrize("m", [7, 20, 40])
def test_what_nobody_asks_for_is_not_done(m: int) -> None:
    every, some = (len(network(m, ranks)) for ranks in (all_apart(m), wanted(m)["median"]))
    assert network(m, ()) == network(m, (range(m),)) == ()
    assert len(network(m, wanted(m)["inner"])) < every
    assert some < 0.85 * every


def test_networks_and_sorts_come_to_the_same() -> None:
    m = 9
    x = np.random.default_rng(0).normal(size=(m, 70)).astype(np.float32)
    for orderer in (Network(m, 50, all_apart(m)), Sorting(m, 50)):
        for part in (x[:, :50], x[:, 50:]):
            orderer.buffer(part.shape[1])[:] = part
            np.testing.assert_array_equal(orderer.order(part.shape[1]), np.sort(part, axis=0))
