"""Image files of a folder or zip archive as one array, decoded by Pillow on every core."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from sealround.clinical.cells import name_rows
from sealround.clinical.tables import unreadable
from sealround.errors import CohortError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import polars as pl

    from sealround.study.sections import ImageFolderSource

__all__ = ["read_images"]

_CHUNK = 64


def read_images(source: ImageFolderSource, path: Path, table: pl.DataFrame) -> np.ndarray:
    """Read the images a table names.

    Args:
        source: The study's source.
        path: The folder or zip archive.
        table: Its table; ``source.file_column`` names a file by its path below ``path``, or by its last part where that
            is unique.

    Returns:
        uint8 ``(n, size, size)``, or ``(n, size, size, 3)`` for colour, in row order.

    Raises:
        CohortError: If rows name no file, a file outside the folder, or one that is no 8-bit image.
        UnsupportedError: If Pillow is not installed.
    """
    try:
        import PIL.Image  # noqa: F401, PLC0415 - optional
    except ImportError:
        raise UnsupportedError(
            "images need Pillow, which is not installed", hint='pip install "sealround[learning]"'
        ) from None
    with _open(path, source.path) as files:
        names = _find(table[source.file_column].to_list(), files.names, source)
        images, broken = _decode_all(files, names, source)
    if broken:
        raise CohortError(
            f"{source.table}, {name_rows(broken)}: no image that can be read",
            hint="8-bit grey or colour JPEG and PNG files can; convert 16-bit images first",
        )
    return images


def _decode_all(files: _Files, names: Sequence[str], source: ImageFolderSource) -> tuple[np.ndarray, list[int]]:
    """Return the images, and the rows of files that are none."""
    shape = (len(names), source.size, source.size) + ((3,) if source.channels == 3 else ())  # noqa: PLR2004 - RGB
    images = np.empty(shape, dtype=np.uint8)

    def decode(start: int) -> list[int]:
        broken = []
        for row in range(start, min(start + _CHUNK, len(names))):
            try:
                images[row] = _decode(files.read(names[row]), source.size, source.channels)
            except _NotAnImageError:
                broken.append(row)
        return broken

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes and resizes without the interpreter lock.
        return images, [row for rows in pool.map(decode, range(0, len(names), _CHUNK)) for row in rows]


class _NotAnImageError(Exception):
    """A file that Pillow cannot read as an 8-bit image."""


def _decode(data: bytes, size: int, channels: int) -> np.ndarray:
    from PIL import Image, ImageOps  # noqa: PLC0415 - optional

    mode = "RGB" if channels == 3 else "L"  # noqa: PLR2004 - RGB
    try:
        with Image.open(io.BytesIO(data)) as file:
            if file.mode.startswith(("I", "F")):
                raise _NotAnImageError
            # A JPEG is decoded at the smallest of 1/1 .. 1/8 that still is twice the wanted size.
            file.draft(mode, (2 * size, 2 * size))
            image = ImageOps.exif_transpose(file).convert(mode)
    # What Pillow raises on broken files of its many formats; whose fault it is, is clear.
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise _NotAnImageError from error
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.LANCZOS)
    return np.asarray(image)


@dataclass(frozen=True, slots=True)
class _Files:
    """Image files below a folder or in an archive: their names, and how to read one."""

    names: Sequence[str]
    read: Callable[[str], bytes]


@contextmanager
def _open(path: Path, name: str) -> Iterator[_Files]:
    if path.is_dir():
        root = path.resolve()
        files = (file for file in root.rglob("*") if file.is_file())
        # A link that leads out of the folder is not followed.
        inside = [file.relative_to(root).as_posix() for file in files if file.resolve().is_relative_to(root)]
        yield _Files(inside, lambda file: (root / file).read_bytes())
        return
    try:
        archive = zipfile.ZipFile(path)
    except OSError as error:
        raise unreadable(name, path, error) from error
    except zipfile.BadZipFile:
        raise CohortError(f"{name} is neither a folder nor a zip archive", hint="check the path") from None

    def read(member: str) -> bytes:
        try:
            return archive.read(member)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
            raise _NotAnImageError from error

    with archive:
        yield _Files([info.filename for info in archive.infolist() if not info.is_dir()], read)


def _find(cells: Sequence[str | None], present: Sequence[str], source: ImageFolderSource) -> list[str]:
    whole = set(present)
    tails = Counter(PurePosixPath(name).name for name in whole)
    by_tail = {PurePosixPath(name).name: name for name in whole}
    found: list[str] = []
    bad: dict[str, list[int]] = {"leads out of the folder": [], "no such file": [], "several such files": []}
    for row, cell in enumerate(cells):
        name = cell or ""
        if _leads_out(name):
            bad["leads out of the folder"].append(row)
        elif name in whole:
            found.append(name)
        elif tails[name] > 1:
            bad["several such files"].append(row)
        elif name in by_tail:
            found.append(by_tail[name])
        else:
            bad["no such file"].append(row)
    for fault, rows in bad.items():
        if rows:
            raise CohortError(
                f"{source.table}, column {source.file_column!r}, {name_rows(rows)}: {fault} ({source.path})",
                hint="write each file as its path below the folder or archive, with forward slashes",
            )
    return found


def _leads_out(name: str) -> bool:
    return "\\" in name or ":" in name or name.startswith("/") or ".." in PurePosixPath(name).parts
