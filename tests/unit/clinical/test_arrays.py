from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from sealround.clinical.reading import read_source
from sealround.errors import CohortError, ServiceError, UnsupportedError
from sealround.federation.interfaces import InputShape
from sealround.study.sections import MedmnistSource, NpzSource

if TYPE_CHECKING:
    from pathlib import Path

    from sealround.clinical import Places


def _npz(**changes: Any) -> NpzSource:
    return NpzSource.model_validate({"kind": "npz", "path": "set.npz", "array": "images", **changes})


def _write(folder: Path, **arrays: Any) -> None:
    np.savez(folder / "set.npz", **arrays)


@pytest.mark.parametrize(
    ("shape", "dtype", "expected"),
    [
        ((5, 6, 7), "uint8", InputShape("image", (1, 6, 7))),
        ((5, 6, 7, 1), "uint8", InputShape("image", (1, 6, 7))),
        ((5, 6, 7, 3), "uint8", InputShape("image", (3, 6, 7))),
        ((5, 6), "float16", InputShape("vector", (6,))),
        ((5, 6), "int32", InputShape("vector", (6,))),
    ],
)
def test_arrays_are_images_or_vectors(
    tmp_path: Path, places: Places, shape: tuple[int, ...], dtype: str, expected: InputShape
) -> None:
    array = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    _write(tmp_path, images=array, label=np.arange(5), wide=np.zeros((5, 2)), long=np.zeros(9))
    raw = read_source(_npz(), places)
    assert raw.inputs == expected
    assert raw.table.to_dict(as_series=False) == {"label": ["0", "1", "2", "3", "4"]}
    assert raw.array is not None
    np.testing.assert_array_equal(raw.array.ravel(), array.ravel())
    assert raw.array.dtype == (np.uint8 if expected.kind == "image" else np.float32)


def test_a_table_beside_the_archive_must_be_as_long(tmp_path: Path, places: Places) -> None:
    _write(tmp_path, images=np.zeros((3, 4)))
    (tmp_path / "labels.csv").write_text("label\n0\n1\n0\n")
    raw = read_source(_npz(table="labels.csv"), places)
    assert raw.table["label"].to_list() == ["0", "1", "0"]
    (tmp_path / "labels.csv").write_text("label\n0\n1\n")
    with pytest.raises(CohortError, match=r"has 2 rows, images of set.npz has 3"):
        read_source(_npz(table="labels.csv"), places)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 8, 8), dtype=np.float32), "images of float32"),
        (np.zeros((3, 8, 8, 4), dtype=np.uint8), "has shape"),
        (np.zeros(3), "has shape"),
        (np.array([["a", "b"]]), "vectors of"),
        (np.zeros((0, 8, 8), dtype=np.uint8), "is empty"),
        (np.zeros((0, 8)), "is empty"),
        (np.array([[0.0, 1.0], [np.inf, 0.0]]), "row 2: an infinite number"),
    ],
)
def test_an_array_that_is_neither_is_refused(tmp_path: Path, places: Places, array: np.ndarray, message: str) -> None:
    _write(tmp_path, images=array)
    with pytest.raises(CohortError, match=message):
        read_source(_npz(), places)


def test_an_archive_never_unpickles(tmp_path: Path, places: Places) -> None:
    _write(tmp_path, images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(CohortError, match="cannot be read"):
        read_source(_npz(), places)


def test_what_is_no_archive_is_refused(tmp_path: Path, places: Places) -> None:
    with pytest.raises(ServiceError, match="no such file"):
        read_source(_npz(), places)
    (tmp_path / "set.npz").write_bytes(b"nothing of the kind")
    with pytest.raises(CohortError, match="not a NumPy archive"):
        read_source(_npz(), places)
    with (tmp_path / "set.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(CohortError, match="single array"):
        read_source(_npz(), places)


def test_an_absent_array_is_named_with_the_nearest(tmp_path: Path, places: Places) -> None:
    _write(tmp_path, image=np.zeros((3, 4)))
    with pytest.raises(CohortError, match=r"no array 'images' \(did you mean 'image'\?\)"):
        read_source(_npz(), places)


def _medmnist(folder: Path, labels: int = 1) -> MedmnistSource:
    sizes = {"train": 4, "val": 2, "test": 3}
    arrays: dict[str, Any] = {}
    for value, (part, size) in enumerate(sizes.items()):
        arrays[f"{part}_images"] = np.full((size, 8, 8), value, dtype=np.uint8)
        arrays[f"{part}_labels"] = np.full((size, labels), value % 2, dtype=np.uint8)
    _write(folder, **arrays)
    return MedmnistSource(kind="medmnist", path="set.npz")


def test_a_medmnist_archive_is_one_table_with_its_split(tmp_path: Path, places: Places) -> None:
    raw = read_source(_medmnist(tmp_path), places)
    assert raw.table["split"].to_list() == ["train"] * 4 + ["val"] * 2 + ["test"] * 3
    assert raw.table["label"].to_list() == ["0"] * 4 + ["1"] * 2 + ["0"] * 3
    assert raw.array is not None
    assert raw.array[:, 0, 0].tolist() == [0] * 4 + [1] * 2 + [2] * 3


def test_a_medmnist_set_of_several_labels_is_unsupported(tmp_path: Path, places: Places) -> None:
    with pytest.raises(UnsupportedError, match="one label for each image"):
        read_source(_medmnist(tmp_path, labels=14), places)
