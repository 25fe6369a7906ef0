"""Evidence of invented audits, a fresh tree for each test."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from types import ModuleType

Tree = dict[str, Any]


@pytest.fixture(scope="session")
def synthetic_audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "synthetic_audit_evidence", Path(__file__).with_name("synthetic_audit.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def table(synthetic_audit: ModuleType) -> Tree:
    """A public table; every record is rebuilt from the study as written."""
    return synthetic_audit.table()


@pytest.fixture
def image(synthetic_audit: ModuleType) -> Tree:
    """Public pictures; a planted model gives them in full, a search in part."""
    return synthetic_audit.image()


@pytest.fixture
def own(synthetic_audit: ModuleType) -> Tree:
    """The sites' own table, sealed and with noise; nobody gets more than a guess."""
    return synthetic_audit.own()


@pytest.fixture
def vector(synthetic_audit: ModuleType) -> Tree:
    """Vectors; only who took part is told."""
    return synthetic_audit.vector()


@pytest.fixture
def unfinished(synthetic_audit: ModuleType) -> Tree:
    """The budget ended before anything was found."""
    return synthetic_audit.unfinished()


@pytest.fixture(params=["table", "image", "own", "perhaps", "unfinished", "vector"])
def any_audit(request: pytest.FixtureRequest, synthetic_audit: ModuleType) -> Tree:
    return synthetic_audit.AUDITS[request.param]()
