"""Sources with an array beside the table: NumPy archives, MedMNIST and image folders."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sealround.clinical.cells import name_rows
from sealround.clinical.images import read_images
from sealround.clinical.tables import RawTable, as_text, read_csv, require_columns, unreadable
from sealround.errors import CohortError, UnsupportedError
from sealround.study.sections import ImageFolderSource, MedmnistSource, NpzSource
from sealround.study.words import nearest

if TYPE_CHECKING:
    from pathlib import Path

    from sealround.clinical.places import Places

__all__ = ["read_array_source"]


def read_array_source(source: NpzSource | MedmnistSource | ImageFolderSource, places: Places) -> RawTable:
    """Read a source with an array beside its table; see `sealround.clinical.reading.read_source`."""
    match source:
        case NpzSource():
            return _read_npz(source, places)
        case MedmnistSource():
            return _read_medmnist(source, places)
        case ImageFolderSource():
            table = read_csv(places.resolve(source.table), source.table)
            require_columns(table, [source.file_column], source.table)
            return RawTable(source.table, table, read_images(source, places.resolve(source.path), table))


def _read_npz(source: NpzSource, places: Places) -> RawTable:
    arrays = _Archive(places.resolve(source.path), source.path)
    array = _check_array(arrays.get(source.array), f"{source.path}: {source.array}")
    if source.table is not None:
        table = read_csv(places.resolve(source.table), source.table)
        if table.height != len(array):
            raise CohortError(
                f"{source.table} has {table.height} rows, {source.array} of {source.path} has {len(array)}",
                hint="the table must have one row for each entry of the array, in the same order",
            )
        return RawTable(source.table, table, array)
    columns = arrays.columns(len(array), without=source.array)
    return RawTable(source.path, as_text(pl.DataFrame(columns)), array)


def _read_medmnist(source: MedmnistSource, places: Places) -> RawTable:
    arrays = _Archive(places.resolve(source.path), source.path)
    parts = ("train", "val", "test")
    images = [_check_array(arrays.get(f"{part}_images"), f"{source.path}: {part}_images") for part in parts]
    labels = [_one_dimensional(arrays.get(f"{part}_labels")) for part in parts]
    if any(label is None or len(label) != len(image) for label, image in zip(labels, images, strict=True)):
        raise UnsupportedError(
            f"{source.path} does not hold one label for each image",
            hint="MedMNIST sets with several labels an image are not supported",
        )
    table = pl.DataFrame(
        {
            "label": np.concatenate([label for label in labels if label is not None]),
            "split": np.repeat(parts, [len(image) for image in images]),
        }
    )
    if len({image.shape[1:] for image in images}) > 1:
        raise CohortError(f"{source.path}: images of several sizes", hint="fetch the file again")
    return RawTable(source.path, as_text(table), np.concatenate(images))


class _Archive:
    """A NumPy archive, read array by array; never unpickles."""

    def __init__(self, path: Path, name: str) -> None:
        self._path, self._name = path, name
        try:
            self._file = np.load(path, allow_pickle=False)
        except OSError as error:
            raise unreadable(name, path, error) from error
        except (ValueError, zipfile.BadZipFile, EOFError):
            raise CohortError(f"{name} is not a NumPy archive", hint="write it with numpy.savez") from None
        if not isinstance(self._file, np.lib.npyio.NpzFile):
            raise CohortError(f"{name} is a single array, not an archive", hint="write it with numpy.savez")

    def get(self, key: str) -> np.ndarray:
        """Return one array."""
        if key not in self._file:
            similar = nearest(key, self._file.files)
            raise CohortError(
                f"{self._name} has no array {key!r}" + (f" (did you mean {similar!r}?)" if similar else ""),
                hint=f"its arrays are {', '.join(self._file.files[:40])}",
            )
        try:
            return np.asarray(self._file[key])
        except (ValueError, zipfile.BadZipFile, EOFError, OSError):
            raise CohortError(f"{self._name}: array {key!r} cannot be read", hint="fetch or write it again") from None

    def columns(self, rows: int, without: str) -> dict[str, np.ndarray]:
        """Return every one-dimensional array of ``rows`` numbers or texts."""
        found = {}
        for key in self._file.files:
            if key == without:
                continue
            column = _one_dimensional(self.get(key))
            if column is not None and len(column) == rows:
                found[key] = column
        return found


def _one_dimensional(array: np.ndarray) -> np.ndarray | None:
    if array.ndim == 2 and array.shape[1] == 1:  # noqa: PLR2004 - (n, 1), as MedMNIST has it
        array = array[:, 0]
    return array if array.ndim == 1 and array.dtype.kind in "biufU" else None


def _check_array(array: np.ndarray, name: str) -> np.ndarray:
    """Return images as uint8 ``(n, h, w)`` or ``(n, h, w, 3)``, vectors as float32 ``(n, p)``."""
    if array.ndim == 2:  # noqa: PLR2004 - (n, p)
        return _check_vectors(array, name)
    if array.ndim == 4 and array.shape[3] == 1:  # noqa: PLR2004 - (n, h, w, 1)
        array = array[..., 0]
    if array.ndim not in (3, 4) or (array.ndim == 4 and array.shape[3] != 3):  # noqa: PLR2004 - (n, h, w, 3)
        raise CohortError(
            f"{name} has shape {array.shape}",
            hint="images are (n, height, width) or (n, height, width, 3), vectors (n, p)",
        )
    if array.dtype != np.uint8:
        raise CohortError(f"{name} has images of {array.dtype}", hint="store images as uint8, 0 to 255")
    if len(array) == 0:
        raise CohortError(f"{name} is empty", hint="check that the file is complete")
    return array


def _check_vectors(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise CohortError(f"{name} has vectors of {array.dtype}", hint="store vectors as float32")
    if array.size == 0:
        raise CohortError(f"{name} is empty", hint="check that the file is complete")
    vectors = array.astype(np.float32)
    endless = np.flatnonzero(np.isinf(vectors).any(axis=1))
    if endless.size:
        raise CohortError(f"{name}, {name_rows(endless)}: an infinite number", hint="NaN stands for missing")
    return vectors
