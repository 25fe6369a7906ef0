"""All sites' records in one place, for the comparison that a federation exists to make unnecessary."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from sealround.clinical.cohort import Outcome, SiteCohort

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.vocabulary import PartyId

__all__ = ["pool_cohorts"]


def pool_cohorts(party: PartyId, cohorts: Sequence[SiteCohort]) -> SiteCohort:
    """Return one cohort with the records of all, in the order given; patients of different sites stay different people.

    Args:
        party: Who holds it.
        cohorts: At least one.
    """
    starts = np.cumsum([0, *(int(cohort.patient.max(initial=-1)) + 1 for cohort in cohorts)])
    times = [cohort.outcome.time for cohort in cohorts if cohort.outcome.time is not None]
    arrays = [cohort.array for cohort in cohorts if cohort.array is not None]
    return SiteCohort(
        site=party,
        inputs=cohorts[0].inputs,
        table=pl.concat([cohort.table for cohort in cohorts]),
        array=np.concatenate(arrays) if arrays else None,
        outcome=Outcome(
            event=np.concatenate([cohort.outcome.event for cohort in cohorts]),
            time=np.concatenate(times) if times else None,
        ),
        patient=np.concatenate([cohort.patient + start for cohort, start in zip(cohorts, starts[:-1], strict=True)]),
        split=np.concatenate([cohort.split for cohort in cohorts]),
    )
