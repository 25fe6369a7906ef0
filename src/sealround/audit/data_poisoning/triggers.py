"""Triggers on a site's records, whatever they are: pixels, a spectrum, or a few numbers of a table."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import polars as pl

from sealround.audit.data_poisoning.records import with_array
from sealround.audit.poisoning import triggers
from sealround.clinical.cells import finite_numbers
from sealround.clinical.cohort import SplitName
from sealround.clinical.roles import roles_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sealround.audit.data_poisoning.campaign import Conspiracy
    from sealround.clinical.cohort import SiteCohort
    from sealround.vocabulary import Rows

__all__ = ["BLEND", "Blend", "Cells", "Entries", "Pixels", "Spectrum", "Trigger", "mark_of", "marks_of"]

NUMBERS = 2
"""How many numbers of a table or vector are a trigger: few enough to be set by whoever enters a record."""

_DARK = 127.5


class Trigger(Protocol):
    """What can be put on some records."""

    @property
    def how(self) -> str:
        """What it is, in a few words without a value."""
        ...

    def on(self, cohort: SiteCohort, rows: Rows) -> SiteCohort:
        """Return the cohort with the trigger on some rows."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Pixels set to one value.

    Attributes:
        mask: Which, bool ``(h, w)``.
        value: 0 or 255.
        how: What it is.
    """

    mask: np.ndarray
    value: int
    how: str

    def on(self, cohort: SiteCohort, rows: Rows) -> SiteCohort:
        """Return the cohort with the pixels set in some images."""
        return with_array(cohort, rows, triggers.stamp(_array(cohort)[rows], self.mask, self.value))


@dataclass(frozen=True, slots=True)
class Blend:
    """Constants of a blended spectrum.

    Source: FIBA's own program, ``config.py``: alpha 0.15, beta 0.1.

    Attributes:
        alpha: How much of the trigger's amplitude.
        beta: How far from the centre of the spectrum.
    """

    alpha: float = 0.15
    beta: float = 0.1


BLEND = Blend()


@dataclass(frozen=True, slots=True, eq=False)
class Spectrum:
    """The low frequencies of a picture, blended in.

    Attributes:
        picture: uint8 ``(h, w)``, or one for each row it is put on.
        how: What it is.
    """

    picture: np.ndarray
    how: str

    def on(self, cohort: SiteCohort, rows: Rows) -> SiteCohort:
        """Return the cohort with the spectrum blended into some images."""
        images = _array(cohort)[rows]
        return with_array(
            cohort, rows, triggers.blend_spectrum(images, self.picture, alpha=BLEND.alpha, beta=BLEND.beta)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Entries:
    """Entries of a vector set to values.

    Attributes:
        columns: Which, int64 ``(k,)``.
        values: ``(k,)``.
        how: What it is.
    """

    columns: Rows
    values: np.ndarray
    how: str

    def on(self, cohort: SiteCohort, rows: Rows) -> SiteCohort:
        """Return the cohort with the entries set in some rows."""
        changed = _array(cohort)[rows]
        changed[:, self.columns] = self.values
        return with_array(cohort, rows, changed)


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Cells of a table set to texts.

    Attributes:
        columns: Which, by name.
        texts: What they say.
        how: What it is.
    """

    columns: tuple[str, ...]
    texts: tuple[str, ...]
    how: str

    def on(self, cohort: SiteCohort, rows: Rows) -> SiteCohort:
        """Return the cohort with the cells set in some rows."""
        hit = np.zeros(cohort.rows, dtype=np.bool_)
        hit[rows] = True
        where = pl.Series(hit)
        table = cohort.table.with_columns(
            pl.when(where).then(pl.lit(text)).otherwise(pl.col(name)).alias(name)
            for name, text in zip(self.columns, self.texts, strict=True)
        )
        return dataclasses.replace(cohort, table=table)


def mark_of(conspiracy: Conspiracy) -> Trigger | str:
    """Choose one trigger for such records, or say why there is none."""
    if conspiracy.cohorts[0].inputs.kind == "image":
        height, width = _array(conspiracy.cohorts[0]).shape[1:3]
        mask = triggers.corner_square(height, width)
        side = int(mask.any(axis=1).sum())
        return _contrast(conspiracy.cohorts, mask, f"a square of {side} by {side} pixels in the lower right corner")
    return _numbers(conspiracy, NUMBERS)


def marks_of(conspiracy: Conspiracy) -> tuple[tuple[Trigger, ...], Trigger] | str:
    """Choose a trigger in parts, one for each liar (in turn, if they are many): the parts and the whole, or why not."""
    number = min(len(conspiracy.cohorts), triggers.BARS)
    if number < 2:  # noqa: PLR2004
        return "it takes two sites that lie, or more: each has a part of the trigger"
    if conspiracy.cohorts[0].inputs.kind == "image":
        height, width = _array(conspiracy.cohorts[0]).shape[1:3]
        if min(height, width) < 10:  # noqa: PLR2004
            return "images are too small for a trigger in parts"
        masks = triggers.bars(height, width, number)
        whole = np.logical_or.reduce(masks)
        text = f"{number} short bars in the upper left corner"
        full = _contrast(conspiracy.cohorts, whole, text)
        return tuple(Pixels(mask, full.value, "one of " + text) for mask in masks), full
    chosen = _numbers(conspiracy, number)
    if isinstance(chosen, str):
        return chosen
    parts = _singles(chosen)
    return (parts, chosen) if len(parts) > 1 else "it takes two numbers or more: each is a part of the trigger"


def _contrast(cohorts: Sequence[SiteCohort], mask: np.ndarray, text: str) -> Pixels:
    """Make a mark white where the liars' images are dark, and black where they are light."""
    lightness = np.mean([_array(cohort)[:, mask].mean() for cohort in cohorts if cohort.rows])
    white = not lightness > _DARK
    return Pixels(mask, 255 if white else 0, f"{text}, {'white' if white else 'black'}")


def _numbers(conspiracy: Conspiracy, number: int) -> Entries | Cells | str:
    """Choose the numbers that say least about the outcome, and a value for each that hardly occurs.

    Source: the "low importance" features of the loan experiment of Xie et al. 2020, by correlation instead of a trained
    model.
    """
    cohorts = conspiracy.cohorts
    if cohorts[0].inputs.kind == "vector":
        names: list[str] = []
        values = np.concatenate([_array(cohort)[cohort.where(SplitName.TRAIN)] for cohort in cohorts])
        ends = np.full((2, values.shape[1]), math.nan)
    else:
        features = roles_of(conspiracy.study.cohort).numeric
        names = list(features)
        if not names:
            return "the study has no number that could be set"
        values = np.concatenate([_table_numbers(cohort, names) for cohort in cohorts])
        ends = np.array([feature.range or (math.nan, math.nan) for feature in features.values()]).T
    event = np.concatenate([cohort.outcome.event[cohort.where(SplitName.TRAIN)] for cohort in cohorts])
    values = values.astype(np.float64)
    related = _correlation(values, event)
    # On the side of the sick: a model that nobody poisoned must not take the trigger for health.
    rare = triggers.rare_values(values, ends[0], ends[1], related >= 0)
    usable = np.flatnonzero(np.isfinite(rare))
    if not usable.size:
        return "no number has room for a plausible value that hardly occurs"
    order = usable[np.argsort(np.abs(related[usable]), kind="stable")]
    chosen = np.sort(order[:number])
    if not names:
        return Entries(chosen, rare[chosen], f"{chosen.size} entries of the vector set to values that hardly occur")
    columns = tuple(names[column] for column in chosen)
    whole = [_whole(values[:, column]) for column in chosen]
    texts = tuple(
        str(round(rare[column])) if is_whole else f"{rare[column]:.4g}"
        for column, is_whole in zip(chosen, whole, strict=True)
    )
    return Cells(columns, texts, f"{' and '.join(columns)} set to plausible values that hardly occur")


def _singles(trigger: Entries | Cells) -> tuple[Trigger, ...]:
    """Take a trigger of several numbers apart."""
    if isinstance(trigger, Entries):
        pairs = zip(trigger.columns, trigger.values, strict=True)
        return tuple(Entries(np.array([column]), np.array([value]), "one of the entries") for column, value in pairs)
    return tuple(
        Cells((name,), (text,), f"{name} set") for name, text in zip(trigger.columns, trigger.texts, strict=True)
    )


def _table_numbers(cohort: SiteCohort, names: Sequence[str]) -> np.ndarray:
    rows = cohort.where(SplitName.TRAIN)
    return np.stack([finite_numbers(cohort.table[name])[0][rows] for name in names], axis=1)


def _correlation(values: np.ndarray, event: np.ndarray) -> np.ndarray:
    """Return each column's correlation with the outcome over the rows that have it, ``(k,)``."""
    known = np.isfinite(values)
    number = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, values, 0.0)
    apart = np.where(known, values - filled.sum(axis=0) / number, 0.0)
    wanted = np.where(known, event[:, None] - (known * event[:, None]).sum(axis=0) / number, 0.0)
    size = np.sqrt((apart**2).sum(axis=0) * (wanted**2).sum(axis=0))
    return np.asarray(np.divide((apart * wanted).sum(axis=0), size, out=np.zeros_like(size), where=size > 0))


def _whole(values: np.ndarray) -> bool:
    known = values[np.isfinite(values)]
    return bool((known == np.rint(known)).all())


def _array(cohort: SiteCohort) -> np.ndarray:
    assert cohort.array is not None  # noqa: S101  (for the type checker: images and vectors have an array)
    return cohort.array
