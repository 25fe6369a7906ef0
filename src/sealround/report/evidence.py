"""The evidence of a run as frozen records: what the page can show, and nothing else.

`sealround.report.reading` makes them from ``metrics.json``. ``None`` means absent, undefined or suppressed, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MODELS",
    "Bin",
    "CohortFacts",
    "Cost",
    "Estimate",
    "Evidence",
    "Exclusion",
    "Feature",
    "ModelResult",
    "Protection",
    "RiskGroup",
    "RoundFacts",
    "SiteCohortFacts",
    "SiteResult",
    "SiteRound",
    "StudyFacts",
]

MODELS = ("federated", "alone", "pooled")
"""Every model the page knows, in the order it shows them."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its confidence interval; ``None`` where undefined.

    Attributes:
        value: Point estimate.
        low: Lower end of the interval.
        high: Upper end of the interval.
        site: Whose it is, for "worst site".
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    site: str | None = None


@dataclass(frozen=True, slots=True)
class StudyFacts:
    """What was asked and how. ``confidence`` and ``min_cell_count`` are ``None`` where the evidence does not say."""

    name: str
    question: str
    digest: str
    rounds: int
    seed: int
    task: Literal["binary", "survival"]
    primary: str
    model: str
    parameters: int
    confidence: float | None
    min_cell_count: int | None
    outcome: str | None
    time_unit: str


@dataclass(frozen=True, slots=True)
class Feature:
    """One row of table 1 at one site; counts that are small, or would tell a small one, are ``None``."""

    name: str
    kind: Literal["numeric", "categorical"]
    unit: str
    missing: int | None
    mean: float | None = None
    sd: float | None = None
    levels: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SiteCohortFacts:
    """One site's patients; counts that are small, or would tell a small one, are ``None``."""

    rows: int | None
    patients: int | None
    train: int | None
    validation: int | None
    test: int | None
    positives: int | None
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class CohortFacts:
    """Where the data are from, and table 1. ``simulated`` is ``None`` where the evidence does not say."""

    source: str
    attribution: str | None
    site_term: str
    partition: str | None
    simulated: bool | None
    sites: Mapping[str, SiteCohortFacts]


@dataclass(frozen=True, slots=True)
class SiteRound:
    """One site in one round."""

    train_loss: float | None
    validation_loss: float | None
    validation: float | None


@dataclass(frozen=True, slots=True)
class RoundFacts:
    """One round: losses and validation over all sites, each site's own, and what it cost."""

    round: int
    train_loss: float | None
    validation_loss: float | None
    validation: float | None
    sites: Mapping[str, SiteRound]
    absent: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bin:
    """One group of a calibration curve: mean predicted risk, observed share, patients."""

    predicted: float
    observed: float
    count: int


@dataclass(frozen=True, slots=True)
class RiskGroup:
    """Kaplan-Meier estimate of one third of the patients by predicted risk; a step at each time."""

    group: str
    time: tuple[float, ...]
    survival: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class SiteResult:
    """One model on one site's test patients."""

    n: int | None
    positives: int | None
    metrics: Mapping[str, Estimate]
    roc: tuple[tuple[float, float], ...]
    calibration: tuple[Bin, ...]
    threshold: float | None
    risk_groups: tuple[RiskGroup, ...]


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model at every site, and what follows over sites."""

    sites: Mapping[str, SiteResult]
    mean: Mapping[str, Estimate]
    worst: Mapping[str, Estimate]
    gap: Mapping[str, Estimate]
    everyone: Mapping[str, Estimate]
    released_round: int | None
    threshold: float | None
    recalibration: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Protection:
    """One protection, whether it was on, why, and what that means."""

    name: str
    state: Literal["on", "off", "partial"]
    reason: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A site that was left out, from which round, and why."""

    site: str
    round: int | None
    why: str


@dataclass(frozen=True, slots=True)
class Cost:
    """What the run took; ``None`` where not measured."""

    seconds: float | None
    training_seconds: float | None
    bytes_up: int | None
    bytes_down: int | None
    peak_rss_bytes: int | None
    workers: int | None
    device: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything the page is made from."""

    sealround: str
    study: StudyFacts
    cohort: CohortFacts
    rounds: tuple[RoundFacts, ...]
    models: Mapping[str, ModelResult]
    differences: Mapping[str, Mapping[str, Estimate]]
    protection: tuple[Protection, ...]
    excluded: tuple[Exclusion, ...]
    cost: Cost
    environment: Mapping[str, str]

    @property
    def federated(self) -> ModelResult:
        """The model trained together."""
        return self.models["federated"]

    @property
    def confidence(self) -> str:
        """How an interval is called: ``95 % CI``, or ``CI`` where its level is not known."""
        level = self.study.confidence
        return "CI" if level is None else f"{100 * level:g}\N{NARROW NO-BREAK SPACE}%\N{NO-BREAK SPACE}CI"
