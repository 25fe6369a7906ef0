from __future__ import annotations

from pathlib import Path

import pytest

from sealround.clinical import Places, default_data_folder
from sealround.errors import UsageError


def test_paths_start_at_the_study_file_and_data_paths_at_the_data_folder(tmp_path: Path) -> None:
    places = Places(tmp_path / "studies", tmp_path / "data")
    assert places.resolve("table.csv") == tmp_path / "studies" / "table.csv"
    assert places.resolve("data:set/table.csv") == (tmp_path / "data" / "set" / "table.csv").resolve()
    assert places.resolve("/elsewhere/table.csv") == Path("/elsewhere/table.csv")


@pytest.mark.parametrize("path", ["data:../secret.csv", "data:/etc/passwd", "data:set/../../secret.csv"])
def test_a_data_path_cannot_leave_the_data_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(UsageError, match="leads out of the data folder"):
        Places(tmp_path, tmp_path / "data").resolve(path)


def test_a_link_out_of_the_data_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path)
    with pytest.raises(UsageError):
        Places(tmp_path, tmp_path / "data").resolve("data:link/table.csv")


def test_the_data_folder_is_the_chosen_one_then_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SEALROUND_DATA", str(tmp_path))
    assert default_data_folder() == tmp_path
    monkeypatch.delenv("SEALROUND_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert default_data_folder() == tmp_path / "xdg" / "sealround" / "data"


def test_a_relative_xdg_folder_is_ignored(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SEALROUND_DATA", raising=False)
    monkeypatch.delenv("LOCALAPPDATA", raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_data_folder() == tmp_path / ".local" / "share" / "sealround" / "data"


def test_the_places_of_a_study_file_are_its_folder(tmp_path: Path) -> None:
    places = Places.of_study(tmp_path / "study.toml", tmp_path)
    assert places == Places(tmp_path.resolve(), tmp_path)
