"""How much of every single patient an attack rebuilt: the judge, who has the records.

Figures are kept one a patient, never as means alone: the report is about the worst-off one. A patient of whom an
attack says nothing counts as missed in every share, and has no figure (NaN) where there is none to have. An attack
that found nothing shows that this attack found nothing; how much the update determines, an attack does not say
(`sealround.audit.inversion.bounds`).

=================  ====================================================================================================
Figure             Of one patient
=================  ====================================================================================================
exact_cells        share of a record's cells that are recovered (`table_cells`)
exact_records      1 if all are
psnr_db            images in grey values [0, 1]; tables as shares of each column's range
ssim               images
pixels_within_t    share of the field of view within t/255 of the original in every channel, t of 2, 8, 16, 25.5
one_minus_mae      one minus the mean absolute error in the field of view
labels_right       1 if the label is; without meaning where the attack was given the labels
=================  ====================================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch

from sealround.audit.inversion import image_quality
from sealround.audit.inversion.assignment import assign
from sealround.audit.inversion.baselines import classes
from sealround.audit.inversion.intervals import Number, summarise
from sealround.audit.inversion.table_cells import Cells, cells_of
from sealround.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sealround.audit.inversion.baselines import Baseline
    from sealround.audit.inversion.observation import Domain, Reconstruction, Victims

__all__ = ["Judgement", "Kind", "Worst", "judge", "pooled"]

Kind: TypeAlias = Literal["image", "table", "vector"]
"""What an example is; vectors are judged as tables of numbers."""

Figures: TypeAlias = "dict[str, np.ndarray]"

_SHARES = ("exact_cells", "exact_records", "labels_right", "pixels_within", "reidentified")
_WITHIN = {f"pixels_within_{steps:g}": steps for steps in image_quality.THRESHOLDS}


@dataclass(frozen=True, slots=True)
class Worst:
    """The patient of whom most was rebuilt.

    Attributes:
        patient: Ordinal among those judged, from 1.
        figures: What was rebuilt of that patient; figures that there are none of are left out.
        baseline: For each figure, what the best baseline without an update reaches on the same patient.
    """

    patient: int
    figures: Mapping[str, float]
    baseline: Mapping[str, float]


@dataclass(frozen=True, slots=True, eq=False)
class Judgement:
    """What an attack rebuilt of each patient.

    Attributes:
        attack: Its name.
        kind: What an example is.
        figures: One value a patient, float64 ``(n,)``, by name; whoever knows more of a patient may add figures.
        hits: Tables: which cells are recovered, bool ``(n, cells)``; else ``None``.
        rebuilt: Which of the rebuilt examples is held against each patient, int64 ``(n,)``; -1 for none.
        certified: Whether the attack itself proves that example, bool ``(n,)``.
        batch: Which patients were judged together, int64 ``(n,)``.
        baselines: The same figures of each baseline.
        blind: Baselines that an attacker without the patient's records could make.
    """

    attack: str
    kind: Kind
    figures: Mapping[str, np.ndarray]
    hits: np.ndarray | None
    rebuilt: np.ndarray
    certified: np.ndarray
    batch: np.ndarray
    baselines: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    blind: frozenset[str] = frozenset()

    def __len__(self) -> int:
        """How many patients."""
        return len(self.rebuilt)

    @property
    def wrongly_certified(self) -> int:
        """How many records the attack proves that are not exact: tables only, else 0."""
        exact = self.figures.get("exact_records")
        return 0 if exact is None else int(np.count_nonzero(self.certified & (exact == 0.0)))

    def best_baseline(self, figure: str) -> tuple[str, np.ndarray] | None:
        """Return the baseline with the best mean of a figure among those that need nothing of the patient's records."""
        able = {name: mine[figure] for name, mine in self.baselines.items() if name in self.blind and figure in mine}
        if not able:
            return None
        name = max(able, key=lambda each: float(np.nanmean(able[each])))
        return name, able[name]

    def gain(self, figure: str) -> np.ndarray | None:
        """Return how far each patient's figure is above the best baseline's on the same patient, ``(n,)``."""
        best = self.best_baseline(figure)
        return None if best is None or figure not in self.figures else self.figures[figure] - best[1]

    def worst(self) -> Worst:
        """Return the patient of whom most was rebuilt: by exact cells, else by PSNR; ties by PSNR, then by order."""
        first = self.figures.get("exact_cells", np.zeros(len(self)))
        second = np.nan_to_num(self.figures["psnr_db"], nan=-np.inf)
        patient = int(np.lexsort((-second, -first))[0])
        mine = {name: float(values[patient]) for name, values in self.figures.items() if np.isfinite(values[patient])}
        best = {name: found[1][patient] for name in mine if (found := self.best_baseline(name)) is not None}
        return Worst(patient + 1, mine, {name: float(value) for name, value in best.items() if np.isfinite(value)})

    def number(self, figure: str, draw: np.random.Generator) -> Number | None:
        """Return a figure's mean over patients with its 95 % interval and the best baseline's mean.

        Returns:
            ``None`` if the attack has no such figure for anybody.
        """
        if figure not in self.figures:
            return None
        best = self.best_baseline(figure)
        baseline = None if best is None else float(np.nanmean(best[1]))
        share = figure.startswith(_SHARES)
        return summarise(self.figures[figure], draw, share=share, groups=self.batch, baseline=baseline)


@dataclass(frozen=True, slots=True, eq=False)
class _Yardstick:
    """The originals, prepared for comparison."""

    domain: Domain
    raw: torch.Tensor
    labels: torch.Tensor
    survival: bool
    cells: Cells | None
    span: torch.Tensor

    def held(self, inputs: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
        """Return rebuilt records in the originals' order, ``(n, *shape)``, and which they are (-1: none)."""
        finite = inputs.flatten(1).isfinite().all(1)
        raw, index = self.domain.raw(inputs[finite]), torch.nonzero(finite).flatten().numpy()
        if self.cells is None:
            raw = raw.clamp(0.0, 1.0)
        given = assign(self._costs(raw))
        places = torch.from_numpy(np.maximum(given, 0))
        ordered = raw[places] if len(raw) else torch.full_like(self.raw, torch.nan)
        return ordered, np.where(given >= 0, index[given] if index.size else -1, -1)

    def _costs(self, raw: torch.Tensor) -> np.ndarray:
        """Mean squared error; for tables the share of cells missed, which that error can only break ties of."""
        error = torch.cdist(self.raw.flatten(1) / self.span, raw.flatten(1) / self.span).square() / self.raw[0].numel()
        if self.cells is None:
            return np.asarray(error.numpy())
        missed = torch.stack([1.0 - self.cells.hits(raw, one).double().mean(1) for one in self.raw])
        return np.asarray((missed + error / (1.0 + error) / (len(self.cells) + 1)).numpy())

    def figures(
        self, inputs: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[Figures, np.ndarray | None, np.ndarray]:
        """Return every figure, the recovered cells, and which example was held against whom."""
        ordered, given = self.held(inputs)
        spoken = given >= 0
        figures, hits = self._images(ordered) if self.cells is None else self._tables(ordered, self.cells, spoken)
        if labels is not None:
            mine = classes(labels, survival=self.survival).numpy()
            true = classes(self.labels, survival=self.survival).numpy()
            figures["labels_right"] = (mine[np.maximum(given, 0)] == true).astype(np.float64)
        for name, values in figures.items():
            values[~spoken] = 0.0 if name.startswith(_SHARES) else np.nan
        return figures, hits, given

    def _images(self, ordered: torch.Tensor) -> tuple[Figures, None]:
        view = image_quality.field_of_view(self.raw)
        figures = {
            "psnr_db": image_quality.psnr(ordered, self.raw),
            "ssim": image_quality.ssim(ordered, self.raw),
            "one_minus_mae": image_quality.closeness(ordered, self.raw, view),
        } | {name: image_quality.within(ordered, self.raw, view, steps) for name, steps in _WITHIN.items()}
        return {name: values.numpy() for name, values in figures.items()}, None

    def _tables(self, ordered: torch.Tensor, cells: Cells, spoken: np.ndarray) -> tuple[Figures, np.ndarray]:
        hits = cells.hits(ordered, self.raw).numpy() & spoken[:, None]
        psnr = image_quality.psnr(ordered / self.span, self.raw / self.span).numpy()
        exact = hits.mean(1)
        return {"exact_cells": exact, "exact_records": (exact == 1.0).astype(np.float64), "psnr_db": psnr}, hits


def judge(
    reconstruction: Reconstruction,
    victims: Victims,
    domain: Domain,
    kind: Kind,
    baselines: Sequence[Baseline] = (),
    *,
    tolerance: torch.Tensor | None = None,
    survival: bool = False,
) -> Judgement:
    """Hold a reconstruction against the records behind it, each rebuilt example against the one that suits it best.

    Args:
        reconstruction: Any number of examples in any order; those with a value that is no number count as missing.
        victims: The records.
        domain: What values they can have.
        kind: What an example is.
        baselines: From `sealround.audit.inversion.baselines`, for the same victims.
        tolerance: Tables: largest error of each column that counts as none, raw units, ``(p,)``.
        survival: Whether labels are events and ranks of times.

    Returns:
        Figures for every patient.

    Raises:
        UsageError: If there is no victim, or shapes do not fit.
    """
    inputs, shape = victims.inputs.double(), victims.inputs.shape[1:]
    if not len(inputs) or reconstruction.inputs.shape[1:] != shape:
        raise UsageError(f"{tuple(reconstruction.inputs.shape)} cannot be held against {tuple(inputs.shape)} records")
    if (kind == "image") != (len(shape) == 3):  # noqa: PLR2004  (channels, rows, columns)
        raise UsageError(f"examples of shape {tuple(shape)} are not of kind {kind!r}")
    cells = None if kind == "image" else cells_of(domain, shape[0], tolerance)
    yardstick = _Yardstick(domain, domain.raw(inputs), victims.labels, survival, cells, _span(domain, shape, kind))
    figures, hits, given = yardstick.figures(reconstruction.inputs.double(), reconstruction.labels)
    certified = np.zeros(len(inputs), dtype=np.bool_)
    if reconstruction.certified.numel():
        certified = reconstruction.certified.numpy()[np.maximum(given, 0)] & (given >= 0)
    return Judgement(
        attack=reconstruction.attack,
        kind=kind,
        figures=figures,
        hits=hits,
        rebuilt=given,
        certified=certified,
        batch=np.zeros(len(inputs), dtype=np.int64),
        baselines={each.name: _averaged(yardstick, each) for each in baselines},
        blind=frozenset(each.name for each in baselines if each.blind),
    )


def pooled(judgements: Sequence[Judgement]) -> Judgement:
    """Return one judgement of all patients of several batches that the same attack was run on.

    Figures and baselines that not all of them have are left out.

    Raises:
        UsageError: If there are none, or they are of different attacks or kinds.
    """
    if not judgements or len({(each.attack, each.kind) for each in judgements}) > 1:
        raise UsageError("judgements of one attack on one kind of example can be pooled")
    first = judgements[0]
    offsets = np.cumsum([0] + [int(each.batch.max()) + 1 for each in judgements])

    def joined(parts: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
        shared = [name for name in parts[0] if all(name in part for part in parts)]
        return {name: np.concatenate([part[name] for part in parts]) for name in shared}

    names = [name for name in first.baselines if all(name in each.baselines for each in judgements)]
    hits = [each.hits for each in judgements if each.hits is not None]
    return Judgement(
        attack=first.attack,
        kind=first.kind,
        figures=joined([each.figures for each in judgements]),
        hits=np.concatenate(hits) if hits else None,
        rebuilt=np.concatenate([each.rebuilt for each in judgements]),
        certified=np.concatenate([each.certified for each in judgements]),
        batch=np.concatenate([each.batch + offset for each, offset in zip(judgements, offsets, strict=False)]),
        baselines={name: joined([each.baselines[name] for each in judgements]) for name in names},
        blind=first.blind & frozenset(names),
    )


def _span(domain: Domain, shape: torch.Size, kind: Kind) -> torch.Tensor:
    """Return what errors are a share of, raw units, ``(p,)``: a column's range, else its standard deviation."""
    if kind == "image":
        return torch.ones(())
    scale = domain.scale.double().abs().expand(shape)
    span = (domain.upper - domain.lower).double().expand(shape) * scale
    return torch.where(span.isfinite() & (span > 0), span, scale)


def _averaged(yardstick: _Yardstick, baseline: Baseline) -> Figures:
    found = [yardstick.figures(guess.double(), baseline.labels)[0] for guess in baseline.guesses]
    return {name: np.mean([each[name] for each in found], axis=0) for name in found[0]}
