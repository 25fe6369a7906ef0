"""The file in which a site writes down what it spends of its patients' privacy: an SQLite database that only grows.

Privacy is lost for good, so the file is worth what it survives. Each entry is on the disk before the call that wrote it
returns, and entries of several processes come one after the other, each made with all before it in view.

One table: a number from 1, an entry in canonical encoding (`sealround.wire`), and the SHA-256 of the entry before's (of
`_MAGIC`, for the first) and of this one. SQLite keeps a transaction whole and does not notice a changed byte; the
hashes do. An entry is one of

- ``["reserve", data, unit, study, epsilon, delta, events, at]``: the study may release these events, each
  ``[what, noise_multiplier, sampling_probability, count]``, under the limit that was in force; takes the place of what
  was set aside for the study before;
- ``["spend", data, unit, study, event, question]``: it did, or was about to;
- ``["settle", data, unit, study, at]``: what it has not released it will not.

``data`` names a site's records and ``study`` a study (32 bytes each), ``at`` is in seconds since 1970. No entry holds
anything of a patient.

The journal is SQLite's rollback journal with ``synchronous = EXTRA``: the folder too is flushed when a commit removes
the journal, without which a power failure could take a commit back. A write-ahead log would be a second file that has
to be kept, and needs shared memory that network file systems do not have.

Not covered: a file that was put back to an older copy, or removed, is a valid ledger of less. Nothing in it can tell.
So leave it out of what a restored backup or a reset virtual machine brings back.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn, TypeAlias

from sealround import wire
from sealround.errors import ConsistencyError, MalformedMessageError, ServiceError, UnsupportedError, UsageError
from sealround.privacy.events import PrivacyEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from sealround.wire import Value

__all__ = ["Account", "Kind", "PrivacyLedger", "PrivacyLimit", "events_of"]

_MAGIC: Final = b"sealround-privacy/1\n"
_HEADER: Final = b"SQLite format 3\x00"
_APPLICATION, _VERSION = 0x73727062, 1
_WAIT_S = 60.0
_SET_UP = (
    "PRAGMA journal_mode = DELETE",
    "PRAGMA synchronous = EXTRA",
    "PRAGMA fullfsync = ON",
    "PRAGMA trusted_schema = OFF",
    "PRAGMA cell_size_check = ON",
)
_TABLE = "CREATE TABLE entries (number INTEGER PRIMARY KEY, entry BLOB NOT NULL, hash BLOB NOT NULL)"

Kind: TypeAlias = tuple[str, float, float]
"""What is released, noise multiplier, sampling probability."""

_Place: TypeAlias = tuple[bytes, str]


@dataclass(frozen=True, slots=True)
class PrivacyLimit:
    """What may be spent.

    Attributes:
        epsilon: At the most; ``None`` for no limit.
        delta: At which it is measured.

    Raises:
        UsageError: If a number is out of range.
    """

    epsilon: float | None
    delta: float

    def __post_init__(self) -> None:
        """Check both numbers."""
        if not 0.0 < self.delta < 1.0:
            raise UsageError(f"delta is between 0 and 1, not {self.delta}")
        if self.epsilon is not None and not 0.0 < self.epsilon < float("inf"):
            raise UsageError(f"epsilon is above 0, not {self.epsilon}", hint="None is for no limit")


@dataclass(slots=True)
class Account:
    """What one study may release of one data set, and has.

    Attributes:
        limit: In force when it was last reserved for.
        since: When that was, in seconds since 1970.
        reserved: How many releases of each kind are set aside; those that were made are among them.
        spent: How many of each kind were made.
        answered: Kind, number and question of each entry.
        settled: Whether nothing more is to come.
    """

    limit: PrivacyLimit
    since: int
    reserved: dict[Kind, int] = field(default_factory=dict)
    spent: dict[Kind, int] = field(default_factory=dict)
    answered: set[tuple[Kind, int, bytes]] = field(default_factory=set)
    settled: bool = False

    def counted(self, reserved: dict[Kind, int] | None = None) -> tuple[PrivacyEvent, ...]:
        """Return what counts against a budget: all that was released, and what is still set aside.

        Args:
            reserved: In place of what is set aside.
        """
        aside = self.reserved if reserved is None else reserved
        return events_of({kind: max(aside.get(kind, 0), self.spent.get(kind, 0)) for kind in {**aside, **self.spent}})


def events_of(counts: dict[Kind, int]) -> tuple[PrivacyEvent, ...]:
    """Return releases of each kind as events."""
    return tuple(PrivacyEvent(*kind, count) for kind, count in sorted(counts.items()) if count)


class PrivacyLedger:
    """A ledger in a file, that several processes may hold.

    Guarantee: what was appended in `changing` is on the disk when its block has ended, all of it or, if it raises, all
    or nothing; and no other process appends between the block's first line and its last.
    Assumes: the disk keeps what it says it has written, and locks files.
    Not covered: a file that was rolled back or removed (see the module).

    Args:
        path: The file, in an existing folder.
        create: Make it when missing.

    Raises:
        ConsistencyError: If the file is damaged, or no ledger.
        UnsupportedError: If it is of a later version.
        ServiceError: If the disk refuses, or the file is missing.
    """

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self._path = path
        self._process = os.getpid()
        self._last, self._chain = 0, _hash(_MAGIC)
        self._connection: sqlite3.Connection | None = None
        self.accounts: dict[_Place, dict[bytes, Account]] = {}
        with self._told():
            if create and not path.exists():
                _make(path)
            with path.open("rb") as file:
                if file.read(len(_HEADER)) != _HEADER:  # SQLite would take an empty file for a new database
                    self._damaged("it does not begin as one")
            self._connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_WAIT_S, isolation_level=None
            )
        try:
            with self._told():
                self._check_whole(self._connection)
            self.read()
        except BaseException:
            self.close()
            raise

    def read(self) -> None:
        """Take note of what other processes have written.

        Raises:
            ConsistencyError: If the file is damaged.
            ServiceError: If the disk refuses.
        """
        connection = self._open()
        with self._told():
            self._catch_up(connection)

    @contextlib.contextmanager
    def changing(self) -> Iterator[Callable[[Value], None]]:
        """Keep every other process from writing, take note of what they wrote, and give a function that appends.

        Raises:
            ConsistencyError: If the file is damaged.
            ServiceError: If the disk refuses; what was appended may be in the file or not, and is read again.
        """
        connection = self._open()
        new: list[tuple[int, bytes, bytes]] = []

        def append(entry: Value) -> None:
            chain, body = new[-1][2] if new else self._chain, wire.encode(entry)
            new.append((self._last + len(new) + 1, body, _hash(chain, body)))

        try:
            with self._told():
                connection.execute("BEGIN IMMEDIATE")
                self._catch_up(connection)
            yield append
            with self._told():
                connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", new)
                connection.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise
        for number, body, chain in new:
            self._take(number, body, chain)

    def close(self) -> None:
        """Let go of the file."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the file."""
        self.close()

    # --- the file -----------------------------------------------------------------------------------------------------

    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            raise UsageError(f"the privacy ledger {self._path.name} is closed", hint="open it again")
        if os.getpid() != self._process:  # a fork shares the locks
            raise UsageError(f"the privacy ledger {self._path.name} belongs to another process")
        return self._connection

    def _check_whole(self, connection: sqlite3.Connection) -> None:
        for command in _SET_UP:
            connection.execute(command)
        if connection.execute("PRAGMA application_id").fetchone() != (_APPLICATION,):
            self._damaged("it is another program's database")
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            raise UnsupportedError(
                f"the privacy ledger {self._path.name} is of version {version}", hint="open it with a later sealround"
            )
        if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            self._damaged("its pages do not fit each other")
        if connection.execute("SELECT sql FROM sqlite_master").fetchall() != [(_TABLE,)]:
            self._damaged("it has other tables")

    def _catch_up(self, connection: sqlite3.Connection) -> None:
        """Read what is new, and that the last one known is still there."""
        seen = self._last == 0
        query = "SELECT number, entry, hash FROM entries WHERE number >= ? ORDER BY number"
        for number, body, chain in connection.execute(query, (self._last,)):
            if not seen:
                seen = (number, chain) == (self._last, self._chain)
                if not seen:
                    break
            else:
                self._take(number, body, chain)
        if not seen:
            self._damaged("entries that were there are gone")

    def _take(self, number: object, body: object, chain: bytes) -> None:
        if number != self._last + 1 or not isinstance(body, bytes) or _hash(self._chain, body) != chain:
            self._damaged(f"entry {self._last + 1} is not the one that was written")
        try:
            self._apply(wire.decode(body, sender=self._path.name))
        except (MalformedMessageError, UsageError):
            self._damaged(f"entry {number} does not decode")
        self._last, self._chain = self._last + 1, chain

    def _damaged(self, why: str) -> NoReturn:
        raise ConsistencyError(
            f"the privacy ledger {self._path.name} is damaged: {why}",
            hint="do not restore an older copy, which forgets what was spent: move the file away, and take part in no "
            "private training of these records before its data steward has decided what is left of their budget",
        )

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        """Say in our words what SQLite or the disk refuses."""
        try:
            yield
        except OSError as error:
            raise self._refused(error.strerror or "") from error
        except sqlite3.OperationalError as error:  # the disk, its permissions, a lock; its texts name no value
            raise self._refused(str(error)) from error
        except sqlite3.DatabaseError:
            self._damaged("SQLite cannot read it")

    def _refused(self, why: str) -> ServiceError:
        return ServiceError(
            f"cannot use the privacy ledger {self._path.name}: {why}",
            hint="check that its folder is there and can be written to, and free disk space",
        )

    # --- what it says -------------------------------------------------------------------------------------------------

    def _apply(self, entry: Value) -> None:
        match entry:
            case [
                "reserve",
                bytes(data),
                str(unit),
                bytes(study),
                (float() | None) as epsilon,
                float(delta),
                events,
                at,
            ]:
                limit, studies = PrivacyLimit(epsilon, delta), self.accounts.setdefault((data, unit), {})
                account = studies.setdefault(study, Account(limit, 0))
                account.limit, account.since, account.settled = limit, _whole(at), False
                account.reserved = _counts(_event(event) for event in _list(events))
            case ["spend", bytes(data), str(unit), bytes(study), event, bytes(question)]:
                account, (kind, count) = self._account(data, unit, study), _event(event)
                account.spent[kind] = account.spent.get(kind, 0) + count
                account.answered.add((kind, count, question))
            case ["settle", bytes(data), str(unit), bytes(study), at]:
                account = self._account(data, unit, study)
                account.reserved, account.since, account.settled = {}, _whole(at), True
            case _:
                raise UsageError("an entry is of no known kind")

    def _account(self, data: bytes, unit: str, study: bytes) -> Account:
        account = self.accounts.get((data, unit), {}).get(study)
        if account is None:
            raise UsageError("nothing was reserved")
        return account


def _make(path: Path) -> None:
    """Make an empty ledger, whole before it has its name: an empty file is a damaged ledger, never a new one."""
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    try:
        connection = sqlite3.connect(beside, isolation_level=None)
        try:
            for command in (*_SET_UP, f"PRAGMA application_id = {_APPLICATION}", f"PRAGMA user_version = {_VERSION}"):
                connection.execute(command)
            connection.execute(_TABLE)
        finally:
            connection.close()
        with contextlib.suppress(FileExistsError):  # another process was faster
            os.link(beside, path)
    finally:
        Path(beside).unlink()
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _hash(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def _event(tree: Value) -> tuple[Kind, int]:
    match tree:
        case [str(what), float(noise), float(sampling), int(count)]:
            PrivacyEvent(what, noise, sampling, count)  # checks them
            return (what, noise, sampling), count
    raise UsageError("an event is of no known kind")


def _limit(epsilon: Value, delta: Value) -> PrivacyLimit:
    if not isinstance(delta, float) or not isinstance(epsilon, float | None):
        raise UsageError("a limit has two numbers")
    return PrivacyLimit(epsilon, delta)


def _counts(events: Iterable[tuple[Kind, int]]) -> dict[Kind, int]:
    found: dict[Kind, int] = {}
    for kind, count in events:
        found[kind] = found.get(kind, 0) + count
    return found


def _list(value: Value) -> tuple[Value, ...]:
    if not isinstance(value, list | tuple):
        raise UsageError("expected a list")
    return tuple(value)


def _whole(value: Value) -> int:
    if not isinstance(value, int):
        raise UsageError("expected a whole number")
    return value
