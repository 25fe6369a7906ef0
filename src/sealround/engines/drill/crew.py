"""Who plays the cells of a drill: this process, or some worker processes, a cell at a time each."""

from __future__ import annotations

import collections
import multiprocessing
import os
import signal
import traceback
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, cast

from sealround.engines.drill.cell import Player
from sealround.errors import SealroundError, ServiceError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sealround.engines.drill.grid import Cell
    from sealround.engines.drill.setting import Setting

    Done = Callable[[Cell, Mapping[str, Any]], None]

__all__ = ["play_all"]

_DIED = "often memory: resume with fewer --workers"


def play_all(setting: Setting, cells: Sequence[Cell], workers: int, done: Done) -> None:
    """Play cells; what each gives does not depend on who plays it, or after what.

    Args:
        setting: The drill.
        cells: Which, in order.
        workers: How many processes; 0 for this one.
        done: Told of each cell that is done.

    Raises:
        SealroundError: As a cell does.
        ServiceError: If a worker died.
    """
    if not workers:
        player = Player(setting)
        for cell in cells:
            done(cell, player.play(cell))
        return
    crew = _Crew(setting, min(workers, len(cells)))
    try:
        crew.play(cells, done)
    finally:
        crew.close()


class _Crew:
    """Worker processes. One ends by itself when this process is gone."""

    def __init__(self, setting: Setting, number: int) -> None:
        # Spawn, not fork: forking a process that has run torch can leave its locks held.
        context = multiprocessing.get_context("spawn")
        self._processes = []
        self._pipes: list[Connection] = []
        for worker in range(number):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs,), daemon=True, name=f"drill-{worker}")
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)
            _send(ours, setting)

    def play(self, cells: Sequence[Cell], done: Done) -> None:
        waiting = collections.deque(cells)
        busy: dict[Connection, Cell] = {}
        idle = collections.deque(self._pipes)
        while waiting or busy:
            while waiting and idle:
                pipe = idle.popleft()
                busy[pipe] = waiting.popleft()
                _send(pipe, busy[pipe])
            for ready in wait(list(busy)):
                pipe = cast(Connection, ready)
                cell = busy.pop(pipe)
                try:
                    found = pipe.recv()
                except (EOFError, OSError) as error:
                    raise ServiceError("a worker process died", hint=_DIED) from error
                if isinstance(found, BaseException):
                    raise found
                idle.append(pipe)
                done(cell, found)

    def close(self) -> None:
        """End the workers at once: what is not written down is computed again."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()


def _send(pipe: Connection, message: Setting | Cell) -> None:
    try:
        pipe.send(message)
    except OSError as error:
        raise ServiceError("a worker process died", hint=_DIED) from error


def _serve(pipe: Connection) -> None:
    """Play cells until the pipe closes."""
    # Ctrl-C goes to the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        player = Player(pipe.recv())
        while True:
            cell: Cell = pipe.recv()
            try:
                found: object = player.play(cell)
            except SealroundError as error:
                found = error
            except Exception as error:  # noqa: BLE001  (the outermost edge of this process)
                # Where, but not what: a library's message may quote a cell of the data.
                trace = "".join(traceback.format_tb(error.__traceback__))
                found = ServiceError(f"a worker failed: {type(error).__name__}\n{trace}", hint="please report this")
            pipe.send(found)
    except (EOFError, OSError):
        os._exit(0)  # the parent is gone, and with it whoever would want a clean-up
