"""Fixtures shared by every test."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine must not fail a test, and a failure must come back when the test is run again.
settings.register_profile("sealround", deadline=None, derandomize=True)
settings.load_profile("sealround")

_DEFAULT_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def clinical_data() -> Path:
    """The folder of real clinical data; skips where it is absent."""
    folder = Path(os.environ.get("SEALROUND_DATA", _DEFAULT_DATA))
    if not (folder / "manifest.json").is_file():
        pytest.skip(f"no clinical data at {folder} (set SEALROUND_DATA)")
    return folder
