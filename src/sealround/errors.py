"""Every error sealround raises, in one tree that says whose fault it is.

.. code-block:: text

    SealroundError
    |-- UsageError               the caller broke a documented precondition
    |-- StudyError               the study or site file; ``problems`` lists every problem with its path
    |-- CohortError              a site's data does not fit the study; rows and columns named, never values
    |-- PeerError                ``party`` sent something invalid
    |   |-- MalformedMessageError      does not decode
    |   |-- ProtocolViolationError     decodes, but is illegal now
    |   `-- DivergenceError            training at ``party`` produced NaN, infinity or an exploding loss
    |-- VerificationError        something signed, proved or hashed did not check out
    |   `-- ConsistencyError           two records of the same thing differ
    |-- PolicyDeniedError        a site's own rules refuse this; ``decision`` says which
    |-- PrivacyBudgetError       more privacy would be spent than is allowed; ``spent``, ``asked``, ``limit``
    |-- WithheldError            the trained model did not pass its gate: it is not released
    |-- ThresholdError           too few parties survived; nothing was revealed
    |-- UnsupportedError         known, and known not to be supported
    `-- ServiceError             network, disk, engine: the only branch worth retrying

Every class has a stable ``code`` (its page is ``docs/reference/errors.md``), a message and a ``hint`` that tells the
operator what to do. No message, hint or attribute ever holds a patient's value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = [
    "CohortError",
    "ConsistencyError",
    "DivergenceError",
    "MalformedMessageError",
    "PeerError",
    "PolicyDeniedError",
    "PrivacyBudgetError",
    "Problem",
    "ProtocolViolationError",
    "SealroundError",
    "ServiceError",
    "StudyError",
    "ThresholdError",
    "UnsupportedError",
    "UsageError",
    "VerificationError",
    "WithheldError",
]


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a study or site file.

    Attributes:
        path: Where it is, as a dotted TOML path (``training.optimizer.kind``); empty for the file as a whole.
        message: What is wrong and what was expected.
        suggestion: The nearest valid word, where there is one.
        line: Line in the file, counted from 1, where it could be found.
        span: Columns of the offending text in that line, from 0, the end exclusive, where it could be found.
    """

    path: str
    message: str
    suggestion: str | None = None
    line: int | None = None
    span: tuple[int, int] | None = None

    def __str__(self) -> str:
        """Render as one line for a terminal."""
        place = self.path or "(file)"
        at_line = f" (line {self.line})" if self.line is not None else ""
        nearest = f"; did you mean {self.suggestion}?" if self.suggestion else ""
        return f"{place}{at_line}: {self.message}{nearest}"


class SealroundError(Exception):
    """Base of every error that sealround raises on purpose.

    Args:
        message: What happened, without any patient value.
        hint: What the operator can do about it.
    """

    code: ClassVar[str] = "sealround"
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """Travel whole between worker processes; `BaseException` would call the class with the message alone."""
        return _rebuilt, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        """Render the message and the hint."""
        return f"{self.message}\n  hint: {self.hint}" if self.hint else self.message


def _rebuilt(kind: type[SealroundError], arguments: tuple[object, ...], state: dict[str, object]) -> SealroundError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class UsageError(SealroundError):
    """The caller broke a documented precondition."""

    code = "usage"
    exit_status = 2


class StudyError(SealroundError):
    """The study or site file is wrong; ``problems`` lists everything that is, at once.

    Args:
        message: One line that names the file.
        problems: Every problem found.
        hint: What the operator can do about it.
    """

    code = "study"
    exit_status = 3

    def __init__(self, message: str, problems: tuple[Problem, ...] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.problems = problems

    def __str__(self) -> str:
        """Render the message, then a line for each problem."""
        return "\n".join([super().__str__(), *(f"  - {problem}" for problem in self.problems)])


class CohortError(SealroundError):
    """A site's data does not fit the study; rows and columns are named, never values."""

    code = "cohort"
    exit_status = 4


class PeerError(SealroundError):
    """``party`` sent something invalid.

    Args:
        message: What was wrong with it.
        party: Who sent it.
        hint: What the operator can do about it.
    """

    code = "peer"
    exit_status = 5

    def __init__(self, message: str, *, party: str, hint: str = "") -> None:
        super().__init__(f"{party}: {message}", hint=hint)
        self.party = party


class MalformedMessageError(PeerError):
    """A message does not decode."""

    code = "malformed-message"


class ProtocolViolationError(PeerError):
    """A message decodes, but is not allowed now."""

    code = "protocol-violation"


class DivergenceError(PeerError):
    """Training at ``party`` produced NaN, infinity or an exploding loss."""

    code = "divergence"
    exit_status = 6


class VerificationError(SealroundError):
    """Something signed, proved or hashed did not check out."""

    code = "verification"
    exit_status = 7


class ConsistencyError(VerificationError):
    """Two records of the same thing differ."""

    code = "consistency"


class PolicyDeniedError(SealroundError):
    """A site's own rules refuse this.

    Args:
        message: One line that names the site.
        decision: Every rule that said no, each in a line.
        hint: What the operator can do about it.
    """

    code = "policy-denied"
    exit_status = 11

    def __init__(self, message: str, decision: tuple[str, ...] = (), *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.decision = decision

    def __str__(self) -> str:
        """Render the message, then a line for each rule that said no."""
        return "\n".join([super().__str__(), *(f"  - {rule}" for rule in self.decision)])


class PrivacyBudgetError(SealroundError):
    """More of the patients' privacy would be spent than is allowed; nothing was spent.

    Args:
        message: What was asked for.
        spent: Epsilon of all that was spent or set aside before, where it is known.
        asked: What epsilon would be with this.
        limit: What it may be.
        hint: What the operator can do about it.
    """

    code = "privacy-budget"
    exit_status = 13

    def __init__(
        self,
        message: str,
        *,
        spent: float | None = None,
        asked: float | None = None,
        limit: float | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, hint=hint)
        self.spent, self.asked, self.limit = spent, asked, limit

    def __str__(self) -> str:
        """Render the message, then each epsilon that is known in a line."""
        named = (("spent before", self.spent), ("with this", self.asked), ("limit", self.limit))
        lines = (f"  - epsilon, {name}: {epsilon:.4g}" for name, epsilon in named if epsilon is not None)
        return "\n".join([super().__str__(), *lines])


class WithheldError(SealroundError):
    """The model was trained, and did not pass the gate of its study: it is not released."""

    code = "withheld"
    exit_status = 12


class ThresholdError(SealroundError):
    """Too few parties survived; nothing was revealed."""

    code = "threshold"
    exit_status = 8


class UnsupportedError(SealroundError):
    """Known, and known not to be supported."""

    code = "unsupported"
    exit_status = 9


class ServiceError(SealroundError):
    """Network, disk or engine failed: the only branch worth retrying."""

    code = "service"
    exit_status = 10
