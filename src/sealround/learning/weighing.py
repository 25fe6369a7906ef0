"""What a site does where a study weighs cells: count its training patients in them, and train with their weights.

A cell is a combination of levels of sensitive columns with an outcome: see `sealround.federation.weighing`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from sealround.clinical.cohort import SplitName
from sealround.clinical.groups import combinations_of, groups_of
from sealround.federation.weighing import Partition

if TYPE_CHECKING:
    from sealround.clinical.cohort import SiteCohort
    from sealround.learning.examples import Examples
    from sealround.study.sections import Study
    from sealround.vocabulary import Labels, Rows, Tally

__all__ = ["Cells", "cells_of", "kept_back", "weighted"]

_OUTCOMES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """A site's training examples by cell.

    Attributes:
        of_each: Cell of each training example, int64 ``(n,)``; -1 for one that is in none.
        hidden: Which cells are not shown, bool ``(2 k,)``.
    """

    of_each: Rows
    hidden: np.ndarray

    def tail(self, outputs: Labels, event: Labels) -> Tally:
        """Return the tail of a training tally: sums of losses and counts of the cells shown, float64 ``(4 k,)``.

        The loss is the cross-entropy without weights or smoothing.

        Args:
            outputs: Logits of the training examples, ``(n,)``.
            event: Their outcome, 0 or 1, ``(n,)``.
        """
        known = self.of_each >= 0
        cell, logits = self.of_each[known], outputs[known].astype(np.float64)
        logits[event[known] > 0] *= -1.0
        losses = np.bincount(cell, np.logaddexp(0.0, logits), minlength=self.hidden.size)
        counts = np.bincount(cell, minlength=self.hidden.size).astype(np.float64)
        return np.concatenate((np.where(self.hidden, 0.0, losses), np.where(self.hidden, 0.0, counts)))


def cells_of(study: Study, cohort: SiteCohort, min_cell_count: int) -> Cells:
    """Return a site's training examples by cell; in a sealed study none is hidden, only the sum is ever seen.

    Raises:
        StudyError: If groups of patients are not declared.
        UsageError: If there are none.
    """
    rows = cohort.where(SplitName.TRAIN)
    combination = combinations_of(study, cohort, rows)
    of_each = np.where(combination < 0, -1, _OUTCOMES * combination + (cohort.outcome.event[rows] > 0))
    number = _OUTCOMES * Partition.of(groups_of(study)).size
    minimum = 0 if study.protection.sealed else min_cell_count
    return Cells(of_each, kept_back(of_each, cohort.patient[rows], number, minimum))


def kept_back(of_each: Rows, patient: Rows, number: int, minimum: int) -> np.ndarray:
    """Say which cells to keep back so that no small one follows from those shown and what else is known of a site.

    Known are its number of sick patients, of patients of each level, and of those without a level. So a combination in
    which either outcome has 1 to ``minimum`` - 1 patients is kept back whole, and the smallest others with it until
    there are two or more, and those kept back have at least the minimum of either outcome, or none of it.

    Args:
        of_each: Cell of each example, int64 ``(n,)``; -1 for one that is in none, which nothing is said of.
        patient: Patient of each, int64 ``(n,)``.
        number: How many cells, twice the combinations.
        minimum: Fewest patients that may be told apart; 1 or less hides nothing.

    Returns:
        bool ``(number,)``.
    """
    pairs = np.unique(np.stack((of_each, patient))[:, of_each >= 0], axis=1)
    size = np.bincount(pairs[0], minlength=number).reshape(-1, _OUTCOMES)
    hidden = np.asarray(((size > 0) & (size < minimum)).any(axis=1))
    if not hidden.any():
        return np.zeros(number, dtype=np.bool_)
    for row in np.argsort(size.sum(axis=1), kind="stable"):
        kept = size[hidden].sum(axis=0)
        if hidden.sum() > 1 and ((kept == 0) | (kept >= minimum)).all():
            break
        hidden[row] |= bool(size[row].any())
    return np.repeat(hidden, _OUTCOMES)


def weighted(examples: Examples, cells: Cells, weights: Tally) -> Examples:
    """Return training examples that count as their cells do.

    Args:
        examples: The training split.
        cells: Theirs.
        weights: Of each cell, float64 ``(2 k,)``.
    """
    event = examples.targets.event
    of_each = np.where(cells.of_each < 0, 1.0, weights[cells.of_each])
    weight = torch.tensor(of_each, dtype=torch.float32, device=event.device)
    return dataclasses.replace(examples, targets=dataclasses.replace(examples.targets, weight=weight))
