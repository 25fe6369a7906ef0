"""The noise of a simulation: what each site would draw at its own place, from a secret of its own.

A simulation's sites draw theirs from the study's seed, so that the same study gives the same bytes. Whoever knows the
seed can take the noise off: a simulated release protects nobody, and its page says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sealround import wire
from sealround.crypto import Secret
from sealround.federation.private import PrivacyTerms, PrivateWork
from sealround.study import study_digest

if TYPE_CHECKING:
    from sealround.engines.budgets import SimulatedBudgets
    from sealround.federation.private import Allowance, ClippingWork
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["SimulatedNoise"]


@dataclass(frozen=True, slots=True)
class SimulatedNoise:
    """What every simulated site adds.

    Attributes:
        terms: Of the study.
        seed: The study's.
        digest: Of the study (32 bytes).
        budgets: Where sites keep their books; ``None`` for nowhere.
    """

    terms: PrivacyTerms
    seed: int
    digest: bytes
    budgets: SimulatedBudgets | None = None

    @classmethod
    def of(cls, study: Study, sites: int) -> SimulatedNoise | None:
        """Derive it for rounds of so many sites; ``None`` where the study has no differential privacy.

        Raises:
            StudyError: If the study's numbers for it do not fit each other.
            UnsupportedError: If `dp-accounting` is not installed.
        """
        terms = PrivacyTerms.of(study, sites)
        return None if terms is None else cls(terms, study.study.seed, study_digest(study))

    def wrap(self, party: PartyId, work: ClippingWork, allowance: Allowance | None = None) -> PrivateWork:
        """Return a site's work with its noise, entered into its allowance where it has one."""
        secret = Secret(wire.digest(["sealround simulated noise v1", self.seed, party]))
        return PrivateWork(work, self.terms, party, secret, self.digest, allowance)
