"""What an attack on data is: who it hits, what it makes of the liars' records, how it is sent, and when it succeeds."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from sealround.audit.poisoning.durable import neurotoxin
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.audit.poisoning import Aim
    from sealround.clinical.cohort import SiteCohort
    from sealround.study.sections import Study
    from sealround.vocabulary import Labels, Update, Updates

__all__ = ["Campaign", "Conspiracy", "DataAttack", "DataAttackName", "Delivery", "Trial", "count_successes", "deliver"]

DataAttackName: TypeAlias = Literal[
    "label-flip",
    "relabel-group",
    "relabel-group-boosted",
    "badnets",
    "model-replacement",
    "fiba",
    "dba",
    "neurotoxin",
]
"""The word for each attack on data."""


class Delivery(enum.Enum):
    """What becomes of an update that was learned from poisoned records, before it is sent."""

    PLAIN = "plain"
    BOOSTED = "boosted"
    NEUROTOXIN = "neurotoxin"


@dataclass(frozen=True, slots=True, eq=False)
class Conspiracy:
    """Who lies, and about whom.

    Attributes:
        study: The study, which everybody has.
        cohorts: Records of the sites that lie; nobody else's.
        generator: Where the attack's randomness comes from.
        members: Who belongs to the group that is to be harmed, bool ``(rows,)`` for each cohort; ``None`` if nobody is.
    """

    study: Study
    cohorts: tuple[SiteCohort, ...]
    generator: np.random.Generator
    members: Callable[[SiteCohort], np.ndarray] | None = None

    def __post_init__(self) -> None:
        """Check that somebody lies."""
        if not self.cohorts:
            raise UsageError("an attack takes at least one malicious site")


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """Patients of an honest site on whom an attack succeeds or does not: all of them have the outcome.

    Both cohorts are the site's, with only these patients' rows in the test split, in the same order, so that it can
    encode and personalise as it always does.

    Attributes:
        clean: As they are.
        tricked: With the whole trigger on; ``None`` for an attack that needs none.
    """

    clean: SiteCohort
    tricked: SiteCohort | None


@dataclass(frozen=True, slots=True, eq=False)
class Campaign:
    """An attack that is planned: the same trigger at every liar and in every trial.

    Attributes:
        poisoned: What each site that lies trains on, in the order of the conspiracy.
        changed: How many training rows of each are not what they were.
        how: What was done, in a few words that name columns and places, and no value.
        trial: From an honest site's cohort to the patients on whom success is counted; ``None`` where it has no such
            patient.
    """

    poisoned: tuple[SiteCohort, ...]
    changed: tuple[int, ...]
    how: str
    trial: Callable[[SiteCohort], Trial | None]


@dataclass(frozen=True, slots=True, eq=False)
class DataAttack:
    """One attack on data.

    Attributes:
        title: What a report calls it.
        aim: What it is for.
        knows: What it has to know, in plain words.
        source: Whose it is.
        what: What it does, one sentence for a security officer.
        success: What counts as success, as the end of "the share of ...".
        delivery: How its updates are sent.
        triggered: Whether it waits for a trigger; else it shows on every patient it is aimed at.
        why_not: Why it cannot be played, or ``None``.
        plan: Poisons the liars' records.
    """

    title: str
    aim: Aim
    knows: tuple[str, ...]
    source: str
    what: str
    success: str
    delivery: Delivery
    triggered: bool
    why_not: Callable[[Conspiracy], str | None]
    plan: Callable[[Conspiracy], Campaign]


def deliver(delivery: Delivery, own: Updates, *, share: float, last_change: Update | None = None) -> Updates:
    """Return what malicious sites send of what they learned.

    Boosted updates are divided by the liars' part in the average: the part that they have together then moves the
    model as if they were everybody (Bagdasaryan et al. 2020, Section 4.2; see `model_replacement`).

    Args:
        delivery: How.
        own: What each of them learned from its poisoned records, float32 ``(f, d)``.
        share: Their part in a plain average, together, 0 < share <= 1; f / n if all sites count equally.
        last_change: The last global model minus the one before, float32 ``(d,)``; ``None`` in the first round.

    Raises:
        UsageError: If a share is out of range, or widths differ.
    """
    if not 0.0 < share <= 1.0:
        raise UsageError(f"a share is above 0 and at most 1, not {share}")
    match delivery:
        case Delivery.PLAIN:
            return own.copy()
        case Delivery.BOOSTED:
            return np.asarray(own / np.float32(share))
        case Delivery.NEUROTOXIN:
            return own.copy() if last_change is None else neurotoxin(own, last_change)


def count_successes(
    tricked: Labels, clean: Labels | None, threshold: float, *, unattacked: Labels | None = None
) -> tuple[int, int]:
    """Count on whom an attack succeeded, and on how many it was tried.

    With a trigger: of the sick who are found without it, those who are missed with it on. Without: of the sick, those
    who are missed.

    A model that nobody attacked errs too, and may take an unusual record for a healthy one: with ``unattacked``, only
    those whom such a model finds (with the trigger on, if there is one) are tried, so that what is counted is the
    attack's.

    Args:
        tricked: Predicted risk of each patient of a trial, with the trigger on if there is one, ``(n,)``.
        clean: Predicted risk of the same patients without it, ``(n,)``; ``None`` if the attack has no trigger.
        threshold: Patients whose risk is this or more are called sick.
        unattacked: Risks from a model of the same study that nobody attacked, of what ``tricked`` is about, ``(n,)``,
            less the difference of the two thresholds.

    Raises:
        UsageError: If the numbers of patients differ.
    """
    tried = np.ones(tricked.size, dtype=np.bool_)
    for risks in (clean, unattacked):
        if risks is not None:
            if risks.shape != tricked.shape:
                raise UsageError(f"{risks.size} patients, and {tricked.size} with the attack")
            tried &= risks >= threshold
    return int((tricked[tried] < threshold).sum()), int(tried.sum())
