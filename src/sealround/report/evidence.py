"""The evidence of a run as frozen records: what the page can show, and nothing else.

`sealround.report.reading` makes them from ``metrics.json``. ``None`` means absent, undefined or suppressed, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from sealround.report.typography import confidence

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.report.audited import AuditFacts
    from sealround.report.gate_entries import GateFacts
    from sealround.report.group_entries import Subgroups
    from sealround.report.privacy_entries import PrivacyFacts

__all__ = [
    "MODELS",
    "Aggregation",
    "Bin",
    "CohortFacts",
    "Cost",
    "Estimate",
    "Evidence",
    "Exclusion",
    "Feature",
    "Judged",
    "ModelResult",
    "Protection",
    "RiskGroup",
    "RobustAggregation",
    "RoundFacts",
    "SiteCohortFacts",
    "SiteResult",
    "SiteRound",
    "StudyFacts",
    "Together",
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
    parameters: int | None
    confidence: float | None
    min_cell_count: int | None
    outcome: str | None
    time_unit: str


@dataclass(frozen=True, slots=True)
class Feature:
    """One row of table 1; counts that are small, or would tell a small one, are ``None``."""

    name: str
    kind: Literal["numeric", "categorical"]
    unit: str
    missing: int | None
    mean: float | None = None
    sd: float | None = None
    levels: Mapping[str, int | None] = field(default_factory=dict)
    n: int | None = None


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
class Together:
    """The training patients of all sites as sums tell them; each site left out what describes few of its own."""

    roster: tuple[str, ...]
    examples: int | None
    positives: int | None
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class CohortFacts:
    """Where the data are from, and table 1: by site, or where sums are sealed or noised of all together.

    ``simulated`` is ``None`` where the evidence does not say.
    """

    source: str
    attribution: str | None
    site_term: str
    partition: str | None
    simulated: bool | None
    sites: Mapping[str, SiteCohortFacts]
    together: Together | None = None

    @property
    def roster(self) -> tuple[str, ...]:
        """Name every site of the study."""
        return tuple(self.sites) if self.together is None else self.together.roster


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
    """One model at every site, and what follows over sites.

    Where sums are sealed, or results private, ``sites``, ``worst`` and ``gap`` are empty, ``defined`` counts the sites
    at which each metric is, and ``together`` has all test patients in one heap. ``group_thresholds`` are those of
    groups that do not have ``threshold``.
    """

    sites: Mapping[str, SiteResult]
    mean: Mapping[str, Estimate]
    worst: Mapping[str, Estimate]
    gap: Mapping[str, Estimate]
    everyone: Mapping[str, Estimate]
    released_round: int | None
    threshold: float | None
    recalibration: tuple[float, float] | None
    defined: Mapping[str, int] = field(default_factory=dict)
    group_thresholds: Mapping[str, float] = field(default_factory=dict)
    together: SiteResult | None = None


@dataclass(frozen=True, slots=True)
class Protection:
    """One protection, whether it was on, why, and what that means."""

    name: str
    state: Literal["on", "off", "partial"]
    reason: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How sums over sites were sealed.

    Attributes:
        mode: ``"pairwise"`` or ``"replicated"``.
        aggregators: Who added up shares.
        n_min: Fewest sites whose sum is opened.
        smallest: Fewest sites whose sum was opened; ``None`` where none was.
        threshold: Fewest sites that a sum can be opened with, once begun; ``None`` where the mode has none.
        scale_bits: Updates are rounded to multiples of 2 to the minus this.
        max_abs: Largest magnitude of a parameter's change.
        clip_norm: Largest L2 norm of an update; ``None`` for no limit.
        error_bound: How far rounding moved a parameter's mean change at the most.
        clipped: Updates that were cut, in each round.
        in_clear: What still reaches the coordinator in clear, a phrase each.
    """

    mode: Literal["pairwise", "replicated"]
    aggregators: tuple[str, ...]
    n_min: int
    smallest: int | None
    threshold: int | None
    scale_bits: int
    max_abs: float
    clip_norm: float | None
    error_bound: float | None
    clipped: tuple[int, ...]
    in_clear: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judged:
    """How much one site's updates counted.

    Attributes:
        site: Who.
        rounds: In how many rounds it sent one.
        left_out: In how many of them it did not count at all.
        mean: Mean part of the aggregate.
        reason: The rule's reason in its last round; empty where it is not known.
    """

    site: str
    rounds: int
    left_out: int
    mean: float
    reason: str


@dataclass(frozen=True, slots=True)
class RobustAggregation:
    """The rule that looked at each update, and what it made of each site.

    Attributes:
        rule: Its name.
        num_byzantine: How many lying sites of a round it is made for.
        mixing: Whether updates were mixed with their nearest before.
        sites: What it made of each.
        root: The site whose update measured the others'.
        memory: Where it goes by what is remembered of each site: what an update counts beside the next.
    """

    rule: str
    num_byzantine: int
    mixing: bool
    sites: tuple[Judged, ...]
    root: str | None = None
    memory: float | None = None


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
    aggregation: Aggregation | None = None
    robustness: RobustAggregation | None = None
    gate: GateFacts | None = None
    subgroups: Subgroups | None = None
    privacy: PrivacyFacts | None = None
    audit: AuditFacts | None = None

    @property
    def federated(self) -> ModelResult:
        """The model trained together."""
        return self.models["federated"]

    @property
    def confidence(self) -> str:
        """How an interval is called: ``95 % CI``, or ``CI`` where its level is not known."""
        return confidence(self.study.confidence)
