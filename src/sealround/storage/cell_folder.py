"""A folder of work made of many parts: each part that is done is kept by itself, so that a killed process goes on."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, ClassVar, Self

from sealround.errors import ConsistencyError, ServiceError, UsageError
from sealround.storage.run_folder import RunFolder

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["CellFolder"]


class CellFolder:
    """A folder of parts; `lock` it before working in it.

    Args:
        path: An existing folder of this kind.
    """

    KIND: ClassVar[str]
    """What such a folder is called."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._files = RunFolder(path)

    @classmethod
    def create(cls, path: Path, study_text: bytes, start: Mapping[str, Any]) -> Self:
        """Start a folder.

        Args:
            path: Must not exist, or be empty.
            study_text: The study file.
            start: How the work was started, fit for JSON: enough to resume it.

        Raises:
            UsageError: If the folder holds something.
            ServiceError: If it cannot be made.
        """
        try:
            path.mkdir(parents=True, exist_ok=True)
            if any(path.iterdir()):
                raise UsageError(f"{path} is not empty", hint=f"name another folder, or --resume that {cls.KIND}")
        except OSError as error:
            hint = "choose another folder with --out"
            raise ServiceError(f"cannot make {path}: {error.strerror}", hint=hint) from error
        folder = cls(path)
        folder.write("study.toml", study_text)
        # Last: a folder with it is one that can be resumed.
        folder.write_json(cls.start_file(), start)
        return folder

    @classmethod
    def start_file(cls) -> str:
        """Name of the file that says how the work was started."""
        return f"{cls.KIND}-start.json"

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open an existing folder.

        Raises:
            UsageError: If it is not one of this kind.
        """
        if not (path / cls.start_file()).is_file():
            hint = f"{_a(cls.KIND)} folder holds {cls.start_file()} and study.toml"
            raise UsageError(f"{path} is not {_a(cls.KIND)} folder", hint=hint)
        return cls(path)

    @property
    def start(self) -> Mapping[str, Any]:
        """How the work was started.

        Raises:
            ConsistencyError: If that is damaged.
        """
        return self._files.read_json(self.start_file())

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
        """Where a file of the folder is."""
        return self._files.file(name)

    def write(self, name: str, data: bytes) -> None:
        """Write a file, atomically.

        Raises:
            ServiceError: If the disk refuses.
        """
        self._files.write(name, data)

    def write_json(self, name: str, tree: Mapping[str, Any]) -> None:
        """Write a JSON file; NaN has no place in it."""
        self._files.write_json(name, tree)

    def read_json(self, name: str) -> Mapping[str, Any]:
        """Read a JSON file.

        Raises:
            ConsistencyError: If it is missing or damaged.
        """
        return self._files.read_json(name)

    def keep(self, words: Sequence[str | int], found: Mapping[str, Any]) -> None:
        """Write down what one part gave, under its name."""
        self.write_json(_file(words), {"cell": list(words), "found": dict(found)})

    def kept(self, words: Sequence[str | int]) -> Mapping[str, Any] | None:
        """Return what one part gave; ``None`` if it is not done.

        Raises:
            ConsistencyError: If the file is damaged, or of another part.
        """
        name = _file(words)
        if not self.file(name).is_file():
            return None
        tree = self.read_json(name)
        if tree.get("cell") != list(words) or not isinstance(tree.get("found"), dict):
            raise ConsistencyError(f"{name} is damaged", hint=f"remove it, and resume the {self.KIND}")
        found: Mapping[str, Any] = tree["found"]
        return found


def _file(words: Sequence[str | int]) -> str:
    return f"cells/{hashlib.sha256(json.dumps(list(words)).encode()).hexdigest()[:20]}.json"


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
