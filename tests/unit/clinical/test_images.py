from __future__ import annotations

import io
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from sealround.clinical.reading import read_source
from sealround.errors import CohortError, ServiceError
from sealround.study.sections import ImageFolderSource

if TYPE_CHECKING:
    from pathlib import Path

    from sealround.clinical import Places


def _png(value: int, size: tuple[int, int] = (20, 10), mode: str = "L") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, value if mode in {"L", "I;16"} else (value, 0, 255)).save(buffer, "PNG")
    return buffer.getvalue()


def _source(**changes: Any) -> ImageFolderSource:
    tree = {"kind": "image-folder", "path": "images", "table": "labels.csv", "size": 8, **changes}
    return ImageFolderSource.model_validate(tree)


def _write(folder: Path, files: dict[str, bytes], rows: list[str], *, zipped: bool = False) -> None:
    (folder / "labels.csv").write_text("\n".join(["file,label", *(f'"{row}",1' for row in rows)]) + "\n")
    if zipped:
        with zipfile.ZipFile(folder / "images", "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        return
    for name, data in files.items():
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(data)


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(("channels", "shape"), [(1, (3, 8, 8)), (3, (3, 8, 8, 3))])
def test_images_come_in_the_tables_order(
    tmp_path: Path, places: Places, channels: int, shape: tuple[int, ...], *, zipped: bool
) -> None:
    files = {"train/a.png": _png(10), "train/b.png": _png(20), "test/c.png": _png(30)}
    _write(tmp_path, files, ["c.png", "train/a.png", "b.png"], zipped=zipped)
    raw = read_source(_source(channels=channels), places)
    assert raw.array is not None
    assert raw.array.shape == shape
    assert raw.array.reshape(3, -1).mean(axis=1).tolist() == [30, 10, 20]


def test_colour_becomes_luminance(tmp_path: Path, places: Places) -> None:
    _write(tmp_path, {"a.png": _png(100, mode="RGB")}, ["a.png"])
    raw = read_source(_source(), places)
    assert raw.array is not None
    assert np.unique(raw.array).tolist() == [round(0.299 * 100 + 0.114 * 255)]


def test_many_images_are_the_same_in_any_number_of_chunks(
    tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {f"{number}.png": _png(number) for number in range(30)}
    _write(tmp_path, files, list(files), zipped=True)
    whole = read_source(_source(), places).array
    monkeypatch.setattr("sealround.clinical.images._CHUNK", 4)
    parts = read_source(_source(), places).array
    assert whole is not None
    assert parts is not None
    np.testing.assert_array_equal(whole, parts)
    assert whole[:, 0, 0].tolist() == list(range(30))


@pytest.mark.parametrize("zipped", [False, True], ids=["folder", "zip"])
@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/secret.png", "a/../../secret.png", "C:/secret.png", "..\\secret.png"]
)
def test_a_path_cannot_leave_the_folder(tmp_path: Path, places: Places, name: str, *, zipped: bool) -> None:
    (tmp_path / "secret.png").write_bytes(_png(1))
    _write(tmp_path, {"a.png": _png(1)}, ["a.png", name], zipped=zipped)
    with pytest.raises(CohortError, match=r"column 'file', row 2: leads out of the folder") as error:
        read_source(_source(), places)
    assert "secret" not in str(error.value)


def test_a_link_that_leaves_the_folder_is_no_file(tmp_path: Path, places: Places) -> None:
    (tmp_path / "secret.png").write_bytes(_png(1))
    _write(tmp_path, {"a.png": _png(1)}, ["a.png", "link.png"])
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(CohortError, match="column 'file', row 2: no such file"):
        read_source(_source(), places)


def test_absent_and_ambiguous_files_are_named_by_row(tmp_path: Path, places: Places) -> None:
    files = {"x/a.png": _png(1), "y/a.png": _png(2)}
    _write(tmp_path, files, ["x/a.png", "b.png", "", "c.png"])
    with pytest.raises(CohortError, match="column 'file', rows 2, 3, 4: no such file"):
        read_source(_source(), places)
    _write(tmp_path, files, ["x/a.png", "a.png"])
    with pytest.raises(CohortError, match="column 'file', row 2: several such files"):
        read_source(_source(), places)


@pytest.mark.parametrize(
    "data",
    [b"no image", b"", _png(5)[:50], _png(500, mode="I;16")],
    ids=["text", "empty", "cut off", "16 bit"],
)
def test_a_file_that_is_no_8_bit_image_is_named_by_row(tmp_path: Path, places: Places, data: bytes) -> None:
    _write(tmp_path, {"person7.png": _png(1), "person8.png": data}, ["person7.png", "person8.png"])
    with pytest.raises(CohortError, match="row 2: no image that can be read") as error:
        read_source(_source(), places)
    assert "person" not in str(error.value)


def test_a_missing_archive_and_a_file_that_is_none(tmp_path: Path, places: Places) -> None:
    (tmp_path / "labels.csv").write_text("file\na.png\n")
    with pytest.raises(ServiceError, match="no such file"):
        read_source(_source(), places)
    (tmp_path / "images").write_bytes(b"neither")
    with pytest.raises(CohortError, match="neither a folder nor a zip archive"):
        read_source(_source(), places)


def test_the_file_column_must_be_there(tmp_path: Path, places: Places) -> None:
    _write(tmp_path, {"a.png": _png(1)}, ["a.png"])
    with pytest.raises(CohortError, match=r"no column 'files' \(did you mean 'file'\?\)"):
        read_source(_source(file_column="files"), places)
