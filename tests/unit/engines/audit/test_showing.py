"""A record as a page shows it: numbers, levels that have no column of their own, pictures."""

from __future__ import annotations

import base64
import io
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from sealround.audit.inversion.held import Held
from sealround.engines.audit.showing import shown, why_public

if TYPE_CHECKING:
    from collections.abc import Callable

    from sealround.study import Study

LAYOUT = cast("Any", SimpleNamespace(numeric=("age",), categories=(("blood", ("0", "A", "B")),)))
NAMES = ("age", "blood=A", "blood=B")


def test_a_level_without_a_column_is_the_rest(make: Callable[..., Study]) -> None:
    held = Held(
        np.array([63.0, 0.0, 0.0]),
        np.array([62.5, 0.2, 0.7]),
        np.array([50.0, 0.3, 0.3]),
        np.array([True, False]),
        ((0,), (1, 2)),
    )
    age, blood = shown(make(), LAYOUT, NAMES, held)["cells"]
    assert (age["original"], age["rebuilt"], age["baseline"], age["recovered"]) == ("63", "62.5", "50", True)
    assert (blood["column"], blood["original"], blood["rebuilt"], blood["baseline"]) == ("blood", "0", "B", "0")
    assert blood["recovered"] is False


def test_a_picture_is_a_png_of_its_grey_values(make: Callable[..., Study]) -> None:
    image = pytest.importorskip("PIL.Image")
    original = np.zeros((1, 8, 8))
    original[0, 0, 0] = 1.0
    held = Held(original, original, np.full((1, 8, 8), 0.5), None, ())
    found = shown(make(), LAYOUT, (), held)
    assert found["kind"] == "image"
    drawn = image.open(io.BytesIO(base64.b64decode(found["original"])))
    assert drawn.height >= 96
    assert (drawn.getpixel((0, 0)), drawn.getpixel((drawn.width - 1, 0))) == (255, 0)
    assert found["psnr_db"] == 400.0
    assert found["baseline_db"] == pytest.approx(-10 * np.log10(0.25))


def test_only_data_that_come_with_sealround_or_are_said_to_be_public_are(make: Callable[..., Study]) -> None:
    assert why_public(make()) is not None
    own = {"cohort": {"source": {"kind": "csv", "path": "x.csv"}, "sites": {"kind": "column"}}}
    assert why_public(make(**own)) is None
    assert why_public(make(**own, audit={"public": "made up for a test"})) == "made up for a test"
