"""The evidence of a leakage audit as frozen records: what its page can show, and nothing else.

`sealround.report.audit.reading` makes them from ``audit.json``. ``None`` means absent or undefined, never zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.report.evidence import Estimate

__all__ = [
    "ATTACKERS",
    "FAMILIES",
    "KINDS",
    "STATUSES",
    "Accuracy",
    "Attacker",
    "AuditEvidence",
    "AuditedStudy",
    "Bounds",
    "Cell",
    "Family",
    "Finding",
    "Kind",
    "Limit",
    "Measured",
    "PatientBounds",
    "Pictures",
    "Plan",
    "Row",
    "Rung",
    "Status",
    "TwoWorlds",
    "Worst",
]

Status: TypeAlias = Literal["done", "stopped", "not applicable", "refused by the site", "failed"]

STATUSES: tuple[Status, ...] = ("done", "stopped", "refused by the site", "failed", "not applicable")
"""Every end of an attack."""

Family: TypeAlias = Literal["exact", "optimisation", "malicious", "membership", "identity", "property"]

FAMILIES: dict[Family, str] = {
    "exact": "solved exactly",
    "optimisation": "searched",
    "malicious": "planted model",
    "membership": "membership",
    "identity": "re-identification",
    "property": "property of a site",
}
"""Every family of attacks, in words."""

Kind: TypeAlias = Literal["table", "image", "vector"]

KINDS: tuple[Kind, ...] = ("table", "image", "vector")
"""What a record can be."""

ATTACKERS = frozenset({"coordinator", "coordinator+site", "aggregator+site", "site", "malicious-coordinator", "reader"})
"""Every attacker, by key."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One number of an attack.

    Attributes:
        found: Its value over the patients who were judged, with its interval.
        baseline: What the best guess that sees no update reaches; ``None`` where not known.
    """

    found: Estimate
    baseline: float | None


@dataclass(frozen=True, slots=True)
class Worst:
    """The worst-off patient of an attack.

    Attributes:
        patient: Its ordinal among those judged, from 1.
        values: What was recovered of it, by measure.
        baseline: What the best guess without the update has of the same patient; empty where not known.
    """

    patient: int | None
    values: Mapping[str, float]
    baseline: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class AuditedStudy:
    """What was attacked."""

    name: str
    digest: str
    task: str
    model: str
    inputs: str
    sites: int
    rounds: int
    batch_size: int | None
    local: str
    learning_rate: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the audit went: ``budget_s`` is ``None`` where it had none; ``why_public`` says why records may be shown."""

    seed: int
    budget_s: float | None
    seconds: float
    finished: bool
    public: bool
    why_public: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Attacker:
    """One attacker: what it sees, and what it is taken to be."""

    key: str
    name: str
    sees: str
    assumes: str


@dataclass(frozen=True, slots=True)
class Accuracy:
    """What the model is worth on one rung."""

    metric: str
    found: Estimate


@dataclass(frozen=True, slots=True)
class Rung:
    """One step of the ladder of protections.

    Attributes:
        key: Its key.
        label: What it adds.
        here: Whether it is the study as written.
        beyond: Whether the study does not have it.
        accuracy: What the model is worth on it.
        switch: The text that switches it on in the study file.
    """

    key: str
    label: str
    here: bool
    beyond: bool
    accuracy: Accuracy | None
    switch: str | None


@dataclass(frozen=True, slots=True)
class Finding:
    """One attack of one attacker on one rung.

    Attributes:
        rung: Key of the rung.
        attacker: Key of the attacker.
        attack: Key of the attack.
        family: How it works.
        name: How it is called.
        source: The publication.
        granted: What the attacker was granted: (what, how).
        round: Whose update: of which round.
        site: Of which site; ``None`` for a sum.
        sites_in_sum: Of how many sites the update is the sum.
        examples: How many examples are behind it.
        unknowns: How many numbers were looked for.
        status: How it ended.
        why: Why it ended so.
        patients: How many patients were judged.
        certified: How many records the attack itself proves.
        measures: What was measured.
        worst: The worst-off patient.
        beyond: What a study's limits are held against, by measure: the most that was recovered of any one patient, in
            excess of a guess without the update; 0 where it is no more.
        mismatch: Relative distance of the update of what was rebuilt from the update seen.
        seconds: How long it took.
        note: What has to be said besides.
    """

    rung: str
    attacker: str
    attack: str
    family: Family
    name: str
    source: str
    granted: tuple[tuple[str, str], ...]
    round: int | None
    site: str | None
    sites_in_sum: int
    examples: int
    unknowns: int
    status: Status
    why: str
    patients: int
    certified: int
    measures: Mapping[str, Measured]
    worst: Worst
    beyond: Mapping[str, float]
    mismatch: float | None
    seconds: float
    note: str

    @property
    def played(self) -> bool:
        """Whether it ran, to its end or as far as the budget went, and something was measured."""
        return self.status in {"done", "stopped"} and bool(self.measures or self.worst.values)

    @property
    def labels_given(self) -> bool:
        """Whether the attacker had the labels already, and did not get them from the update."""
        how = dict(self.granted).get("labels", "not known")
        return "recovered" not in how and not how.startswith("not ")


@dataclass(frozen=True, slots=True)
class PatientBounds:
    """What the update says about one patient, whatever the attack."""

    numbers: int
    determined: int
    smallest_singular: float | None
    largest_singular: float | None
    crb_sd: float | None
    fil: float | None
    i2f: float | None


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the update says about the patients behind it, whatever the attack."""

    rung: str
    attacker: str
    round: int | None
    site: str | None
    sites_in_sum: int
    examples: int
    unknowns: int
    equations: int
    rank: int | None
    precision: float | None
    patients: tuple[PatientBounds, ...]
    note: str


@dataclass(frozen=True, slots=True)
class TwoWorlds:
    """Whether two worlds that differ in what an honest site holds can be told apart by what a coalition sees."""

    coalition: str
    worlds: str
    statistic: str
    p_value: float
    false_alarm: float
    views: int
    told_apart: bool


@dataclass(frozen=True, slots=True)
class Pictures:
    """One picture: as it was, as it was rebuilt, and the best guess without the update; base64 PNG, with pixels."""

    finding: int
    original: tuple[str, int, int]
    reconstruction: tuple[str, int, int]
    baseline: tuple[str, int, int]
    psnr_db: float | None
    baseline_db: float | None


@dataclass(frozen=True, slots=True)
class Cell:
    """One value of a record, as text."""

    column: str
    unit: str
    original: str
    rebuilt: str
    baseline: str
    recovered: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One record of a table."""

    finding: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Limit:
    """One limit of the study's gate; ``found`` is ``None`` where it was not measured."""

    key: str
    limit: float
    found: float | None
    passed: bool


@dataclass(frozen=True, slots=True)
class AuditEvidence:
    """Everything the page is made from."""

    sealround: str
    study: AuditedStudy
    plan: Plan
    attackers: Mapping[str, Attacker]
    rungs: Mapping[str, Rung]
    findings: tuple[Finding, ...]
    bounds: tuple[Bounds, ...]
    two_worlds: TwoWorlds | None
    showcase: tuple[Pictures | Row, ...]
    require: tuple[Limit, ...]
    passed: bool | None
    skipped: tuple[tuple[str, str], ...]
    environment: Mapping[str, str]
