from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sealround.errors import ConsistencyError, ServiceError, UsageError
from sealround.storage import Checkpoint, Journal, RunFolder, write_atomically
from sealround.vocabulary import PartyId

BERN = PartyId("bern")


def _checkpoint(round_: int) -> Checkpoint:
    return Checkpoint(round_, f"coordinator after {round_}".encode(), {BERN: str(round_).encode()})


def test_the_latest_checkpoint_comes_back(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "job")
    assert journal.latest() is None
    for round_ in range(1, 5):
        journal.save(_checkpoint(round_))
    assert Journal(tmp_path / "job").latest() == _checkpoint(4)
    assert len(list((tmp_path / "job").glob("checkpoint-*"))) == 2


def test_done_comes_after_every_round(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.save(_checkpoint(100_000))
    done = Checkpoint(100_000, b"c", {}, {BERN: {"n": 3, "replicates": [0.5]}})
    journal.save(done)
    latest = Journal(tmp_path).latest()
    assert latest is not None
    assert latest.evaluations == {"bern": {"n": 3, "replicates": (0.5,)}}


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b[:90] + b"x" + b[91:], lambda _: b""])
def test_a_damaged_checkpoint_is_passed_over(damage: object, tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.save(_checkpoint(1))
    journal.save(_checkpoint(2))
    newest = tmp_path / "checkpoint-000002"
    newest.write_bytes(damage(newest.read_bytes()))  # type: ignore[operator]
    assert Journal(tmp_path).latest() == _checkpoint(1)
    (tmp_path / "checkpoint-000001").write_bytes(b"nothing")
    with pytest.raises(ConsistencyError, match="every checkpoint"):
        Journal(tmp_path).latest()


def test_a_round_computed_again_must_give_the_same(tmp_path: Path) -> None:
    Journal(tmp_path).record(1, b"a state", {"seconds": 0.5})
    again = Journal(tmp_path)
    again.record(1, b"a state", {"seconds": 9.0})
    assert [line["seconds"] for line in again.rounds()] == [0.5]
    with pytest.raises(ConsistencyError, match="round 1, computed again"):
        again.record(1, b"another state", {})


def test_a_line_cut_by_a_crash_is_dropped(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record(1, b"one", {})
    journal.record(2, b"two", {})
    path = tmp_path / "rounds.jsonl"
    path.write_bytes(path.read_bytes()[:-10])
    again = Journal(tmp_path)
    assert [line["round"] for line in again.rounds()] == [1]
    again.record(2, b"two", {})
    assert [line["round"] for line in Journal(tmp_path).rounds()] == [1, 2]


def test_a_line_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rounds.jsonl").write_bytes(b"{broken\n")
    with pytest.raises(ConsistencyError):
        Journal(tmp_path)


def test_writing_where_nothing_can_be_written_is_a_service_error(tmp_path: Path) -> None:
    with pytest.raises(ServiceError, match=r"cannot write file\.bin"):
        write_atomically(tmp_path / "nowhere" / "file.bin", b"x")


def test_a_run_folder_is_made_once_and_opened_again(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", b"[study]\n", {"study_digest": "00"})
    assert folder.file("study.toml").read_bytes() == b"[study]\n"
    assert RunFolder.open(tmp_path / "run").read_json("run.json") == {"study_digest": "00"}
    with pytest.raises(UsageError, match="is not empty"):
        RunFolder.create(tmp_path / "run", b"", {})
    with pytest.raises(UsageError, match="not a run folder"):
        RunFolder.open(tmp_path)
    with pytest.raises(ConsistencyError):
        folder.read_json("metrics.json")


def test_numbers_that_json_does_not_have_never_reach_a_file(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", b"", {})
    with pytest.raises(ValueError, match="not JSON compliant"):
        folder.write_json("metrics.json", {"auroc": float(np.nan)})
    assert not folder.file("metrics.json").exists()


def test_a_csv_cell_with_a_comma_is_quoted(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", b"", {})
    folder.write_csv("rounds.csv", ["round", "validation a,b"], [[1, None], [2, 0.5]])
    assert folder.file("rounds.csv").read_text() == 'round,"validation a,b"\n1,\n2,0.5\n'


def test_one_lock_at_a_time(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path / "run", b"", {})
    folder.lock()
    with pytest.raises(UsageError, match="another process"):
        RunFolder.open(folder.path).lock()
    folder.unlock()
    again = RunFolder.open(folder.path)
    again.lock()
    again.unlock()
