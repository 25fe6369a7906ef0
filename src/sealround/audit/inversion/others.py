"""Records of patients who are not behind an update: what guesses are made from, and attackers learn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from sealround.audit.inversion.observation import Victims
from sealround.audit.inversion.observing import as_attacked
from sealround.clinical.cohort import SplitName
from sealround.errors import UsageError
from sealround.learning.encodings import Encodings

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sealround.clinical.cohort import SiteCohort
    from sealround.federation.statistics import Statistics
    from sealround.study import Study

__all__ = ["held_out"]


def held_out(
    study: Study, cohorts: Iterable[SiteCohort], statistics: Statistics, draw: np.random.Generator, most: int
) -> Victims:
    """Return validation and test patients of all sites, encoded as an update's records are.

    Args:
        study: The study.
        cohorts: Each site's records.
        statistics: What inputs are encoded with.
        draw: Which, where there are more than ``most``.
        most: How many at most.

    Raises:
        UsageError: If no patient is held out.
    """
    found = []
    for cohort in cohorts:
        parts = Encodings(study, cohort, None).under(statistics).parts
        held = (parts[SplitName.VALIDATION], parts[SplitName.TEST])
        found += [as_attacked(examples, torch.arange(len(examples))) for examples in held]
    total = sum(len(part.inputs) for part in found)
    if not total:
        raise UsageError(
            "no patient is held out, so there is nothing to guess from",
            hint="give the study a validation or test split",
        )
    chosen = torch.from_numpy(np.sort(draw.permutation(total)[:most]))
    return Victims(
        torch.cat([part.inputs for part in found])[chosen], torch.cat([part.labels for part in found])[chosen]
    )
