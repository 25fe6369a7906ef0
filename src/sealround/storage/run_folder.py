"""One run on disk: what was asked, what happened, what came out.

=====================  ===========================================================================
``study.toml``         the study file, byte for byte
``site.toml``          the site file, byte for byte, where the run has one
``run.json``           how the run was started: data folder, digests of the study and the site file
``journal/<job>/``     see `sealround.storage.journal`
``updates/``           while the gate may need them, the updates of each round (`sealround.storage.updates`)
``metrics.json``       the evidence: every number of the report
``sites/<site>.json``  in a sealed study, what each site would see at its own place
``rounds.csv``         one line a round, for a spreadsheet
``model.safetensors``  the federated model, with a description of how to use it; none where the gate withheld it
``environment.json``   versions and machine
``report.html``        the result page
``lock``               held while a process works in the folder
=====================  ===========================================================================
"""

from __future__ import annotations

import csv
import fcntl
import io
import json
from typing import IO, TYPE_CHECKING, Any

from sealround.errors import ConsistencyError, ServiceError, UsageError
from sealround.storage.files import write_atomically
from sealround.storage.journal import Journal
from sealround.storage.updates import StoredUpdates

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["RunFolder"]


class RunFolder:
    """A run's folder; `lock` it before working in it.

    Args:
        path: An existing run folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[bytes] | None = None

    @classmethod
    def create(
        cls, path: Path, study_text: bytes, origin: Mapping[str, Any], site_text: bytes | None = None
    ) -> RunFolder:
        """Start a run folder.

        Args:
            path: Must not exist, or be empty.
            study_text: The study file.
            origin: How the run was started, fit for JSON: enough to resume it.
            site_text: The site file, where there is one.

        Raises:
            UsageError: If the folder holds something.
            ServiceError: If it cannot be made.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise UsageError(f"{path} is not empty", hint="name another folder, or `sealround resume` that run")
        except OSError as error:
            raise ServiceError(
                f"cannot make {path}: {error.strerror}", hint="choose another folder with --out"
            ) from error
        folder = cls(path)
        folder.write("study.toml", study_text)
        if site_text is not None:
            folder.write("site.toml", site_text)
        # Last: a folder with run.json is one that can be resumed.
        folder.write_json("run.json", origin)
        return folder

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            UsageError: If it is not one.
        """
        if not (path / "run.json").is_file():
            raise UsageError(f"{path} is not a run folder", hint="a run folder holds run.json and study.toml")
        return cls(path)

    def lock(self) -> None:
        """Keep other processes out until this one ends.

        Raises:
            UsageError: If another process works in the folder.
        """
        lock = (self.path / "lock").open("wb")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise UsageError(f"another process is working in {self.path}", hint="wait for it to end") from error
        self._lock = lock

    def unlock(self) -> None:
        """Let others in."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def journal(self, job: str) -> Journal:
        """The journal of one training."""
        return Journal(self.path / "journal" / job)

    def updates(self) -> StoredUpdates:
        """The updates of each round of the federation, while the gate may need them."""
        return StoredUpdates(self.path / "updates")

    def remove(self, name: str) -> None:
        """Remove a file of the run, if it is there."""
        (self.path / name).unlink(missing_ok=True)

    def file(self, name: str) -> Path:
        """Where a file of the run is."""
        return self.path / name

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the run, atomically; ``name`` may have a folder before it.

        Raises:
            ServiceError: If the disk refuses.
        """
        path = self.path / name
        try:
            path.parent.mkdir(exist_ok=True)
        except OSError as error:
            raise ServiceError(f"cannot make {path.parent}: {error.strerror}", hint="check permissions") from error
        write_atomically(path, data)

    def write_json(self, name: str, tree: Mapping[str, Any]) -> None:
        """Write a JSON file of the run; NaN has no place in it."""
        self.write(name, json.dumps(tree, indent=1, allow_nan=False, ensure_ascii=False).encode() + b"\n")

    def write_csv(self, name: str, header: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
        """Write a CSV file of the run (RFC 4180)."""
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(header)
        writer.writerows(rows)
        self.write(name, text.getvalue().encode())

    def read_json(self, name: str) -> Mapping[str, Any]:
        """Read a JSON file of the run.

        Raises:
            ConsistencyError: If it is missing or damaged.
        """
        try:
            tree = json.loads((self.path / name).read_bytes())
        except (OSError, ValueError) as error:
            raise ConsistencyError(f"{name} is missing or damaged", hint=f"resume {self.path}, or run again") from error
        if not isinstance(tree, dict):
            raise ConsistencyError(f"{name} is damaged", hint=f"resume {self.path}, or run again")
        return tree
