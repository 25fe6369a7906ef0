"""Simulated sites: one pool of patients divided among hospitals, each patient whole.

Patients with the outcome and without are divided separately, each by proportions over the sites; the proportions are
the rule. Where a study's test rows are given, they are divided by the same proportions, so that each site is tested on
the mix it trains on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.errors import CohortError
from sealround.federation.randomness import stream
from sealround.study.sections import ColumnSites, DirichletSites, IidSites, QuantitySites, Sites

if TYPE_CHECKING:
    from sealround.vocabulary import Labels, Rows

__all__ = ["MINIMUM_PATIENTS", "divide_patients", "site_names"]

MINIMUM_PATIENTS = 10
"""A simulated site gets this many patients, or a quarter of an even share where that is fewer."""


def site_names(number: int) -> list[str]:
    """Name simulated sites so that their order is the alphabet's: `site-01` .. `site-12`."""
    width = len(str(number))
    return [f"site-{site:0{width}d}" for site in range(1, number + 1)]


def divide_patients(rule: Sites, seed: int, positive: Labels, is_test: Labels) -> Rows:
    """Divide patients among simulated sites.

    The proportions are equal (`iid`), one Dirichlet(alpha) draw for everybody (`quantity`), or a draw for each class
    (`dirichlet`; Yurochkin et al. 2019, section 4, as in Li et al. 2022; Hsu et al. 2019 draw each site's class mix
    instead). Shuffled patients of each class are cut at the cumulative proportions. Then each site below the minimum is
    filled up with random patients of the site that has most: a redraw until all are large enough, as is usual, would
    never end for a hundred skewed sites.

    Args:
        rule: The study's `cohort.sites`, not by column.
        seed: The study's seed.
        positive: Whether each patient has the outcome, bool ``(n,)``.
        is_test: Whether each patient's rows were given as test rows, bool ``(n,)``.

    Returns:
        Site of each patient, counted from 0, int64 ``(n,)``.

    Raises:
        CohortError: If there are fewer patients than sites.
    """
    if isinstance(rule, ColumnSites):
        raise TypeError
    free = int((~is_test).sum())
    if free < rule.number:
        raise CohortError(
            f"{free} patients cannot be divided among {rule.number} sites", hint="lower `cohort.sites.number`"
        )
    rng = stream(seed, "sites", rule.kind, rule.number)
    proportions = _proportions(rule, rng)
    site = np.zeros(len(positive), dtype=np.int64)
    for group in (~is_test, is_test):
        for label in (False, True):
            patients = rng.permutation(np.flatnonzero(group & (positive == label)))
            cuts = np.rint(np.cumsum(proportions[int(label)])[:-1] * patients.size).astype(np.int64)
            for number, part in enumerate(np.split(patients, cuts)):
                site[part] = number
        _fill_up(site, np.flatnonzero(group), rule.number, rng)
    return site


def _proportions(rule: IidSites | DirichletSites | QuantitySites, rng: np.random.Generator) -> Labels:
    """Share of each class that each site gets, float64 ``(2, number)``; rows sum to 1."""
    match rule:
        case IidSites():
            return np.full((2, rule.number), 1.0 / rule.number)
        case QuantitySites():
            return np.tile(rng.dirichlet(np.full(rule.number, rule.alpha)), (2, 1))
        case DirichletSites():
            return rng.dirichlet(np.full(rule.number, rule.alpha), size=2)


def _fill_up(site: Rows, group: Rows, number: int, rng: np.random.Generator) -> None:
    """Move patients of ``group`` to sites with too few of them, in place."""
    share = group.size // (4 * number)
    minimum = min(MINIMUM_PATIENTS, max(share, 1)) if group.size >= number else 0
    counts = np.bincount(site[group], minlength=number)
    for poor in np.flatnonzero(counts < minimum):
        while counts[poor] < minimum:
            rich = int(counts.argmax())
            site[rng.choice(group[site[group] == rich])] = poor
            counts[rich] -= 1
            counts[poor] += 1
