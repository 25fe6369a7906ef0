"""What is kept of a drill, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sealround.errors import ConsistencyError, UsageError
from sealround.storage import DrillFolder

WORDS = ("as-is", "median", 42, "label-flip")


@pytest.fixture
def folder(tmp_path: Path) -> DrillFolder:
    return DrillFolder.create(tmp_path / "drill", b"[study]\n", {"sealround": "1"})


def test_a_training_is_kept_under_its_name(folder: DrillFolder) -> None:
    assert folder.kept(WORDS) is None
    folder.keep(WORDS, {"metric": [0.1, None], "liars": ["a"]})
    assert folder.kept(WORDS) == {"metric": [0.1, None], "liars": ["a"]}
    assert folder.kept(("as-is", "median", 43, "label-flip")) is None
    assert folder.start == {"sealround": "1"}


def test_numbers_come_back_as_they_were(folder: DrillFolder) -> None:
    numbers = [0.1 + 0.2, 1 / 3, 5e-324, 123456789.123456789]
    folder.keep(WORDS, {"metric": numbers})
    kept = folder.kept(WORDS)
    assert kept is not None
    assert kept["metric"] == numbers


def test_a_file_of_another_training_is_not_taken_for_it(folder: DrillFolder) -> None:
    folder.keep(WORDS, {"metric": []})
    (path,) = folder.file("cells").iterdir()
    path.write_text(json.dumps({"cell": ["iid", "median", 42, "label-flip"], "found": {}}))
    with pytest.raises(ConsistencyError, match="damaged"):
        folder.kept(WORDS)


def test_only_a_drill_folder_is_opened(folder: DrillFolder, tmp_path: Path) -> None:
    assert DrillFolder.open(folder.path).start == folder.start
    (tmp_path / "other").mkdir()
    with pytest.raises(UsageError, match="not a drill folder"):
        DrillFolder.open(tmp_path / "other")
    with pytest.raises(UsageError, match="not empty"):
        DrillFolder.create(folder.path, b"", {})


def test_two_processes_do_not_work_in_one_folder(folder: DrillFolder) -> None:
    folder.lock()
    try:
        with pytest.raises(UsageError, match="another process"):
            DrillFolder.open(folder.path).lock()
    finally:
        folder.unlock()
    again = DrillFolder.open(folder.path)
    again.lock()
    again.unlock()
