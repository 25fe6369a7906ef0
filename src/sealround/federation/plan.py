"""What one training is: which study, who trains, who tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sealround import wire
from sealround.federation import tally
from sealround.federation.private.terms import PrivacyTerms
from sealround.federation.randomness import stream
from sealround.study import study_digest
from sealround.study.robust_rules import rule_settings
from sealround.study.sections import RobustRule
from sealround.vocabulary import PartyId

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.aggregation import Settings
    from sealround.federation.interfaces import Contender
    from sealround.study import Study
    from sealround.study.sections import Gate
    from sealround.vocabulary import RoundId, Tally

__all__ = ["FEDERATED", "Plan", "session_of"]

FEDERATED = "federated"
"""Name of the training of all sites: the one that shares anything, and that the others are compared with."""


def session_of(digest: bytes, job: str) -> bytes:
    """Return the name of a training: SHA-256 of its study's digest and its job (32 bytes).

    Who takes part is not in it. A site remembers by session whom it was summed with, so the same study asked of nearly
    the same sites must meet that memory.
    """
    return wire.digest(["sealround session v2", digest, job])


@dataclass(frozen=True, slots=True)
class Plan:
    """One training of one study.

    A hospital alone is a federation of one, and the pooled comparison a federation of one party that holds everybody's
    records: the three that a study compares run the very same protocol and differ in the roster only.

    Attributes:
        study: The agreed study.
        job: Name of the training: ``"federated"``, ``"pooled"`` or ``"alone-<site>"``.
        roster: Who trains, sorted.
        testers: Who tests the released model, sorted.
        reference: The model that the gate compares with, where it is a given one; every party can read it.
        ranges: Lower and upper end that the study declares for numeric columns; what it standardises by where it
            reads no record for that.
    """

    study: Study
    job: str
    roster: tuple[PartyId, ...]
    testers: tuple[PartyId, ...]
    reference: Contender | None = field(default=None, compare=False, repr=False)
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict, compare=False, repr=False)

    @property
    def session(self) -> bytes:
        """The name of this training: no reply is taken for another's (32 bytes)."""
        return session_of(study_digest(self.study), self.job)

    @property
    def lineage(self) -> bytes:
        """SHA-256 of session, roster and testers: a snapshot of one is no snapshot of another (32 bytes)."""
        words: list[wire.Value] = ["sealround lineage v1", self.session, list(self.roster), list(self.testers)]
        if self.reference is not None:
            words += [self.reference.model, self.reference.threshold]
        return wire.digest(words)

    @property
    def gate(self) -> Gate | None:
        """What a model has to pass; what is only compared with the federation's passes nothing."""
        return self.study.fairness.gate if self.job == FEDERATED else None

    @property
    def privacy(self) -> PrivacyTerms | None:
        """What noise is added to; what is only compared with the federation leaves nobody, and has none.

        Raises:
            StudyError: If the study's numbers for it do not fit each other.
        """
        return PrivacyTerms.of(self.study, self.round_size(len(self.roster))) if self.job == FEDERATED else None

    @property
    def noise_in_results(self) -> float:
        """Standard deviation of the noise in each cell of the released test results, in patients; 0 without noise."""
        return 0.0 if self.privacy is None else self.privacy.noise_in_results

    @property
    def keeps_updates(self) -> bool:
        """Whether the updates of each round are kept until the gate has decided: sealed ones cannot be."""
        return self.gate is not None and not self.study.protection.sealed

    @property
    def rule(self) -> Settings | None:
        """The rule that looks at each update of the federation; ``None`` for the plain mean.

        One party alone has nobody to be protected from.
        """
        return (
            rule_settings(self.study.protection.robustness, self.study.study.rounds) if len(self.roster) > 1 else None
        )

    @property
    def root(self) -> PartyId | None:
        """The site whose update measures the others', where the rule takes one."""
        options = self.study.protection.robustness
        named = options.root if isinstance(options, RobustRule) and self.rule is not None else None
        return None if named is None else PartyId(named)

    @property
    def max_examples(self) -> int:
        """More training examples than a site can have; without a rule, any number."""
        options = self.study.protection.robustness
        return options.max_examples if isinstance(options, RobustRule) else 2**53

    @property
    def max_share(self) -> float:
        """Largest part of a mean that one site can claim by its number of examples."""
        options = self.study.protection.robustness
        return options.max_share if isinstance(options, RobustRule) else 1.0

    @property
    def quorum(self) -> int:
        """How many sites a step needs at the least: more than half of the roster."""
        return len(self.roster) // 2 + 1

    @property
    def groups(self) -> tuple[tuple[PartyId, ...], ...]:
        """Fixed groups of sites, each as large as a round at the least: rounds of a sealed study train one of them.

        Two sums over sets that differ by a site or two are nearly these sites' numbers, so sets are not drawn at will.
        """
        number = max(1, len(self.roster) // self._share_of(len(self.roster)))
        order = stream(self.study.study.seed, "groups", self.job).permutation(len(self.roster))
        return tuple(tuple(self.roster[i] for i in np.sort(part)) for part in np.array_split(order, number))

    def _share_of(self, active: int) -> int:
        share = self.study.training.participation
        return active if share >= 1.0 else max(1, round(share * active))

    def round_size(self, active: int) -> int:
        """Return how many of ``active`` sites train in a round at the least."""
        if self.study.protection.sealed and self.study.training.participation < 1.0:
            return min(map(len, self.groups))
        roots = int(self.root is not None)
        return roots + self._share_of(active - roots)

    def participants(self, round_: RoundId, active: tuple[PartyId, ...]) -> tuple[PartyId, ...]:
        """Draw who trains in a round, in roster order; in a sealed study, who of ``active`` is in the group drawn.

        The root of trust is always among them, and the others are drawn as if it were not there.
        """
        if self.study.protection.sealed and self.study.training.participation < 1.0:
            groups = self.groups
            drawn = stream(self.study.study.seed, "participants", self.job, round_).integers(len(groups))
            return tuple(party for party in groups[drawn] if party in active)
        number = self.round_size(len(active))
        if number == len(active):
            return active
        draw = stream(self.study.study.seed, "participants", self.job, round_)
        always = {self.root} & {*active}
        others = [party for party in active if party not in always]
        chosen = {others[i] for i in draw.choice(len(others), size=number - len(always), replace=False)} | always
        return tuple(party for party in active if party in chosen)

    def score(self, validation: Tally) -> float | None:
        """Return the validation metric of a summed tally: AUROC, or the c-index for survival."""
        return tally.c_index(validation) if self.study.task == "survival" else tally.auroc(validation)

    def accuracy(self, validation: Tally) -> float | None:
        """Return the accuracy of a summed tally at a risk of 0.5, ``None`` for survival."""
        return None if self.study.task == "survival" else tally.accuracy(validation)

    def threshold(self, validation: Tally, calibration: tuple[float, float]) -> float:
        """Choose the decision threshold on the (recalibrated) risk, as the study says; 0.5 where none can be."""
        rule = self.study.evaluation.threshold
        if self.study.task == "survival":
            return 0.5
        match rule.kind:
            case "fixed":
                return rule.value
            case "youden":
                chosen = tally.youden_threshold(validation)
            case "sensitivity":
                chosen = tally.sensitivity_threshold(validation, rule.at_least)
        return 0.5 if chosen is None else tally.recalibrated(chosen, calibration)

    def calibration(self, validation: Tally) -> tuple[float, float]:
        """Fit slope and intercept of the logit, where the study asks for it; else ``(1.0, 0.0)``."""
        if self.study.evaluation.recalibration == "none" or self.study.task == "survival":
            return 1.0, 0.0
        return tally.platt(validation)
