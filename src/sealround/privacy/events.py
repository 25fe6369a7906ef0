"""What leaves, as far as privacy is concerned: a noised sum, how much noise, over whom, how often.

Every release of sealround is a sum of one vector for each unit of privacy, plus Gaussian noise. Of training each step
is one, over units drawn independently with probability q (Poisson sampling); everything else is a sum over all, q = 1.
What a tuple of events says together is `sealround.privacy.accounting`'s.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

from sealround.errors import UnsupportedError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["RELATIONS", "RELEASES", "NeighboringRelation", "PrivacyEvent", "Release", "require_relation"]

Release: TypeAlias = Literal["training", "statistics", "validation", "metrics", "threshold", "clipping"]
"""What is released."""

RELEASES: tuple[Release, ...] = get_args(Release)
"""Every kind of release."""

NeighboringRelation: TypeAlias = Literal["add-or-remove-one", "replace-one"]
"""Which two sets of units must look alike: one unit more or less, or one exchanged for another."""

RELATIONS: tuple[NeighboringRelation, ...] = get_args(NeighboringRelation)
"""Every relation that is supported."""


@dataclass(frozen=True, slots=True)
class PrivacyEvent:
    """The same release, so many times over.

    Attributes:
        what: A `Release`.
        noise_multiplier: Standard deviation of the noise in the sum, over the l2 sensitivity: the largest norm of what
            one unit adds to it. At least 0, which is no privacy. It is the same number under either relation; that one
            unit exchanged for another moves the sum by twice as much is the accountant's business.
        sampling_probability: q, with which each unit takes part, independently of all others; 1 if all do.
        count: How often, at least 0.

    Raises:
        UsageError: If a number is not one of these; the message says which.
    """

    what: str
    noise_multiplier: float
    sampling_probability: float
    count: int

    def __post_init__(self) -> None:
        """Refuse what is no event; whole numbers become floats where floats belong."""
        if self.what not in RELEASES:
            raise UsageError(f"nothing is released as {self.what!r}", hint=f"releases are {', '.join(RELEASES)}")
        for name in ("noise_multiplier", "sampling_probability"):
            object.__setattr__(self, name, _finite(name, getattr(self, name)))
        if self.noise_multiplier < 0.0:
            raise UsageError(f"noise_multiplier is {self.noise_multiplier:g}, and cannot be negative")
        if not 0.0 < self.sampling_probability <= 1.0:
            raise UsageError(
                f"sampling_probability is {self.sampling_probability:g}, and not within 0..1",
                hint="leave an event out that nobody takes part in",
            )
        if not _whole(self.count):
            raise UsageError(f"count is {self.count!r}, and not a whole number of at least 0")

    def to_json(self) -> dict[str, str | float | int]:
        """Return a dict that `from_json` reads back."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: object) -> PrivacyEvent:
        """Read what `to_json` wrote, and nothing else.

        Args:
            tree: A dict with exactly the names of the attributes.

        Raises:
            UsageError: If it is something else, or a number is out of range.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(tree, dict) or set(tree) != names:
            raise UsageError("this is no privacy event", hint=f"it has {', '.join(sorted(names))}, and nothing else")
        event: Mapping[str, object] = tree
        if not isinstance(event["what"], str):
            raise UsageError("what is released is not a word")
        return cls(**event)  # type: ignore[arg-type]  # every value is checked above and in __post_init__


def require_relation(relation: str) -> None:
    """Check that a neighboring relation is supported.

    Raises:
        UnsupportedError: If it is not.
    """
    if relation not in RELATIONS:
        raise UnsupportedError(
            f"no accountant here knows the relation {relation!r}", hint=f"{', '.join(RELATIONS)} are known"
        )


def _finite(name: str, number: object) -> float:
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise UsageError(f"{name} is {number!r}, and not a finite number")
    return float(number)


def _whole(number: object) -> bool:
    return isinstance(number, int) and not isinstance(number, bool) and number >= 0
