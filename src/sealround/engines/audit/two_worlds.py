"""Two worlds with one sum: whether masked vectors tell which of two updates a site sent.

In one world the site that is attacked sends its update and another site its own; in the other world each sends the mean
of both. The sum is the same to the last bit, so the coordinator must not tell the worlds apart by what the first site
sends it. The round is played by the machines of the study's mode, with fresh keys for each view, on the numbers that
the study's sites submitted. The statistic is linear, along the shift that the coordinator is taken to know: each view
is projected on the difference of both worlds, and worlds are compared by the area under the ROC curve. Its p-value is
by permutation, so it holds whatever the views' distribution.

Not played here: an aggregator that hands over its seeds, and sites that hand over their keys.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from sealround.crypto import RingVector
from sealround.errors import UsageError
from sealround.federation.randomness import stream
from sealround.secagg.pairwise.local import LocalRound as PairwiseRound
from sealround.secagg.pairwise.messages import MaskedInput
from sealround.secagg.pairwise.messages import unpack as unpack_pairwise
from sealround.secagg.pairwise.rehearsal import Rehearsal as PairwiseRehearsal
from sealround.secagg.pairwise.rehearsal import rehearsed_manifest as pairwise_manifest
from sealround.secagg.replicated.local import LocalRound as ReplicatedRound
from sealround.secagg.replicated.messages import Submission
from sealround.secagg.replicated.messages import unpack as unpack_replicated
from sealround.secagg.replicated.rehearsal import AGGREGATORS
from sealround.secagg.replicated.rehearsal import Rehearsal as ReplicatedRehearsal
from sealround.secagg.replicated.rehearsal import rehearsed_manifest as replicated_manifest
from sealround.study.sections import PairwiseAggregation, ReplicatedAggregation

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.engines.audit.capture import Round
    from sealround.study import Study

    View: TypeAlias = Callable[[dict[int, RingVector], str], RingVector]

__all__ = ["FALSE_ALARM", "TwoWorlds", "distinguish", "two_worlds"]

FALSE_ALARM = 0.001
"""How often worlds are called apart that are not, over the choice of keys."""

_PERMUTATIONS = 9999
_LIMIT = 2**28


@dataclass(frozen=True, slots=True)
class TwoWorlds:
    """What came of the test.

    Attributes:
        coalition: Who looks.
        worlds: Which two.
        statistic: Area under the ROC curve of the best linear distinguisher; 0.5 is a guess.
        p_value: By permutation, two-sided.
        false_alarm: How often the verdict is wrong where there is nothing to see.
        views: How many rounds were played in each world.
        verdict: What follows.
    """

    coalition: str
    worlds: str
    statistic: float
    p_value: float
    false_alarm: float
    views: int
    verdict: Literal["told apart", "not told apart"]

    def to_tree(self) -> dict[str, Any]:
        """Return it fit for JSON."""
        return {
            "coalition": self.coalition,
            "worlds": self.worlds,
            "statistic": f"area under the curve of a linear distinguisher: {self.statistic:.2f} (0.5 is a coin)",
            "p_value": self.p_value,
            "false_alarm": self.false_alarm,
            "views": self.views,
            "verdict": self.verdict,
        }


def two_worlds(study: Study, found: Round, *, views: int = 40, seed: int = 1) -> TwoWorlds:
    """Play the test with what two sites of a captured round sent.

    Args:
        study: With sealed sums.
        found: A captured round of it.
        views: Rounds played in each world.
        seed: Of keys and permutations: the same seed gives the same verdict.

    Raises:
        UsageError: If the round is of an open study, or of fewer sites than two.
    """
    options = study.protection.secure_aggregation
    if found.opened is None or len(found.addends) < 2:  # noqa: PLR2004  (one attacked, one that makes up for it)
        raise UsageError("two worlds with one sum take a sealed round of two sites at the least")
    bits = found.scale_bits or 0
    first, second, *rest = (np.rint(found.addends[site].coordinates * 2.0**bits) for site in found.participants)
    mean = np.floor((first + second) / 2.0)
    worlds = ({0: first, 1: second}, {0: mean, 1: first + second - mean})
    if isinstance(options, ReplicatedAggregation):
        view, ring = _replicated_view(first.size, 2 + len(rest)), 64
    elif isinstance(options, PairwiseAggregation):
        view, ring = _pairwise_view(first.size, 2 + len(rest)), 32
    else:
        raise UsageError("the study's sums are not sealed")
    seen = []
    for number, world in enumerate(worlds):
        vectors = {place: _ring(values, ring) for place, values in {**world, **dict(enumerate(rest, 2))}.items()}
        words = [f"world {number} view {index} seed {seed}" for index in range(views)]
        seen.append(np.stack([_signed(view(vectors, word)) for word in words]))
    auc, p_value = distinguish(seen[0], seen[1], first - mean, stream(seed, "two worlds"))
    return TwoWorlds(
        coalition="the coordinator",
        worlds="one site's update and another's, or the mean of both from each: the sum is the same",
        statistic=auc,
        p_value=p_value,
        false_alarm=FALSE_ALARM,
        views=views,
        verdict="told apart" if p_value <= FALSE_ALARM else "not told apart",
    )


def distinguish(
    left: np.ndarray, right: np.ndarray, difference: np.ndarray, draw: np.random.Generator
) -> tuple[float, float]:
    """Return how well the projection on a known difference tells two worlds apart, and its p-value.

    Args:
        left: Views of one world, ``(m, d)``.
        right: Views of the other, ``(n, d)``.
        difference: What the vectors of both worlds differ by, ``(d,)``: the coalition's hypothesis.
        draw: Permutes.

    Returns:
        Area under the ROC curve, 0.5 for a guess; and the share of permutations with one as far from 0.5.
    """
    direction = difference / max(float(np.linalg.norm(difference)), np.finfo(np.float64).tiny)
    scores = np.concatenate([left, right]) @ direction
    # Mid-ranks, so that ties count half.
    order = np.sort(scores)
    ranks = (np.searchsorted(order, scores, "left") + np.searchsorted(order, scores, "right") + 1) / 2.0
    size, all_of_them = len(left), len(scores)

    def area(of_left: np.ndarray) -> np.ndarray:
        return np.asarray((of_left - size * (size + 1) / 2.0) / (size * (all_of_them - size)))

    found = float(area(ranks[:size].sum()))
    drawn = draw.permuted(np.tile(ranks, (_PERMUTATIONS, 1)), axis=1)[:, :size].sum(axis=1)
    as_far = int((np.abs(area(drawn) - 0.5) >= abs(found - 0.5) - 1e-12).sum())
    return found, (1 + as_far) / (1 + _PERMUTATIONS)


def _ring(values: np.ndarray, bits: int) -> RingVector:
    coordinates = values.astype(np.int64).astype(f"<i{bits // 8}").view(f"<u{bits // 8}")
    return RingVector(coordinates, np.zeros((0, 2), dtype="<u8"))


def _signed(vector: RingVector) -> np.ndarray:
    """Return coordinates as numbers in [-1, 1)."""
    coordinates = vector.coordinates
    bits = 8 * coordinates.itemsize
    return coordinates.view(f"<i{coordinates.itemsize}").astype(np.float64) / 2.0 ** (bits - 1)


def _pairwise_view(size: int, sites: int) -> View:
    """Return how a coordinator sees the first site's vector in the pairwise mode."""
    manifest = pairwise_manifest(sites, coordinates=size, numbers=0)

    def view(vectors: dict[int, RingVector], word: str) -> RingVector:
        parties = PairwiseRehearsal(manifest)
        names = list(parties.identities)
        machines = {name: parties.machine(name, word) for name in names}
        registry = parties.identities[names[0]].registry
        played = PairwiseRound(manifest, registry, machines, {names[at]: each for at, each in vectors.items()})
        while True:
            played.step()
            message = unpack_pairwise(played.sent[names[0]], sender=names[0], limit=_LIMIT)[1]
            if isinstance(message, MaskedInput):
                return RingVector(message.coordinates, message.numbers)

    return view


def _replicated_view(size: int, sites: int) -> View:
    """Return how a coordinator sees the first site's vector in the replicated mode."""
    manifest = replicated_manifest(sites, coordinates=size, numbers=0)

    def view(vectors: dict[int, RingVector], word: str) -> RingVector:
        parties = ReplicatedRehearsal(manifest)
        names = list(manifest.sites)
        played = ReplicatedRound(
            manifest,
            parties.identities[names[0]].registry,
            {name: parties.site(name, word) for name in names},
            {name: parties.aggregator(name, word) for name in AGGREGATORS},
            {names[at]: each for at, each in vectors.items()},
        )
        while True:
            party = min(played.inbox, key=lambda name: (name not in AGGREGATORS, name))
            reply = played.answer(party)
            message = unpack_replicated(reply, sender=party, limit=_LIMIT)[1]
            if party == names[0] and isinstance(message, Submission):
                return message.vector.ring
            del played.inbox[party]
            played.inbox |= played.server.receive(party, reply)

    return view
