"""What a study's rule makes of a round's updates, and what it keeps of them for the next."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from sealround.aggregation import Known, Remembered, aggregate, capped_shares, remember
from sealround.errors import ThresholdError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sealround.aggregation import Settings
    from sealround.federation.plan import Plan
    from sealround.federation.summation import Rows
    from sealround.vocabulary import PartyId, Update, Updates

__all__ = ["Judged", "RuleMemory", "judge", "rootless"]

_HINT = "see which sites are excluded or absent and why, mend them, then resume the run"


@dataclass(slots=True)
class RuleMemory:
    """What a rule keeps between rounds: nothing, for most.

    Attributes:
        aggregate: Last round's aggregate, float32 ``(d,)``, for a rule that starts from it.
        sites: What is remembered of each site whose update took part in some round, for a rule that goes by that. It
            takes as much room as the updates of a round, in memory and in every checkpoint.
    """

    aggregate: Update | None = None
    sites: dict[PartyId, Remembered] = field(default_factory=dict)

    def add(self, parties: tuple[PartyId, ...], updates: Updates, decay: float) -> Updates:
        """Remember a round's updates; what is remembered of sites that sent none stays as it was.

        Returns:
            What is now remembered of ``parties``, float32 ``(n, d)``.
        """
        totals = np.empty_like(updates)
        for row, party in enumerate(parties):
            self.sites[party] = remember(self.sites.get(party), updates[row], decay=decay)
            totals[row] = self.sites[party].update
        return totals

    def forget_all_but(self, roster: Collection[PartyId]) -> None:
        """Forget sites that will not come back."""
        self.sites = {party: known for party, known in self.sites.items() if party in roster}


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The judgement of a round.

    Attributes:
        update: The aggregate, float32 ``(d,)``.
        influence: Each site's part in it, with the rule's reason: its weight, or its share of the trust.
    """

    update: Update
    influence: Mapping[PartyId, tuple[float, str]]


def judge(plan: Plan, memory: RuleMemory, rows: Rows) -> Judged:
    """Apply the study's rule to a round's updates, and remember what it needs of them.

    Args:
        plan: Of a study with a rule.
        memory: What earlier rounds left; changed once nothing can go wrong any more.
        rows: The updates that were admitted.

    Raises:
        ThresholdError: If too few updates are left for the rule, or that of the root of trust is missing.
    """
    rule = plan.rule
    if rule is None:
        raise UsageError("a study without a rule judges nobody")
    root = None if plan.root is None else rows.of(plan.root)
    if plan.root is not None and root is None:
        raise rootless(plan.root, "sent no update")
    parties, updates, examples = rows.stacked(without=plan.root)
    _check_number(rule, len(parties))
    known = Known(
        shares=capped_shares(examples, largest=plan.max_share),
        history=memory.aggregate,
        root=root,
        # What counts nothing one round later needs no room till then.
        totals=memory.add(parties, updates, rule.memory) if rule.memory else None,
    )
    found = aggregate(rule, updates, known)
    if rule.history:
        memory.aggregate = found.update
    parts = found.influence if root is None else _trust(found.influence, updates)
    influence = dict(zip(parties, zip(parts.tolist(), found.reasons, strict=True), strict=True))
    if plan.root is not None:
        influence[plan.root] = 0.0, "root of trust: its update measures the others'"
    return Judged(found.update, influence)


def _trust(weights: np.ndarray, updates: Updates) -> np.ndarray:
    """Return each site's share of the trust; the weights make all updates as long as the root's, besides."""
    trust = weights * np.sqrt(np.einsum("nd,nd->n", updates, updates, dtype=np.float64))
    return np.asarray(trust / (trust.sum() or 1.0))


def _check_number(rule: Settings, number: int) -> None:
    try:
        rule.check(number)
    except UsageError as error:
        raise ThresholdError(f"{number} updates are left in a round: {error.message}", hint=_HINT) from None


def rootless(root: PartyId, why: str) -> ThresholdError:
    """Make the refusal to go on without the root of trust: there is nothing to measure the others by."""
    return ThresholdError(
        f"{root} is the root of trust, and {why}: there is nothing to measure the other sites by",
        hint="mend it and resume the run; a new run can have another root, or a rule without one",
    )
