"""What every party of one round agrees on before it says anything secret, and the hash that binds all it says to it.

H is the SHA-256 of the manifest's canonical encoding, under a label. It goes into every derived key, every sealed box
and every signature of the round: parties with different manifests derive different masks, open none of each other's
boxes and verify none of each other's signatures. So a coordinator that hands out two models, two rosters or two rounds
gets no sum at all.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final, get_type_hints

from sealround import wire
from sealround.errors import MalformedMessageError, UsageError
from sealround.secagg.fixed_point import FixedPoint
from sealround.vocabulary import PartyId, RoundId

if TYPE_CHECKING:
    from sealround.wire import Value

__all__ = ["MAX_MANIFEST_BYTES", "MAX_ROSTER", "PROTOCOL", "RoundManifest", "quorum"]

PROTOCOL: Final = "sealround-pairwise-v1"
"""Names protocol and version: a change of either is another protocol."""

MAX_ROSTER = 1000
"""More sites than any federation of hospitals has; bounds what a message can ask for."""

MAX_MANIFEST_BYTES = 2**20
"""Length above which an encoded manifest is refused unread."""

_HASH_BYTES = 32
_MAX_TEXT = 256


def quorum(parties: int) -> int:
    """Return the smallest threshold of which two always share an honest party: floor(2n/3) + 1.

    Two sets of that size overlap in more than n/3 parties, so while fewer than a third are malicious an honest one is
    in both, and it signs one survivor set only (Bonawitz et al., CCS 2017, section 6.2).
    """
    return 2 * parties // 3 + 1


@dataclass(frozen=True)
class RoundManifest:
    """One round of secure aggregation in the pairwise mode.

    Attributes:
        federation: Which federation.
        session: Which training of it (32 bytes).
        round: Which round of that, from 1.
        model_hash: SHA-256 of the exact bytes of the global model that is trained (32 bytes).
        plan_hash: Digest of the study (32 bytes).
        roster: Every site with the fingerprint of its identity key (32 bytes), by ascending id.
        length: Elements of the summed vector, the weight included.
        n_min: Fewest sites whose sum is opened.
        threshold: T, how many sites must be there in each phase and sign the survivor set.
        share_threshold: t, how many shares give a secret back; T in the complete graph.
        degree: k, how many neighbours a site shares masks with; one less than the roster for the complete graph.
        graph_seed: Places the sites on the k-regular graph (32 bytes).
        scale_bits: f of the fixed-point encoding.
        l2_clip_norm: C, L2 norm an update is clipped to.
        linf_clip: B, magnitude a coordinate is clipped to.
        weight_cap: N_max: a site of n records weighs min(n, N_max) / N_max.
        deadline_s: Seconds a phase lasts; told, not enforced here.

    Raises:
        UsageError: If numbers are out of range or do not fit each other.
    """

    federation: str
    session: bytes
    round: RoundId
    model_hash: bytes
    plan_hash: bytes
    roster: tuple[tuple[PartyId, bytes], ...]
    length: int
    n_min: int
    threshold: int
    share_threshold: int
    degree: int
    graph_seed: bytes
    scale_bits: int
    l2_clip_norm: float
    linf_clip: float
    weight_cap: int
    deadline_s: int

    def __post_init__(self) -> None:
        """Check each number and how they fit."""
        sites, n = self.sites, len(self.roster)
        hashes = (
            self.session,
            self.model_hash,
            self.plan_hash,
            self.graph_seed,
            *(print_ for _, print_ in self.roster),
        )
        parity = (
            "" if self.degree == n - 1 or self.degree % 2 == 0 else "an even degree, or the complete graph, is needed"
        )
        rules = {
            "a hash is 32 bytes": all(len(data) == _HASH_BYTES for data in hashes),
            f"a name is 1 to {_MAX_TEXT} characters": all(
                0 < len(name) <= _MAX_TEXT for name in (self.federation, *sites)
            ),
            f"a roster has 2 to {MAX_ROSTER} sites": 2 <= n <= MAX_ROSTER,  # noqa: PLR2004  (a sum of one is no sum)
            "a roster ascends by site, each once": list(sites) == sorted(set(sites)),
            "a key has one owner": len({print_ for _, print_ in self.roster}) == n,
            "a round is counted from 1": self.round >= 1,
            "length is 1 to 2^36": 1 <= self.length <= 2**36,
            "n_min is 2 to the roster's size": 2 <= self.n_min <= n,  # noqa: PLR2004
            "the threshold is above two thirds of the roster": quorum(n) <= self.threshold <= n,
            "the degree is 2 to the roster's size less one": min(2, n - 1) <= self.degree < n,
            parity: not parity,
            "share_threshold is above half of a neighbourhood": self.degree + 1 < 2 * self.share_threshold,
            "share_threshold fits a neighbourhood": self.share_threshold <= self.degree + 1,
            "in the complete graph share_threshold is the threshold": self.degree < n - 1
            or self.share_threshold == self.threshold,
            "weight_cap and deadline_s are positive": self.weight_cap >= 1 and self.deadline_s >= 1,
        }
        broken = [rule for rule, holds in rules.items() if not holds]
        if broken:
            raise UsageError(f"not a round of secure aggregation: {broken[0]}")
        _ = self.fixed_point

    @property
    def sites(self) -> tuple[PartyId, ...]:
        """The roster's sites, ascending."""
        return tuple(site for site, _ in self.roster)

    @cached_property
    def fixed_point(self) -> FixedPoint:
        """The encoding of updates, checked against overflow for the whole roster."""
        return FixedPoint(self.scale_bits, self.l2_clip_norm, self.linf_clip, parties=len(self.roster))

    @cached_property
    def hash(self) -> bytes:
        """H (32 bytes)."""
        return hashlib.sha256(b"sealround manifest v1" + self.encoded).digest()

    @cached_property
    def encoded(self) -> bytes:
        """The canonical encoding."""
        fields: dict[str, Value] = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        return wire.encode({"protocol": PROTOCOL, **fields})

    @classmethod
    def decode(cls, data: bytes, *, sender: str) -> RoundManifest:
        """Read an encoded manifest.

        Args:
            data: What `encoded` returned.
            sender: Who to name when it is none.

        Raises:
            MalformedMessageError: If it is not the canonical encoding of a valid manifest of this protocol.
        """
        fields = wire.decode(data, sender=sender, max_bytes=MAX_MANIFEST_BYTES)
        if not isinstance(fields, dict) or fields.pop("protocol", None) != PROTOCOL or set(fields) != set(_TYPES):
            raise MalformedMessageError(f"sent a manifest that is not one of {PROTOCOL}", party=sender)
        if not all(type(value) is _TYPES[name] for name, value in fields.items()) or not _is_roster(fields["roster"]):
            raise MalformedMessageError("sent a manifest with a field of another type", party=sender)
        try:
            return cls(**fields)  # type: ignore[arg-type]  # each type was checked
        except UsageError as error:
            raise MalformedMessageError(f"sent a manifest that is {error.message}", party=sender) from None


def _is_roster(value: Value) -> bool:
    return isinstance(value, tuple) and all(
        isinstance(pair, tuple) and [type(part) for part in pair] == [str, bytes] for pair in value
    )


def _wire_types() -> dict[str, type]:
    hints = get_type_hints(RoundManifest)
    plain = {PartyId: str, RoundId: int}
    return {
        entry.name: tuple if entry.name == "roster" else plain.get(hints[entry.name], hints[entry.name])
        for entry in dataclasses.fields(RoundManifest)
    }


_TYPES = _wire_types()
