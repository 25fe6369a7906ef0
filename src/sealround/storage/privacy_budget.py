"""What a site may still spend of its patients' privacy, over all studies on the same records.

Epsilons do not add up: what is kept are the releases themselves, and each time all of them are accounted for together
(`sealround.privacy.splits`).
A study's releases are set aside before its training begins, so that two studies at the same time cannot overspend, and
entered one by one before their noise is used. So a crash, wherever it happens, can only make it count too much.

A study is its digest, whatever run it is in. Asked again, it goes on with what was set aside for it: an answer that it
had once is given again and costs nothing, any other beyond what was set aside is refused.

Budgets are kept for each data set and unit of privacy apart. Not covered: that records of one data set are in another
too, or that a study which protects records spends the privacy of patients as well. Call everything that may hold the
same patients one data set, and accept one unit.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.errors import PrivacyBudgetError, UsageError
from sealround.privacy.splits import epsilon_over_studies
from sealround.storage.privacy_ledger import Account, PrivacyLedger, PrivacyLimit, events_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import Self

    from sealround.privacy.events import PrivacyEvent
    from sealround.storage.privacy_ledger import Kind
    from sealround.wire import Value

__all__ = ["PrivacyBudget", "PrivacyEntry", "PrivacyLimit", "budget_entries"]

_DIGEST = 32


@dataclass(frozen=True, slots=True)
class PrivacyEntry:
    """What one study was allowed on one data set, and has spent.

    Attributes:
        data: Which records (32 bytes).
        unit: Whose presence is hidden: ``"patient"`` or ``"record"``.
        study: Digest of the study (32 bytes).
        since: When it was last reserved for or settled, in seconds since 1970.
        limit: Of this data set, when it was last reserved for.
        counted: What counts against the budget: what was released, and what is still set aside.
        spent: What was released.
        settled: Whether nothing more is to come.
    """

    data: bytes
    unit: str
    study: bytes
    since: int
    limit: PrivacyLimit
    counted: tuple[PrivacyEvent, ...]
    spent: tuple[PrivacyEvent, ...]
    settled: bool


class PrivacyBudget:
    """The budget of one data set and unit of privacy, in a file: a `sealround.federation.private.Allowance`.

    Guarantee: all that was spent and set aside has an epsilon of no more than the limit, at its delta, for neighbours
    that differ by one unit more or less; `spend` returns when its entry is on the disk.
    Assumes: what is released is what its event says.
    Not covered: see the module, and `sealround.storage.privacy_ledger`.

    Args:
        path: The ledger, in an existing folder; made when missing.
        data: Which records (32 bytes).
        unit: Whose presence is hidden: ``"patient"`` or ``"record"``.
        limit: What may be spent of it, over all studies.
        now: Gives the time, in seconds since 1970.

    Raises:
        ConsistencyError: If the ledger is damaged.
        ServiceError: If the disk refuses.
    """

    def __init__(
        self, path: Path, data: bytes, unit: str, limit: PrivacyLimit, now: Callable[[], float] = time.time
    ) -> None:
        _check_digest(data)
        self._place = data, unit
        self._limit = limit
        self._now = now
        self._study: bytes | None = None
        self._ledger = PrivacyLedger(path, create=True)

    @property
    def epsilon(self) -> float:
        """Epsilon of all that was spent and set aside.

        Raises:
            UnsupportedError: If `dp-accounting` is not installed.
        """
        self._ledger.read()
        return self._epsilon(*self._others(b""))

    def reserve(self, study: bytes, events: Iterable[PrivacyEvent]) -> None:
        """Set aside what a study is going to release, in place of what was set aside for it before.

        Args:
            study: Its digest (32 bytes); `spend` is this study's from now on.
            events: All that it will release, what it released already among it.

        Raises:
            PrivacyBudgetError: If that does not fit the limit; nothing is written.
            UnsupportedError: If there is a limit and `dp-accounting` is not installed.
            ServiceError: If it cannot be written down.
        """
        _check_digest(study)
        asked: dict[Kind, int] = {}
        for event in events:
            kind = (event.what, event.noise_multiplier, event.sampling_probability)
            asked[kind] = asked.get(kind, 0) + event.count
        with self._ledger.changing() as append:
            account = self._accounts.get(study, Account(self._limit, 0))
            self._check(study, account, asked)
            if account.reserved != asked or account.limit != self._limit or account.settled:
                trees: list[Value] = [[*kind, count] for kind, count in sorted(asked.items())]
                limit = [self._limit.epsilon, self._limit.delta]
                append(["reserve", *self._place, study, *limit, trees, int(self._now())])
        self._study = study

    def spend(self, event: PrivacyEvent, question: bytes) -> None:
        """Enter a release before its noise is used.

        Args:
            event: What leaves.
            question: Hash of what it answers (32 bytes): the same event for the same question is entered once.

        Raises:
            PrivacyBudgetError: If it is more than what was set aside for the study; nothing is entered.
            UsageError: If nothing was set aside yet.
            ServiceError: If it cannot be written down.
        """
        _check_digest(question)
        if self._study is None:
            raise UsageError("a release is spent from what a study has set aside", hint="reserve first")
        kind, count = (event.what, event.noise_multiplier, event.sampling_probability), event.count
        entered = (kind, count, question)
        account = self._accounts.get(self._study)
        if account is not None and entered in account.answered:
            return
        with self._ledger.changing() as append:
            account = self._accounts[self._study]
            if entered in account.answered:
                return
            if account.spent.get(kind, 0) + count > account.reserved.get(kind, 0):
                others, before = tuple(self._others(self._study)), account.counted()
                raise PrivacyBudgetError(
                    f"study {_short(self._study)} has spent all that was set aside for {event.what}",
                    spent=self._epsilon(*others, before),
                    asked=self._epsilon(*others, (*before, event)),
                    limit=self._limit.epsilon,
                    hint="a study is run again with the same answers only; for others make it a new study, which is "
                    "paid for anew",
                )
            append(["spend", *self._place, self._study, [*kind, count], question])

    def settle(self, study: bytes) -> None:
        """Give back what was set aside for a study and not spent; nothing, if nothing was.

        Raises:
            ServiceError: If it cannot be written down.
        """
        with self._ledger.changing() as append:
            account = self._accounts.get(study)
            if account is not None and not account.settled:
                append(["settle", *self._place, study, int(self._now())])

    def entries(self) -> tuple[PrivacyEntry, ...]:
        """Return what each study was allowed on this data set, and has spent."""
        self._ledger.read()
        return tuple(_entry(*self._place, study, account) for study, account in self._accounts.items())

    def close(self) -> None:
        """Let go of the file."""
        self._ledger.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the file."""
        self.close()

    @property
    def _accounts(self) -> Mapping[bytes, Account]:
        return self._ledger.accounts.get(self._place, {})

    def _others(self, study: bytes) -> Iterator[tuple[PrivacyEvent, ...]]:
        return (account.counted() for other, account in self._accounts.items() if other != study)

    def _epsilon(self, *studies: tuple[PrivacyEvent, ...]) -> float:
        return epsilon_over_studies(studies, self._limit.delta)

    def _check(self, study: bytes, account: Account, asked: dict[Kind, int]) -> None:
        limit, others = self._limit.epsilon, tuple(self._others(study))
        if limit is None:
            return
        with_this = self._epsilon(*others, account.counted(asked))
        if with_this > limit:
            raise PrivacyBudgetError(
                f"study {_short(study)} does not fit the privacy budget of these records",
                spent=self._epsilon(*others, account.counted()),
                asked=with_this,
                limit=limit,
                hint="a study with a smaller epsilon or fewer rounds may fit, or the site's data steward raises the "
                "budget; `sealround privacy budget` shows what it went to",
            )


def budget_entries(path: Path) -> tuple[PrivacyEntry, ...]:
    """Return everything in a ledger, by data set, unit and study.

    Raises:
        ConsistencyError: If it is damaged, or no ledger.
        ServiceError: If it cannot be read.
    """
    with PrivacyLedger(path) as ledger:
        return tuple(
            _entry(*place, study, account)
            for place, studies in sorted(ledger.accounts.items())
            for study, account in studies.items()
        )


def _entry(data: bytes, unit: str, study: bytes, account: Account) -> PrivacyEntry:
    counted, spent = account.counted(), events_of(account.spent)
    return PrivacyEntry(data, unit, study, account.since, account.limit, counted, spent, account.settled)


def _check_digest(value: bytes) -> None:
    if len(value) != _DIGEST:
        raise UsageError(f"a digest has {_DIGEST} bytes, not {len(value)}")


def _short(study: bytes) -> str:
    return study.hex()[:16]
