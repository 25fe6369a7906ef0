"""What a report may show of one patient: a row of cells, or pictures. Only of public data does it leave the place."""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any

import numpy as np

from sealround.study.sections import BuiltinSource, MedmnistSource, NumericFeature

if TYPE_CHECKING:
    from sealround.audit.inversion.held import Held
    from sealround.federation.statistics import Layout
    from sealround.study import Study

__all__ = ["shown", "why_public"]

_LEAST_PIXELS = 96
"""Pictures are shown this high at least: a 28-pixel picture is a stamp otherwise."""


def why_public(study: Study) -> str | None:
    """Return why a study's records may be seen by all who get the audit; ``None`` if they may not."""
    if study.audit.public is not None:
        return study.audit.public
    match study.cohort.source:
        case BuiltinSource() | MedmnistSource():
            return "the data are public: they come with sealround, or from where everybody can fetch them"
        case _:
            return None


def shown(study: Study, layout: Layout, names: tuple[str, ...], held: Held) -> dict[str, Any]:
    """Return the worst-off patient's record beside what was rebuilt: an entry of ``showcase``, without its finding.

    Args:
        study: The study.
        layout: Names and levels of the inputs.
        names: Of the encoded columns, in order.
        held: The record.
    """
    if held.hits is None:
        pictures = {name: _picture(image) for name, image in _images(held).items()}
        return {"kind": "image", **pictures} | {
            "psnr_db": _psnr(held.rebuilt, held.original),
            "baseline_db": _psnr(held.guessed, held.original),
        }
    categories = dict(layout.categories)
    cells = []
    for columns, hit in zip(held.cells, held.hits.tolist(), strict=True):
        name = names[columns[0]]
        if len(columns) > 1 or "=" in name:
            column = name.partition("=")[0]
            values = [_level(each, columns, names, categories.get(column, ())) for each in _rows(held)]
        else:
            column = name
            values = [_number(each[columns[0]]) for each in _rows(held)]
        original, rebuilt, baseline = values
        cells.append(
            {
                "column": column,
                "unit": _unit(study, column),
                "original": original,
                "rebuilt": rebuilt,
                "baseline": baseline,
                "recovered": bool(hit),
            }
        )
    return {"kind": "table", "cells": cells}


def _rows(held: Held) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return held.original, held.rebuilt, held.guessed


def _images(held: Held) -> dict[str, np.ndarray]:
    return {"original": held.original, "reconstruction": held.rebuilt, "baseline": held.guessed}


def _number(value: float) -> str:
    return f"{value:.7g}"


def _level(row: np.ndarray, columns: tuple[int, ...], names: tuple[str, ...], levels: tuple[str, ...]) -> str:
    """Return the likeliest level; the first one has no column where the study leaves it out."""
    shares = {names[column].partition("=")[2]: float(row[column]) for column in columns}
    for level in levels:
        if level not in shares:
            shares[level] = 1.0 - sum(shares.values())
    return max(shares, key=lambda level: shares[level])


def _unit(study: Study, column: str) -> str | None:
    found = study.cohort.columns.get(column)
    return found.unit if isinstance(found, NumericFeature) else None


def _psnr(image: np.ndarray, original: np.ndarray) -> float | None:
    error = float(np.mean((np.clip(image, 0.0, 1.0) - original) ** 2))
    return min(400.0, -10.0 * float(np.log10(error))) if error > 0.0 else 400.0


def _picture(image: np.ndarray) -> str:
    """Return a PNG, base64."""
    from PIL import Image

    grey = np.rint(np.clip(image, 0.0, 1.0) * 255).astype(np.uint8)
    pixels = grey[0] if grey.shape[0] == 1 else np.moveaxis(grey[:3], 0, -1)
    drawn = Image.fromarray(pixels)
    times = max(1, -(-_LEAST_PIXELS // drawn.height))
    drawn = drawn.resize((drawn.width * times, drawn.height * times), Image.Resampling.NEAREST)
    file = io.BytesIO()
    drawn.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
