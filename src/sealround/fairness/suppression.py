"""Which counts of groups to keep back, so that none of a few patients follows from the others by subtraction.

Counts obey equations: the levels of a column add up to everybody, and a level of one column to its pairs with all
levels of another, but for those without a level. A small count is kept back, and so are others until two things hold
(the audit of complementary suppression of Cox, Journal of the American Statistical Association 1980, 75:377-385, as
linear algebra):

- no small count follows from the equations and the counts that are shown;
- in no equation do the counts kept back add up to fewer than the minimum, but 0.

It is assumed to be known how many have no level; they are no group, and are not protected. Nor is it held against
bounds: that a count kept back lies between 0 and what is left can still be narrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Terms", "equations_of", "siblings_of", "withheld"]

Terms: TypeAlias = tuple[tuple[str, str], ...]
"""A group: column and level, or two of them."""

_NOTHING = 1e-9


def equations_of(groups: Sequence[Terms]) -> np.ndarray:
    """Return what the counts of everybody and of groups obey, those without a level aside.

    Args:
        groups: Levels of columns, and pairs of them.

    Returns:
        float64 ``(l, 1 + g)``: in each row a whole has -1 and its parts have 1.
    """
    position = {terms: index for index, terms in enumerate(groups, start=1)}
    parts: dict[tuple[int, tuple[str, ...]], list[int]] = {}
    for terms, index in position.items():
        columns = tuple(column for column, _ in terms)
        if len(terms) == 1:
            parts.setdefault((0, columns), []).append(index)
        for term in terms if len(terms) > 1 else ():
            if (term,) in position:
                parts.setdefault((position[term,], columns), []).append(index)
    equations = np.zeros((len(parts), 1 + len(groups)))
    for row, ((whole, _), indices) in zip(equations, parts.items(), strict=True):
        row[whole], row[indices] = -1.0, 1.0
    return equations


def siblings_of(groups: Sequence[Terms]) -> np.ndarray:
    """Say which groups are of the same columns as another, without itself: bool ``(g, g)``."""
    columns = [tuple(column for column, _ in terms) for terms in groups]
    alike = np.array([[one == other for other in columns] for one in columns], dtype=bool)
    alike = alike.reshape(len(groups), len(groups))
    np.fill_diagonal(alike, val=False)
    return alike


def withheld(counts: np.ndarray, equations: np.ndarray, minimum: int) -> np.ndarray:
    """Say which counts to keep back.

    Args:
        counts: How many patients each cell has, ``(k,)``; 0 is no secret.
        equations: ``(l, k)``: a whole has -1, its parts 1; what else is in the whole is known.
        minimum: Fewest patients that may be told apart.

    Returns:
        bool ``(k,)``: every count of 1 to ``minimum`` - 1, and others until the two conditions hold, parts before
        wholes and small ones first. None of these others can be shown without breaking a condition.
    """
    small = (counts > 0) & (counts < minimum)
    cost = counts + (1.0 + counts.sum()) * ((equations < 0).any(axis=0) * 2.0 - (equations > 0).any(axis=0))
    hidden = small.copy()
    while (candidates := _giving_away(counts, equations, hidden, minimum)).any():
        hidden[np.argmin(np.where(candidates, cost, np.inf))] = True
    for cell in np.argsort(-cost):
        if hidden[cell] and not small[cell]:
            hidden[cell] = False
            hidden[cell] = _giving_away(counts, equations, hidden, minimum).any()
    return hidden


def _giving_away(counts: np.ndarray, equations: np.ndarray, hidden: np.ndarray, minimum: int) -> np.ndarray:
    """Return shown cells of which one more has to be hidden, bool ``(k,)``; none if all is well."""
    free = ~hidden & (counts > 0)
    exposed = np.flatnonzero(_determined(equations, hidden) & (counts > 0) & (counts < minimum))
    for cell in exposed:
        # The sum of equations that isolates the cell among the hidden ones; what else is in it gives it away.
        wanted = (np.flatnonzero(hidden) == cell).astype(np.float64)
        proof = np.linalg.lstsq(equations[:, hidden].T, wanted)[0]
        candidates: np.ndarray = (np.abs(proof @ equations) > _NOTHING) & free
        if candidates.any():  # else it follows from how many have no level, which is known
            return candidates
    touched = equations[_few_left(counts, equations, hidden, minimum)] != 0
    found = [row & free for row in touched if (row & free).any()]
    return found[0] if found else np.zeros_like(hidden)


def _determined(equations: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Say which hidden counts follow from those that are shown, bool ``(k,)``."""
    found = np.zeros(hidden.size, dtype=bool)
    if hidden.any():
        # A count follows if no solution of the homogeneous equations changes it.
        _, singular, right = np.linalg.svd(equations[:, hidden], full_matrices=True)
        free = right[int(np.sum(singular > _NOTHING)) :]
        found[hidden] = (np.abs(free) < _NOTHING).all(axis=0)
    return found


def _few_left(counts: np.ndarray, equations: np.ndarray, hidden: np.ndarray, minimum: int) -> np.ndarray:
    """Say in which equations a shown whole leaves too few for the parts kept back, bool ``(l,)``."""
    whole_shown = ~((equations < 0) & hidden).any(axis=1)
    left = ((equations > 0) & hidden) @ counts
    few: np.ndarray = whole_shown & (left > 0) & (left < minimum)
    return few
