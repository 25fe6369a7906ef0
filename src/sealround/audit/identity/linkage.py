"""Linkage: whose record is this, given a list of people with a few of their traits?

The list is what an insurer, a register or a neighbour has: age, sex, the date of an admission (quasi-identifiers). Each
rebuilt record is compared with everybody in the list; how wrong a rebuilt cell tends to be, the attacker knows from
attacks on records of its own (`fitted_cell_errors`). A cell is right up to a normal error, or, with some probability,
says nothing: then it is any value of its column.

Source: L. Sweeney, "k-anonymity", IJUFKS 10 (2002), for quasi-identifiers and classes of people who share them; A.
Narayanan, V. Shmatikov, IEEE S&P 2008, section 4, for scoring by columns when values are inexact. The posterior is
that of I. P. Fellegi, A. B. Sunter, JASA 64 (1969), with densities for agreement weights; J. C. Gower, Biometrics 27
(1971), for a distance that needs no errors.

Nothing here returns a value of a record or of the list: only ranks, counts and probabilities.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sealround.audit.identity.ranking import Ranking, rank_people
from sealround.errors import UsageError

if TYPE_CHECKING:
    from sealround.audit.inversion.intervals import Number

__all__ = [
    "CellErrors",
    "LinkageResult",
    "blind_posterior",
    "blind_records",
    "fitted_cell_errors",
    "gower_distances",
    "judge_linkage",
    "link",
]

_FLOOR = 1e-6
_NORMAL_MAD = 1.482602218505602  # Standard deviation of a normal variable over its median absolute deviation.
_GROSS = 5.0
_CHUNK = 1 << 22  # Numbers in memory at a time.


@dataclass(frozen=True, slots=True, eq=False)
class CellErrors:
    """How wrong rebuilt cells are, by column.

    Attributes:
        categorical: Which columns are categories (coded as numbers) and not numbers, bool ``(p,)``.
        scale: Standard deviation of a number's error, column's units, ``(p,)``; of categories not used.
        gross: Share of cells that say nothing of the true value, ``(p,)``, above 0 (or one wrong cell rules a person
            out) and at most 1.

    Raises:
        UsageError: If a number is out of range.
    """

    categorical: np.ndarray
    scale: np.ndarray
    gross: np.ndarray

    def __post_init__(self) -> None:
        """Refuse what no error is."""
        p = len(self.categorical)
        if self.categorical.dtype != np.bool_ or self.scale.shape != (p,) or self.gross.shape != (p,):
            raise UsageError("cell errors are three vectors, one entry a column")
        if not ((self.gross > 0.0) & (self.gross <= 1.0)).all():
            raise UsageError("the share of cells that say nothing is above 0 and at most 1")
        if not (self.scale[~self.categorical] > 0.0).all():
            raise UsageError("a number's error has a standard deviation above 0")


@dataclass(frozen=True, slots=True, eq=False)
class LinkageResult:
    """What a linkage attack found; counts and probabilities, one a record.

    Attributes:
        ranking: Where the true persons stand.
        believed: The attacker's own probability that its first choice is right, ``(n,)``.
        posterior: The probability that it gives the true person, ``(n,)``.
        reidentified: Share of records whose person is the first choice; the baseline is what needs no update.
        expected: How many records are re-identified, in expectation over ties.
        claimed: How many the attacker believes to have re-identified: the sum of `believed`.
        worst_patient: Ordinal from 1 of the record whose person has the largest posterior among those found (of all,
            if none is found).
        worst: That posterior.
        worst_blind: What a guess without the update gives the same person.
    """

    ranking: Ranking
    believed: np.ndarray
    posterior: np.ndarray
    reidentified: Number
    expected: float
    claimed: float
    worst_patient: int
    worst: float
    worst_blind: float


def link(rebuilt: np.ndarray, people: np.ndarray, errors: CellErrors, absent: float = 0.0) -> np.ndarray:
    """Return the probability that each rebuilt record is each person's, float64 ``(n, N)``.

    Args:
        rebuilt: The quasi-identifiers of rebuilt records, ``(n, p)``; NaN for cells that were not rebuilt.
        people: Those of the people in the list, ``(N, p)``; NaN where the list does not say.
        errors: Of rebuilt cells.
        absent: Probability that a record's person is not in the list at all, at least 0 and less than 1.

    Returns:
        Rows add up to 1, less the probability that the person is not in the list.

    Raises:
        UsageError: If shapes differ or a probability is out of range.
    """
    _check(rebuilt, people, errors.categorical)
    if not 0.0 <= absent < 1.0:
        raise UsageError(f"the probability that somebody is not in the list is within 0 and 1, not {absent}")
    rows = max(1, _CHUNK // len(people))
    found = [
        _posterior(rebuilt[start : start + rows], people, errors, absent) for start in range(0, len(rebuilt), rows)
    ]
    return np.concatenate(found) if found else np.empty((0, len(people)))


def judge_linkage(
    posterior: np.ndarray,
    blind: np.ndarray,
    true: np.ndarray,
    draw: np.random.Generator,
    groups: np.ndarray | None = None,
) -> LinkageResult:
    """Return how many persons a linkage attack finds.

    Args:
        posterior: From `link`, ``(n, N)``.
        blind: The same without an update, from `blind_posterior`, ``(n, N)``.
        true: Whose record each is: its row in the list, int64 ``(n,)``.
        draw: For the bootstrap, where one is needed.
        groups: Which records were rebuilt together, ``(n,)``; ``None`` if each by itself.

    Raises:
        UsageError: If shapes differ.
    """
    if blind.shape != posterior.shape:
        raise UsageError(f"guesses {blind.shape} do not fit posteriors {posterior.shape}")
    ranking, baseline = rank_people(-posterior, true), rank_people(-blind, true)
    record = np.arange(len(true))
    mine, hits = posterior[record, true], ranking.hits()
    worst = int(np.where(hits > 0.0, 1.0 + mine, mine).argmax())
    return LinkageResult(
        ranking=ranking,
        believed=posterior.max(axis=1),
        posterior=mine,
        reidentified=ranking.top(1, draw, groups, baseline),
        expected=float(hits.sum()),
        claimed=float(posterior.max(axis=1).sum()),
        worst_patient=worst + 1,
        worst=float(mine[worst]),
        worst_blind=float(blind[worst, true[worst]]),
    )


def blind_records(number: int, people: np.ndarray, categorical: np.ndarray) -> np.ndarray:
    """Return what somebody says of a record who saw no update: means of numbers, most frequent levels, ``(n, p)``.

    Args:
        number: How many records.
        people: The list, ``(N, p)``; NaN where it does not say.
        categorical: Which columns are categories, bool ``(p,)``.

    Raises:
        UsageError: If shapes differ.
    """
    _check(people, people, categorical)
    guess = np.full(len(categorical), np.nan)
    for column, values in enumerate(people.T):
        known = values[~np.isnan(values)]
        if known.size and categorical[column]:
            levels, counts = np.unique(known, return_counts=True)
            guess[column] = levels[counts.argmax()]
        elif known.size:
            guess[column] = known.mean()
    return np.tile(guess, (number, 1))


def blind_posterior(number: int, people: np.ndarray, categorical: np.ndarray) -> np.ndarray:
    """Return the posteriors of `blind_records`, ``(number, N)``: linkage with the errors that such guesses have.

    Raises:
        UsageError: If shapes differ, or the list says nothing in some column.
    """
    guesses = blind_records(len(people), people, categorical)
    return link(guesses[:1].repeat(number, axis=0), people, fitted_cell_errors(guesses, people, categorical))


def fitted_cell_errors(rebuilt: np.ndarray, originals: np.ndarray, categorical: np.ndarray) -> CellErrors:
    """Return how wrong cells are that the attacker rebuilt of records of its own, by robust estimates.

    A number's error scale is from the median absolute error; errors beyond five times that, and wrong levels, are cells
    that say nothing. Half a cell of each kind is added, so that nothing is impossible.

    Args:
        rebuilt: ``(n, p)``; NaN for cells that were not rebuilt, which are left out.
        originals: ``(n, p)``, in the same order.
        categorical: Which columns are categories, bool ``(p,)``.

    Raises:
        UsageError: If shapes differ, or a column has no rebuilt cell.
    """
    _check(rebuilt, originals, categorical)
    if rebuilt.shape != originals.shape:
        raise UsageError(f"{rebuilt.shape} rebuilt cells do not fit {originals.shape} originals")
    apart = np.abs(rebuilt - originals)
    known = ~np.isnan(apart)
    if not known.any(axis=0).all():
        raise UsageError("a column has no rebuilt cell", hint="leave the column out of the quasi-identifiers")
    spread = np.nanstd(originals, axis=0)
    scale = np.maximum(_NORMAL_MAD * np.nanmedian(apart, axis=0), _FLOOR * np.where(spread > 0.0, spread, 1.0))
    wrong = np.where(categorical, apart > 0.0, apart > _GROSS * scale) & known
    return CellErrors(categorical, scale, (wrong.sum(axis=0) + 0.5) / (known.sum(axis=0) + 1.0))


def gower_distances(rebuilt: np.ndarray, people: np.ndarray, categorical: np.ndarray) -> np.ndarray:
    """Return the mean over columns of how far a record is from each person, each column within 0..1, ``(n, N)``.

    Numbers differ by their difference over the range of the list, categories by 0 or 1; cells that either side does not
    have are left out, and a pair without any common cell is 1 apart.

    Source: Gower 1971, as a distance.

    Args:
        rebuilt: ``(n, p)``, NaN allowed.
        people: ``(N, p)``, NaN allowed.
        categorical: Which columns are categories, bool ``(p,)``.

    Raises:
        UsageError: If shapes differ.
    """
    _check(rebuilt, people, categorical)
    total = np.zeros((len(rebuilt), len(people)))
    count = np.zeros_like(total)
    for column, is_category in enumerate(categorical):
        apart = np.abs(rebuilt[:, column, None] - people[None, :, column])
        known = ~np.isnan(apart)
        values = people[~np.isnan(people[:, column]), column]
        width = float(np.ptp(values)) if values.size else 0.0
        part = apart > 0.0 if is_category or width == 0.0 else np.minimum(apart / width, 1.0)
        total += np.where(known, part, 0.0)
        count += known
    return np.where(count > 0, total / np.maximum(count, 1.0), 1.0)


def _check(rebuilt: np.ndarray, people: np.ndarray, categorical: np.ndarray) -> None:
    p = len(categorical)
    if rebuilt.ndim != 2 or people.ndim != 2 or rebuilt.shape[1] != p or people.shape[1] != p or not len(people):  # noqa: PLR2004
        raise UsageError(f"records {rebuilt.shape} and people {people.shape} do not have {p} traits each")


def _posterior(rebuilt: np.ndarray, people: np.ndarray, errors: CellErrors, absent: float) -> np.ndarray:
    log_likelihood = np.zeros((len(rebuilt), len(people)))
    nobody = np.zeros(len(rebuilt))
    for column, (scale, gross) in enumerate(zip(errors.scale, errors.gross, strict=True)):
        said, theirs = rebuilt[:, column], people[:, column]
        any_value = _marginal(said, theirs, categorical=bool(errors.categorical[column]))
        apart = said[:, None] - theirs[None]
        if errors.categorical[column]:
            right = (apart == 0.0).astype(np.float64)
        else:
            right = np.exp(-0.5 * np.square(apart / scale)) / (scale * math.sqrt(2.0 * math.pi))
        likelihood = (1.0 - gross) * right + gross * any_value[:, None]
        # A list that does not say leaves the column's own distribution; a cell that was not rebuilt, nothing.
        likelihood = np.where(np.isnan(theirs)[None], any_value[:, None], likelihood)
        rebuilt_cell = ~np.isnan(said)
        log_likelihood[rebuilt_cell] += np.log(likelihood[rebuilt_cell])
        nobody[rebuilt_cell] += np.log(any_value[rebuilt_cell])
    log_likelihood += math.log1p(-absent) - math.log(len(people))
    nobody += math.log(absent) if absent > 0.0 else -np.inf
    whole = np.logaddexp(np.logaddexp.reduce(log_likelihood, axis=1), nobody)
    return np.asarray(np.exp(log_likelihood - whole[:, None]))


def _marginal(said: np.ndarray, theirs: np.ndarray, *, categorical: bool) -> np.ndarray:
    """Return the probability of a level, or the density of a number, in the column of the list, ``(n,)``, above 0.

    Levels are counted, one more for those that were not seen; numbers are normal with twice the column's deviation,
    so that a wild value is not impossible anywhere.
    """
    known = theirs[~np.isnan(theirs)]
    if categorical:
        levels, counts = np.unique(known, return_counts=True)
        place = np.searchsorted(levels, said).clip(0, max(len(levels) - 1, 0))
        seen = np.where(levels[place] == said, counts[place], 0) if len(levels) else np.zeros(len(said))
        return np.asarray((seen + 1.0) / (known.size + len(levels) + 1.0))
    middle, spread = (float(known.mean()), 2.0 * float(known.std())) if known.size else (0.0, 0.0)
    spread = spread or 1.0
    # No further out than where float64 still has a density.
    z = np.clip((np.nan_to_num(said) - middle) / spread, -30.0, 30.0)
    return np.asarray(np.exp(-0.5 * np.square(z)) / (spread * math.sqrt(2.0 * math.pi)))
