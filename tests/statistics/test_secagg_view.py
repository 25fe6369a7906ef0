"""The server's whole view of masked vectors: uniform each, and the same in two worlds with the same sum.

False-alarm rate 1e-6 for each test; seeded, so they pass or fail for good.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sealround.crypto import add_masks
from sealround.secagg.pairwise import PairwiseSite, site
from sealround.secagg.pairwise.messages import MaskedInput, unpack
from sealround.secagg.pairwise.rehearsal import Rehearsal, rehearsed_manifest

FALSE_ALARM = 1e-6
LENGTH = 30_000


def view(values: list[int]) -> list[np.ndarray]:
    """The masked vectors of three sites whose vectors are constants."""
    rehearsal = Rehearsal(rehearsed_manifest(3, length=LENGTH))
    for vector, value in zip(rehearsal.round._vectors.values(), values, strict=True):
        vector[:] = value
    for _ in range(3):
        rehearsal.round.step()
    found = []
    for sender, payload in rehearsal.round.sent.items():
        message = unpack(payload, sender=sender, limit=2**24)[1]
        assert isinstance(message, MaskedInput)
        found.append(message.vector)
    return found


def p_value(words: np.ndarray) -> float:
    return float(stats.chisquare(np.bincount(words.view("u1"), minlength=256)).pvalue)


def test_each_masked_vector_is_uniform_and_so_is_any_partial_sum() -> None:
    first, second, third = view([0, 0, 0])
    samples = [first, second, third, first + second, first + third, second + third]
    assert min(map(p_value, samples)) > FALSE_ALARM / len(samples)


@pytest.mark.parametrize("values", [[1, 2, 3], [2**31, 5, 2**31 + 1]])
def test_two_worlds_with_one_sum_look_the_same(values: list[int]) -> None:
    """Kolmogorov-Smirnov between the views of two worlds whose vectors differ and whose sums do not."""
    worlds = view(values), view([sum(values) % 2**32, 0, 0])
    for left, right in zip(*worlds, strict=True):
        assert stats.ks_2samp(left, right).pvalue > FALSE_ALARM / 3


def test_it_bites_without_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site, "add_masks", lambda vector, **_: add_masks(vector))
    assert p_value(view([0, 0, 0])[0]) < FALSE_ALARM


def test_it_bites_without_pair_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With self masks alone each vector is uniform still, but they fall when the server recovers the self seeds."""
    submit = PairwiseSite.submit

    def without_pairs(machine: PairwiseSite, vector: np.ndarray) -> bytes:
        machine._running.plus, machine._running.minus = [], []
        return submit(machine, vector)

    monkeypatch.setattr(PairwiseSite, "submit", without_pairs)
    rehearsal = Rehearsal(rehearsed_manifest(3, length=LENGTH))
    for _ in range(3):
        rehearsal.round.step()
    from sealround.secagg.pairwise.keys import self_mask_key

    H, victim = rehearsal.manifest.hash, next(iter(rehearsal.vectors))
    masked = rehearsal.round._vectors[victim].copy()
    running = rehearsal.round.sites[victim]._running
    add_masks(masked, minus=[self_mask_key(running.secrets.self_seed, H, victim)])
    assert np.array_equal(masked, rehearsal.vectors[victim])
