"""An in-memory network between a coordinator and its sites, with faults on demand and no clock."""

from __future__ import annotations

import collections
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sealround.errors import PeerError
from sealround.federation import Coordinator, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sealround.federation import Send, Site
    from sealround.vocabulary import PartyId

__all__ = ["Fault", "Network"]


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one message.

    Attributes:
        party: Whose link.
        direction: ``"down"`` to the site, ``"up"`` to the coordinator.
        number: Which message of that link and direction, counted from 0.
        effect: From the payload to what arrives: nothing (dropped), one or more payloads.
        late: The message arrives after all others that are under way.
    """

    party: PartyId
    direction: Literal["down", "up"]
    number: int
    effect: Callable[[bytes], tuple[bytes, ...]]
    late: bool = False


class Network:
    """Delivers messages one at a time, in order, but for the faults; when nothing is under way, the deadline passes.

    Args:
        coordinator: One end.
        sites: The other ends.
        faults: What goes wrong.

    Attributes:
        refused: Errors that either end raised on what arrived; whoever raises goes on as if nothing had come.
        deadlines: How many deadlines passed.
    """

    def __init__(self, coordinator: Coordinator, sites: Mapping[PartyId, Site], faults: tuple[Fault, ...] = ()) -> None:
        self._coordinator = coordinator
        self._sites = sites
        self._faults = {(fault.party, fault.direction, fault.number): fault for fault in faults}
        self._sent: collections.Counter[tuple[PartyId, str]] = collections.Counter()
        self._under_way: collections.deque[tuple[PartyId, Literal["down", "up"], bytes]] = collections.deque()
        self._late: collections.deque[tuple[PartyId, Literal["down", "up"], bytes]] = collections.deque()
        self.refused: list[PeerError] = []
        self.deadlines = 0

    def run(self, until: Callable[[], bool] = lambda: False) -> None:
        """Run to the end, or until told to stop.

        Raises:
            SealroundError: What ends the training at the coordinator, except `PeerError`.
        """
        self._post(self._coordinator.begin())
        while self._coordinator.stage is not Stage.DONE and not until():
            if not self._under_way:
                self._under_way, self._late = self._late, self._under_way
            if self._under_way:
                self._deliver(*self._under_way.popleft())
            else:
                self.deadlines += 1
                self._post(self._coordinator.deadline())

    def _post(self, sends: tuple[Send, ...]) -> None:
        for send in sends:
            self._transmit(send.to, "down", send.payload)

    def _transmit(self, party: PartyId, direction: Literal["down", "up"], payload: bytes) -> None:
        fault = self._faults.get((party, direction, self._sent[party, direction]))
        self._sent[party, direction] += 1
        arriving = (payload,) if fault is None else fault.effect(payload)
        queue = self._late if fault is not None and fault.late else self._under_way
        queue.extend((party, direction, piece) for piece in arriving)

    def _deliver(self, party: PartyId, direction: Literal["down", "up"], payload: bytes) -> None:
        try:
            if direction == "down":
                self._transmit(party, "up", self._sites[party].handle(payload))
            else:
                self._post(self._coordinator.receive(party, payload))
        except PeerError as error:
            self.refused.append(error)
