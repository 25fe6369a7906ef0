"""A small valid study to vary, for tests that need one and do not care which."""

from __future__ import annotations

from typing import Any

from sealround.study.sections import Study

__all__ = ["small_study"]

_REASON = "made-up numbers in a test"

_SMALL: dict[str, Any] = {
    "study": {"name": "small", "rounds": 3, "seed": 7},
    "cohort": {"source": {"kind": "csv", "path": "small.csv"}, "sites": {"kind": "iid", "number": 4}},
    "model": {"kind": "logistic"},
    "training": {"optimizer": {"kind": "sgd", "learning_rate": 0.1}, "local_epochs": 1},
    "protection": {
        "secure_aggregation": {"mode": "none", "reason": _REASON},
        "robustness": {"rule": "mean", "reason": _REASON},
        "privacy": {"unit": "none", "reason": _REASON},
    },
}


def small_study(**sections: dict[str, Any]) -> Study:
    """Return a small study; each keyword updates the section of its name.

    Columns are not declared: the sites of such a study are `sealround.testing.NumpyWork`, which has its own data.
    """
    tree = {name: {**_SMALL.get(name, {}), **sections.get(name, {})} for name in {*_SMALL, *sections}}
    return Study.model_validate(tree, strict=False)
