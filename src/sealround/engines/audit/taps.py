"""Taps on a training: what passes between the parties of `sealround run`, written down as it passes.

Nothing of the path is replaced. Keys, machines and noise are those of a simulation (`sealround.engines.parties`,
`sealround.engines.noise`) with a tape beside them, and the tape reads the same bytes that the coordinator reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from sealround.engines.noise import SimulatedNoise
from sealround.engines.parties import SimulatedParties
from sealround.engines.pools import Inline
from sealround.federation.messages import AskCounts, Joined, SealedOrder, Sums, Train, Trained, unpack
from sealround.federation.sealing import Sealing, SiteSealing
from sealround.vocabulary import COORDINATOR

if TYPE_CHECKING:
    import numpy as np

    from sealround.crypto import RingVector
    from sealround.engines.host import Answer, Request
    from sealround.engines.pools import Setup
    from sealround.federation.interfaces import InputShape
    from sealround.federation.messages import Envelope
    from sealround.federation.private import Allowance, ClippedUnits, ClippingWork, PrivateWork
    from sealround.federation.statistics import Statistics
    from sealround.secagg import Expected, RoundManifest, SumServer, SumSite
    from sealround.vocabulary import PartyId, Tally, Update

__all__ = ["Tape", "TappedNoise", "TappedParties", "TappedPool"]

_KEPT = 2
"""Sums and rounds that are remembered: the one that was concluded, and the one that follows."""


@dataclass(slots=True, eq=False)
class Tape:
    """What passed lately.

    Attributes:
        inputs: What one example looks like.
        counts: Where it was sent in clear, each site's counts vector.
        orders: The order of each of the last rounds, with the step of the protocol it is.
        sent: What each site sent in clear in each of them.
        servers: The coordinator's machine of each of the last sealed sums, by the round of its manifest.
        vectors: What each site submitted to them, before it was hidden.
        drawn: In a private study, which units each site drew in the running round, a step after the other.
        first_round: Sealed sums are numbered from here.
    """

    inputs: InputShape | None = None
    counts: dict[PartyId, Tally] = field(default_factory=dict)
    orders: dict[int, tuple[int, Train]] = field(default_factory=dict)
    sent: dict[int, dict[PartyId, Trained]] = field(default_factory=dict)
    servers: dict[int, SumServer] = field(default_factory=dict)
    vectors: dict[int, dict[PartyId, RingVector]] = field(default_factory=dict)
    drawn: dict[PartyId, list[np.ndarray]] = field(default_factory=dict)
    first_round: int = 0
    _asked: dict[PartyId, Envelope] = field(default_factory=dict)

    def asked(self, party: PartyId, payload: bytes) -> None:
        """Write down what a site is asked."""
        envelope = unpack(payload, sender=COORDINATOR)
        if isinstance(envelope.message, SealedOrder):
            envelope = unpack(envelope.message.order, sender=COORDINATOR) if envelope.message.order else envelope
        self._asked[party] = envelope
        message = envelope.message
        if isinstance(message, Train) and message.round not in self.orders:
            self.drawn = {}
            self.orders[message.round] = (envelope.step, message)
            _forget(self.orders)

    def answered(self, party: PartyId, payload: bytes) -> None:
        """Write down what a site answers."""
        message, asked = unpack(payload, sender=party).message, self._asked[party].message
        if isinstance(message, Joined):
            self.inputs = message.inputs
        elif isinstance(message, Sums) and isinstance(asked, AskCounts):
            self.counts[party] = message.values
        elif isinstance(message, Trained) and isinstance(asked, Train):
            self.sent.setdefault(asked.round, {})[party] = message
            _forget(self.sent)

    def opens(self, manifest: RoundManifest, server: SumServer) -> None:
        """Write down that a sealed sum begins."""
        self.servers[manifest.round] = server
        _forget(self.servers)

    def submits(self, manifest: RoundManifest, party: PartyId, vector: RingVector) -> None:
        """Write down what a site submits."""
        self.vectors.setdefault(manifest.round, {})[party] = vector.copy()
        _forget(self.vectors)


def _forget(found: dict[int, Any]) -> None:
    for old in sorted(found)[:-_KEPT]:
        del found[old]


class TappedPool(Inline):
    """Every site in this process, what passes written down.

    Args:
        setup: As of `Inline`.
        tape: Where to.
    """

    def __init__(self, setup: Setup, tape: Tape) -> None:
        super().__init__(setup)
        self._tape = tape

    def post(self, request: Request) -> None:
        """Hand over a request."""
        self._tape.asked(request.party, request.payload)
        super().post(request)

    def next(self) -> Answer:
        """Answer the oldest request."""
        answer = super().next()
        self._tape.answered(answer.party, answer.payload)
        return answer


# Without slots of their own: a class that dataclasses makes anew for slots has lost its `super()`.


@dataclass(frozen=True)
class _TappedSealing(Sealing):
    tape: Tape = field(default_factory=Tape)

    def server(self, manifest: RoundManifest) -> SumServer:
        server = super().server(manifest)
        self.tape.opens(manifest, server)
        return server


class _TappedMachine:
    """A site's machine; what it is given to hide is written down first."""

    def __init__(self, machine: SumSite, party: PartyId, tape: Tape) -> None:
        self._machine, self._party, self._tape = machine, party, tape

    @property
    def ready(self) -> bool:
        return self._machine.ready

    @property
    def manifest(self) -> RoundManifest:
        return self._machine.manifest

    def handle(self, payload: bytes) -> bytes | None:
        return self._machine.handle(payload)

    def submit(self, vector: RingVector) -> bytes:
        self._tape.submits(self._machine.manifest, self._party, vector)
        return self._machine.submit(vector)

    def abort(self) -> None:
        self._machine.abort()


@dataclass(frozen=True)
class _TappedSiteSealing(SiteSealing):
    tape: Tape = field(default_factory=Tape)

    def machine(self, expected: Expected) -> SumSite:
        return _TappedMachine(super().machine(expected), self.identity.party, self.tape)


@dataclass(frozen=True)
class TappedParties(SimulatedParties):
    """Everybody's keys, with a tape beside each machine."""

    tape: Tape = field(default_factory=Tape)

    @classmethod
    def beside(cls, parties: SimulatedParties, tape: Tape) -> TappedParties:
        """Return the same parties with a tape."""
        return cls(parties.study, parties.policy, parties.seeds, parties.records, tape)

    def coordinator(self) -> Sealing:
        """Return what the coordinator needs."""
        plain = super().coordinator()
        self.tape.first_round = plain.first_round
        return _TappedSealing(plain.plan, plain.keys, plain.first_round, self.tape)

    def site(self, party: PartyId) -> SiteSealing:
        """Return what a site needs; who asks closes its record."""
        plain = super().site(party)
        return _TappedSiteSealing(plain.plan, plain.identity, plain.policy, plain.record, plain.entropy, self.tape)


class _Drawing:
    """A site's work; who is drawn is written down, for the judge alone."""

    def __init__(self, work: ClippingWork, tape: Tape, party: PartyId) -> None:
        self._work, self._tape, self._party = work, tape, party

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  (whatever the work has)
        return getattr(self._work, name)

    def clipped_sum(
        self,
        model: Update,
        statistics: Statistics,
        chosen: np.ndarray,
        l2_clip_norm: float,
    ) -> ClippedUnits:
        self._tape.drawn.setdefault(self._party, []).append(chosen)
        return self._work.clipped_sum(model, statistics, chosen, l2_clip_norm)


@dataclass(frozen=True)
class TappedNoise(SimulatedNoise):
    """What sites add, with a tape beside what is drawn."""

    tape: Tape = field(default_factory=Tape)

    def wrap(self, party: PartyId, work: ClippingWork, allowance: Allowance | None = None) -> PrivateWork:
        """Return a site's work with its noise."""
        return super().wrap(party, cast("ClippingWork", _Drawing(work, self.tape, party)), allowance)
