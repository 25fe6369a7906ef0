"""The evidence of a drill as frozen records: what its page can show, and nothing else.

`sealround.report.drill.reading` makes them from ``drill.json``. ``None`` means absent or undefined, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.report.evidence import Estimate, Protection, StudyFacts

__all__ = [
    "EVERYBODY",
    "NO_ATTACK",
    "VERDICTS",
    "Attack",
    "Cell",
    "CellKey",
    "Course",
    "DrillEvidence",
    "Durability",
    "Exclusion",
    "GroupResult",
    "Heterogeneity",
    "Rule",
    "Ruling",
    "SitePart",
    "Suggestion",
    "Verdict",
    "Worst",
]

Verdict: TypeAlias = Literal["holds", "degrades", "fails", "not assessable", "not applicable"]

VERDICTS: tuple[Verdict, ...] = ("fails", "degrades", "not assessable", "holds", "not applicable")
"""Every verdict, in the order of concern."""

NO_ATTACK = "none"
"""The attack that is none: what everything is compared with."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One attack.

    Attributes:
        title: How it is called.
        aim: What it is for.
        knows: What the attacker has to know.
        source: The publication.
        what: What the attacker does, one sentence.
        why_not: Why it does not apply to this study; ``None`` where it does.
    """

    title: str
    aim: str
    knows: tuple[str, ...]
    source: str
    what: str
    why_not: str | None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of aggregation; ``refused`` says why it cannot run with so many sites of which so many lie."""

    title: str
    own: bool
    refused: str | None


@dataclass(frozen=True, slots=True)
class Heterogeneity:
    """One way in which patients are divided among the sites."""

    title: str
    own: bool


@dataclass(frozen=True, slots=True)
class Durability:
    """What became of a hidden aim after the attack had stopped.

    Attributes:
        stopped_after: Last round in which anybody lied.
        points: Rounds after it, with the attack's success.
        half_life: Rounds until half of the success was gone; ``None`` if it never was.
    """

    stopped_after: int
    points: tuple[tuple[float, float | None], ...]
    half_life: int | None


@dataclass(frozen=True, slots=True)
class GroupResult:
    """One group of patients under one attack.

    Attributes:
        group: Its name.
        n: Test patients; ``None`` where not shown.
        assessable: Whether there are enough of them to say anything.
        fnr: Share of the sick that were missed.
        fpr: Share of the healthy that were called sick.
        rise: By how much more of the sick were missed than without an attack.
    """

    group: str
    n: int | None
    assessable: bool
    fnr: Estimate | None
    fpr: Estimate | None
    rise: Estimate | None


@dataclass(frozen=True, slots=True)
class SitePart:
    """One site in one cell.

    Attributes:
        lies: Whether it lied with any seed; then part and share are of those seeds alone.
        part: Its mean part of the aggregates.
        left_out: In which share of rounds it had none.
        left_out_honest: The same with the seeds with which it was honest; ``None`` where there are none.
    """

    lies: bool
    part: float | None
    left_out: float | None
    left_out_honest: float | None

    @property
    def wronged(self) -> float | None:
        """In which share of the rounds in which it was honest it was left out."""
        return self.left_out_honest if self.lies or self.left_out_honest is not None else self.left_out


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Who was left out: of those, the share of liars; of the liars, the share left out."""

    precision: float | None
    recall: float | None
    sites: Mapping[str, SitePart]


@dataclass(frozen=True, slots=True)
class Course:
    """The leading metric, and the attack's success, over rounds."""

    metric: tuple[tuple[float, float | None], ...]
    success: tuple[tuple[float, float | None], ...]


EVERYBODY = "everybody"
"""The group of all patients."""

CellKey: TypeAlias = tuple[str, str, str]
"""Attack, rule, heterogeneity."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One attack on one rule, patients divided in one way.

    Attributes:
        seeds: How often it was played.
        metric: The leading metric at the end.
        worst: The worst of it over seeds.
        baseline: The same without an attack.
        loss: By how much it is worse than the baseline.
        success: How often the attack gets what it is after; ``None`` where it is after nothing in particular.
        success_without: How often it would without lying; ``None`` where not known.
        durability: What became of that after the attack had stopped.
        groups: Groups of patients.
        exclusion: Who was left out.
        course: The way there.
        verdict: What that amounts to.
        sentence: The same in words.
        stopped: Why training ended early; ``None`` where it did not.
        withheld: With how many seeds the study's gate kept the model back.
    """

    seeds: int
    metric: Estimate
    worst: float | None
    baseline: float | None
    loss: Estimate | None
    success: Estimate | None
    success_without: float | None
    durability: Durability | None
    groups: tuple[GroupResult, ...]
    exclusion: Exclusion | None
    course: Course
    verdict: Verdict
    sentence: str
    stopped: str | None
    withheld: int

    @property
    def kept_back(self) -> bool:
        """Whether the study's gate kept every model back: nobody is harmed, and there is none to use."""
        return 0 < self.seeds <= self.withheld

    @property
    def gained(self) -> bool:
        """Whether an attack gets its way more often than without lying."""
        value = None if self.success is None else self.success.value
        return value is not None and value > (self.success_without or 0.0)


@dataclass(frozen=True, slots=True)
class Worst:
    """The worst that any attack made of a rule, and which."""

    attack: str
    value: float | None


@dataclass(frozen=True, slots=True)
class Ruling:
    """What an attack makes of the study as it is."""

    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class Suggestion:
    """One thing to change, and why."""

    text: str
    why: str


@dataclass(frozen=True, slots=True)
class DrillEvidence:
    """Everything the page is made from."""

    sealround: str
    study: StudyFacts
    site_term: str
    sites: tuple[str, ...]
    num_byzantine: int
    liars: Mapping[str, tuple[str, ...]]
    protection: tuple[Protection, ...]
    rules: Mapping[str, Rule]
    heterogeneity: Mapping[str, Heterogeneity]
    attacks: Mapping[str, Attack]
    seeds: tuple[int, ...]
    metric: str
    holds: float
    degrades: float
    cells: Mapping[CellKey, Cell]
    worst: Mapping[tuple[str, str], Worst]
    rulings: Mapping[str, Ruling]
    suggestions: tuple[Suggestion, ...]
    left_out: tuple[str, ...]
    seconds: float | None
    workers: int | None
    environment: Mapping[str, str]
