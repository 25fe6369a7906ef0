"""A privacy budget outlives crashes, is never overspent by two, and its file is refused when it is not whole."""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sealround.errors import (
    ConsistencyError,
    PrivacyBudgetError,
    ServiceError,
    UnsupportedError,
    UsageError,
)
from sealround.privacy.accounting import epsilon_of
from sealround.privacy.events import PrivacyEvent
from sealround.storage import PrivacyBudget, PrivacyLimit, budget_entries
from sealround.storage.privacy_ledger import PrivacyLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DELTA = 1e-5
FREE = PrivacyLimit(None, DELTA)


def digest(word: object) -> bytes:
    return hashlib.sha256(str(word).encode()).digest()


RECORDS, STUDY = digest("records"), digest("study")
STEP = PrivacyEvent("training", 4.0, 1.0, 1)
COUNTS = PrivacyEvent("statistics", 8.0, 1.0, 1)
ROUNDS = PrivacyEvent("training", 4.0, 1.0, 10)
WHOLE = (ROUNDS, COUNTS)


def spent(*events: PrivacyEvent) -> float:
    """Of one unit that took part in all of these."""
    return epsilon_of(events, DELTA, "add-or-remove-one")


TWICE = PrivacyLimit(spent(*WHOLE, *WHOLE), DELTA)


def budget(path: Path, limit: PrivacyLimit = FREE, *, data: bytes = RECORDS, unit: str = "patient") -> PrivacyBudget:
    return PrivacyBudget(path, data, unit, limit, now=lambda: 1_700_000_000.5)


def rounds(books: PrivacyBudget, *numbers: int) -> None:
    for number in numbers:
        books.spend(STEP, digest(number))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "site.privacy"


# --- what counts ------------------------------------------------------------------------------------------------------


def test_what_was_entered_is_there_when_the_file_is_opened_again(path: Path) -> None:
    with budget(path) as books:
        assert books.entries() == ()
        books.reserve(STUDY, WHOLE)
        rounds(books, 1, 2, 3)
        before = books.entries()
    with budget(path) as books:
        assert books.entries() == before
    (entry,) = budget_entries(path)
    assert (entry,) == before
    assert (entry.data, entry.unit, entry.study, entry.since) == (RECORDS, "patient", STUDY, 1_700_000_000)
    assert entry.spent == (PrivacyEvent("training", 4.0, 1.0, 3),)
    assert set(entry.counted) == set(WHOLE)
    assert (entry.limit, entry.settled) == (FREE, False)


def test_what_is_set_aside_counts_until_it_is_settled_and_then_what_was_spent_does(path: Path) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        assert books.epsilon == spent(*WHOLE)
        rounds(books, 1, 2)
        assert books.epsilon == spent(*WHOLE)
        books.settle(STUDY)
        assert books.epsilon == spent(STEP, STEP)
        (entry,) = books.entries()
        assert entry.settled
        assert entry.counted == entry.spent == (PrivacyEvent("training", 4.0, 1.0, 2),)


def test_a_study_that_does_not_fit_beside_the_others_is_refused_and_nothing_is_written(path: Path) -> None:
    with budget(path, TWICE) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, *range(10))
        books.reserve(digest("second"), WHOLE)
        before = path.read_bytes()
        with pytest.raises(PrivacyBudgetError, match="does not fit the privacy budget") as caught:
            books.reserve(digest("third"), (COUNTS,))
        assert path.read_bytes() == before
    error = caught.value
    assert (error.spent, error.asked) == (spent(*WHOLE, *WHOLE), spent(*WHOLE, *WHOLE, COUNTS))
    assert error.limit == TWICE.epsilon


def test_releases_are_accounted_for_together_and_not_by_adding_epsilons(path: Path) -> None:
    with budget(path, TWICE) as books:
        assert TWICE.epsilon is not None
        assert TWICE.epsilon < 2 * spent(*WHOLE)
        books.reserve(STUDY, WHOLE)
        books.reserve(digest("second"), WHOLE)


def test_what_a_settled_study_did_not_spend_is_there_for_others(path: Path) -> None:
    with budget(path, PrivacyLimit(spent(*WHOLE), DELTA)) as books:
        books.reserve(STUDY, WHOLE)
        with pytest.raises(PrivacyBudgetError):
            books.reserve(digest("second"), (ROUNDS,))
        books.settle(STUDY)
        books.reserve(digest("second"), (ROUNDS,))


def test_data_sets_and_units_have_budgets_of_their_own(path: Path) -> None:
    limit = PrivacyLimit(spent(*WHOLE), DELTA)
    for data, unit in ((RECORDS, "patient"), (RECORDS, "record"), (digest("others"), "patient")):
        with budget(path, limit, data=data, unit=unit) as books:
            books.reserve(STUDY, WHOLE)
            assert len(books.entries()) == 1
    assert len(budget_entries(path)) == 3


def test_a_release_without_noise_fits_no_limit(path: Path) -> None:
    with budget(path, PrivacyLimit(1000.0, DELTA)) as books, pytest.raises(PrivacyBudgetError) as caught:
        books.reserve(STUDY, (PrivacyEvent("statistics", 0.0, 1.0, 1),))
    assert caught.value.asked == float("inf")


def test_of_one_study_the_split_that_tells_most_counts_and_of_several_the_worst_of_each(path: Path) -> None:
    test = PrivacyEvent("metrics", 1.0, 1.0, 1)
    with budget(path, PrivacyLimit(spent(test), DELTA)) as books:
        books.reserve(STUDY, (*WHOLE, test))
        assert books.epsilon == spent(test) > spent(*WHOLE)
        with pytest.raises(PrivacyBudgetError) as caught:
            books.reserve(digest("second"), (COUNTS,))
        assert caught.value.asked == spent(test, COUNTS)


# --- questions --------------------------------------------------------------------------------------------------------


def test_the_same_question_is_counted_once_and_another_anew(path: Path) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, 1, 1, 2, 1)
        books.spend(COUNTS, digest(1))  # another event
        size = path.stat().st_size
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)  # a resumed run
        rounds(books, 1, 2)
        (entry,) = books.entries()
    assert set(entry.spent) == {PrivacyEvent("training", 4.0, 1.0, 2), COUNTS}
    assert path.stat().st_size == size


def test_more_than_was_set_aside_is_refused_whatever_the_limit(path: Path) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, *range(10))
        before = books.entries()
        for event in (STEP, PrivacyEvent("training", 5.0, 1.0, 1), PrivacyEvent("statistics", 8.0, 1.0, 2)):
            with pytest.raises(PrivacyBudgetError, match="has spent all that was set aside") as caught:
                books.spend(event, digest("new"))
        assert books.entries() == before
        assert caught.value.spent == spent(*WHOLE)
        assert caught.value.asked is not None
        assert caught.value.asked > spent(*WHOLE)
        rounds(books, *range(10))  # the same answers, once more
        books.spend(COUNTS, digest("statistics"))


def test_a_study_that_was_settled_goes_on_with_what_is_left_of_it(path: Path) -> None:
    """A run that was killed between settling and its last checkpoint is resumed; so is a study that is run twice."""
    with budget(path, PrivacyLimit(spent(*WHOLE), DELTA)) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, *range(9))
        books.settle(STUDY)
        with pytest.raises(PrivacyBudgetError):
            rounds(books, 9)
        rounds(books, 8)
        books.reserve(STUDY, WHOLE)
        rounds(books, *range(10))
        with pytest.raises(PrivacyBudgetError):
            rounds(books, 10)
        assert books.epsilon == spent(*WHOLE)


def test_other_events_for_the_same_study_take_the_place_of_what_was_not_spent_yet(path: Path) -> None:
    other = PrivacyEvent("training", 2.0, 1.0, 1)
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, 1)
        books.reserve(STUDY, (other,))
        assert books.epsilon == spent(STEP, other)
        with pytest.raises(PrivacyBudgetError):
            rounds(books, 2)


def test_a_narrower_limit_holds_for_a_study_that_goes_on(path: Path) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, 1)
    with budget(path, PrivacyLimit(spent(STEP), DELTA)) as books, pytest.raises(PrivacyBudgetError):
        books.reserve(STUDY, WHOLE)


def test_settling_twice_or_what_was_never_reserved_writes_nothing(path: Path) -> None:
    with budget(path) as books:
        books.settle(STUDY)
        assert books.entries() == ()
        books.reserve(STUDY, WHOLE)
        books.settle(STUDY)
        before = path.read_bytes()
        books.settle(STUDY)
        assert path.read_bytes() == before


def test_misuse_is_refused(path: Path) -> None:
    with budget(path) as books:
        with pytest.raises(UsageError, match="reserve first"):
            books.spend(STEP, STUDY)
        with pytest.raises(UsageError, match="32 bytes"):
            books.reserve(b"short", WHOLE)
        books.reserve(STUDY, WHOLE)
        with pytest.raises(UsageError, match="32 bytes"):
            books.spend(STEP, b"short")
    for call in (books.entries, lambda: books.settle(STUDY), lambda: rounds(books, 1)):
        with pytest.raises(UsageError, match="is closed"):
            call()
    for epsilon, delta in ((0.0, 1e-5), (float("inf"), 1e-5), (1.0, 0.0), (1.0, 1.0), (float("nan"), 0.1)):
        with pytest.raises(UsageError):
            PrivacyLimit(epsilon, delta)


# --- several at once --------------------------------------------------------------------------------------------------


def test_two_studies_at_the_same_time_do_not_overspend(path: Path) -> None:
    limit = PrivacyLimit(spent(*WHOLE), DELTA)
    with budget(path, limit) as one, budget(path, limit) as two:
        one.reserve(STUDY, WHOLE)
        with pytest.raises(PrivacyBudgetError):
            two.reserve(digest("second"), (COUNTS,))
        rounds(one, *range(10))
        one.settle(STUDY)
        two.reserve(digest("second"), (COUNTS,))
        two.spend(COUNTS, digest("question"))
        with pytest.raises(PrivacyBudgetError):
            one.reserve(digest("third"), (COUNTS,))
        assert one.epsilon == two.epsilon == spent(*WHOLE)


def test_two_runs_of_one_study_share_what_was_set_aside(path: Path) -> None:
    with budget(path) as one, budget(path) as two:
        one.reserve(STUDY, WHOLE)
        two.reserve(STUDY, WHOLE)
        rounds(one, *range(6))
        rounds(two, *range(2, 10))
        with pytest.raises(PrivacyBudgetError):
            rounds(one, 10)
        rounds(one, 9)


def test_studies_that_race_for_a_budget_spend_it_once(path: Path) -> None:
    """Each with a connection of its own, as another process has."""
    together = threading.Barrier(4)

    def train(name: str) -> bool:
        with budget(path, TWICE) as books:
            together.wait()
            try:
                books.reserve(digest(name), WHOLE)
            except PrivacyBudgetError:
                return False
            for number in range(10):
                books.spend(STEP, digest((name, number)))
            return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(train, "abcd")) == [False, False, True, True]
    with budget(path, TWICE) as books:
        assert books.epsilon == spent(*WHOLE, *WHOLE)
        assert [entry.spent for entry in books.entries()] == [(ROUNDS,), (ROUNDS,)]


# --- crashes ----------------------------------------------------------------------------------------------------------


KILLED = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_privacy_budget import PrivacyEvent, STEP, STUDY, budget, digest

with budget(Path(sys.argv[2])) as books:
    books.reserve(STUDY, (PrivacyEvent("training", 4.0, 1.0, 10**6),))
    for number in range(10**6):
        print("asks", number, flush=True)
        books.spend(STEP, digest(number))
        print("noise", number, flush=True)
"""


@pytest.mark.parametrize("pause_s", [0.0, 0.0013])
def test_what_used_its_noise_before_the_process_was_killed_is_counted(path: Path, pause_s: float) -> None:
    command = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(path)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    said = [child.stdout.readline() for _ in range(9)]
    until = time.perf_counter() + pause_s
    while time.perf_counter() < until:
        pass
    child.kill()
    said += child.communicate()[0].splitlines()
    assert child.returncode == -signal.SIGKILL
    asked, used = (sum(line.startswith(word) for line in said) for word in ("asks", "noise"))
    (entry,) = budget_entries(path)
    (event,) = entry.spent
    assert used <= event.count <= max(asked, used)
    with budget(path) as books:  # asked again, it is entered once
        books.reserve(STUDY, (PrivacyEvent("training", 4.0, 1.0, 10**6),))
        rounds(books, *range(event.count + 1))
        assert books.entries()[0].spent[0].count == event.count + 1


class Failing:
    """A connection that fails when one word of SQL comes by, before or after it was done."""

    def __init__(self, connection: sqlite3.Connection, word: str, *, done: bool, error: BaseException) -> None:
        self._connection, self._word, self._done, self._error = connection, word, done, error

    def execute(self, command: str, *rest: Any) -> Any:
        return self._pass(self._connection.execute, command, *rest)

    def executemany(self, command: str, *rest: Any) -> Any:
        return self._pass(self._connection.executemany, command, *rest)

    def _pass(self, call: Callable[..., Any], command: str, *rest: Any) -> Any:
        if command.startswith(self._word) and not self._done:
            raise self._error
        found = call(command, *rest)
        if command.startswith(self._word):
            raise self._error
        return found

    def close(self) -> None:
        self._connection.close()


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("word", ["BEGIN", "SELECT", "INSERT", "COMMIT"])
@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), KeyboardInterrupt()])
def test_a_failure_at_any_step_of_an_entry_can_only_count_too_much(
    path: Path, word: str, error: BaseException, *, done: bool
) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, 1)
        ledger: Any = books._ledger
        whole = ledger._connection
        ledger._connection = Failing(whole, word, done=done, error=error)
        kind = ServiceError if isinstance(error, sqlite3.Error) else KeyboardInterrupt
        with pytest.raises(kind):
            rounds(books, 2)
        ledger._connection = whole
        there = 2 if word == "COMMIT" and done else 1
        assert books.entries()[0].spent == (PrivacyEvent("training", 4.0, 1.0, there),)
        rounds(books, 2)
        assert books.entries()[0].spent == (PrivacyEvent("training", 4.0, 1.0, 2),)
    assert budget_entries(path)[0].spent == (PrivacyEvent("training", 4.0, 1.0, 2),)


@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("word", ["BEGIN", "SELECT", "INSERT", "COMMIT"])
def test_a_failure_while_setting_aside_or_settling_can_only_count_too_much(
    path: Path, word: str, *, done: bool
) -> None:
    error = sqlite3.OperationalError("disk I/O error")
    with budget(path) as books:
        ledger: Any = books._ledger
        whole = ledger._connection

        def broken(call: Callable[[], None]) -> None:
            ledger._connection = Failing(whole, word, done=done, error=error)
            with pytest.raises(ServiceError, match="disk I/O error"):
                call()
            ledger._connection = whole

        committed = word == "COMMIT" and done
        broken(lambda: books.reserve(STUDY, WHOLE))
        assert len(books.entries()) == committed
        with pytest.raises(UsageError, match="reserve first"):  # who was not told that it is set aside spends nothing
            rounds(books, 1)
        books.reserve(STUDY, WHOLE)
        rounds(books, 1)
        broken(lambda: books.settle(STUDY))
        assert books.epsilon == (spent(STEP) if committed else spent(*WHOLE))


def test_a_commit_that_was_broken_off_is_taken_back_whole(path: Path, tmp_path: Path) -> None:
    """Power fails while SQLite writes pages: what is then on the disk are the pages, torn, and the journal."""
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, 1, 2)
        whole = path.read_bytes()
        connection: Any = books._ledger._connection
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("PRAGMA cache_spill = 1")
        connection.execute("UPDATE entries SET entry = zeroblob(20000) WHERE number = 2")
        connection.execute("CREATE TABLE spill (x)")
        journal = path.with_name(f"{path.name}-journal")
        assert journal.stat().st_size > 512
        kept = journal.read_bytes()
        connection.execute("ROLLBACK")
    torn = tmp_path / "torn.privacy"
    torn.write_bytes(whole[:4096] + bytes(4096) + whole[8192:])
    torn.with_name("torn.privacy-journal").write_bytes(kept)
    try:
        found = budget_entries(torn)
    except ConsistencyError:
        return  # the journal had not been flushed far enough to take the pages back: refused, never less
    assert found == budget_entries(path)


def changes() -> Iterator[Callable[[bytes], bytes]]:
    yield lambda _: b""
    yield lambda whole: b"another file\n" + whole
    yield lambda whole: bytes(len(whole))
    for part in range(1, 8):
        yield lambda whole, part=part: whole[: len(whole) * part // 8]  # type: ignore[misc]


@pytest.mark.parametrize("change", list(changes()))
def test_a_file_that_is_empty_torn_or_another_is_refused_and_left_as_it_is(
    path: Path, change: Callable[[bytes], bytes]
) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, *range(8))
    path.write_bytes(change(path.read_bytes()))
    before = path.read_bytes()
    with pytest.raises(ConsistencyError, match="is damaged") as caught:
        budget(path)
    assert "forgets what was spent" in caught.value.hint
    assert path.read_bytes() == before


def test_a_changed_byte_is_refused_or_changes_nothing(path: Path) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, 1, 2)
        before = books.entries()
    whole = path.read_bytes()
    refused = 0
    # Bytes of a page that hold nothing are nobody's.
    for at in (at for at in range(len(whole)) if whole[at] or at < 120):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        try:
            found = budget_entries(path)
        except (ConsistencyError, UnsupportedError, ServiceError):
            refused += 1
        else:
            assert found == before, f"byte {at}"
    assert refused > 500


@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM entries WHERE number = 1",
        "DELETE FROM entries WHERE number = 2",
        "UPDATE entries SET number = 9 WHERE number = 3",
        "UPDATE entries SET entry = 'text' WHERE number = 2",
        "UPDATE entries SET hash = zeroblob(32) WHERE number = 3",
        "INSERT INTO entries SELECT 4, entry, hash FROM entries WHERE number = 3",
        "DROP TABLE entries",
        "CREATE TABLE more (x)",
        "PRAGMA application_id = 7",
    ],
)
def test_entries_that_are_missing_moved_changed_or_foreign_are_refused(path: Path, change: str) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, 1, 2)
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    connection.close()
    with pytest.raises(ConsistencyError, match="is damaged"):
        budget_entries(path)


def test_entries_that_go_while_the_file_is_open_are_missed(path: Path) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, 1)
        with sqlite3.connect(path) as connection:
            connection.execute("DELETE FROM entries WHERE number = 2")
        connection.close()
        with pytest.raises(ConsistencyError, match="are gone"):
            rounds(books, 2)


@pytest.mark.parametrize(
    "entry",
    [
        ["borrow", RECORDS],
        ["spend", RECORDS, "patient", STUDY, ["training", 4.0, 1.0, 1], STUDY],  # nothing was reserved
        ["reserve", RECORDS, "patient", STUDY, None, 2.0, [], 0],
        ["reserve", RECORDS, "patient", STUDY, 1, 1e-5, [], 0],
        ["reserve", RECORDS, "patient", STUDY, None, 1e-5, [["weather", 4.0, 1.0, 1]], 0],
        ["reserve", RECORDS, "patient", STUDY, None, 1e-5, [["training", 4.0, 1.0]], 0],
        ["reserve", RECORDS, "patient", STUDY, None, 1e-5, "training", 0],
        ["reserve", RECORDS, "patient", STUDY, None, 1e-5, [], "now"],
    ],
)
def test_an_entry_that_nobody_writes_is_damage(path: Path, entry: Any) -> None:
    ledger = PrivacyLedger(path, create=True)
    with ledger, pytest.raises(ConsistencyError, match="does not decode"), ledger.changing() as append:
        append(entry)
    with pytest.raises(ConsistencyError, match="does not decode"):
        budget_entries(path)


def test_a_later_version_is_not_guessed_at(path: Path) -> None:
    budget(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 2")
    connection.close()
    with pytest.raises(UnsupportedError, match="version 2"):
        budget(path)


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_folder_that_is_missing_or_refuses_is_a_service_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServiceError, match="cannot use the privacy ledger"):
        budget(path.parent / "nowhere" / "site.privacy")
    with pytest.raises(ServiceError, match="cannot use the privacy ledger"):
        budget_entries(path)
    assert not path.exists()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    with pytest.raises(ServiceError, match="Permission denied"):
        budget(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_folder_is_a_service_error_and_can_still_be_read(path: Path) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
    path.chmod(0o400)
    path.parent.chmod(0o500)
    try:
        assert len(budget_entries(path)) == 1
        with budget(path) as books, pytest.raises(ServiceError):
            books.reserve(digest("second"), WHOLE)
    finally:
        path.parent.chmod(0o700)


def test_a_read_only_database_is_a_service_error(path: Path) -> None:
    with budget(path) as books:
        connection: Any = books._ledger._connection
        connection.execute("PRAGMA query_only = ON")
        with pytest.raises(ServiceError, match="readonly"):
            books.reserve(STUDY, WHOLE)


def test_a_new_file_belongs_to_its_user_and_leaves_nothing_beside_it(path: Path) -> None:
    with budget(path) as one, budget(path) as two:
        one.reserve(STUDY, WHOLE)
        assert len(two.entries()) == 1
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in path.parent.iterdir()] == [path.name]


def test_commits_are_flushed_and_their_folder_too(path: Path) -> None:
    with budget(path) as books:
        connection: Any = books._ledger._connection
        assert connection.execute("PRAGMA synchronous").fetchone() == (3,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_a_forked_process_has_no_use_of_its_parents_ledger(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        parent = os.getpid()
        monkeypatch.setattr(os, "getpid", lambda: parent + 1)
        with pytest.raises(UsageError, match="belongs to another process"):
            rounds(books, 1)


def test_the_file_holds_digests_and_numbers(path: Path) -> None:
    with budget(path) as books:
        books.reserve(STUDY, WHOLE)
        rounds(books, 1)
    content = path.read_bytes()
    for word in (b"reserve", b"training", b"statistics", b"patient"):
        assert word in content
    assert str(Path.home()).encode() not in content
