"""The updates of each round on disk, until the gate has decided: `sealround.federation.update_journal`.

A file a round, named by its number: a line with the format and the SHA-256 of what follows, then one encoded
value. They are updates in clear; `clear` removes them, it does not overwrite the disk.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from sealround import wire
from sealround.errors import ConsistencyError, MalformedMessageError, ServiceError
from sealround.federation.update_journal import RoundUpdates
from sealround.storage.files import write_atomically
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from pathlib import Path

    from sealround.vocabulary import RoundId

__all__ = ["StoredUpdates"]

_MAGIC = b"sealround-updates/1 "


class StoredUpdates:
    """An `UpdateJournal` in a folder.

    Args:
        folder: Where its files are; made when there is something to keep.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, round_: RoundId, sent: RoundUpdates) -> None:
        """Keep a round's updates, durably.

        Raises:
            ServiceError: If the disk refuses.
        """
        body = wire.encode(
            {
                "round": round_,
                "parties": list(sent.parties),
                "weights": np.asarray(sent.weights, dtype=np.float64),
                "updates": np.ascontiguousarray(sent.updates).reshape(-1),
            }
        )
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError(f"cannot make {self._folder}: {error.strerror}", hint="check permissions") from error
        head = _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n"
        write_atomically(self._path(round_), head + body)

    def read(self, round_: RoundId) -> RoundUpdates:
        """Return what was kept.

        Raises:
            ConsistencyError: If there is nothing, or it is damaged.
        """
        try:
            head, _, body = self._path(round_).read_bytes().partition(b"\n")
        except OSError:
            head, body = b"", b""
        if head != _MAGIC + hashlib.sha256(body).hexdigest().encode():
            raise _damaged(round_)
        try:
            tree = wire.decode(body, sender=self._folder.name)
        except MalformedMessageError as error:
            raise _damaged(round_) from error
        match tree:
            case {
                "round": int(number),
                "parties": tuple(parties),
                "weights": np.ndarray() as weights,
                "updates": np.ndarray() as updates,
            } if number == round_ and len(weights) == len(parties):
                sites = tuple(PartyId(str(party)) for party in parties)
                return RoundUpdates(sites, weights, updates.reshape(len(sites), -1) if sites else updates.reshape(0, 0))
        raise _damaged(round_)

    def clear(self) -> None:
        """Remove every round's file, and the folder."""
        if not self._folder.is_dir():
            return
        for path in self._folder.iterdir():
            path.unlink(missing_ok=True)
        self._folder.rmdir()

    def _path(self, round_: RoundId) -> Path:
        return self._folder / f"round-{round_:06d}"


def _damaged(round_: RoundId) -> ConsistencyError:
    return ConsistencyError(
        f"the updates of round {round_} are missing or damaged",
        hint="restore the run folder, or start a new run: what a site did cannot be told without them",
    )
