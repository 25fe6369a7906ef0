"""From a site's cells and pixels to model inputs, standardised by what all sites know together.

`Encoder` computes this site's addends to the federated statistics (`sealround.federation.statistics`) on its training
rows, and encodes its rows with the finished statistics. What an addend keeps to itself: `sealround.clinical.counting`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from sealround.clinical.cells import canonical_levels, finite_numbers, levels_of
from sealround.clinical.cohort import SplitName
from sealround.clinical.counting import Patients, level_codes, patients_by_level, sendable
from sealround.clinical.pixels import pixel_histogram
from sealround.clinical.roles import roles_of
from sealround.errors import UsageError
from sealround.federation.statistics import Layout, Statistics, ordered_levels

if TYPE_CHECKING:
    from sealround.clinical.cohort import SiteCohort
    from sealround.federation.interfaces import InputShape
    from sealround.study.sections import Cohort
    from sealround.vocabulary import Design, Rows, Tally

__all__ = ["Encoded", "Encoder"]

_WHITE = 255.0


@dataclass(frozen=True, slots=True)
class Encoded:
    """One site's inputs, ready for a model.

    Attributes:
        inputs: float32 ``(n, p)`` for tables and vectors; images as they are stored, uint8 ``(n, h, w)`` or
            ``(n, h, w, 3)``, to be standardised a batch at a time as ``(pixel - mean) / scale``.
        feature_names: Names of the ``p`` columns, or of the image channels.
        mean: For images, the mean of each channel, float32 ``(c,)``; else ``None``.
        scale: For images, the standard deviation of each channel, float32 ``(c,)``; else ``None``.
    """

    inputs: np.ndarray
    feature_names: tuple[str, ...]
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    def __repr__(self) -> str:
        """Sizes only."""
        return f"Encoded(inputs={self.inputs.shape}, features={len(self.feature_names)})"


class Encoder:
    """Encodes the inputs of one study.

    Columns of a table come in the order of their names: numbers first, then indicators of missing, then levels.

    Args:
        cohort: The study's cohort section.
        inputs: What one example looks like.
    """

    def __init__(self, cohort: Cohort, inputs: InputShape) -> None:
        roles = roles_of(cohort)
        self._inputs = inputs
        self._levels = roles.categorical if inputs.kind == "table" else {}
        self._declared = {
            name: canonical_levels(feature.levels)
            for name, feature in self._levels.items()
            if feature.levels is not None
        }
        match inputs.kind:
            case "table":
                self._numeric = tuple(roles.numeric)
            case "vector":
                self._numeric = tuple(f"v{number}" for number in range(inputs.shape[0]))
            case "image":
                self._numeric = tuple(f"channel{number}" for number in range(inputs.shape[0]))
        self._indicators = tuple(
            name for name, feature in roles.numeric.items() if feature.indicator and name in self._numeric
        )

    @property
    def layout(self) -> Layout:
        """Names of the inputs and declared levels; ``()`` where the study leaves open what levels there are."""
        return Layout(self._numeric, tuple((name, self._declared.get(name, ())) for name in self._levels))

    def feature_names(self, layout: Layout) -> tuple[str, ...]:
        """Name the columns that `encode` gives, or the image channels."""
        indicators = [f"{name} is missing" for name in self._indicators]
        levels = [f"{name}={level}" for name, levels in layout.categories for level in levels[self._first(name) :]]
        return (*self._numeric, *indicators, *levels)

    def levels(self, cohort: SiteCohort, min_cell_count: int) -> dict[str, tuple[str, ...]]:
        """Return the levels of each categorical feature held by ``min_cell_count`` training patients or more.

        Features whose levels the study declares are left out: nobody needs to ask.
        """
        rows = cohort.where(SplitName.TRAIN)
        found = {}
        for name in self._levels:
            if name in self._declared:
                continue
            levels = tuple(levels_of(cohort.table[name][rows]).drop_nulls().unique().to_list())
            patients = patients_by_level(cohort, name, levels, rows)
            frequent = [level for level, count in zip(levels, patients, strict=True) if count >= min_cell_count]
            found[name] = ordered_levels(frequent)
        return found

    def counts(self, cohort: SiteCohort, layout: Layout, min_cell_count: int) -> Tally:
        """Return this site's addend to the layout's counts.

        Args:
            cohort: The site's records.
            layout: This encoder's, with the levels that the sites found.
            min_cell_count: Cells that describe fewer patients are sent as 0.

        Returns:
            float64 ``(layout.size,)``, over training rows.
        """
        self._check(layout)
        rows = cohort.where(SplitName.TRAIN)
        patients = Patients(cohort.patient[rows])
        if patients.number < max(min_cell_count, 1):
            return np.zeros(layout.size)
        event = cohort.outcome.event[rows, None] > 0
        holders, others = patients.holding(event), patients.holding(~event)
        positives = sendable(event.sum(axis=0), rows.size, holders, others, min_cell_count)
        present, sums, _ = self._sums(cohort, rows, min_cell_count, None)
        cells = np.concatenate([np.zeros(0), *(patients_by_level(cohort, *item, rows) for item in layout.categories)])
        cells[cells < min_cell_count] = 0.0
        return layout.join(float(rows.size), float(positives[0]), present, sums, cells)

    def squares(self, cohort: SiteCohort, layout: Layout, min_cell_count: int, mean: Tally) -> Tally:
        """Return this site's sums of squared distance from ``mean``, one for each numeric input.

        Args:
            cohort: The site's records.
            layout: As for `counts`.
            min_cell_count: As for `counts`; where that sends 0, so does this.
            mean: Mean of each numeric input over all sites, float64 ``(k,)``.

        Returns:
            float64 ``(k,)``, over training rows.
        """
        self._check(layout)
        rows = cohort.where(SplitName.TRAIN)
        if np.unique(cohort.patient[rows]).size < max(min_cell_count, 1):
            return np.zeros(len(layout.numeric))
        return self._sums(cohort, rows, min_cell_count, mean)[2]

    def local_statistics(self, cohort: SiteCohort, layout: Layout) -> Statistics:
        """Return the statistics of one site alone, nothing suppressed: they stay at the site."""
        statistics = Statistics.from_counts(layout, self.counts(cohort, layout, 0))
        return statistics.with_squares(self.squares(cohort, layout, 0, statistics.mean))

    def encode(
        self,
        cohort: SiteCohort,
        statistics: Statistics,
        standardisation: Literal["federated", "local", "declared", "example", "none"] = "federated",
    ) -> Encoded:
        """Encode every row of a site.

        A missing number becomes the mean. A missing level, or one that the statistics do not know, becomes 0 in each of
        the feature's columns.

        Args:
            cohort: The site's records.
            statistics: What all sites know together.
            standardisation: The study's `standardisation.kind`: `federated` by ``statistics``, `local` by this site's
                own training rows, `declared` by ``statistics`` that were made up from ranges, `example` each row by its
                own mean and spread (vectors and images), `none` not at all (images are brought to 0..1).

        Returns:
            The inputs, a row for each of the cohort's.
        """
        self._check(statistics.layout)
        if standardisation == "local":
            statistics = self.local_statistics(cohort, statistics.layout)
        mean, scale = statistics.mean, statistics.scale
        if standardisation in ("none", "example"):
            mean = np.zeros_like(mean)
            scale = np.full_like(scale, _WHITE if self._inputs.kind == "image" else 1.0)
        names = self.feature_names(statistics.layout)
        if self._inputs.kind == "image":
            return Encoded(_array(cohort), names, mean.astype(np.float32), scale.astype(np.float32))
        fill = (statistics.mean - mean) / scale
        if self._inputs.kind == "vector" and standardisation == "example":
            return Encoded(_by_row(_array(cohort).astype(np.float32)), names)
        if self._inputs.kind == "vector":
            return Encoded(_standardise(_array(cohort).astype(np.float32), mean, scale, fill), names)
        blocks = [
            _standardise(_numbers(cohort, self._numeric), mean, scale, fill),
            np.isnan(_numbers(cohort, self._indicators)),
            *self._one_hot(cohort, statistics, standardised=standardisation != "none"),
        ]
        return Encoded(np.hstack([block.astype(np.float32) for block in blocks]), names)

    def _first(self, name: str) -> int:
        """Return the number of the first level that has a column."""
        return int(self._levels[name].drop_first)

    def _one_hot(self, cohort: SiteCohort, statistics: Statistics, *, standardised: bool) -> list[Design]:
        blocks = []
        start = 0
        for name, levels in statistics.layout.categories:
            code = level_codes(cohort.table[name], levels)
            block = (code[:, None] == np.arange(len(levels))).astype(np.float64)
            if standardised and self._levels[name].standardise:
                held = statistics.level_counts[start : start + len(levels)]
                share = held / max(held.sum(), 1.0)
                scale = np.sqrt(share * (1.0 - share))
                block = np.where(code[:, None] >= 0, (block - share) / np.where(scale > 0, scale, 1.0), 0.0)
            blocks.append(block[:, self._first(name) :])
            start += len(levels)
        return blocks

    def _sums(self, cohort: SiteCohort, rows: Rows, minimum: int, centre: Tally | None) -> tuple[Tally, Tally, Tally]:
        """Return present, sums, and squares around ``centre`` (0 if none) of the numeric inputs as they may be sent."""
        if self._inputs.kind == "image":
            return _pixel_sums(pixel_histogram(_array(cohort), rows), centre)
        table = self._inputs.kind == "table"
        values = _numbers(cohort, self._numeric)[rows] if table else _array(cohort)[rows].astype(np.float64)
        there = ~np.isnan(values)
        patients = Patients(cohort.patient[rows])
        present = there.sum(axis=0).astype(np.float64)
        sent = sendable(present, rows.size, patients.holding(there), patients.holding(~there), minimum)
        # Where a site does not say that a few values are missing, it sends them as if they were like its others.
        share = np.divide(sent, present, out=np.zeros_like(sent), where=present > 0)
        values[~there] = 0.0
        sums = values.sum(axis=0) * share
        if centre is None:
            return sent, sums, np.zeros_like(sums)
        values -= centre
        values[~there] = 0.0
        return sent, sums, np.einsum("nk,nk->k", values, values) * share

    def _check(self, layout: Layout) -> None:
        if layout.numeric != self._numeric or [name for name, _ in layout.categories] != list(self._levels):
            raise UsageError("the layout is of another study", hint="make it with this encoder's `layout`")


def _array(cohort: SiteCohort) -> np.ndarray:
    if cohort.array is None:
        raise UsageError("the cohort has no array", hint="make the encoder with the cohort's `inputs`")
    return cohort.array


def _numbers(cohort: SiteCohort, names: tuple[str, ...]) -> Design:
    """Return numeric columns, float64 ``(n, k)``, NaN where missing."""
    columns = [finite_numbers(cohort.table[name])[0] for name in names]
    return np.stack(columns, axis=1) if columns else np.zeros((cohort.rows, 0))


def _standardise(values: Design, mean: Tally, scale: Tally, fill: Tally) -> Design:
    """Standardise ``values`` in place and in their precision, with ``fill`` where NaN."""
    missing = np.isnan(values)
    values -= mean.astype(values.dtype)
    values /= scale.astype(values.dtype)
    np.copyto(values, fill.astype(values.dtype), where=missing)
    return values


def _by_row(values: Design) -> Design:
    """Bring each row to mean 0 and variance 1 by itself; what is missing is 0, and so is a row without spread."""
    missing = np.isnan(values)
    number = np.maximum((~missing).sum(axis=1, keepdims=True), 1)
    values[missing] = 0.0
    values -= values.sum(axis=1, keepdims=True, dtype=np.float64).astype(values.dtype) / number
    values[missing] = 0.0
    spread = np.sqrt(np.einsum("nk,nk->n", values, values)[:, None] / number)
    standardised: Design = np.divide(values, spread, out=np.zeros_like(values), where=spread > 0)
    return standardised


def _pixel_sums(histogram: Rows, centre: Tally | None) -> tuple[Tally, Tally, Tally]:
    """Return present, sums, and squares around ``centre`` of each channel from its histogram, int64 ``(c, 256)``."""
    values = np.arange(histogram.shape[1], dtype=np.float64)
    counts = histogram.astype(np.float64)
    around = np.zeros(len(counts)) if centre is None else centre
    squares = (counts * (values - around[:, None]) ** 2).sum(axis=1)
    return counts.sum(axis=1), counts @ values, squares
