"""The journal of one training: where to go on after a crash, and proof that it went on the same way.

Two kinds of file in the training's folder:

``rounds.jsonl``
    A line for each concluded round, with the SHA-256 of the coordinator's snapshot after it. A resumed run may compute
    a round again; it must give the hash that stands here.
``checkpoint-<round>``
    Everything needed to go on after that round: a line with the format and the SHA-256 of what follows, then one
    canonically encoded value. The last two are kept; one that is damaged is passed over.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sealround import wire
from sealround.errors import ConsistencyError, MalformedMessageError, ServiceError
from sealround.storage.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sealround.vocabulary import PartyId

__all__ = ["Checkpoint", "Journal"]

_MAGIC = b"sealround-checkpoint/1 "
_KEPT = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where a training can go on.

    Attributes:
        round: Last concluded round.
        coordinator: Snapshot of the coordinator.
        sites: Snapshot of each site.
        evaluations: Test results by tester, once the training is done; else ``None``.
    """

    round: int
    coordinator: bytes
    sites: Mapping[PartyId, bytes] = field(default_factory=dict)
    evaluations: Mapping[PartyId, Mapping[str, wire.Value]] | None = None


class Journal:
    """The journal of one training.

    Args:
        folder: Where its files are; created when missing.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ServiceError(
                f"cannot make {folder}: {error.strerror}", hint="choose another folder, resume"
            ) from error
        self._folder = folder
        self._rounds = folder / "rounds.jsonl"
        self._lines = {line["round"]: line for line in self._read_lines()}

    def rounds(self) -> tuple[Mapping[str, Any], ...]:
        """What was written of each round, in order."""
        return tuple(self._lines[round_] for round_ in sorted(self._lines))

    def record(self, round_: int, snapshot: bytes, numbers: Mapping[str, Any]) -> None:
        """Write a concluded round down, or check it against what was written when it was first computed.

        Args:
            round_: Which round.
            snapshot: The coordinator's snapshot after it.
            numbers: What else to write, fit for JSON.

        Raises:
            ConsistencyError: If the round gave another snapshot the first time.
        """
        snapshot_hash = hashlib.sha256(snapshot).hexdigest()
        known = self._lines.get(round_)
        if known is not None:
            if known["snapshot_sha256"] != snapshot_hash:
                raise ConsistencyError(
                    f"round {round_}, computed again, gives another result than the first time",
                    hint="data, software or processor have changed since (see environment.json): start a new run",
                )
            return
        line = {"round": round_, "snapshot_sha256": snapshot_hash, **numbers}
        try:
            with self._rounds.open("ab") as file:
                file.write(json.dumps(line, allow_nan=False).encode() + b"\n")
        except OSError as error:
            raise ServiceError(f"cannot write the journal: {error.strerror}", hint="free disk space, resume") from error
        self._lines[round_] = line

    def save(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint; older ones but the last are removed."""
        body = wire.encode(
            {
                "round": checkpoint.round,
                "coordinator": checkpoint.coordinator,
                "sites": {str(party): snapshot for party, snapshot in checkpoint.sites.items()},
                "evaluations": _by_name(checkpoint.evaluations),
            }
        )
        # Done comes after the last round's own checkpoint, so it needs a name of its own.
        name = "done" if checkpoint.evaluations is not None else f"{checkpoint.round:06d}"
        head = _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n"
        write_atomically(self._folder / f"checkpoint-{name}", head + body)
        for old in self._checkpoints()[_KEPT:]:
            old.unlink(missing_ok=True)

    def latest(self) -> Checkpoint | None:
        """Return the latest checkpoint that is whole, ``None`` if there never was one.

        Raises:
            ConsistencyError: If there are checkpoints and every one is damaged.
        """
        paths = self._checkpoints()
        for path in paths:
            checkpoint = _read(path)
            if checkpoint is not None:
                return checkpoint
        if paths:
            raise ConsistencyError(
                f"every checkpoint of {self._folder.name} is damaged", hint="restore the run folder, or start a new run"
            )
        return None

    def _checkpoints(self) -> list[Path]:
        """Newest first: digits sort before "done"."""
        return sorted(self._folder.glob("checkpoint-*"), reverse=True)

    def _read_lines(self) -> list[dict[str, Any]]:
        if not self._rounds.exists():
            return []
        data = self._rounds.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        if whole != data:  # a crash within the last line: that round is computed again
            write_atomically(self._rounds, whole)
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise ConsistencyError(
                f"the journal of {self._folder.name} is damaged", hint="restore the run folder"
            ) from error


def _by_name(evaluations: Mapping[PartyId, Mapping[str, wire.Value]] | None) -> wire.Value:
    return None if evaluations is None else {str(party): dict(result) for party, result in evaluations.items()}


def _read(path: Path) -> Checkpoint | None:
    data = path.read_bytes()
    head, _, body = data.partition(b"\n")
    if head != _MAGIC + hashlib.sha256(body).hexdigest().encode():
        return None
    try:
        tree = wire.decode(body, sender=path.name)
    except MalformedMessageError:
        return None
    match tree:
        case {
            "round": int(round_),
            "coordinator": bytes(coordinator),
            "sites": dict(sites),
            "evaluations": evaluations,
        }:
            return Checkpoint(round_, coordinator, sites, evaluations)  # type: ignore[arg-type]  # hashed: ours
    return None
