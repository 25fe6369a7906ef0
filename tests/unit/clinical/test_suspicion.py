from __future__ import annotations

import numpy as np
import pytest

from sealround.clinical.suspicion import codes_standing_out

RNG = np.random.default_rng(0)
PRESSURE = np.round(RNG.normal(130, 18, 300))
INSULIN = np.concatenate([np.round(RNG.gamma(2, 70, 300) + 14)])


@pytest.mark.parametrize(
    ("values", "codes"),
    [
        (np.append(PRESSURE, [0.0]), [(0, 1)]),
        (np.append(PRESSURE, [0.0] * 40), [(0, 40)]),
        (np.append(PRESSURE, [-9.0, 999.0, 999.0]), [(-9, 1), (999, 2)]),
        (np.append(INSULIN, [0.0] * 200), [(0, 200)]),
        (np.array([0.0, 1, 0, 1, 1, -1]), [(-1, 1)]),
        (np.array([1.0, 2, 1, 2, 9, 9]), [(9, 2)]),
    ],
)
def test_codes_apart_from_the_rest_stand_out(values: np.ndarray, codes: list[tuple[int, int]]) -> None:
    assert codes_standing_out(values) == codes


@pytest.mark.parametrize(
    "values",
    [
        PRESSURE,
        RNG.poisson(3, 500).astype(float),  # a count may be 0
        np.concatenate([np.zeros(200), np.round(RNG.gamma(1.2, 1.0, 300), 1)]),  # so may a measurement next to 0
        np.array([0.0, 1.0] * 50),
        np.arange(100.0),
        np.round(RNG.normal(0, 5, 300)),  # a z score may be -1 or 9
        np.zeros(50),
        np.array([]),
        np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 9]),  # a scale of nine
    ],
)
def test_codes_among_the_rest_do_not(values: np.ndarray) -> None:
    assert codes_standing_out(values) == []
