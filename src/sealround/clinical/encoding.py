"""From a site's cells and pixels to model inputs, standardised by what all sites know together.

`Encoder` computes this site's addends to the federated statistics (`sealround.federation.statistics`) on its training
rows, and encodes its rows with the finished statistics.

Cells that describe fewer patients than the site's minimum are sent as 0. Where a cell and its complement add up to the
examples (outcome present or absent, value present or missing), a complement that small is sent as 0 too, that is, the
cell as the whole. Differences between other cells, such as the levels of one feature, are not protected from somebody
who knows how many patients have the feature.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import polars as pl

from sealround.clinical.cells import finite_numbers, level_order, levels_of
from sealround.clinical.cohort import SplitName
from sealround.clinical.pixels import pixel_histogram
from sealround.clinical.roles import roles_of
from sealround.errors import UsageError
from sealround.federation.statistics import Layout, Statistics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.clinical.cohort import SiteCohort
    from sealround.federation.interfaces import InputShape
    from sealround.study.sections import Cohort
    from sealround.vocabulary import Design, Labels, Rows, Tally

__all__ = ["Encoded", "Encoder", "Patients"]

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

    Features are in the order of their names: numeric ones first, then indicators of missing, then levels.

    Args:
        cohort: The study's cohort section.
        inputs: What one example looks like.
    """

    def __init__(self, cohort: Cohort, inputs: InputShape) -> None:
        self._roles = roles_of(cohort)
        self._inputs = inputs
        match inputs.kind:
            case "table":
                self._numeric = tuple(self._roles.numeric)
            case "vector":
                self._numeric = tuple(f"v{number}" for number in range(inputs.shape[0]))
            case "image":
                self._numeric = tuple(f"channel{number}" for number in range(inputs.shape[0]))

    @property
    def _categorical(self) -> tuple[str, ...]:
        return tuple(self._roles.categorical) if self._inputs.kind == "table" else ()

    @property
    def _declared(self) -> dict[str, tuple[str, ...]]:
        """Levels the study declares, as `levels_of` writes them."""
        return {
            name: tuple(levels_of(pl.Series(feature.levels, dtype=pl.String)).to_list())
            for name, feature in self._roles.categorical.items()
            if feature.levels is not None and name in self._categorical
        }

    def layout(self, levels: Mapping[str, tuple[str, ...]]) -> Layout:
        """Return the layout of the statistics.

        Args:
            levels: The levels that the sites found, for features whose levels the study does not declare.

        Returns:
            Declared levels in the study's order, found ones sorted, numbers by size before other texts.
        """
        declared = self._declared
        categories = tuple(
            (name, declared.get(name) or tuple(sorted(set(levels.get(name, ())), key=level_order)))
            for name in self._categorical
        )
        return Layout(self._numeric, categories)

    def levels(self, cohort: SiteCohort, min_cell_count: int) -> dict[str, tuple[str, ...]]:
        """Return the levels of each categorical feature held by ``min_cell_count`` training patients or more.

        Features whose levels the study declares are left out: nobody needs to ask.
        """
        rows = cohort.where(SplitName.TRAIN)
        found = {}
        for name in self._categorical:
            if name in self._declared:
                continue
            levels = tuple(levels_of(cohort.table[name][rows]).drop_nulls().unique().to_list())
            patients = _level_counts(cohort, name, levels, rows)
            frequent = [level for level, count in zip(levels, patients, strict=True) if count >= min_cell_count]
            found[name] = tuple(sorted(frequent, key=level_order))
        return found

    def counts(self, cohort: SiteCohort, layout: Layout, min_cell_count: int) -> Tally:
        """Return this site's addend to the layout's counts.

        Args:
            cohort: The site's records.
            layout: From `layout`.
            min_cell_count: Cells that describe fewer patients are sent as 0.

        Returns:
            float64 ``(layout.size,)``, over training rows.
        """
        self._check(layout)
        rows = cohort.where(SplitName.TRAIN)
        patients = Patients(cohort.patient[rows])
        if patients.number < min_cell_count:
            return np.zeros(layout.size)
        event = cohort.outcome.event[rows, None] > 0
        positives = _sendable(
            event.sum(axis=0), rows.size, patients.holding(event), patients.holding(~event), min_cell_count
        )
        present, sums, _ = self._sums(cohort, rows, patients, min_cell_count, None)
        levels = [_level_counts(cohort, name, names, rows) for name, names in layout.categories]
        cells = np.concatenate([*levels, np.zeros(0)])
        cells[cells < min_cell_count] = 0.0
        return layout.join(float(rows.size), float(positives[0]), present, sums, cells)

    def squares(self, cohort: SiteCohort, layout: Layout, min_cell_count: int, mean: Tally) -> Tally:
        """Return this site's sums of squared distance from ``mean``, float64, one for each numeric input.

        Args:
            cohort: The site's records.
            layout: From `layout`.
            min_cell_count: As for `counts`; where that sent 0, so does this.
            mean: Mean of each numeric input over all sites, float64 ``(k,)``.
        """
        self._check(layout)
        rows = cohort.where(SplitName.TRAIN)
        patients = Patients(cohort.patient[rows])
        if patients.number < min_cell_count:
            return np.zeros(len(layout.numeric))
        return self._sums(cohort, rows, patients, min_cell_count, mean)[2]

    def local_statistics(self, cohort: SiteCohort, layout: Layout) -> Statistics:
        """Return the statistics of one site alone, nothing suppressed: they stay at the site."""
        statistics = Statistics.from_counts(layout, self.counts(cohort, layout, 0))
        return statistics.with_squares(self.squares(cohort, layout, 0, statistics.mean))

    def feature_names(self, layout: Layout) -> tuple[str, ...]:
        """Name the columns that `encode` gives, or the image channels."""
        indicators = [f"{name} is missing" for name in self._indicators]
        levels = [f"{name}={level}" for name, levels in layout.categories for level in levels[self._dropped(name) :]]
        return (*self._numeric, *indicators, *levels)

    def encode(
        self,
        cohort: SiteCohort,
        statistics: Statistics,
        standardisation: Literal["federated", "local", "none"] = "federated",
    ) -> Encoded:
        """Encode every row of a site.

        A missing number becomes the mean. A missing level, or one the statistics do not know, becomes 0 in each of the
        feature's columns.

        Args:
            cohort: The site's records.
            statistics: What all sites know together.
            standardisation: The study's `standardisation.kind`: `federated` by ``statistics``, `local` by this site's own
                training rows, `none` not at all (uint8 images are brought to 0..1).

        Returns:
            The inputs, a row for each of the cohort's.
        """
        self._check(statistics.layout)
        if standardisation == "local":
            statistics = self.local_statistics(cohort, statistics.layout)
        mean, scale = statistics.mean, statistics.scale
        if standardisation == "none":
            mean = np.zeros_like(mean)
            scale = np.full_like(scale, _WHITE if self._inputs.kind == "image" else 1.0)
        names = self.feature_names(statistics.layout)
        if cohort.array is None:
            numbers = _numbers(cohort, self._numeric)
            numeric = _standardise(numbers, mean, scale, (statistics.mean - mean) / scale).astype(np.float32)
            return Encoded(
                np.hstack([numeric, self._indicate(cohort), self._one_hot(cohort, statistics.layout)]), names
            )
        if self._inputs.kind == "vector":
            vectors = cohort.array.astype(np.float32)
            fill = ((statistics.mean - mean) / scale).astype(np.float32)
            return Encoded(_standardise(vectors, mean.astype(np.float32), scale.astype(np.float32), fill), names)
        return Encoded(cohort.array, names, mean.astype(np.float32), scale.astype(np.float32))

    @property
    def _indicators(self) -> tuple[str, ...]:
        return tuple(
            name for name in self._numeric if name in self._roles.numeric and self._roles.numeric[name].indicator
        )

    def _dropped(self, name: str) -> int:
        return int(self._roles.categorical[name].drop_first)

    def _indicate(self, cohort: SiteCohort) -> Design:
        return np.isnan(_numbers(cohort, self._indicators)).astype(np.float32)

    def _one_hot(self, cohort: SiteCohort, layout: Layout) -> Design:
        blocks = [np.zeros((cohort.rows, 0), dtype=np.float32)]
        for name, levels in layout.categories:
            code = _level_codes(cohort.table[name], levels)
            block = np.zeros((cohort.rows, len(levels)), dtype=np.float32)
            known = np.flatnonzero(code >= 0)
            block[known, code[known]] = 1.0
            blocks.append(block[:, self._dropped(name) :])
        return np.hstack(blocks)

    def _sums(
        self, cohort: SiteCohort, rows: Rows, patients: Patients, minimum: int, centre: Tally | None
    ) -> tuple[Tally, Tally, Tally]:
        """Return present, sums and squares around ``centre`` (0 without) of the numeric inputs as they may be sent."""
        if self._inputs.kind == "image" and cohort.array is not None:
            return _pixel_sums(pixel_histogram(cohort.array, rows), centre)
        values = (
            _numbers(cohort, self._numeric)[rows] if cohort.array is None else cohort.array[rows].astype(np.float64)
        )
        there = ~np.isnan(values)
        present = there.sum(axis=0).astype(np.float64)
        sent = _sendable(present, rows.size, patients.holding(there), patients.holding(~there), minimum)
        # A site that keeps to itself that a few values are missing sends them as if they were its mean.
        share = np.divide(sent, present, out=np.zeros_like(sent), where=present > 0)
        values[~there] = 0.0
        sums = values.sum(axis=0) * share
        if centre is None:
            return sent, sums, np.zeros_like(sums)
        values -= centre
        values[~there] = 0.0
        return sent, sums, np.einsum("nk,nk->k", values, values) * share

    def _check(self, layout: Layout) -> None:
        if layout.numeric != self._numeric or tuple(name for name, _ in layout.categories) != self._categorical:
            raise UsageError("the layout is of another study", hint="make it with this encoder's `layout`")


class Patients:
    """Which rows are one patient's, to count patients rather than rows.

    Args:
        patient: Patient of each row, int64 ``(n,)``.
    """

    def __init__(self, patient: Rows) -> None:
        self._order = np.argsort(patient, kind="stable")
        ordered = patient[self._order]
        self._starts = np.flatnonzero(np.diff(ordered, prepend=-1))
        self.number = self._starts.size

    def holding(self, flags: Labels) -> Tally:
        """Return how many patients have a row that is true, for each column of a bool ``(n, k)``; float64 ``(k,)``."""
        if flags.all() or self._starts.size == self._order.size or not flags.size:
            return np.minimum(flags.sum(axis=0), self.number).astype(np.float64)
        return np.logical_or.reduceat(flags[self._order], self._starts, axis=0).sum(axis=0).astype(np.float64)


def _sendable(count: Tally, whole: int, holders: Tally, others: Tally, minimum: int) -> Tally:
    """Return counts with small cells, and cells with a small complement, suppressed; float64 ``(k,)``.

    Args:
        count: Rows in each cell.
        whole: Rows in the cell and its complement.
        holders: Patients in each cell.
        others: Patients in its complement.
        minimum: Fewest patients that a cell may describe, except 0.
    """
    rounded = np.where((others > 0) & (others < minimum), whole, count)
    return np.where(holders < minimum, 0.0, rounded).astype(np.float64)


def _numbers(cohort: SiteCohort, names: tuple[str, ...]) -> Design:
    """Return numeric columns, float64 ``(n, k)``, NaN where missing."""
    columns = [finite_numbers(cohort.table[name])[0] for name in names]
    return np.stack(columns, axis=1) if columns else np.zeros((cohort.rows, 0))


def _level_codes(cells: pl.Series, levels: tuple[str, ...]) -> Rows:
    """Return each cell's position in ``levels``, int64, -1 where missing or unknown."""
    codes = levels_of(cells).cast(pl.Enum(levels), strict=False).to_physical()
    return codes.cast(pl.Int64).fill_null(-1).to_numpy()


def _level_counts(cohort: SiteCohort, name: str, levels: tuple[str, ...], rows: Rows) -> Tally:
    """Return how many patients have each level in one of ``rows``, float64."""
    codes = _level_codes(cohort.table[name], levels)[rows]
    known = codes >= 0
    pairs = np.unique(np.stack((codes[known], cohort.patient[rows][known])), axis=1)
    return np.bincount(pairs[0], minlength=len(levels)).astype(np.float64)


def _standardise(values: Design, mean: Tally, scale: Tally, fill: Tally) -> Design:
    """Standardise ``values`` in place, with ``fill`` where NaN."""
    missing = np.isnan(values)
    values -= mean
    values /= scale
    if missing.any():
        np.copyto(values, np.broadcast_to(fill, values.shape), where=missing)
    return values


def _pixel_sums(histogram: Rows, centre: Tally | None) -> tuple[Tally, Tally, Tally]:
    """Return present, sums and squares around ``centre`` of each channel from its histogram, int64 ``(c, 256)``."""
    values = np.arange(histogram.shape[1], dtype=np.float64)
    counts = histogram.astype(np.float64)
    around = np.zeros(len(counts)) if centre is None else centre
    squares = (counts * (values - around[:, None]) ** 2).sum(axis=1)
    return counts.sum(axis=1), counts @ values, squares
