"""Files that are either the old ones or the new ones, never half of each."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sealround.errors import ServiceError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["write_atomically"]


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content, durably.

    Written beside the file, flushed to the disk, then renamed over it: after a crash at any moment ``path`` holds all
    of the old content or all of the new.

    Raises:
        ServiceError: If the disk refuses.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise ServiceError(
            f"cannot write {path.name}: {error.strerror}", hint="free disk space or check permissions, then resume"
        ) from error
