"""Where a study's files are: beside the study file, or in the data folder that `sealround data fetch` fills."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from sealround.errors import UsageError

__all__ = ["DATA_PREFIX", "Places", "default_data_folder"]

DATA_PREFIX = "data:"
"""A source path that starts with it is under the data folder."""


def default_data_folder() -> Path:
    """Return the folder of `SEALROUND_DATA`, else `sealround/data` in the user's data folder.

    The user's data folder is `$XDG_DATA_HOME` (XDG Base Directory Specification 0.8), `%LOCALAPPDATA%` on Windows,
    `~/Library/Application Support` on macOS, else `~/.local/share`.
    """
    if chosen := os.environ.get("SEALROUND_DATA"):
        return Path(chosen).expanduser()
    xdg = os.environ.get("XDG_DATA_HOME", "")
    if Path(xdg).is_absolute():  # The specification: a relative path is invalid and ignored.
        base = Path(xdg)
    elif local := os.environ.get("LOCALAPPDATA"):
        base = Path(local)
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path.home() / ".local" / "share"
    return base / "sealround" / "data"


@dataclass(frozen=True, slots=True)
class Places:
    """Where the paths of a study file start.

    Attributes:
        study_folder: Folder of the study file.
        data_folder: Folder of downloaded data sets.
    """

    study_folder: Path
    data_folder: Path

    @classmethod
    def of_study(cls, study_file: Path, data_folder: Path | None = None) -> Places:
        """Return the places of a study file; without a data folder, `default_data_folder`."""
        return cls(study_file.resolve().parent, default_data_folder() if data_folder is None else data_folder)

    def resolve(self, path: str) -> Path:
        """Return the file a study means.

        Args:
            path: As written in the study: `data:name/file` is under the data folder, anything else is relative to the
                study file.

        Raises:
            UsageError: If a `data:` path leads out of the data folder.
        """
        if not path.startswith(DATA_PREFIX):
            return self.study_folder / path
        root = self.data_folder.resolve()
        target = (root / path.removeprefix(DATA_PREFIX)).resolve()
        if not target.is_relative_to(root):
            msg = f"{path!r} leads out of the data folder"
            raise UsageError(msg, hint=f"name a file below {root}, or a path relative to the study file")
        return target
