"""From what an attack rebuilt, held against the records, to what the audit keeps of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sealround.engines.audit.findings import Figure, Outcome
from sealround.report.audit.measures import GAIN_DB, MEASURES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sealround.audit.inversion.observation import Reconstruction
    from sealround.audit.inversion.scoring import Judgement
    from sealround.engines.audit.findings import Status

__all__ = ["outcome_of"]


def outcome_of(
    reconstruction: Reconstruction,
    judgement: Judgement,
    status: Status,
    granted: tuple[tuple[str, str], ...],
    draw: np.random.Generator,
) -> Outcome:
    """Return the outcome of an inversion attack.

    Args:
        reconstruction: What it rebuilt.
        judgement: The same, held against the records.
        status: How it ended.
        granted: What the attacker was granted.
        draw: For intervals.
    """
    # Tables have a ratio of signal to noise too, which says less than their cells.
    figures = {name for name in MEASURES if name in judgement.figures}
    if judgement.kind != "image":
        figures.discard("psnr_db")
    measures: dict[str, Figure] = {}
    for name in MEASURES:
        number = judgement.number(name, draw) if name in figures else None
        if number is not None and np.isfinite(number.value):
            measures[name] = Figure(number.value, number.low, number.high, number.baseline)
    worst = judgement.worst()
    return Outcome(
        status=status,
        granted=granted,
        patients=len(judgement),
        certified=int(np.count_nonzero(judgement.certified)),
        measures=measures,
        worst={name: value for name, value in worst.figures.items() if name in figures},
        worst_baseline={name: value for name, value in worst.baseline.items() if name in figures},
        worst_patient=worst.patient,
        beyond=_beyond(judgement, figures),
        mismatch=reconstruction.mismatch,
        seconds=reconstruction.seconds,
        note=reconstruction.note or None,
    )


def _beyond(judgement: Judgement, figures: set[str]) -> Mapping[str, float]:
    """Return what a study's limits are held against: the patient of whom most was rebuilt beyond a guess."""
    found: dict[str, float] = {}
    if "exact_cells" in figures:
        gain = judgement.gain("exact_cells")
        beyond = judgement.figures["exact_cells"] if gain is None else gain
        found["exact_cells"] = float(max(0.0, np.max(beyond)))
        found["exact_records"] = float(np.mean(judgement.figures["exact_records"]))
    if "psnr_db" in figures:
        best = judgement.best_baseline("psnr_db")
        psnr = judgement.figures["psnr_db"]
        known = np.isfinite(psnr)
        if best is not None:
            known &= psnr >= best[1] + GAIN_DB
        found["psnr_db"] = float(np.max(psnr[known])) if known.any() else 0.0
    return found
