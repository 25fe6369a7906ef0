"""One drill on disk: what was asked, each training that is done, what came out.

====================  ================================================================================
``study.toml``        the study file, byte for byte
``drill-start.json``  how the drill was started: what was asked for, data folder, digests
``cells/``            one file for each training that is done: what was measured, and no patient
``drill.json``        the evidence: every number of the report
``environment.json``  versions and machine
``report.html``       the page
``lock``              held while a process works in the folder
====================  ================================================================================
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from sealround.errors import ConsistencyError, ServiceError, UsageError
from sealround.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["DrillFolder"]

_START = "drill-start.json"


class DrillFolder:
    """A drill's folder; `lock` it before working in it.

    Args:
        path: An existing drill folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = RunFolder(path)

    @classmethod
    def create(cls, path: Path, study_text: bytes, start: Mapping[str, Any]) -> DrillFolder:
        """Start a drill folder.

        Args:
            path: Must not exist, or be empty.
            study_text: The study file.
            start: How the drill was started, fit for JSON: enough to resume it.

        Raises:
            UsageError: If the folder holds something.
            ServiceError: If it cannot be made.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise UsageError(f"{path} is not empty", hint="name another folder, or --resume that drill")
        except OSError as error:
            hint = "choose another folder with --out"
            raise ServiceError(f"cannot make {path}: {error.strerror}", hint=hint) from error
        folder = cls(path)
        folder.write("study.toml", study_text)
        # Last: a folder with it is one that can be resumed.
        folder.write_json(_START, start)
        return folder

    @classmethod
    def open(cls, path: Path) -> DrillFolder:
        """Open an existing drill folder.

        Raises:
            UsageError: If it is not one.
        """
        if not (path / _START).is_file():
            raise UsageError(f"{path} is not a drill folder", hint=f"a drill folder holds {_START} and study.toml")
        return cls(path)

    @property
    def start(self) -> Mapping[str, Any]:
        """How the drill was started.

        Raises:
            ConsistencyError: If that is damaged.
        """
        return self._files.read_json(_START)

    def lock(self) -> None:
        """Keep other processes out until this one ends.

        Raises:
            UsageError: If another process works in the folder.
        """
        self._files.lock()

    def unlock(self) -> None:
        """Let others in."""
        self._files.unlock()

    def file(self, name: str) -> Path:
        """Where a file of the drill is."""
        return self._files.file(name)

    def write(self, name: str, data: bytes) -> None:
        """Write a file of the drill, atomically.

        Raises:
            ServiceError: If the disk refuses.
        """
        self._files.write(name, data)

    def write_json(self, name: str, tree: Mapping[str, Any]) -> None:
        """Write a JSON file of the drill; NaN has no place in it."""
        self._files.write_json(name, tree)

    def read_json(self, name: str) -> Mapping[str, Any]:
        """Read a JSON file of the drill.

        Raises:
            ConsistencyError: If it is missing or damaged.
        """
        return self._files.read_json(name)

    def keep(self, words: Sequence[str | int], found: Mapping[str, Any]) -> None:
        """Write down what one training gave, under its name."""
        self.write_json(_file(words), {"cell": list(words), "found": dict(found)})

    def kept(self, words: Sequence[str | int]) -> Mapping[str, Any] | None:
        """Return what one training gave; ``None`` if it is not done.

        Raises:
            ConsistencyError: If the file is damaged, or of another training.
        """
        name = _file(words)
        if not self.file(name).is_file():
            return None
        tree = self.read_json(name)
        if tree.get("cell") != list(words) or not isinstance(tree.get("found"), dict):
            raise ConsistencyError(f"{name} is damaged", hint="remove it, and resume the drill")
        found: Mapping[str, Any] = tree["found"]
        return found


def _file(words: Sequence[str | int]) -> str:
    return f"cells/{hashlib.sha256(json.dumps(list(words)).encode()).hexdigest()[:20]}.json"
