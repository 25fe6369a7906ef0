"""Invented evidence, a fresh tree for each test."""

from __future__ import annotations

import copy
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from sealround.report import render, render_drill

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Tree = dict[str, Any]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_evidence", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Dataclasses look their module up.
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def synthetic() -> ModuleType:
    return _load("synthetic")


@pytest.fixture(scope="session")
def _made(synthetic: ModuleType) -> dict[str, Tree]:
    return {
        "four": synthetic.four_hospitals(),
        "six": synthetic.six_regions(),
        "many": synthetic.many_sites(),
        "sealed": synthetic.sealed(synthetic.four_hospitals()),
        "sealed-six": synthetic.sealed(synthetic.six_regions(), "replicated"),
        "sealed-many": synthetic.sealed(synthetic.many_sites(), "replicated"),
        "private": synthetic.private(synthetic.four_hospitals()),
        "private-local": synthetic.private(synthetic.four_hospitals(), "local"),
        "private-many": synthetic.private(synthetic.many_sites(), metrics="kept"),
    }


@pytest.fixture
def four(_made: dict[str, Tree]) -> Tree:
    return copy.deepcopy(_made["four"])


@pytest.fixture
def six(_made: dict[str, Tree]) -> Tree:
    return copy.deepcopy(_made["six"])


@pytest.fixture
def many(_made: dict[str, Tree]) -> Tree:
    return copy.deepcopy(_made["many"])


@pytest.fixture
def sealed(_made: dict[str, Tree]) -> Tree:
    """Four hospitals whose sums were sealed."""
    return copy.deepcopy(_made["sealed"])


@pytest.fixture
def private(_made: dict[str, Tree]) -> Tree:
    """Four hospitals, with noise that hides each patient."""
    return copy.deepcopy(_made["private"])


_RUNS = [
    "four", "six", "many", "sealed", "sealed-six", "sealed-many", "private", "private-local", "private-many",
]  # fmt: skip


@pytest.fixture(params=_RUNS)
def evidence(request: pytest.FixtureRequest, _made: dict[str, Tree]) -> Tree:
    return copy.deepcopy(_made[request.param])


# --- drills -----------------------------------------------------------------------------------------------------------

_DRILLS: dict[str, dict[str, Any]] = {
    "drill": {},
    "drill-large": {"sites": 120, "num_byzantine": 24, "attacks": 20, "rules": 12, "kinds": 3},
    "drill-one": {"attacks": 1, "rules": 1, "seeds": 1, "groups": False},
    "drill-survival": {"sites": 6, "attacks": 5, "kinds": 2, "survival": True, "groups": False},
    "drill-mean": {"own": "mean"},
}


@pytest.fixture(scope="session")
def synthetic_drill() -> ModuleType:
    return _load("synthetic_drill")


@pytest.fixture
def drilled(synthetic_drill: ModuleType) -> Callable[..., Tree]:
    """Return what invents the evidence of a drill of the shape that is asked for."""
    return lambda **shape: synthetic_drill.drill(synthetic_drill.Shape(**shape))


@pytest.fixture
def drill(drilled: Callable[..., Tree]) -> Tree:
    """One of four hospitals lies; eight attacks, six rules."""
    return drilled()


@pytest.fixture(params=_DRILLS)
def any_drill(request: pytest.FixtureRequest, drilled: Callable[..., Tree]) -> Tree:
    return drilled(**_DRILLS[request.param])


@pytest.fixture(scope="session")
def _pages(_made: dict[str, Tree], synthetic_drill: ModuleType) -> dict[str, str]:
    drills = {name: synthetic_drill.drill(synthetic_drill.Shape(**shape)) for name, shape in _DRILLS.items()}
    pages = {name: render(tree) for name, tree in _made.items()}
    return pages | {name: render_drill(tree) for name, tree in drills.items()}


@pytest.fixture(params=[*_RUNS, *_DRILLS])
def page(request: pytest.FixtureRequest, _pages: dict[str, str]) -> str:
    """One page of every kind."""
    return _pages[request.param]
