"""Before anything is trained: can the study's gate work with these hospitals, and which model does it compare with?"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from sealround.clinical.cohort import SplitName
from sealround.clinical.groups import groups_of
from sealround.engines.model_file import read_reference
from sealround.errors import CohortError, Problem, StudyError
from sealround.fairness import GateRules
from sealround.learning import TorchWork
from sealround.study.sections import ModelReference

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical import Places
    from sealround.clinical.cohort import SiteCohort
    from sealround.federation.interfaces import Contender
    from sealround.study import Study
    from sealround.vocabulary import PartyId

__all__ = ["check_gate", "find_reference", "reference_hash"]


def check_gate(study: Study, cohorts: Mapping[PartyId, SiteCohort]) -> None:
    """Refuse a gate that no model could ever be judged by.

    Raises:
        StudyError: If the study has no groups of patients.
        CohortError: If too few sites have validation patients.
    """
    if study.fairness.gate is None:
        return
    if not groups_of(study):
        problem = Problem("fairness.gate", "compares groups of patients, and the study has none")
        raise StudyError(f"{study.study.name}: the gate cannot work", (problem,))
    least = GateRules().min_sites
    able = [site for site, cohort in cohorts.items() if cohort.where(SplitName.VALIDATION).size]
    if len(able) < least:
        raise CohortError(
            f"the gate compares models at {least} sites or more, and {len(able)} have validation patients",
            hint="give cohort.split a share for validation, or leave fairness.gate out",
        )


def find_reference(study: Study, places: Places, cohorts: Mapping[PartyId, SiteCohort]) -> Contender | None:
    """Read the model that a gate compares with; ``None`` where it is each site's own.

    Raises:
        StudyError: If the file is missing, or no model that these sites can run.
    """
    gate = study.fairness.gate
    if gate is None or not isinstance(gate.reference, ModelReference):
        return None
    path = places.resolve(gate.reference.path)
    try:
        data = path.read_bytes()
    except OSError as error:
        problem = Problem("fairness.gate.reference.path", f"cannot be read: {error.strerror}")
        raise StudyError(f"{study.study.name}: the gate's reference", (problem,)) from None
    inputs = TorchWork(study, next(iter(cohorts.values()))).inputs
    return read_reference(data, study, inputs)


def reference_hash(reference: Contender) -> str:
    """Return the SHA-256 of what decides how a model judges, hex: a resumed run must find the same."""
    statistics = reference.statistics
    words = [reference.threshold, reference.slope, reference.intercept]
    encoding = b"" if statistics is None else statistics.mean.tobytes() + statistics.scale.tobytes()
    return hashlib.sha256(repr(words).encode() + encoding + reference.model.tobytes()).hexdigest()
