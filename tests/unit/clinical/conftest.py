"""Small studies and files for the tests of `sealround.clinical`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from sealround.clinical import Places
from sealround.study import Study

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

REASON = "public data, for a test"


def study_of(cohort: dict[str, Any], *, model: str = "logistic", seed: int = 7) -> Study:
    """Make a study around a cohort section."""
    tree = {
        "study": {"name": "a-test", "rounds": 1, "seed": seed},
        "cohort": cohort,
        "model": {"kind": model},
        "training": {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "local_epochs": 1},
        "protection": {
            "secure_aggregation": {"mode": "none", "reason": REASON},
            "robustness": {"rule": "mean", "reason": REASON},
            "privacy": {"unit": "none", "reason": REASON},
        },
    }
    return Study.model_validate_json(json.dumps(tree))


@pytest.fixture(scope="session")
def make_study() -> Callable[..., Study]:
    return study_of


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path, tmp_path / "data")


@pytest.fixture
def csv_study(tmp_path: Path) -> Callable[..., Study]:
    """Write a CSV file of one simulated site and return its study; columns default to x, y, label."""

    def make(text: str, columns: dict[str, Any] | None = None, **cohort: Any) -> Study:
        (tmp_path / "table.csv").write_text(text, encoding="utf-8")
        defaults: dict[str, Any] = {
            "source": {"kind": "csv", "path": "table.csv"},
            "sites": {"kind": "iid", "number": 1},
            "split": {"kind": "random", "validation": 0.0, "test": 0.0},
        }
        model = cohort.pop("model", "logistic")
        return study_of({**defaults, "columns": DEFAULT_COLUMNS if columns is None else columns, **cohort}, model=model)

    return make


DEFAULT_COLUMNS: dict[str, Any] = {
    "x": {"role": "feature", "kind": "numeric"},
    "label": {"role": "label", "positive": [1], "negative": [0]},
}
