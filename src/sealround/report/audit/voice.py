"""How the page of an audit speaks: what counts as recovered, which attack is the worst, and in what words.

Nothing here ever says that a study withstands: an attack that recovered nothing proves only that it did not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from sealround.report.audit.measures import CLEAR_DB, EXACT_DB, GAIN_DB, MEASURES
from sealround.report.typography import plural

if TYPE_CHECKING:
    from sealround.report.audit.evidence import AuditEvidence, Bounds, Finding, Rung

__all__ = ["OUTCOMES", "REBUILDS", "TELLS", "AuditVoice", "Outcome", "outcome_key"]

Outcome: TypeAlias = Literal[
    "whole", "part", "linked", "told", "perhaps", "nothing", "cut short", "refused", "failed", "none"
]

OUTCOMES: dict[Outcome, str] = {
    "whole": "Rebuilt in full",
    "part": "Rebuilt in part",
    "linked": "Linked to a person",
    "told": "Gives something away",
    "perhaps": "Perhaps more than a guess",
    "nothing": "No more than a guess",
    "cut short": "Cut short by the budget",
    "refused": "Refused by the site",
    "failed": "Failed to run",
    "none": "Does not apply",
}
"""What can become of an attack, the worst first; none of it is a pass."""

REBUILDS = ("exact_cells", "exact_records", "psnr_db", "labels_right")
"""The measures that say that something of a record itself was rebuilt."""

TELLS = ("auc", "tpr_at_fpr_1", "share_error")
"""The measures that say that something else became known: who took part, or what a site's patients are like."""


def outcome_key(outcome: Outcome) -> str:
    """Return an outcome as the name of a style and of an icon."""
    return outcome.replace(" ", "-")


@dataclass(frozen=True, slots=True)
class AuditVoice:
    """How the page speaks.

    Attributes:
        evidence: What it speaks about.
    """

    evidence: AuditEvidence

    # --- words --------------------------------------------------------------------------------------------------------

    @property
    def images(self) -> bool:
        """Whether a record is a picture."""
        return self.evidence.plan.kind == "image"

    @property
    def record(self) -> str:
        """What a patient has here, in one noun."""
        return "picture" if self.images else "record"

    @property
    def leading(self) -> str:
        """The measure that the page leads with, by key."""
        first = "psnr_db" if self.images else "exact_cells"
        there = {key for finding in self.evidence.findings for key in (*finding.measures, *finding.worst.values)}
        return next((key for key in (first, *MEASURES) if key in there), first)

    @property
    def here(self) -> Rung:
        """The study as written."""
        return next(rung for rung in self.evidence.rungs.values() if rung.here)

    def attacker(self, finding: Finding | Bounds) -> str:
        """Return what the attacker is called."""
        return self.evidence.attackers[finding.attacker].name

    def whose(self, finding: Finding | Bounds) -> str:
        """Say what was attacked: ``the update of Zürich in round 3, 8 patients behind it``."""
        of = f"the update of {finding.site}" if finding.site else f"a sum over {plural(finding.sites_in_sum, 'site')}"
        if not finding.site and finding.sites_in_sum <= 1:
            of = "the update of one site" if finding.sites_in_sum else "the released model"
        when = "" if finding.round is None else f" in round {finding.round}"
        return f"{of}{when}, {plural(finding.examples, 'patient')} behind it"

    # --- what an attack came to ---------------------------------------------------------------------------------------

    def value(self, finding: Finding, key: str) -> float | None:
        """Return a measure's value for the worst-off patient where it grades one, else over all that were judged."""
        measured, worst = finding.measures.get(key), finding.worst.values.get(key)
        if measured is None or (MEASURES[key].of_one and worst is not None):
            return worst
        return measured.found.value

    def guess(self, finding: Finding, key: str) -> float | None:
        """Return what the best guess without the update has of the worst-off patient, else on average."""
        if MEASURES[key].of_one and key in finding.worst.values and key in finding.worst.baseline:
            return finding.worst.baseline[key]
        return self.baseline(finding, key)

    def baseline(self, finding: Finding, key: str) -> float | None:
        """Return what the best guess without the update reaches on average, else chance; ``None`` where not known."""
        measured = finding.measures.get(key)
        base = None if measured is None else measured.baseline
        return MEASURES[key].chance if base is None else base

    def certain(self, finding: Finding, key: str) -> bool:
        """Whether a measure shows more than a guess, and not by chance.

        The whole interval over all patients has to lie beyond the guess: among many patients some are guessed well by
        chance. Of a picture, `CLEAR_DB` above the guess are enough for one patient.
        """
        if key == "labels_right" and finding.labels_given:
            return False  # That they are right says nothing about the update.
        measured, value, base = finding.measures.get(key), self.value(finding, key), self.guess(finding, key)
        if key == "psnr_db" and value is not None and base is not None and value >= base + CLEAR_DB:
            return True
        if measured is None:  # One patient's value, and nothing to compare it with.
            return key != "psnr_db" and bool(value) and base is None
        return MEASURES[key].tells(measured)

    def exact(self, finding: Finding) -> bool:
        """Whether all of some patient was rebuilt: proved by the attack itself, or found to be so, and not guessed."""
        if finding.certified or (self.images and (self.value(finding, "psnr_db") or 0.0) >= EXACT_DB):
            return True
        for key in ("exact_cells", "exact_records"):
            guessed = finding.beyond.get(key, 1.0) <= 0.0
            whole = self.value(finding, key) == 1.0 if key == "exact_cells" else bool(self.value(finding, key))
            if whole and not guessed and self.guess(finding, key) != 1.0:
                return True
        return False

    def outcome(self, finding: Finding) -> Outcome:
        """Return what an attack came to."""
        if finding.status not in {"done", "stopped"}:
            ends: dict[str, Outcome] = {"refused by the site": "refused", "failed": "failed"}
            return ends.get(finding.status, "none")
        revealed = self._revealed(finding)
        if revealed is not None:
            return revealed
        if self._unclear(finding):
            return "perhaps"
        return "cut short" if finding.status == "stopped" else "nothing"

    def _revealed(self, finding: Finding) -> Outcome | None:
        """Return what an attack certainly came to; ``None`` for nothing that is certain."""
        if self.exact(finding):
            return "whole"
        if any(self.certain(finding, key) for key in REBUILDS):
            return "part"
        if self.certain(finding, "reidentified"):
            return "linked"
        return "told" if any(self.certain(finding, key) for key in TELLS) else None

    def _unclear(self, finding: Finding) -> bool:
        """Whether some patient's number is above a guess's, or there is no guess to hold it against."""
        floors = {"auc": 0.5, "psnr_db": (self.guess(finding, "psnr_db") or 0.0) + GAIN_DB}
        above = any(value > floors.get(key, 0.0) for key, value in finding.beyond.items())
        measured = (key for key in ("psnr_db", "share_error") if self.value(finding, key) is not None)
        return above or any(self.guess(finding, key) is None for key in measured)

    def concern(self, finding: Finding) -> tuple[float, ...]:
        """Return a key that sorts findings, the worst first."""
        order = tuple(OUTCOMES).index(self.outcome(finding))
        keys = (self.leading, "reidentified", "psnr_db", "exact_records", "auc")
        measured = tuple(-(self.value(finding, key) or 0.0) for key in keys)
        return (order, *measured, -finding.certified)

    def by_concern(self, findings: tuple[Finding, ...]) -> tuple[Finding, ...]:
        """Return findings, the worst first."""
        return tuple(sorted(findings, key=self.concern))

    # --- what there is ------------------------------------------------------------------------------------------------

    def at(self, rung: str) -> tuple[Finding, ...]:
        """Return what was found on a rung, the worst first."""
        return self.by_concern(tuple(finding for finding in self.evidence.findings if finding.rung == rung))

    @property
    def own(self) -> tuple[Finding, ...]:
        """What was found at the study as written, the worst first."""
        return self.at(self.here.key)

    @property
    def played(self) -> tuple[Finding, ...]:
        """What was played against the study as written and gave a result, the worst first."""
        return tuple(finding for finding in self.own if finding.played or finding.status == "done")

    @property
    def worst(self) -> Finding | None:
        """The worst attack on the study as written; ``None`` where none was played."""
        return next(iter(self.played), None)

    @property
    def told(self) -> bool:
        """Whether any attack on the study as written came to more than a guess."""
        return self.worst is not None and self.outcome(self.worst) in {"whole", "part", "linked", "told"}

    def strongest(self, rung: str, key: str) -> Finding | None:
        """Return the attack with the worst value of a measure on a rung; ``None`` where it was not measured."""
        return self._most(self.at(rung), key)

    def _most(self, findings: tuple[Finding, ...], key: str) -> Finding | None:
        found = [(value, finding) for finding in findings if (value := self.value(finding, key)) is not None]
        if not found:
            return None
        pick = min if MEASURES[key].lower_tells_more else max
        return pick(found, key=lambda entry: entry[0])[1]

    def both(self, one: str, other: str, key: str) -> tuple[Finding, Finding] | None:
        """Return the worst of two rungs, of the attacks whose measure is known on both; ``None`` where there is none.

        What only one of them was attacked with would else look like what the other one changes.
        """
        found = [tuple(entry for entry in self.at(rung) if self.value(entry, key) is not None) for rung in (one, other)]
        shared = {(entry.attacker, entry.attack) for entry in found[0]}
        shared &= {(entry.attacker, entry.attack) for entry in found[1]}
        worst = [
            self._most(tuple(entry for entry in entries if (entry.attacker, entry.attack) in shared), key)
            for entries in found
        ]
        return None if worst[0] is None or worst[1] is None else (worst[0], worst[1])

    def measured(self, key: str) -> bool:
        """Whether a measure was taken on any rung."""
        return any(self.value(finding, key) is not None for finding in self.evidence.findings)

    def bounds_at(self, rung: str) -> tuple[Bounds, ...]:
        """Return what was computed without an attack on a rung, that which determines most of a patient first."""

        def share(bounds: Bounds) -> float:
            return -max((one.determined / one.numbers for one in bounds.patients if one.numbers), default=-1.0)

        return tuple(sorted((one for one in self.evidence.bounds if one.rung == rung), key=share))
