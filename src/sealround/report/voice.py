"""How one page speaks: its nouns, how many digits its numbers earn, and the shapes its sections are handed over in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround.report import typography
from sealround.report.evidence import Estimate, Evidence
from sealround.report.metrics import METRICS, Metric

if TYPE_CHECKING:
    from collections.abc import Mapping

    from markupsafe import Markup

    from sealround.report.evidence import SiteResult

__all__ = ["LABELS", "MANY_SITES", "Figure", "Panel", "Table", "Voice"]

LABELS = {"federated": "Together", "alone": "Alone", "pooled": "Pooled"}
"""What each model is called on the page."""

MANY_SITES = 12
"""Up to so many sites each has a row and a panel; beyond it the page shows their spread and the ends of it."""

_FEW = 5
_NARROW = 0.02  # An interval narrower than this has earned a third digit.


@dataclass(frozen=True, slots=True)
class Table:
    """A table: the first cell of each row is its head; columns from ``numbers_from`` on are set as numbers."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    numbers_from: int = 1


@dataclass(frozen=True, slots=True)
class Panel:
    """One plot of a figure, with its text."""

    title: str
    svg: Markup
    note: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure: what it shows, its panels, and the same numbers as tables."""

    key: str
    title: str
    note: str
    panels: tuple[Panel, ...]
    tables: tuple[Table, ...]
    shape: str = "wide"


@dataclass(frozen=True, slots=True)
class Voice:
    """How one page speaks.

    Attributes:
        evidence: What it speaks about.
    """

    evidence: Evidence

    @property
    def primary(self) -> str:
        """The study's leading metric, by its key; of noised results only one is defined."""
        return "auroc" if self.private else self.evidence.study.primary

    @property
    def metric(self) -> Metric:
        """The study's leading metric, in words."""
        return METRICS[self.primary]

    @property
    def followed(self) -> Metric:
        """What validation measures in every round, whatever the leading metric: it must add up over sites."""
        return METRICS["c_index" if self.evidence.study.task == "survival" else "auroc"]

    @property
    def few(self) -> int:
        """Fewer patients than this carry no number: the study's minimum cell count, else 5."""
        return self.evidence.study.min_cell_count or _FEW

    @property
    def hidden(self) -> str:
        """What a dash in a table of counts stands for."""
        least = self.evidence.study.min_cell_count
        few = "too few" if least is None else f"fewer than {least}"
        return f"{typography.NONE}: not known, or not shown because it or a difference to it describes {few} patients."

    def one_sided(self, entry: SiteResult) -> bool:
        """Whether a site's test patients with the outcome, or those without it, are too few to show."""
        if entry.n is None or entry.positives is None:
            return True
        return any(0 < count < self.few for count in (entry.positives, entry.n - entry.positives))

    @property
    def sealed(self) -> bool:
        """Whether only sums over sites are known."""
        return self.evidence.aggregation is not None or self.private

    @property
    def private(self) -> bool:
        """Whether what left the sites has noise that hides each patient."""
        return self.evidence.privacy is not None

    @property
    def unit(self) -> str:
        """Whose presence is hidden, in one noun: in a study of private sites, a site."""
        found = self.evidence.privacy
        if found is None:
            return "patient"
        return self.sites(1) if found.unit == "site" else found.unit

    @property
    def overall(self) -> str:
        """What the leading numbers are of: the mean over sites, or where results have noise everybody together."""
        return "all test patients together" if self.private else f"mean over {self.sites()}"

    def leading(self, model: str) -> Estimate:
        """Return a model's leading number: of the study's metric, `overall`."""
        found = self.evidence.models.get(model)
        if found is None:
            return Estimate()
        return (found.everyone if self.private else found.mean).get(self.primary, Estimate())

    @property
    def everybody(self) -> str:
        """What stands in a sealed study where an open one has a site's name."""
        return f"All {self.sites()} together"

    @property
    def by_site(self) -> str:
        """What the section that compares the models is called."""
        site = self.sites(1)
        return "On average, and over all patients" if self.sealed else f"{site.capitalize()} by {site}"

    def results(self, model: str) -> Mapping[str, SiteResult]:
        """Return a model's results by site, or where only sums are known everybody's; empty without such a model."""
        found = self.evidence.models.get(model)
        if found is None:
            return {}
        return found.sites if found.together is None else {self.everybody: found.together}

    @property
    def shown(self) -> tuple[str, ...]:
        """Whose results the page shows, in order: each site's, or where only sums are known everybody's."""
        return (self.everybody,) if self.sealed else self.evidence.cohort.roster

    @property
    def many(self) -> bool:
        """Whether there are too many sites to show each."""
        return len(self.shown) > MANY_SITES

    @property
    def digits(self) -> int:
        """Digits of a metric: two, or three where the leading interval is narrow enough to carry them."""
        found = self.leading("federated")
        if found.low is None or found.high is None:
            return 2
        return 3 if found.high - found.low < _NARROW else 2

    @property
    def outcome(self) -> str:
        """What is predicted, as it stands after "with": the study's own word, or "the condition"."""
        return self.evidence.study.outcome or "the condition"

    @property
    def positives(self) -> str:
        """What a table calls the patients with the outcome."""
        known = self.evidence.study.outcome
        if self.evidence.study.task == "survival":
            return f"Events ({known})" if known else "Events"
        return f"With {self.outcome}"

    def sites(self, count: int = 2) -> str:
        """Return the noun for so many sites."""
        term = self.evidence.cohort.site_term
        return term if count == 1 else f"{term}s"

    def number(self, value: float | None) -> str:
        """Write a metric."""
        return typography.decimal(value, self.digits)

    def estimate(self, found: Estimate | None) -> str:
        """Write a metric with its interval."""
        return typography.estimate(found, self.digits)

    def interval(self, found: Estimate) -> str:
        """Write an interval with its level: ``95 % CI 0.83-0.90``; empty for none."""
        ends = typography.interval(found, self.digits)
        return f"{self.evidence.confidence} {ends}" if ends else ""

    def difference_digits(self, found: Estimate) -> int:
        """Return the digits of a difference: the page's, and one more where an end of it would falsely read 0."""
        ends = (end for end in (found.low, found.high) if end)
        return self.digits + any(float(f"{end:.{self.digits}f}") == 0.0 for end in ends)

    def difference(self, found: Estimate) -> str:
        """Write a difference with its sign and interval, with a digit more where an end would round to a false 0."""
        digits = self.difference_digits(found)
        ends = typography.interval(found, digits)
        value = typography.signed(found.value, digits)
        return f"{value} ({ends})" if ends else value

    def part(self, count: int | None, of: int | None, *, share: bool = False) -> str:
        """Write a part of a known whole, unless it or the rest, read off by subtraction, is below the minimum: a dash.

        Args:
            count: The part; ``None`` if not shown.
            of: The whole; ``None`` if not known.
            share: Add the percentage.
        """
        least = self.evidence.study.min_cell_count or 0
        if count is None or of is None or count > of:
            return typography.whole(count)
        if 0 < count < least or 0 < of - count < least:
            return typography.NONE
        percentage = typography.percent(count, of) if share else ""
        return f"{typography.whole(count)} ({percentage})" if percentage else typography.whole(count)
