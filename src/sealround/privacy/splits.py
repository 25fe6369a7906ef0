"""What several studies spend together of any one unit, each of which is in one split of each study.

Who is trained on is not tested: within one study a unit spends what is released of its own split, the most of which
counts and not the sum (parallel composition: McSherry, SIGMOD 2009, Theorem 4). Another study may split the same units
otherwise, so across studies each may have been anywhere: the worst choice of one split for each study counts.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final

from sealround.errors import UsageError
from sealround.privacy.accounting import epsilon_of
from sealround.privacy.events import PrivacyEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["SPLIT_OF", "by_split", "epsilon_over_studies"]

SPLIT_OF: Final[Mapping[str, str]] = {
    "training": "train",
    "statistics": "train",
    "clipping": "train",
    "validation": "validation",
    "threshold": "validation",
    "metrics": "test",
}
"""Whose sums a release is made of: the units of which split."""

_MOST_CHOICES = 32


def by_split(events: Iterable[PrivacyEvent]) -> dict[str, tuple[PrivacyEvent, ...]]:
    """Return what is released of the units of each split; splits of which nothing is are left out.

    Raises:
        UsageError: If it is not known whose sums a release is made of.
    """
    found: dict[str, tuple[PrivacyEvent, ...]] = {}
    for event in events:
        if event.what not in SPLIT_OF:
            raise UsageError(f"nobody knows of which split {event.what!r} is released")
        if event.count:
            split = SPLIT_OF[event.what]
            found[split] = (*found.get(split, ()), event)
    return found


def epsilon_over_studies(studies: Iterable[Sequence[PrivacyEvent]], delta: float) -> float:
    """Return the epsilon that studies on the same units spend together, of neighbours that differ by one more or less.

    Where there are many studies, some count as if a unit were in all of their splits at once: never too little.

    Args:
        studies: What each releases.
        delta: As of `sealround.privacy.accounting.epsilon_of`.

    Raises:
        UsageError: As `by_split` and `epsilon_of`.
        UnsupportedError: As `epsilon_of`.
    """
    choices = _within_reach([_undominated(by_split(events).values()) for events in studies])
    worst = 0.0
    for spent in {_merged(itertools.chain(*chosen)) for chosen in itertools.product(*choices)}:
        worst = max(worst, epsilon_of(spent, delta, "add-or-remove-one"))
    return worst


def _undominated(splits: Iterable[tuple[PrivacyEvent, ...]]) -> list[tuple[PrivacyEvent, ...]]:
    """Leave out splits of which no more is told than of another: plain Gaussian noise has one number."""
    drawn: list[tuple[PrivacyEvent, ...]] = []
    plain: list[tuple[float, tuple[PrivacyEvent, ...]]] = []
    for events in splits:
        if all(event.sampling_probability == 1.0 for event in events):
            plain.append((_mu(events), events))
        else:
            drawn.append(events)
    # By its number alone: events themselves have no order.
    return [*drawn, *([max(plain, key=lambda pair: pair[0])[1]] if plain else [])] or [()]


def _mu(events: Iterable[PrivacyEvent]) -> float:
    """Return mu of Gaussian differential privacy (Dong, Roth, Su 2022, Corollary 3.3) as if nobody were drawn."""
    return math.sqrt(
        sum(event.count / event.noise_multiplier**2 if event.noise_multiplier else math.inf for event in events)
    )


def _within_reach(studies: list[list[tuple[PrivacyEvent, ...]]]) -> list[list[tuple[PrivacyEvent, ...]]]:
    """Join the splits of some studies until few choices are left, those first that lose least by it."""
    left = sorted(studies, key=lambda splits: sorted(map(_mu, splits))[:-1])
    for at, splits in enumerate(left):
        if math.prod(map(len, left)) <= _MOST_CHOICES:
            break
        left[at] = [tuple(itertools.chain(*splits))]
    return left


def _merged(events: Iterable[PrivacyEvent]) -> tuple[PrivacyEvent, ...]:
    """Add up equal releases, so that equal choices are one; what they were for plays no part."""
    counts: dict[tuple[float, float], int] = {}
    for event in events:
        kind = (event.noise_multiplier, event.sampling_probability)
        counts[kind] = counts.get(kind, 0) + event.count
    return tuple(PrivacyEvent("training", *kind, count) for kind, count in sorted(counts.items()))
