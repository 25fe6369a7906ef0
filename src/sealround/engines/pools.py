"""Where sites compute: in this process, or spread over worker processes.

Both give the same bytes: what a site computes depends on its request, its records and its memory, and arithmetic runs
on one thread everywhere.
"""

from __future__ import annotations

import collections
import multiprocessing
import os
import signal
import traceback
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Protocol, cast

from sealround.engines.host import Answer, Host, Request
from sealround.errors import SealroundError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealround.clinical.cohort import SiteCohort
    from sealround.engines.noise import SimulatedNoise
    from sealround.engines.parties import SimulatedParties
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["Inline", "Place", "Pool", "Setup", "Workers", "spread"]

_DIED = (
    'often memory: resume with fewer --workers. A script that starts runs needs `if __name__ == "__main__":` around '
    "its own code, since workers import it"
)

Place = tuple[str, "PartyId"]
"""A site of one training: job and party."""


@dataclass(frozen=True, slots=True)
class Setup:
    """What a pool needs to know.

    Attributes:
        study: The study as the sites run it.
        digest: Digest of the study that is agreed on (32 bytes).
        cohorts: Records of every party.
        snapshots: What sites remember from before.
        parties: Everybody's keys, where the federation's sums are sealed.
        noise: What sites add, where the study is private.
    """

    study: Study
    digest: bytes
    cohorts: Mapping[PartyId, SiteCohort]
    snapshots: Mapping[Place, bytes]
    parties: SimulatedParties | None = None
    noise: SimulatedNoise | None = None


class Pool(Protocol):
    """Takes requests, gives answers, in any order."""

    number: int

    def post(self, request: Request) -> None:
        """Hand over a request."""
        ...

    def next(self) -> Answer:
        """Return one answer; there must be a request that has none yet."""
        ...

    def close(self) -> None:
        """End every process."""
        ...


class Inline:
    """Every site in this process, one request after the other."""

    number = 0

    def __init__(self, setup: Setup) -> None:
        self._host = Host(setup.study, setup.digest, setup.cohorts, setup.snapshots, setup.parties, setup.noise)
        self._requests: collections.deque[Request] = collections.deque()

    def post(self, request: Request) -> None:
        """Hand over a request."""
        self._requests.append(request)

    def next(self) -> Answer:
        """Answer the oldest request."""
        request = self._requests.popleft()
        payload, snapshot = self._host.handle(request.job, request.party, request.payload)
        return Answer(request.job, request.party, payload, snapshot)

    def close(self) -> None:
        """Close the sites' records."""
        self._host.close()


def spread(loads: Sequence[tuple[Place, float]], number: int) -> dict[Place, int]:
    """Assign each place to one of ``number`` workers: the heaviest first, to whoever has least (Graham 1969, LPT)."""
    carried = [0.0] * number
    assigned = {}
    for place, load in sorted(loads, key=lambda entry: (-entry[1], entry[0])):
        worker = carried.index(min(carried))
        carried[worker] += load
        assigned[place] = worker
    return assigned


class Workers:
    """Sites spread over worker processes.

    A worker gets its next request when it has answered the last, so that neither side ever waits for the other to empty
    a pipe. A worker ends by itself when this process is gone.

    Args:
        setup: What the sites need.
        places: Which worker each site lives in, numbered from 0 without gaps.
    """

    def __init__(self, setup: Setup, places: Mapping[Place, int]) -> None:
        self._places = places
        self.number = max(places.values()) + 1
        self._queues: list[collections.deque[Request]] = [collections.deque() for _ in range(self.number)]
        self._busy = [False] * self.number
        self._processes = []
        self._pipes: list[Connection] = []
        # Spawn, not fork: forking a process that has run torch can leave its locks held.
        context = multiprocessing.get_context("spawn")
        for worker in range(self.number):
            own = {place for place, where in places.items() if where == worker}
            parties = {party for _, party in own}
            part = Setup(
                setup.study,
                setup.digest,
                {party: cohort for party, cohort in setup.cohorts.items() if party in parties},
                {place: snapshot for place, snapshot in setup.snapshots.items() if place in own},
                setup.parties,
                setup.noise,
            )
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True, name=f"sites-{worker}")
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
            # Not as an argument of the process: one that dies before it reads a large argument leaves us waiting.
            self._send(worker, part)

    def post(self, request: Request) -> None:
        """Queue a request at the worker where its site lives."""
        worker = self._places[request.job, request.party]
        self._queues[worker].append(request)
        self._feed(worker)

    def next(self) -> Answer:
        """Wait for any worker's answer.

        Raises:
            ServiceError: If a worker died.
            SealroundError: If a site raised one.
        """
        pipe = cast(Connection, wait([self._pipes[worker] for worker in range(self.number) if self._busy[worker]])[0])
        worker = self._pipes.index(pipe)
        try:
            answer = pipe.recv()
        except (EOFError, OSError) as error:
            raise ServiceError(f"worker process {worker} died", hint=_DIED) from error
        self._busy[worker] = False
        self._feed(worker)
        if isinstance(answer, BaseException):
            raise answer
        return cast(Answer, answer)

    def close(self) -> None:
        """End the workers at once: they hold nothing that the journal does not."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()

    def _feed(self, worker: int) -> None:
        if self._queues[worker] and not self._busy[worker]:
            self._busy[worker] = True
            self._send(worker, self._queues[worker].popleft())

    def _send(self, worker: int, message: Setup | Request) -> None:
        try:
            self._pipes[worker].send(message)
        except OSError as error:
            raise ServiceError(f"worker process {worker} died", hint=_DIED) from error


def _serve(pipe: Connection) -> None:
    """Answer requests until the pipe closes."""
    # Ctrl-C goes to the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        setup: Setup = pipe.recv()
        host = Host(setup.study, setup.digest, setup.cohorts, setup.snapshots, setup.parties, setup.noise)
        while True:
            request: Request = pipe.recv()
            try:
                payload, snapshot = host.handle(request.job, request.party, request.payload)
            except SealroundError as error:
                pipe.send(error)
            except Exception as error:  # noqa: BLE001  (the outermost edge of this process)
                # Where, but not what: a library's message may quote a cell of the data.
                trace = "".join(traceback.format_tb(error.__traceback__))
                pipe.send(ServiceError(f"a worker failed: {type(error).__name__}\n{trace}", hint="please report this"))
            else:
                pipe.send(Answer(request.job, request.party, payload, snapshot))
    except (EOFError, OSError):
        os._exit(0)  # the parent is gone, and with it whoever would want a clean-up
